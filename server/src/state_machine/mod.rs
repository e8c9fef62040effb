//! The replicated state machine: log entries in, replies out, nothing else.
//!
//! `apply(txn, entry) -> replies`: the same state and entry give the same writes and replies on
//! every node, for ever. So there is no clock, no unseeded randomness, no hash-map order, no I/O
//! and no tracing in here; an entry carries the time, the seed and the settings that replies depend
//! on, stamped by the leader. The effects of an entry, the log id it was applied at and the time
//! are one batch. A released write handler is a wire format: it changes only behind a feature level
//! that is itself a log entry.

pub mod apply;
pub mod entry;

pub use apply::{Applied, AppliedState, Checked, apply, check_operations};
pub use entry::{Entry, EntryHeader, Operation};
