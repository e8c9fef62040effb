//! Entries that this leader has committed and not yet applied, and when they are too many to answer
//! before they are applied.
//!
//! A write whose reply is certain is answered when its entry is committed: it is durable on a majority
//! then, and every read barrier covers it, because a barrier waits until what is committed is applied
//! (Raft dissertation, 6.4). So a lookup that waits for the disk delays the reads behind it, but no
//! writes. Applying would fall behind without end where it is the slowest part; so early answers end
//! when the backlog is expected to take too long, or when somebody waits for it.

use crate::limits::{BACKLOG_BYTES_MAX, BACKLOG_ENTRIES_MAX, BACKLOG_MAX};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What is committed and not applied.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    entries: AtomicUsize,
    bytes: AtomicUsize,
    /// Reads that wait until it is applied.
    awaited: AtomicUsize,
    /// How long a KiB takes, by what was applied last.
    ns_per_kib: AtomicU64,
}

impl Backlog {
    /// Counts an entry until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>, bytes: usize) -> Behind {
        self.entries.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        Behind { backlog: self.clone(), bytes }
    }

    /// Counts somebody who waits for it until what is returned is dropped.
    pub(crate) fn await_it(&self) -> Awaiting<'_> {
        self.awaited.fetch_add(1, Relaxed);
        Awaiting(self)
    }

    /// Learns how long entries take.
    pub(crate) fn learn(&self, ns_per_byte: f64) {
        self.ns_per_kib.store((ns_per_byte * 1024.0) as u64, Relaxed);
    }

    fn is_short(&self) -> bool {
        let bytes = self.bytes.load(Relaxed);
        let expected_ns = (bytes as u64 / 1024).saturating_mul(self.ns_per_kib.load(Relaxed));
        self.awaited.load(Relaxed) == 0
            && self.entries.load(Relaxed) <= BACKLOG_ENTRIES_MAX
            && bytes <= BACKLOG_BYTES_MAX
            && expected_ns <= BACKLOG_MAX.as_nanos() as u64
    }
}

/// An entry of the backlog.
#[derive(Debug)]
pub(crate) struct Behind {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Behind {
    /// Whether the backlog, with this entry, is short enough to answer before it is applied.
    pub(crate) fn is_short(&self) -> bool {
        self.backlog.is_short()
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.backlog.entries.fetch_sub(1, Relaxed);
        self.backlog.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// Somebody who waits until the backlog is applied.
pub(crate) struct Awaiting<'a>(&'a Backlog);

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_answers_end_when_it_grows_long_or_somebody_waits() {
        let backlog = Arc::new(Backlog::default());
        let first = backlog.enter(1 << 10);
        assert!(first.is_short());
        let awaiting = backlog.await_it();
        assert!(!first.is_short());
        drop(awaiting);
        assert!(first.is_short());
        let large = backlog.enter(BACKLOG_BYTES_MAX);
        assert!(!large.is_short());
        drop(large);
        let many: Vec<_> = (0..BACKLOG_ENTRIES_MAX).map(|_| backlog.enter(0)).collect();
        assert!(!first.is_short());
        drop(many);
        assert!(first.is_short());
        // A KiB in the time of all of it.
        backlog.learn(BACKLOG_MAX.as_nanos() as f64 / 1023.0);
        assert!(!first.is_short());
        drop(first);
        assert!(backlog.enter(0).is_short());
    }
}
