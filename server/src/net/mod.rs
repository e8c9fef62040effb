//! Clients' connections: accepting, reading, waiting.

pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod threads;
