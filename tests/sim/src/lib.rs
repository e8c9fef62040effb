//! A cluster in one thread: real nodes over a simulated network, disk and clock, from one seed.
//!
//! In reading order: `dice` is all chance, `trace` the fingerprint of a run; `disk`, `engine`,
//! `network`, `clock` and `workers` are what nodes stand on; `cluster` starts and crashes them;
//! `clients` use it, `faults` and `orders` harm it, `invariants` look at it; `run` is one run from a
//! seed, `summary` says what many came to. What is real: the Raft library with our settings and types,
//! log, state machine, peer frames and server, group commit, read barrier, orders, regular duties.
//!
//! What is left out:
//! - the LSM engine: the memory engine stands for it, whose flush and import are durable in an instant,
//!   so that no power cut ever meets one half done;
//! - identities: they are real files, which no power cut touches;
//! - drift: dates jump, but the monotonic clocks of all nodes run alike;
//! - doubled and reordered frames of append streams and snapshots: TCP, which they rely on, has none;
//!   their connections are late, wait, and break;
//! - damage to what was synced;
//! - connections of clients, MULTI blocks, joining by itself, strangers.
//!
//! Tokio wakes some waiters and polls the branches of `select!` in a random order. Only a build
//! with `--cfg tokio_unstable` can seed that; the alias `cargo sim` makes one. Without it a seed
//! still names all faults and delays, but two runs of it may differ.

pub mod clients;
pub mod clock;
pub mod cluster;
pub mod dice;
pub mod disk;
pub mod engine;
pub mod faults;
pub mod invariants;
pub mod network;
pub mod orders;
pub mod run;
pub mod summary;
pub mod trace;
pub mod workers;

#[cfg(test)]
mod tests;
