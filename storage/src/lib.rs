//! Values to disk and back: the Raft log, the state engines, the layout of keys and values.
//!
//! This package knows no RESP, no Raft library and no async runtime.
pub mod log;
