//! The only door to data: consistent reads, write batches, and the engine that gives both.
//!
//! Contract: there is one writer at a time; each write txn carries the Raft log index that it makes
//! visible, indexes only grow, and a read txn shows exactly the state after one log index, however
//! long it lives. A write txn sees its own writes; nobody else sees any of them before `commit`,
//! and everybody sees all of them after it. Durability is not part of a commit: the Raft log is the
//! journal, and `Engine::flush` says up to which log index the state is on disk.

use crate::error::StorageError;
use crate::key::StorageKey;
use crate::snapshot::{SnapshotSink, SnapshotSource};
use bytes::Bytes;
use std::time::Duration;

/// A storage key and its value.
pub type Row = (Bytes, Bytes);

/// Rows in ascending order of their storage keys.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, StorageError>> + 'a>;

/// Bytes of a value that [`ReadTxn::look`] shows at least: the head of a record fits.
pub const LOOK_BYTES_MIN: usize = 24;

/// Lookups that are worth expecting together: what they fetch still lies in the nearest cache when
/// the last of them comes.
pub const LOOKUPS_EXPECTED_MAX: usize = 32;

/// A consistent read: the state after one log index.
pub trait ReadTxn {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// Shows the beginning of the value of `key` to `show`, if the key is there: at least its first
    /// [`LOOK_BYTES_MIN`] bytes. Cheaper than `get`. `show` must not call the store.
    fn look(&self, key: &[u8], show: &mut dyn FnMut(&[u8])) -> Result<(), StorageError> {
        if let Some(value) = self.get(key)? {
            show(&value);
        }
        Ok(())
    }

    /// A hint: these keys will be looked up next, about [`LOOKUPS_EXPECTED_MAX`] of them at most. A store
    /// may fetch their places in memory side by side, where the lookups would wait for each in turn.
    fn expect(&self, _keys: &[StorageKey]) {}

    /// All rows with `start <= key < end`, ascending.
    fn rows<'a>(&'a self, start: &[u8], end: &[u8]) -> Rows<'a>;

    /// The log index whose state this shows (for a write txn: the one it will make visible).
    fn log_index(&self) -> u64;
}

/// A batch of changes that becomes visible as a whole.
pub trait WriteTxn: ReadTxn {
    /// Sets a row. `key` is at most `limits::STORAGE_KEY_BYTES_MAX` bytes long.
    fn put(&mut self, key: &[u8], value: Bytes);

    /// Removes a row; removing a missing row is allowed.
    fn delete(&mut self, key: &[u8]);

    /// A hint, before any lookup: about `count` keys will be looked up, in this order. A store may look
    /// them up beside the caller. It takes them only if it does.
    fn expect_all(&mut self, _count: usize, _keys: &mut dyn Iterator<Item = StorageKey>) {}

    /// Makes all changes visible at once, at this txn's log index.
    fn commit(self: Box<Self>);
}

/// A store of rows with one writer, many readers, and a durable prefix of its history.
pub trait Engine: Send + Sync {
    /// The state at the last committed log index.
    fn read(&self) -> Box<dyn ReadTxn + Send + Sync>;

    /// Starts the batch for `log_index`, which is greater than any before.
    fn write(&self, log_index: u64) -> Box<dyn WriteTxn + '_>;

    /// Whether a batch can be taken now without exceeding the memory limits.
    fn has_room(&self) -> bool;

    /// Blocks until `has_room` (the background flush made progress) or the flush failed.
    fn wait_for_room(&self) -> Result<(), StorageError>;

    /// How long to wait before the next batch, so that those to come need not wait long in
    /// [`Self::wait_for_room`]: longer than zero where batches come faster than they can be put into tables.
    /// Nothing fails where nobody waits.
    fn rest(&self) -> Duration {
        Duration::ZERO
    }

    /// The log index up to which the state survives a power cut.
    fn durable_index(&self) -> u64;

    /// Blocks until everything committed before the call is durable; returns the durable index.
    fn flush(&self) -> Result<u64, StorageError>;

    /// A stream of the whole durable-or-newer state at one log index, for another node.
    fn export(&self) -> Result<Box<dyn SnapshotSource>, StorageError>;

    /// Starts the installation of a whole state that replaces this one when it is finished.
    fn import(&self) -> Result<Box<dyn SnapshotSink>, StorageError>;

    /// Figures for INFO and metrics.
    fn stats(&self) -> EngineStats;
}

/// Figures of an engine; sizes in bytes.
#[derive(Clone, Debug, Default)]
pub struct EngineStats {
    /// Name of the engine.
    pub engine: &'static str,
    /// Memory held by changes that are not yet in tables.
    pub overlay_bytes: u64,
    /// Rows in memory that are not yet in tables.
    pub overlay_rows: u64,
    /// Space of the tables on disk.
    pub disk_bytes: u64,
    /// Limit of the block cache.
    pub cache_bytes_max: u64,
    /// Overlays moved into tables since the start.
    pub flushes: u64,
    /// Milliseconds the last of these took.
    pub last_flush_ms: u64,
    /// Times the writer had to wait for room.
    pub stalls: u64,
    /// Times it was asked to rest, so that it need not.
    pub rests: u64,
    /// Lookups in tables that other threads had done when the writer came to them.
    pub lookups_ahead: u64,
    /// Flushed overlays that no compaction has merged yet; every lookup may visit each.
    pub level_0_runs: usize,
}
