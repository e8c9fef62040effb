//! The memtable: changes that are in the log but not yet in tables.
//!
//! One writer, any number of readers. Of each key the newest version is kept, and older ones only
//! while somebody reads: a reader registers before it takes its log index, and a commit that finds
//! no reader drops the versions it replaces. So a key that is written again and again costs one row.
//! An overlay is dropped as a whole when its rows are in tables and its last reader is gone.
//!
//! Invariant: a commit holds the lock from its first change until its log index is visible, and a
//! reader registers and takes its log index under the same lock: it sees whole batches only, and
//! every version it may look at is either still there or has never been.

use super::filter::Filter;
use super::rows::{KeyHash, ROW_OVERHEAD_BYTES, Rows};
use crate::key::StorageKey;
use crate::merge::{Change, Changes};
use crate::txn::LOOK_BYTES_MIN;
use bytes::Bytes;
use parking_lot::RwLock;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering::*};

/// Memory of an older version besides the bytes of its value.
const VERSION_OVERHEAD_BYTES: u64 = 90;

/// Memory of a row of middling size: the index has room for a full overlay of these.
const ROW_EXPECTED_BYTES: u64 = ROW_OVERHEAD_BYTES + 100;

/// Bytes of a value up to which a reader gets a copy.
const COPY_BYTES_MAX: usize = 512;

/// Rows taken at once under the lock by a walk: at first, and at most.
const WALK_ROWS: (usize, usize) = (8, 256);

/// A row as some log index left it; None: removed.
type Version = (u64, Option<Bytes>);

/// The versions of one row that somebody may still want. With its key it fills two lines of memory.
struct Versions {
    /// Log index of the newest version.
    changed: u64,
    newest: Option<Bytes>,
    /// The first bytes of it: who looks at heads only is spared a visit to cold memory.
    head: [u8; LOOK_BYTES_MIN],
    older: Option<Box<Older>>,
}

/// Older versions, ascending: few rows have any.
#[derive(Default)]
struct Older(Vec<Version>);

const _: () = assert!(size_of::<StorageKey>() + size_of::<Versions>() <= 128, "two lines");

impl Versions {
    fn new(changed: u64, newest: Option<Bytes>) -> Self {
        Self { changed, head: head(newest.as_deref()), newest, older: None }
    }

    /// The version that a reader at `log_index` sees.
    fn at(&self, log_index: u64) -> Option<&Option<Bytes>> {
        if self.changed <= log_index {
            return Some(&self.newest);
        }
        let older = self.older.as_ref()?;
        let older = older.0.iter().rev().find(|(changed, _)| *changed <= log_index);
        older.map(|(_, value)| value)
    }

    /// The beginning of the value that a reader at `log_index` sees; Some(None): removed.
    fn head_at(&self, log_index: u64) -> Option<Option<&[u8]>> {
        if self.changed > log_index {
            return self.at(log_index).map(|value| value.as_deref());
        }
        let newest = self.newest.as_ref();
        Some(newest.map(|value| &self.head[..value.len().min(LOOK_BYTES_MIN)]))
    }

    /// Adds a version; the one before is kept for readers, or returned.
    fn add(&mut self, changed: u64, value: Option<Bytes>, keep: bool) -> Option<Bytes> {
        self.head = head(value.as_deref());
        let old = (self.changed, std::mem::replace(&mut self.newest, value));
        self.changed = changed;
        if keep {
            self.older.get_or_insert_default().0.push(old);
            return None;
        }
        old.1
    }

    /// Drops what no reader wants any more; returns its memory in bytes.
    fn forget_older(&mut self) -> u64 {
        let Some(older) = self.older.take() else { return 0 };
        let older = older.0.iter();
        older.map(|(_, value)| value_bytes(value.as_ref()) + VERSION_OVERHEAD_BYTES).sum()
    }
}

