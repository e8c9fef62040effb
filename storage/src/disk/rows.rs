//! The rows of an overlay: found by hash, walked in the order of their keys.
//!
//! Nearly every access of the memtable is a search for one key, and nearly every search meets cold
//! memory. So a search goes by a hash: one word of the index, then the row, which holds its key in
//! place and begins a line. Order costs only new rows: they are filed once in a tree under the first 16 bytes of their
//! key, which differ almost always (a storage key begins with a hash of the user key, see `key.rs`);
//! keys that share them lie in a tree of their own.
//!
//! Rows are never removed: an overlay is dropped as a whole.

use crate::key::StorageKey;
use crate::txn::LOOKUPS_EXPECTED_MAX;
use smallvec::SmallVec;
use std::collections::btree_map::{self, BTreeMap, Entry};
use std::ops::Bound;
use xxhash_rust::xxh3::xxh3_64;

/// Rows of one allocation: the table grows without moving rows.
const CHUNK_ROWS: usize = 512;

/// Memory of a row besides the bytes of its value: its place here (key included, unless it is
/// long), in the index and in the tree, and what the allocator adds.
pub(super) const ROW_OVERHEAD_BYTES: u64 = 200;

/// The hash of a storage key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyHash(pub(super) u64);

impl KeyHash {
    pub(super) fn of(key: &[u8]) -> Self {
        Self(xxh3_64(key))
    }

    /// The part that the index keeps.
    fn kept(self) -> u32 {
        self.0 as u32
    }
}

/// The first 16 bytes of a key as numbers that sort as the bytes do.
type Prefix = [u64; 2];

fn prefix(key: &[u8]) -> Prefix {
    let mut padded = [0; 16];
    let length = key.len().min(16);
    padded[..length].copy_from_slice(&key[..length]);
    let number = u128::from_be_bytes(padded);
    [(number >> 64) as u64, number as u64]
}

/// The number of a row, counted from 0 in the order of arrival.
type RowId = u32;

/// Finds rows by hash: one word for each row, in a table that is searched from the place of the hash
/// on (linear probing), so that nearly every search touches one line of memory.
struct Index {
    /// 0: empty; else the kept hash above the number of the row plus one.
    words: Vec<u64>,
    rows: usize,
}

impl Index {
    fn with_room_for(rows: usize) -> Self {
        let words = (rows.max(8) * 3 / 2).next_power_of_two();
        Self { words: vec![0; words], rows: 0 }
    }

    /// Where the search for a kept hash begins.
    fn start(&self, kept: u32) -> usize {
        let bits = self.words.len().trailing_zeros();
        (u64::from(kept).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - bits)) as usize
    }

    /// The first row of this hash that `is_it`.
    fn find(&self, hash: KeyHash, is_it: impl Fn(RowId) -> bool) -> Option<RowId> {
        let kept = hash.kept();
        let mut at = self.start(kept);
        loop {
            let word = self.words[at];
            if word == 0 {
                return None;
            }
            let row = (word as u32).wrapping_sub(1);
            if (word >> 32) as u32 == kept && is_it(row) {
                return Some(row);
            }
            at = (at + 1) & (self.words.len() - 1);
        }
    }

    fn insert(&mut self, hash: KeyHash, row: RowId) {
        if (self.rows + 1) * 4 > self.words.len() * 3 {
            let larger = Self { words: vec![0; 2 * self.words.len()], rows: self.rows };
            let smaller = std::mem::replace(self, larger);
            smaller.words.into_iter().filter(|word| *word != 0).for_each(|word| self.put(word));
        }
        self.rows += 1;
        self.put(u64::from(hash.kept()) << 32 | u64::from(row + 1));
    }

    fn put(&mut self, word: u64) {
        let mut at = self.start((word >> 32) as u32);
        while self.words[at] != 0 {
            at = (at + 1) & (self.words.len() - 1);
        }
        self.words[at] = word;
    }
}

/// Rows with the same prefix.
enum Group {
    One(RowId),
    Many(BTreeMap<StorageKey, RowId>),
}

/// A row, at the beginning of a line of memory.
#[repr(align(64))]
struct Row<V> {
    key: StorageKey,
    value: V,
}

