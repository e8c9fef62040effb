//! Process chaos: real nodes under seeded faults of process, disk, network, clock and membership,
//! and checkers of what their clients saw.
//!
//! `cargo run --release -p kvorum-chaos -- --seed S --minutes M` prints the table of one run. The
//! seed decides which faults are injected in which order; what they hit depends on time.

pub mod check;
pub mod disk;
pub mod faults;
pub mod journal;
pub mod kills;
pub mod proxy;
pub mod run;
pub mod shim;
pub mod workload;
pub mod world;
