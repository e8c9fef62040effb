//! Entries that this leader has committed and not yet applied, and when they are too many to answer
//! before they are applied.
//!
//! A write whose reply is certain is answered when its entry is committed: it is durable on a majority
//! then, and every read barrier covers it, because a barrier waits until what is committed is applied
//! (Raft dissertation, 6.4). So a lookup that waits for the disk delays the reads behind it, but no
//! such writes. Where applying is the slowest part, it would fall behind without end; so early answers
//! end when the backlog is long or old, and while somebody waits for it to be applied.

use crate::limits::{BACKLOG_AGE_MAX, BACKLOG_BYTES_MAX, BACKLOG_ENTRIES_MAX};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::time::Instant;

/// What is committed and not applied.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    entries: Mutex<Entries>,
    /// Reads and writes that wait until it is applied.
    awaited: AtomicUsize,
}

#[derive(Debug, Default)]
struct Entries {
    /// Log index and time of the commit, ascending.
    committed: VecDeque<(u64, Instant)>,
    bytes: usize,
}

impl Backlog {
    /// Counts an entry that is committed now, until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>, log_index: u64, bytes: usize, now: Instant) -> Behind {
        let mut entries = self.entries.lock();
        entries.committed.push_back((log_index, now));
        entries.bytes += bytes;
        drop(entries);
        Behind { backlog: self.clone(), log_index, bytes }
    }

    /// Counts somebody who waits for it until what is returned is dropped.
    pub(crate) fn awaited(self: &Arc<Self>) -> Awaited {
        self.awaited.fetch_add(1, Relaxed);
        Awaited(self.clone())
    }

    /// Whether it is short enough to answer before it is applied.
    pub(crate) fn is_short(&self, now: Instant) -> bool {
        let entries = self.entries.lock();
        let oldest = entries.committed.front();
        self.awaited.load(Relaxed) == 0
            && entries.committed.len() <= BACKLOG_ENTRIES_MAX
            && entries.bytes <= BACKLOG_BYTES_MAX
            && oldest.is_none_or(|(_, committed)| now - *committed <= BACKLOG_AGE_MAX)
    }
}

/// An entry of the backlog.
#[derive(Debug)]
pub(crate) struct Behind {
    backlog: Arc<Backlog>,
    log_index: u64,
    bytes: usize,
}

impl Drop for Behind {
    fn drop(&mut self) {
        let mut entries = self.backlog.entries.lock();
        // Entries are applied in order: it is the first, but when Raft gives several up.
        let place = entries.committed.binary_search_by_key(&self.log_index, |(index, _)| *index);
        if let Ok(place) = place {
            entries.committed.remove(place);
        }
        entries.bytes -= self.bytes;
    }
}

/// Somebody who waits until the backlog is applied.
#[derive(Debug)]
pub(crate) struct Awaited(Arc<Backlog>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_answers_end_when_it_grows_long_or_old_or_somebody_waits() {
        let (backlog, now) = (Arc::new(Backlog::default()), Instant::now());
        let first = backlog.enter(1, 1 << 10, now);
        assert!(backlog.is_short(now));
        let awaited = backlog.awaited();
        assert!(!backlog.is_short(now));
        drop(awaited);
        assert!(backlog.is_short(now));
        let large = backlog.enter(2, BACKLOG_BYTES_MAX, now);
        assert!(!backlog.is_short(now));
        drop(large);
        let many: Vec<_> =
            (0..BACKLOG_ENTRIES_MAX as u64).map(|index| backlog.enter(3 + index, 0, now)).collect();
        assert!(!backlog.is_short(now));
        drop(many);
        assert!(backlog.is_short(now + BACKLOG_AGE_MAX));
        let later = now + BACKLOG_AGE_MAX + BACKLOG_AGE_MAX;
        let second = backlog.enter(600, 0, later);
        assert!(!backlog.is_short(later), "the first has waited for long");
        drop(first);
        assert!(backlog.is_short(later));
        drop(second);
        assert!(backlog.is_short(later + 2 * BACKLOG_AGE_MAX), "what is applied ages no more");
    }
}
