//! Values to disk and back: the Raft log, the state engines, the layout of keys and values.
//!
//! This package knows no RESP, no Raft library and no async runtime. From below:
//! [`txn`] is the door to data and the contract of an [`txn::Engine`]; [`memory`] is the model and
//! [`disk`] the LSM engine behind it; [`key`], [`value`] and [`meta`] are the layout; [`keyspace`]
//! is what commands use; [`snapshot`] carries a whole state; [`log`] is the durable Raft log;
//! [`space`] is room on the disk, and [`removal`] how it is given back; [`verify`] checks the state of a stopped node; [`mutants`] is for
//! tests alone.

pub mod disk;
mod dropped;
pub mod error;
pub mod key;
pub mod keyspace;
pub mod limits;
pub mod log;
pub mod memory;
mod merge;
pub mod meta;
pub mod mutants;
#[cfg(test)]
mod random;
pub mod removal;
pub mod snapshot;
pub mod space;
pub mod txn;
pub mod value;
pub mod verify;

pub use error::StorageError;
