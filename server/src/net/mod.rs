//! Clients' connections: accepting, reading, waiting; plain and TLS.

pub(crate) mod connection;
mod handshake;
pub(crate) mod listener;
pub(crate) mod threads;
