//! Clients' connections: accepting, reading, writing.

pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod outgoing;