/// The first bytes of a value, followed by zeros where it is shorter.
fn head(value: Option<&[u8]>) -> [u8; LOOK_BYTES_MIN] {
    let mut head = [0; LOOK_BYTES_MIN];
    let value = value.unwrap_or_default();
    match value.first_chunk() {
        Some(first) => head = *first,
        None => head[..value.len()].copy_from_slice(value),
    }
    head
}

/// A change of one row, on its way into the overlay; None: removed.
pub(super) struct NewVersion {
    pub(super) key: StorageKey,
    pub(super) hash: KeyHash,
    pub(super) value: Option<Bytes>,
}

/// A value for a reader: a copy while that costs less than a visit to the count of those who share it,
/// which is in memory of its own that nobody else has use for.
fn take_out(value: &Bytes) -> Bytes {
    match value.len() {
        ..=COPY_BYTES_MAX => Bytes::copy_from_slice(value),
        _ => value.clone(),
    }
}

fn value_bytes(value: Option<&Bytes>) -> u64 {
    value.map_or(0, |value| value.len() as u64)
}

/// Changed rows, None standing for a removal.
pub(super) struct Overlay {
    rows: RwLock<Rows<Versions>>,
    keys: Filter,
    readers: AtomicU64,
    bytes: AtomicU64,
    bytes_max: u64,
    last: AtomicU64,
}

impl Overlay {
    /// An empty overlay above the state at `log_index`, full at about `bytes_max` bytes.
    pub(super) fn above(log_index: u64, bytes_max: u64) -> Self {
        Self {
            rows: RwLock::new(Rows::with_room_for((bytes_max / ROW_EXPECTED_BYTES) as usize)),
            keys: Filter::for_keys(bytes_max / ROW_OVERHEAD_BYTES),
            readers: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_max,
            last: AtomicU64::new(log_index),
        }
    }

    /// An empty overlay of the same size on top of this one.
    pub(super) fn next(&self) -> Self {
        Self::above(self.last(), self.bytes_max)
    }

