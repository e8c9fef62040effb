//! Harness of the tests.

pub mod golden;
pub mod redis_server;
