//! The memtable: changes that are in the log but not yet in tables, every version of every row.
//!
//! One writer inserts, any number of readers look on without locks. A row's versions sort from the
//! newest to the oldest, so what a reader at log index `i` sees of a key is the first version that
//! is not newer than `i`. Nothing is ever removed from an overlay: it is dropped as a whole when
//! its rows are in tables and its last reader is gone.
//!
//! Invariant: `last` is stored after all rows of a batch are in the map; a reader takes `last` as
//! its log index first and looks at rows after that, so it sees whole batches only.

use super::filter::Filter;
use crate::merge::Changes;
use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use crossbeam_skiplist::map::Entry;
use std::borrow::Borrow;
use std::cmp::{Ordering, Reverse};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering::*};

/// Memory of a row besides the bytes of its key and value: the node of the map, two buffer handles
/// and what the allocator adds.
pub(super) const ROW_OVERHEAD_BYTES: u64 = 170;

/// How many neighbours are tried one by one before the map is searched from its top again.
const STEPS_MAX: usize = 4;

/// Where a version of a row sorts. The first 16 bytes of the key lie in the node itself: storage
/// keys differ there almost always, which saves one cache miss in most comparisons.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    prefix: [u64; 2],
    key: &'a [u8],
    age: Reverse<u64>,
}

impl<'a> Place<'a> {
    fn new(key: &'a [u8], log_index: u64) -> Self {
        Self {
            prefix: prefix(key),
            key,
            age: Reverse(log_index),
        }
    }
}

/// The first 16 bytes as numbers that sort as the bytes do.
fn prefix(key: &[u8]) -> [u64; 2] {
    let mut padded = [0; 16];
    let length = key.len().min(16);
    padded[..length].copy_from_slice(&key[..length]);
    let number = u128::from_be_bytes(padded);
    [(number >> 64) as u64, number as u64]
}

/// What the map holds as key. The prefix comes last because the map puts its links behind it: a
/// search then needs one cache line of most nodes that it passes.
#[repr(C)]
struct VersionKey {
    key: Bytes,
    log_index: u64,
    prefix: [u64; 2],
}

/// Lets the map be searched by a borrowed key: stored keys and searched places are both seen as
/// `dyn HasPlace`, so a search allocates nothing.
trait HasPlace {
    fn place(&self) -> Place<'_>;
}

impl HasPlace for VersionKey {
    fn place(&self) -> Place<'_> {
        Place {
            prefix: self.prefix,
            key: &self.key,
            age: Reverse(self.log_index),
        }
    }
}

impl HasPlace for Place<'_> {
    fn place(&self) -> Place<'_> {
        Place { ..*self }
    }
}

impl PartialEq for dyn HasPlace + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn HasPlace + '_ {}

impl PartialOrd for dyn HasPlace + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn HasPlace + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<'a> Borrow<dyn HasPlace + 'a> for VersionKey {
    fn borrow(&self) -> &(dyn HasPlace + 'a) {
        self
    }
}

impl PartialEq for VersionKey {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for VersionKey {}

impl PartialOrd for VersionKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for VersionKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

type Node<'a> = Entry<'a, VersionKey, Option<Bytes>>;

/// Versions of rows, None standing for a removal.
pub(super) struct Overlay {
    rows: SkipMap<VersionKey, Option<Bytes>>,
    keys: Filter,
    bytes: AtomicU64,
    bytes_max: u64,
    last: AtomicU64,
}

impl Overlay {
    /// An empty overlay above the state at `log_index`, full at about `bytes_max` bytes.
    pub(super) fn above(log_index: u64, bytes_max: u64) -> Self {
        Self {
            rows: SkipMap::new(),
            keys: Filter::for_keys(bytes_max / ROW_OVERHEAD_BYTES),
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

    /// Versions it holds.
    pub(super) fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Adds a batch and then makes it visible. There is one caller at a time.
    pub(super) fn commit(
        &self,
        log_index: u64,
        changes: impl Iterator<Item = (Bytes, Option<Bytes>)>,
    ) {
        debug_assert!(log_index > self.last());
        let mut added = 0;
        for (key, value) in changes {
            let value_bytes = value.as_ref().map_or(0, Bytes::len);
            added += (key.len() + value_bytes) as u64 + ROW_OVERHEAD_BYTES;
            self.keys.add(&key);
            let prefix = prefix(&key);
            let key = VersionKey {
                key,
                log_index,
                prefix,
            };
            self.rows.insert(key, value);
        }
        self.bytes.fetch_add(added, Relaxed);
        self.last.store(log_index, Release);
    }

    /// What it says about `key` at `log_index`: nothing, a removal, or a value.
    pub(super) fn get(&self, key: &[u8], log_index: u64) -> Option<Option<Bytes>> {
        if !self.keys.may_have(key) {
            return None;
        }
        let found = self.first_at_or_after(&Place::new(key, log_index))?;
        (found.key().key == key).then(|| found.value().clone())
    }

    /// Its changes with `start <= key < end` (None: to the end) as they were at `log_index`.
    pub(super) fn changes(&self, start: &[u8], end: Option<&[u8]>, log_index: u64) -> Changes<'_> {
        let cursor = self.first_at_or_after(&Place::new(start, log_index));
        let end = end.map(Bytes::copy_from_slice);
        Box::new(
            Walk {
                overlay: self,
                cursor,
                end,
                log_index,
            }
            .map(Ok),
        )
    }

    fn first_at_or_after(&self, place: &Place<'_>) -> Option<Node<'_>> {
        self.rows
            .lower_bound(Bound::Included(place as &dyn HasPlace))
    }
}

/// A walk over the newest visible version of each key.
struct Walk<'a> {
    overlay: &'a Overlay,
    cursor: Option<Node<'a>>,
    end: Option<Bytes>,
    log_index: u64,
}

impl Walk<'_> {
    /// The first node at or after (`key`, `log_index`), which lies behind `node`.
    fn skip_to<'a>(
        overlay: &'a Overlay,
        node: Node<'a>,
        key: &[u8],
        log_index: u64,
    ) -> Option<Node<'a>> {
        let target = Place::new(key, log_index);
        let mut node = node;
        for _ in 0..STEPS_MAX {
            node = node.next()?;
            if node.key().place() >= target {
                return Some(node);
            }
        }
        overlay.first_at_or_after(&target)
    }
}

