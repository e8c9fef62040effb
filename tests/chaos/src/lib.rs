//! Process chaos: real nodes under seeded faults of process, disk, network, clock and membership,
//! and checkers of what their clients saw.
//!
//! `cargo run --release -p kvorum-chaos -- --seed S --minutes M` prints the table of one run. The
//! seed decides which faults are injected in which order; what they hit depends on time. With
//! `--each N --operations M` it goes on until so much was really disturbed and done.

mod broom;
pub mod check;
pub mod deck;
pub mod disk;
pub mod faults;
pub mod journal;
pub mod kills;
mod links;
mod members;
pub mod proxy;
pub mod report;
mod rot;
pub mod run;
pub mod shim;
mod snapshots;
mod strangers;
pub mod windows;
pub mod wires;
pub mod workload;
pub mod world;
