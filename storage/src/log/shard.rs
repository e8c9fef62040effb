//! What is in memory about one shard: vote, committed, purged, where each entry stands, and the
//! newest entries themselves.
//!
//! It changes at once when an operation is called, before anything is written; the writer follows
//! and only fills in where entries landed. Invariants: indexes are contiguous; the cached entries
//! are the newest ones without a gap; an entry that is not yet in a file is always cached.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use parking_lot::Mutex;

use super::format::ShardSummary;
use super::{LogEntry, LogPosition, SavedVote};

/// Where the record of an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// Offset of the record in the segment, in bytes.
    pub(super) offset: u32,
    /// Length on disk with padding, in bytes.
    pub(super) on_disk: u32,
}

#[derive(Clone, Copy, Debug)]
enum Where {
    /// Waiting for the writer under this number, which no other entry ever has.
    Queued(u64),
    File(Place),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    term: u64,
    place: Where,
}

impl Slot {
    pub(super) fn in_file(term: u64, place: Place) -> Slot {
        Slot { term, place: Where::File(place) }
    }
}

/// One shard, shared by its handles and the writer.
pub(super) struct Shard {
    pub(super) id: u32,
    pub(super) state: Mutex<ShardState>,
}

/// What can be served now, and from where.
pub(super) enum Lookup {
    /// These entries were cached.
    Cached(Vec<LogEntry>),
    /// These positions must be read from files.
    OnDisk(Vec<(LogPosition, Place)>),
}

/// Memory that an entry takes in a cache: its payload as allocators round it up, with four sizes from one
/// power of two to the next, the shared head of the payload, and the entry itself.
fn memory_bytes(entry: &LogEntry) -> usize {
    const HEAD_BYTES: usize = 32;
    let payload = entry.payload.len();
    let step = (payload.next_power_of_two() / 8).max(16);
    payload.next_multiple_of(step) + HEAD_BYTES + size_of::<LogEntry>()
}

#[derive(Default)]
pub(super) struct ShardState {
    pub(super) vote: Option<SavedVote>,
    pub(super) committed: Option<LogPosition>,
    pub(super) purged: Option<LogPosition>,
    /// Index of `slots[0]`; without meaning where there is none.
    first: u64,
    slots: VecDeque<Slot>,
    /// The newest entries.
    tail: VecDeque<LogEntry>,
    tail_bytes: usize,
}

impl ShardState {
    /// The state that records left: their summary, and a slot per entry.
    pub(super) fn recovered(summary: &ShardSummary, slots: VecDeque<Slot>) -> ShardState {
        ShardState {
            vote: summary.vote,
            committed: summary.committed,
            purged: summary.purged,
            first: summary.entries.map_or(0, |(first, _)| first),
            slots,
            ..ShardState::default()
        }
    }

    /// Index behind the last entry; equal to `first` where there is none.
    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// Index of the first entry that exists.
    pub(super) fn first_index(&self) -> Option<u64> {
        (!self.slots.is_empty()).then_some(self.first)
    }

    pub(super) fn last(&self) -> Option<LogPosition> {
        match self.slots.back() {
            Some(slot) => Some(LogPosition { term: slot.term, index: self.end() - 1 }),
            None => self.purged,
        }
    }