    /// Whether it takes no further batch.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= self.bytes_max
    }

    /// The last log index that is visible.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Acquire)
    }

    /// Memory it holds, in bytes; an estimate.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Rows it holds.
    pub(super) fn rows(&self) -> u64 {
        self.rows.read().len() as u64
    }

    /// Registers a reader; returns the log index it reads at. [`Self::leave`] ends it.
    pub(super) fn enter(&self) -> u64 {
        let _no_commit = self.rows.read();
        self.readers.fetch_add(1, AcqRel);
        self.last()
    }

    /// Ends what [`Self::enter`] began.
    pub(super) fn leave(&self) {
        self.readers.fetch_sub(1, AcqRel);
    }

    /// Adds a batch and then makes it visible. There is one caller at a time.
    pub(super) fn commit(&self, log_index: u64, changes: impl Iterator<Item = NewVersion>) {
        debug_assert!(log_index > self.last());
        let mut rows = self.rows.write();
        let is_read = self.readers.load(Acquire) > 0;
        let (mut added, mut freed) = (0, 0);
        for NewVersion { key, hash, value } in changes {
            added += value_bytes(value.as_ref());
            match rows.get_mut(&key, hash) {
                Some(versions) => {
                    let old = versions.add(log_index, value, is_read);
                    if is_read {
                        added += VERSION_OVERHEAD_BYTES;
                    } else {
                        freed += value_bytes(old.as_ref()) + versions.forget_older();
                    }
                }
                None => {
                    added += key.heap_bytes() as u64 + ROW_OVERHEAD_BYTES;
                    self.keys.add(hash);
                    rows.insert(key, hash, Versions::new(log_index, value));
                }
            }
        }
        rows.file();
        self.bytes.fetch_add(added, Relaxed);
        self.bytes.fetch_sub(freed, Relaxed);
        self.last.store(log_index, Release);
    }

    /// What it says about `key` at `log_index`: nothing, a removal, or a value.
    pub(super) fn get(&self, key: &[u8], hash: KeyHash, log_index: u64) -> Option<Option<Bytes>> {
        if !self.keys.may_have(hash) {
            return None;
        }
        let rows = self.rows.read();
        let value = rows.get(key, hash)?.at(log_index)?;
        Some(value.as_ref().map(take_out))
    }

    /// Fetches what lookups of these hashes will visit, values included.
    pub(super) fn expect(&self, hashes: &[KeyHash]) {
        let first_byte = |versions: &Versions| {
            let newest = versions.newest.as_ref().and_then(|value| value.first());
            versions.changed ^ u64::from(newest.copied().unwrap_or_default())
        };
        self.rows.read().expect(hashes, first_byte);
    }

    /// As [`Self::get`], but shows the beginning of the value; whether it says anything.
    pub(super) fn look(
        &self,
        key: &[u8],
        hash: KeyHash,
        log_index: u64,
        show: &mut dyn FnMut(&[u8]),
    ) -> bool {
        if !self.keys.may_have(hash) {
            return false;
        }
        let rows = self.rows.read();
        let Some(head) = rows.get(key, hash).and_then(|row| row.head_at(log_index)) else {
            return false;
        };
        if let Some(head) = head {
            show(head);
        }
        true
    }

    /// Its changes with `start <= key < end` (None: to the end) as they were at `log_index`.
    pub(super) fn changes(&self, start: &[u8], end: Option<&[u8]>, log_index: u64) -> Changes<'_> {
        let walk = Walk {
            overlay: self,
            from: Some(Bound::Included(Bytes::copy_from_slice(start))),
            end: end.map(Bytes::copy_from_slice),
            log_index,
            rows_max: WALK_ROWS.0,
            taken: Vec::new().into_iter(),
        };
        Box::new(walk.map(Ok))
    }

    /// Takes at most `rows_max` changes from `from` on; and where to go on, if there is more.
    fn take(
        &self,
        from: &Bound<Bytes>,
        end: Option<&Bytes>,
        log_index: u64,
        rows_max: usize,
    ) -> (Vec<Change>, Option<Bound<Bytes>>) {
        let start = from.as_ref().map(|key| &key[..]);
        let rows = self.rows.read();
        let mut taken = Vec::new();
        for (visited, (key, versions)) in rows.from(start).enumerate() {
            if end.is_some_and(|end| key >= &end[..]) {
                return (taken, None);
            }
            if let Some(value) = versions.at(log_index) {
                taken.push((Bytes::copy_from_slice(key), value.clone()));
            }
            if visited + 1 == rows_max {
                return (taken, Some(Bound::Excluded(Bytes::copy_from_slice(key))));
            }
        }
        (taken, None)
    }
}

/// A walk over the visible version of each key, a few rows at a time.
struct Walk<'a> {
    overlay: &'a Overlay,
    /// Where the next rows begin; None: there are none.
    from: Option<Bound<Bytes>>,
    end: Option<Bytes>,
    log_index: u64,
    rows_max: usize,
    taken: std::vec::IntoIter<Change>,
}