impl Iterator for Walk<'_> {
    type Item = (Bytes, Option<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let node = self.cursor.take()?;
            let key = node.key().key.clone();
            if self.end.as_ref().is_some_and(|end| key >= *end) {
                return None;
            }
            if node.key().log_index > self.log_index {
                self.cursor = Self::skip_to(self.overlay, node, &key, self.log_index);
                continue;
            }
            let value = node.value().clone();
            // Log index 0 is never committed, so nothing of this key lies at or behind it.
            self.cursor = Self::skip_to(self.overlay, node, &key, 0);
            return Some((key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(overlay: &Overlay, log_index: u64, changes: &[(&str, Option<&str>)]) {
        let owned = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        overlay.commit(
            log_index,
            changes
                .iter()
                .map(|(key, value)| (owned(key), value.map(owned))),
        );
    }

    fn walk(overlay: &Overlay, log_index: u64) -> String {
        let text = |(key, value): (Bytes, Option<Bytes>)| {
            let value = value.map_or("-".to_owned(), |value| value.escape_ascii().to_string());
            format!("{}={value}", key.escape_ascii())
        };
        let changes: Vec<_> = overlay
            .changes(b"", None, log_index)
            .map(|change| text(change.unwrap()))
            .collect();
        changes.join(" ")
    }

    #[test]
    fn each_log_index_shows_its_own_state() {
        let overlay = Overlay::above(4, 1000);
        commit(&overlay, 5, &[("a", Some("1")), ("b", Some("1"))]);
        commit(&overlay, 7, &[("a", None), ("c", Some("2"))]);
        commit(&overlay, 9, &[("a", Some("3"))]);
        assert_eq!(walk(&overlay, 4), "");
        assert_eq!(walk(&overlay, 5), "a=1 b=1");
        assert_eq!(walk(&overlay, 8), "a=- b=1 c=2");
        assert_eq!(walk(&overlay, 9), "a=3 b=1 c=2");
        assert_eq!(overlay.get(b"a", 6), Some(Some(Bytes::from("1"))));
        assert_eq!(overlay.get(b"a", 7), Some(None));
        assert_eq!(overlay.get(b"a", 4), None);
        assert_eq!(overlay.get(b"aa", 9), None);
    }

    #[test]
    fn many_versions_of_one_key_are_walked_past() {
        let overlay = Overlay::above(0, 1000);
        for log_index in 1..=100 {
            commit(
                &overlay,
                log_index,
                &[("hot", Some(&log_index.to_string()))],
            );
        }
        commit(&overlay, 101, &[("cold", Some("x")), ("zero", Some("y"))]);
        assert_eq!(walk(&overlay, 50), "hot=50");
        assert_eq!(walk(&overlay, 101), "cold=x hot=100 zero=y");
        assert_eq!(overlay.rows(), 102);
    }

    #[test]
    fn keys_sort_as_bytes_whatever_their_length() {
        let mut keys: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0; 15], vec![0; 16], vec![0; 17]];
        keys.extend([
            vec![b'a'],
            vec![b'a', 0],
            vec![b'a', 0, 1],
            vec![b'a'; 16],
            vec![b'a'; 17],
        ]);
        keys.extend([vec![255; 16], vec![255; 17], b"aaaaaaaaaaaaaaaab".to_vec()]);
        for one in &keys {
            for other in &keys {
                assert_eq!(
                    Place::new(one, 1).cmp(&Place::new(other, 1)),
                    one.cmp(other)
                );
            }
        }
    }
}
