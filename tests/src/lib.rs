//! Harness of the tests: what they start, ask, load and check.

pub mod client;
pub mod cluster;
pub mod differential;
pub mod fuzz;
pub mod golden;
pub mod history;
pub mod linearizability;
pub mod load;
pub mod node;
pub mod random;
pub mod redis_server;
pub mod tls;
