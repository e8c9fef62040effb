//! Clients' connections: accepting, reading, writing, and asking another node who it is.

pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod outgoing;
pub(crate) mod probe;
