//! What callers hand to the log: options, positions, entries, votes, callbacks.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::removal::Removed;

/// Largest payload of an entry, in bytes.
pub const ENTRY_BYTES_MAX: usize = 1 << 30;
/// Bounds of `LogOptions::segment_bytes`.
pub const SEGMENT_BYTES_RANGE: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;

/// Called once, on the writer's thread, when an operation is durable or has failed. It must be
/// quick, must not panic, and must not wait for the log.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A place in a shard's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Raft term.
    pub term: u64,
    /// Log index.
    pub index: u64,
}

/// What kind of payload an entry carries. The log only keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// No payload of meaning; begins a leader's term.
    Blank,
    /// Requests.
    Normal,
    /// A membership.
    Membership,
}

impl EntryKind {
    pub(super) fn to_byte(self) -> u8 {
        match self {
            EntryKind::Blank => 0,
            EntryKind::Normal => 1,
            EntryKind::Membership => 2,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<EntryKind> {
        match byte {
            0 => Some(EntryKind::Blank),
            1 => Some(EntryKind::Normal),
            2 => Some(EntryKind::Membership),
            _ => None,
        }
    }
}

/// One entry of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands.
    pub position: LogPosition,
    /// What it carries.
    pub kind: EntryKind,
    /// The caller's bytes, at most `ENTRY_BYTES_MAX`. They stay in the tail cache, so they should
    /// not be a slice that keeps a larger buffer alive.
    pub payload: Bytes,
}

/// A Raft vote. The log only keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedVote {
    /// Term of the vote.
    pub term: u64,
    /// The candidate it was given to.
    pub node_id: u64,
    /// Whether that candidate is known to have won.
    pub committed: bool,
}

/// When written records are made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before their callbacks. The only policy that keeps the log's promise.
    #[default]
    Always,
    /// Once a second; callbacks follow the write. A power cut may take the last second. Votes are
    /// synced before their callbacks even so.
    EverySecond,
}

/// Told how long a slow `fdatasync` took.
pub type SlowSyncHook = Arc<dyn Fn(Duration) + Send + Sync>;
/// Told that a log without threads has something to do. Called under the log's locks: it may only
/// take a note.
pub type WorkHook = Arc<dyn Fn() + Send + Sync>;
/// Told why the log failed.
pub type FailureHook = Arc<dyn Fn(&io::Error) + Send + Sync>;

/// Functions the log calls on its writer's thread. They must be quick and must not panic.
#[derive(Clone, Default)]
pub struct LogHooks {
    /// An `fdatasync` took longer than `LogOptions::slow_sync`; given: how long.
    pub on_slow_sync: Option<SlowSyncHook>,
    /// The log has failed for good; called once, before the callbacks of what failed.
    pub on_failure: Option<FailureHook>,
}

impl fmt::Debug for LogHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogHooks")
    }
}

/// How to open a log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The directory; created if it is missing. Nothing else may be kept in it.
    pub dir: PathBuf,
    /// Length of new segments, in bytes, within `SEGMENT_BYTES_RANGE`.
    pub segment_bytes: u64,
    /// Memory for written entries that all shards together keep, in bytes. Entries not yet written
    /// are kept beyond that.
    pub cache_bytes_max: usize,
    /// Who removes large files in the log's stead; None: they are removed at once.
    pub removed: Option<Removed>,
    /// When records are made durable.
    pub sync: SyncPolicy,
    /// An `fdatasync` longer than this is counted and reported as slow.
    pub slow_sync: Duration,
    /// Functions to call.
    pub hooks: LogHooks,
    /// The clock that the log's pauses are measured by.
    pub clock: fn() -> Instant,
}

impl LogOptions {
    /// Segments of 64 MiB, a cache of 64 MiB, synced always, slow from 100 ms on, no hooks.
    pub fn new(dir: impl Into<PathBuf>) -> LogOptions {
        LogOptions {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            cache_bytes_max: 64 << 20,
            removed: None,
            sync: SyncPolicy::Always,
            slow_sync: Duration::from_millis(100),
            hooks: LogHooks::default(),
            clock: Instant::now,
        }
    }
}