impl Iterator for Walk<'_> {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.taken.next() {
                return Some(change);
            }
            let from = self.from.take()?;
            let (overlay, end) = (self.overlay, self.end.as_ref());
            let (taken, from) = overlay.take(&from, end, self.log_index, self.rows_max);
            self.rows_max = (2 * self.rows_max).min(WALK_ROWS.1);
            (self.taken, self.from) = (taken.into_iter(), from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(overlay: &Overlay, log_index: u64, changes: &[(&str, Option<&str>)]) {
        let change = |(key, value): &(&str, Option<&str>)| {
            let value = value.map(|text| Bytes::copy_from_slice(text.as_bytes()));
            let key = StorageKey::from(key.as_bytes());
            NewVersion { hash: KeyHash::of(&key), key, value }
        };
        overlay.commit(log_index, changes.iter().map(change));
    }

    fn walk(overlay: &Overlay, log_index: u64) -> String {
        let text = |(key, value): (Bytes, Option<Bytes>)| {
            let value = value.map_or("-".to_owned(), |value| value.escape_ascii().to_string());
            format!("{}={value}", key.escape_ascii())
        };
        let changes: Vec<_> =
            overlay.changes(b"", None, log_index).map(|change| text(change.unwrap())).collect();
        changes.join(" ")
    }

    #[test]
    fn each_log_index_shows_its_own_state() {
        let overlay = Overlay::above(4, 1000);
        assert_eq!(overlay.enter(), 4);
        commit(&overlay, 5, &[("a", Some("1")), ("b", Some("1"))]);
        commit(&overlay, 7, &[("a", None), ("c", Some("2"))]);
        commit(&overlay, 9, &[("a", Some("3"))]);
        assert_eq!(walk(&overlay, 4), "");
        assert_eq!(walk(&overlay, 5), "a=1 b=1");
        assert_eq!(walk(&overlay, 8), "a=- b=1 c=2");
        assert_eq!(walk(&overlay, 9), "a=3 b=1 c=2");
        let get = |key: &[u8], log_index| overlay.get(key, KeyHash::of(key), log_index);
        assert_eq!(get(b"a", 6), Some(Some(Bytes::from("1"))));
        assert_eq!(get(b"a", 7), Some(None));
        assert_eq!(get(b"a", 4), None);
        assert_eq!(get(b"aa", 9), None);
        let look = |key: &[u8], log_index| {
            let mut shown = None;
            let mut show = |value: &[u8]| shown = Some(value.to_vec());
            (overlay.look(key, KeyHash::of(key), log_index, &mut show), shown)
        };
        assert_eq!(look(b"a", 6), (true, Some(b"1".to_vec())));
        assert_eq!(look(b"a", 7), (true, None));
        assert_eq!(look(b"a", 4), (false, None));
    }

    #[test]
    fn expecting_keys_changes_nothing() {
        let overlay = Overlay::above(0, 1000);
        let keys = ["a", "removed", "empty", "missing"].map(|key| KeyHash::of(key.as_bytes()));
        overlay.expect(&keys);
        commit(&overlay, 1, &[("a", Some("1")), ("removed", None), ("empty", Some(""))]);
        let before = (walk(&overlay, 1), overlay.bytes(), overlay.rows());
        overlay.expect(&keys);
        overlay.expect(&[]);
        assert_eq!((walk(&overlay, 1), overlay.bytes(), overlay.rows()), before);
    }

    #[test]
    fn a_hot_key_costs_one_row_unless_somebody_reads() {
        let overlay = Overlay::above(0, 1 << 20);
        let write = |from: u64, to: u64| {
            for log_index in from..=to {
                commit(&overlay, log_index, &[("hot", Some(&format!("{log_index:04}")))]);
            }
        };
        write(1, 100);
        let alone = overlay.bytes();
        assert_eq!(overlay.enter(), 100);
        write(101, 200);
        assert_eq!(
            (walk(&overlay, 100), walk(&overlay, 150)),
            ("hot=0100".into(), "hot=0150".into())
        );
        assert!(overlay.bytes() > alone);
        overlay.leave();
        write(201, 201);
        assert_eq!(walk(&overlay, 201), "hot=0201");
        assert_eq!((overlay.bytes(), overlay.rows()), (alone, 1));
    }

    #[test]
    fn a_walk_takes_every_row_once_across_its_batches() {
        let overlay = Overlay::above(0, 1 << 20);
        let keys: Vec<String> = (0..1000).map(|number| format!("key{number:04}")).collect();
        let changes: Vec<(&str, Option<&str>)> =
            keys.iter().map(|key| (key.as_str(), Some("x"))).collect();
        commit(&overlay, 1, &changes);
        let walked: Vec<_> = overlay
            .changes(b"key0003", Some(b"key0990"), 1)
            .map(|change| String::from_utf8(change.unwrap().0.to_vec()).unwrap())
            .collect();
        assert_eq!(walked, keys[3..990]);
    }
}