    pub(super) fn position_at(&self, index: u64) -> Option<LogPosition> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.slots.get(at).map(|slot| LogPosition { term: slot.term, index })
    }

    /// Whether these entries may follow the last one.
    pub(super) fn check_append(&self, entries: &[LogEntry]) -> io::Result<()> {
        let refused = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let mut previous = self.last().map(|last| last.index);
        for entry in entries {
            let index = entry.position.index;
            if let Some(previous) = previous.filter(|p| p.checked_add(1) != Some(index)) {
                return refused(format!("entry {index} cannot follow entry {previous}"));
            }
            if index == u64::MAX {
                return refused(format!("entry index {index} is out of range"));
            }
            if entry.payload.len() > super::ENTRY_BYTES_MAX {
                return refused(format!("entry {index} exceeds {} bytes", super::ENTRY_BYTES_MAX));
            }
            previous = Some(index);
        }
        Ok(())
    }

    /// Adds checked entries; the first gets the queue number `ticket`, the others follow.
    pub(super) fn append(&mut self, entries: &[LogEntry], ticket: u64) {
        let Some(head) = entries.first() else { return };
        if self.slots.is_empty() {
            self.first = head.position.index;
        }
        for (entry, ticket) in entries.iter().zip(ticket..) {
            let place = Where::Queued(ticket);
            self.slots.push_back(Slot { term: entry.position.term, place });
            self.tail_bytes += memory_bytes(entry);
            self.tail.push_back(entry.clone());
        }
    }

    /// Removes the entries behind `after`, and says what to write: `None` if nothing changed.
    pub(super) fn truncate(&mut self, after: Option<LogPosition>) -> Option<Option<LogPosition>> {
        let keep = match after.filter(|p| p.index >= self.first) {
            Some(p) => {
                usize::try_from(p.index - self.first).map_or(usize::MAX, |n| n.saturating_add(1))
            }
            None => 0,
        };
        if keep >= self.slots.len() {
            return None;
        }
        let drop = self.slots.len() - keep;
        self.slots.truncate(keep);
        let kept = self.tail.len().saturating_sub(drop);
        for entry in self.tail.drain(kept..) {
            self.tail_bytes -= memory_bytes(&entry);
        }
        Some(keep.checked_sub(1).and_then(|_| self.last()))
    }

    /// Removes the entries up to `upto`; false if that was done before.
    pub(super) fn purge(&mut self, upto: LogPosition) -> bool {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return false;
        }
        while self.first <= upto.index && self.slots.pop_front().is_some() {
            self.first += 1;
            if self.tail.len() > self.slots.len() {
                self.drop_oldest_cached();
            }
        }
        self.purged = Some(upto);
        true
    }

    /// Notes where written entries landed. Entries that were truncated or purged meanwhile, or
    /// replaced by others of the same index, are passed over.
    pub(super) fn landed(&mut self, first_index: u64, ticket: u64, places: &[Place]) {
        for ((place, index), ticket) in places.iter().zip(first_index..).zip(ticket..) {
            let at = index.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
            let slot = at.and_then(|at| self.slots.get_mut(at));
            if let Some(slot) = slot.filter(|s| matches!(s.place, Where::Queued(t) if t == ticket))
            {
                slot.place = Where::File(*place);
            }
        }
    }

    /// Memory that the cache takes, by [`memory_bytes`].
    pub(super) fn cached_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Drops the oldest cached entries that are in files, until `bytes` are freed.
    pub(super) fn evict(&mut self, bytes: usize) {
        let target = self.tail_bytes.saturating_sub(bytes);
        while self.tail_bytes > target {
            let oldest = self.slots.len() - self.tail.len();
            match self.slots.get(oldest) {
                Some(Slot { place: Where::File(_), .. }) => self.drop_oldest_cached(),
                _ => break,
            }
        }
    }

    fn drop_oldest_cached(&mut self) {
        if let Some(entry) = self.tail.pop_front() {
            self.tail_bytes -= memory_bytes(&entry);
        }
    }

    /// The beginning of `range`, as much of it as exists, comes from one source and fits: at most
    /// `count_max` entries, and at most `bytes_max` payload bytes but for the first entry.
    pub(super) fn lookup(&self, range: Range<u64>, bytes_max: usize, count_max: usize) -> Lookup {
        let start = range.start.max(self.first);
        let end = range.end.min(self.end());
        if start >= end {
            return Lookup::Cached(Vec::new());
        }
        let distance = |index: u64| usize::try_from(index - self.first).unwrap_or(usize::MAX);
        let (from, upto) = (distance(start), distance(end));
        let oldest_cached = self.slots.len() - self.tail.len();
        let mut bytes = 0usize;
        if from >= oldest_cached {
            let cached = self.tail.range(from - oldest_cached..upto - oldest_cached);
            let fitting = cached.take(count_max).take_while(|entry| {
                let first = bytes == 0;
                bytes = bytes.saturating_add(entry.payload.len().max(1));
                first || bytes <= bytes_max
            });
            return Lookup::Cached(fitting.cloned().collect());
        }
        let slots = self.slots.range(from..upto.min(oldest_cached));
        let mut found = Vec::new();
        for (slot, index) in slots.zip(start..).take(count_max) {
            let Where::File(place) = slot.place else {
                break;
            };
            bytes = bytes.saturating_add(place.on_disk as usize);
            if !found.is_empty() && bytes > bytes_max {
                break;
            }
            found.push((LogPosition { term: slot.term, index }, place));
        }
        Lookup::OnDisk(found)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::log::EntryKind;

    fn entry(term: u64, index: u64) -> LogEntry {
        let position = LogPosition { term, index };
        LogEntry { position, kind: EntryKind::Normal, payload: Bytes::from_static(b"0123456789") }
    }

    fn filled(upto: u64) -> ShardState {
        let mut state = ShardState::default();
        let entries: Vec<_> = (1..=upto).map(|index| entry(1, index)).collect();
        state.check_append(&entries).unwrap();
        state.append(&entries, 100);
        state
    }

    fn place(offset: u32) -> Place {
        Place { segment: 1, offset, on_disk: 56 }
    }

    #[test]
    fn appends_must_be_contiguous() {
        let state = filled(3);
        assert!(state.check_append(&[entry(1, 3)]).is_err());
        assert!(state.check_append(&[entry(1, 5)]).is_err());
        assert!(state.check_append(&[entry(1, 4), entry(1, 6)]).is_err());
        assert!(state.check_append(&[entry(1, 4), entry(1, 5)]).is_ok());
        assert!(ShardState::default().check_append(&[entry(1, u64::MAX)]).is_err());
    }

    #[test]
    fn landing_passes_over_replaced_entries() {
        let mut state = filled(3);
        assert_eq!(
            state.truncate(Some(LogPosition { term: 1, index: 1 })).unwrap().unwrap().index,
            1
        );
        state.append(&[entry(2, 2)], 200);
        state.landed(1, 100, &[place(64), place(120), place(176)]);
        state.evict(usize::MAX);
        assert_eq!(
            state.cached_bytes(),
            memory_bytes(&entry(2, 2)),
            "entry 2 of term 2 is not in a file yet"
        );
        state.landed(2, 200, &[place(232)]);
        state.evict(usize::MAX);
        match state.lookup(0..9, 1000, 1000) {
            Lookup::OnDisk(found) => assert_eq!(
                found,
                vec![
                    (LogPosition { term: 1, index: 1 }, place(64)),
                    (LogPosition { term: 2, index: 2 }, place(232)),
                ]
            ),
            Lookup::Cached(_) => panic!("evicted"),
        }
    }

    #[test]
    fn lookup_gives_at_least_one_and_respects_the_bound() {
        let count = |bytes_max| match filled(9).lookup(2..9, bytes_max, 100) {
            Lookup::Cached(entries) => entries.len(),
            Lookup::OnDisk(_) => panic!("all cached"),
        };
        assert_eq!((count(0), count(10), count(29), count(30), count(1000)), (1, 1, 2, 3, 7));
    }

    #[test]
    fn cached_entries_count_what_they_take() {
        let bytes = |len: usize| {
            let payload = vec![0; len].into();
            memory_bytes(&LogEntry { payload, ..entry(1, 1) })
                - memory_bytes(&LogEntry { payload: Bytes::new(), ..entry(1, 1) })
        };
        let sizes = [1, 16, 17, 100, 128, 129, 4096, 4097, 60_000, 98_304, 98_305];
        let taken = [16, 16, 32, 112, 128, 160, 4096, 5120, 65_536, 98_304, 114_688];
        assert_eq!(sizes.map(bytes), taken);
    }

    #[test]
    fn truncate_and_purge_report_only_changes() {
        let at = |index| LogPosition { term: 1, index };
        let mut state = filled(5);
        assert_eq!(state.truncate(Some(at(5))), None);
        assert_eq!(state.truncate(Some(at(9))), None);
        assert!(state.purge(at(2)));
        assert!(!state.purge(at(2)));
        assert_eq!((state.first_index(), state.last()), (Some(3), Some(at(5))));
        assert_eq!(state.truncate(Some(at(1))), Some(None), "all that is left");
        assert_eq!(state.last(), Some(at(2)));
        assert!(state.purge(at(20)));
        assert_eq!((state.first_index(), state.last()), (None, Some(at(20))));
        assert!(state.check_append(&[entry(1, 20)]).is_err());
        assert!(state.check_append(&[entry(1, 21)]).is_ok());
        assert_eq!(state.cached_bytes(), 0);
    }
}
