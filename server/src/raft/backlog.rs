//! Entries that this leader has committed and not yet applied, and when they are too many to answer
//! before they are applied.
//!
//! A write whose reply is certain is answered when its entry is committed: it is durable on a majority
//! then, and every read barrier covers it, because a barrier waits until what is committed is applied
//! (Raft dissertation, 6.4). So a lookup that waits for the disk delays the reads behind it, but no
//! such writes. Where applying is the slowest part, it would fall behind without end; so while the
//! backlog is long or old, or somebody waits for it to be applied, early answers wait until enough of it
//! is applied, each no longer than for its own entry. Answers then leave at the pace of applying: to
//! stop them until the backlog is gone would be a gap of its whole age for every client.

use crate::limits::{BACKLOG_AGE_MAX, BACKLOG_BYTES_MAX, BACKLOG_ENTRIES_MAX};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::time::Instant;

/// What is committed and not applied, and the `T`s that are to be answered early.
pub(crate) struct Backlog<T> {
    entries: Mutex<Entries<T>>,
    /// Reads and writes that wait until it is applied.
    awaited: AtomicUsize,
}

struct Entries<T> {
    /// Log index and time of the commit, ascending.
    committed: VecDeque<(u64, Instant)>,
    bytes: usize,
    /// Log index and what is to be answered, ascending.
    held: VecDeque<(u64, T)>,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        let entries = Entries { committed: VecDeque::new(), bytes: 0, held: VecDeque::new() };
        Backlog { entries: Mutex::new(entries), awaited: AtomicUsize::new(0) }
    }
}

impl<T> Entries<T> {
    /// Whether it is short enough to answer before it is applied.
    fn is_short(&self, now: Instant) -> bool {
        let oldest = self.committed.front();
        self.committed.len() <= BACKLOG_ENTRIES_MAX
            && self.bytes <= BACKLOG_BYTES_MAX
            && oldest.is_none_or(|(_, committed)| now - *committed <= BACKLOG_AGE_MAX)
    }

    /// Takes what is held for an entry.
    fn take(&mut self, log_index: u64) -> Option<T> {
        let place = self.held.binary_search_by_key(&log_index, |(index, _)| *index).ok()?;
        self.held.remove(place).map(|(_, held)| held)
    }
}

impl<T> Backlog<T> {
    /// Counts an entry that is committed now, until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>, log_index: u64, bytes: usize, now: Instant) -> Behind<T> {
        let mut entries = self.entries.lock();
        entries.committed.push_back((log_index, now));
        entries.bytes += bytes;
        drop(entries);
        Behind { backlog: self.clone(), log_index, bytes }
    }

    /// Counts somebody who waits for it until what is returned is dropped.
    pub(crate) fn awaited(self: &Arc<Self>) -> Awaited<T> {
        self.awaited.fetch_add(1, Relaxed);
        Awaited(self.clone())
    }

    /// Keeps what is to be answered before its entry is applied, until [`Self::next_early`] or
    /// [`Behind::applied`] returns it. Entries come in the order of their indexes.
    pub(crate) fn hold(&self, log_index: u64, held: T) {
        self.entries.lock().held.push_back((log_index, held));
    }

    /// What can be answered now, its log index first, when entries up to `applied` are applied.
    pub(crate) fn next_early(&self, applied: u64, now: Instant) -> Option<(u64, T)> {
        let mut entries = self.entries.lock();
        let (log_index, _) = entries.held.front()?;
        // What others proposed is no part of the backlog, and is there all the same.
        let behind = log_index.saturating_sub(applied);
        let is_short = self.awaited.load(Relaxed) == 0
            && behind <= BACKLOG_ENTRIES_MAX as u64
            && entries.is_short(now);
        if is_short { entries.held.pop_front() } else { None }
    }
}

/// An entry of the backlog.
pub(crate) struct Behind<T> {
    backlog: Arc<Backlog<T>>,
    log_index: u64,
    bytes: usize,
}