/// Rows by key.
pub(super) struct Rows<V> {
    index: Index,
    chunks: Vec<Vec<Row<V>>>,
    order: BTreeMap<Prefix, Group>,
    /// How many rows, the first ones, have their place in the order.
    filed: usize,
}

impl<V> Rows<V> {
    /// No rows, and room in the index for so many.
    pub(super) fn with_room_for(rows: usize) -> Self {
        Self {
            index: Index::with_room_for(rows),
            chunks: Vec::new(),
            order: BTreeMap::new(),
            filed: 0,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.index.rows
    }

    /// The value of `key`, whose hash is `hash`.
    pub(super) fn get(&self, key: &[u8], hash: KeyHash) -> Option<&V> {
        let row = self.find(key, hash)?;
        Some(&self.row(row).value)
    }

    /// Visits the rows that these hashes will find, and what `touch` visits of their values. All
    /// searches do a step before any does its next: the processor waits for cold memory once for a
    /// step, not once for a row.
    pub(super) fn expect(&self, hashes: &[KeyHash], touch: impl Fn(&V) -> u64) {
        let rows: SmallVec<[RowId; LOOKUPS_EXPECTED_MAX]> =
            hashes.iter().filter_map(|hash| self.index.find(*hash, |_| true)).collect();
        let visited = rows.iter().fold(0, |visited, row| visited ^ self.row(*row).key.len());
        std::hint::black_box(visited);
        let visited = rows.iter().fold(0, |visited, row| visited ^ touch(&self.row(*row).value));
        std::hint::black_box(visited);
    }

    /// As [`Self::get`], to change it.
    pub(super) fn get_mut(&mut self, key: &[u8], hash: KeyHash) -> Option<&mut V> {
        let row = self.find(key, hash)? as usize;
        Some(&mut self.chunks[row / CHUNK_ROWS][row % CHUNK_ROWS].value)
    }

    /// Adds a row whose key is not there yet. It is found from now on, and walked after
    /// [`Self::file`].
    pub(super) fn insert(&mut self, key: StorageKey, hash: KeyHash, value: V) {
        debug_assert!(self.find(&key, hash).is_none(), "a key has one row");
        let row = RowId::try_from(self.len()).expect("an overlay holds fewer than 2^32 rows");
        if (row as usize).is_multiple_of(CHUNK_ROWS) {
            self.chunks.push(Vec::with_capacity(CHUNK_ROWS));
        }
        self.chunks.last_mut().expect("one was just pushed").push(Row { key, value });
        self.index.insert(hash, row);
    }

    /// Gives rows that were added their places in the order.
    pub(super) fn file(&mut self) {
        while self.filed < self.len() {
            self.file_row(self.filed as RowId);
            self.filed += 1;
        }
    }

    /// The rows from `start` on, ascending by key; all rows must have been filed.
    pub(super) fn from<'a>(
        &'a self,
        start: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a V)> {
        debug_assert_eq!(self.filed, self.len(), "rows are filed before they are walked");
        let first = match start {
            Bound::Included(key) | Bound::Excluded(key) => Some(prefix(key)),
            Bound::Unbounded => None,
        };
        let sharing = first.and_then(|first| self.order.get(&first)).into_iter();
        let sharing = sharing.flat_map(move |group| group.rows(start)).map(|row| self.row(row));
        let sharing = sharing.filter(move |row| match start {
            Bound::Included(start) => *row.key >= *start,
            Bound::Excluded(start) => *row.key > *start,
            Bound::Unbounded => true,
        });
        let beyond = (first.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let beyond = self.order.range(beyond);
        let beyond = beyond.flat_map(|(_, group)| group.rows(Bound::Unbounded));
        let rows = sharing.chain(beyond.map(|row| self.row(row)));
        rows.map(|row| (row.key.as_slice(), &row.value))
    }

    /// All rows, in the order of their arrival.
    pub(super) fn into_rows(self) -> impl Iterator<Item = (StorageKey, V)> {
        self.chunks.into_iter().flatten().map(|row| (row.key, row.value))
    }

    fn row(&self, row: RowId) -> &Row<V> {
        &self.chunks[row as usize / CHUNK_ROWS][row as usize % CHUNK_ROWS]
    }

    fn find(&self, key: &[u8], hash: KeyHash) -> Option<RowId> {
        self.index.find(hash, |row| *self.row(row).key == *key)
    }

    fn file_row(&mut self, row: RowId) {
        let key_of =
            |row: RowId| &self.chunks[row as usize / CHUNK_ROWS][row as usize % CHUNK_ROWS].key;
        let key = key_of(row);
        match self.order.entry(prefix(key)) {
            Entry::Vacant(place) => {
                place.insert(Group::One(row));
            }
            Entry::Occupied(mut place) => match place.get_mut() {
                Group::Many(rows) => {
                    rows.insert(key.clone(), row);
                }
                Group::One(other) => {
                    let both = [(key_of(*other).clone(), *other), (key.clone(), row)];
                    place.insert(Group::Many(BTreeMap::from(both)));
                }
            },
        }
    }
}

impl Group {
    /// Its rows, ascending by key. Only those of many are held against `start`.
    fn rows(&self, start: Bound<&[u8]>) -> GroupRows<'_> {
        match self {
            Group::One(row) => GroupRows::One(Some(*row)),
            Group::Many(rows) => GroupRows::Many(rows.range::<[u8], _>((start, Bound::Unbounded))),
        }
    }
}