impl<T> Behind<T> {
    /// The entry is applied; returns what is held for it.
    pub(crate) fn applied(self) -> Option<T> {
        self.backlog.entries.lock().take(self.log_index)
    }
}

impl<T> Drop for Behind<T> {
    fn drop(&mut self) {
        let mut entries = self.backlog.entries.lock();
        // When it is given up, nobody will know what became of it.
        let unknown = entries.take(self.log_index);
        // Entries are applied in order: it is the first, but when Raft gives several up.
        let place = entries.committed.binary_search_by_key(&self.log_index, |(index, _)| *index);
        if let Ok(place) = place {
            entries.committed.remove(place);
        }
        entries.bytes -= self.bytes;
        drop(entries);
        drop(unknown);
    }
}

/// Somebody who waits until the backlog is applied.
pub(crate) struct Awaited<T>(Arc<Backlog<T>>);

impl<T> Drop for Awaited<T> {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an answer that is held now may leave at once.
    fn is_short(backlog: &Backlog<u64>, now: Instant) -> bool {
        let last = u64::MAX;
        backlog.hold(last, last);
        let early = backlog.next_early(last, now).is_some();
        backlog.entries.lock().held.clear();
        early
    }

    #[test]
    fn early_answers_end_when_it_grows_long_or_old_or_somebody_waits() {
        let (backlog, now) = (Arc::new(Backlog::default()), Instant::now());
        let first = backlog.enter(1, 1 << 10, now);
        assert!(is_short(&backlog, now));
        let awaited = backlog.awaited();
        assert!(!is_short(&backlog, now));
        drop(awaited);
        assert!(is_short(&backlog, now));
        let large = backlog.enter(2, BACKLOG_BYTES_MAX, now);
        assert!(!is_short(&backlog, now));
        drop(large);
        let many: Vec<_> =
            (0..BACKLOG_ENTRIES_MAX as u64).map(|index| backlog.enter(3 + index, 0, now)).collect();
        assert!(!is_short(&backlog, now));
        drop(many);
        assert!(is_short(&backlog, now + BACKLOG_AGE_MAX));
        let later = now + BACKLOG_AGE_MAX + BACKLOG_AGE_MAX;
        let second = backlog.enter(600, 0, later);
        assert!(!is_short(&backlog, later), "the first has waited for long");
        drop(first);
        assert!(is_short(&backlog, later));
        drop(second);
        assert!(is_short(&backlog, later + 2 * BACKLOG_AGE_MAX), "what is applied ages no more");
    }

    #[test]
    fn answers_that_are_held_leave_in_order_as_entries_are_applied() {
        let (backlog, now) = (Arc::new(Backlog::default()), Instant::now());
        let old: Vec<_> = (1..=2).map(|index| backlog.enter(index, 0, now)).collect();
        let later = now + 2 * BACKLOG_AGE_MAX;
        let new: Vec<_> = (3..=4).map(|index| backlog.enter(index, 0, later)).collect();
        for index in 1..=4 {
            backlog.hold(index, index);
        }
        assert_eq!(backlog.next_early(0, later), None);
        let [first, second] = <[_; 2]>::try_from(old).ok().unwrap();
        assert_eq!(first.applied(), Some(1));
        assert_eq!(backlog.next_early(1, later), None, "the second is as old");
        drop(second);
        assert_eq!(backlog.next_early(2, later), Some((3, 3)), "the second was given up");
        assert_eq!(backlog.next_early(2, later), Some((4, 4)));
        let answered: Vec<_> = new.into_iter().map(Behind::applied).collect();
        assert_eq!(answered, [None, None], "they were answered before");
        backlog.hold(2000, 2000);
        let last = 2000 - BACKLOG_ENTRIES_MAX as u64;
        assert_eq!(backlog.next_early(last - 1, later), None, "entries of others are not applied");
        assert_eq!(backlog.next_early(last, later), Some((2000, 2000)));
    }
}