enum GroupRows<'a> {
    One(Option<RowId>),
    Many(btree_map::Range<'a, StorageKey, RowId>),
}

impl Iterator for GroupRows<'_> {
    type Item = RowId;

    fn next(&mut self) -> Option<RowId> {
        match self {
            GroupRows::One(row) => row.take(),
            GroupRows::Many(rows) => rows.next().map(|(_, row)| *row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0; 15], vec![0; 16], vec![0; 17]];
        keys.extend([vec![b'a'], vec![b'a', 0], vec![b'a', 0, 1], vec![b'a'; 16], vec![b'a'; 17]]);
        keys.extend([vec![255; 16], vec![255; 17], b"aaaaaaaaaaaaaaaab".to_vec(), vec![7; 300]]);
        // More than a chunk of rows that share their first 16 bytes.
        keys.extend((0..1000).map(|number| format!("sixteen bytes---{number}").into_bytes()));
        keys
    }

    #[test]
    fn rows_are_found_and_walked_in_the_order_of_their_bytes() {
        let mut rows = Rows::with_room_for(0);
        for key in keys() {
            rows.insert(StorageKey::from(&key[..]), KeyHash::of(&key), key.clone());
            if key.len() % 2 == 0 {
                rows.file();
            }
        }
        rows.file();
        let mut sorted = keys();
        sorted.sort();
        assert_eq!(rows.len(), sorted.len());
        for (place, key) in sorted.iter().enumerate() {
            assert_eq!(rows.get(key, KeyHash::of(key)), Some(key));
            for (start, first) in [(Bound::Included(&key[..]), 0), (Bound::Excluded(&key[..]), 1)] {
                let next: Vec<_> = rows.from(start).take(3).map(|(key, _)| key).collect();
                let expected: Vec<_> = sorted[place + first..].iter().take(3).collect();
                assert_eq!(next, expected);
            }
        }
        assert_eq!(rows.get(b"aaa", KeyHash::of(b"aaa")), None);
        assert!(rows.from(Bound::Unbounded).map(|(key, _)| key).eq(sorted.iter()));
        let between = rows.from(Bound::Excluded(b"sixteen bytes---10:")).next();
        assert_eq!(between.map(|(key, _)| key), Some(&b"sixteen bytes---11"[..]));
    }

    #[test]
    fn keys_of_one_hash_are_kept_apart() {
        let hash = KeyHash::of(b"any");
        let mut rows = Rows::with_room_for(0);
        for key in [b"a", b"b"] {
            rows.insert(StorageKey::from(&key[..]), hash, key);
        }
        *rows.get_mut(b"b", hash).unwrap() = b"c";
        assert_eq!((rows.get(b"a", hash), rows.get(b"b", hash)), (Some(&b"a"), Some(&b"c")));
    }
}
