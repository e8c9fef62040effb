//! The layout of storage keys, byte by byte. All integers are big endian, so bytes sort as numbers.
//!
//! | space | key | value |
//! |---|---|---|
//! | meta | `shard u16, 0x00, name` | see `meta.rs` |
//! | record | `shard u16, 0x01, keyspace u32, slot u16, hash [5], user key` | `value.rs` |
//! | deadline | `shard u16, 0x02, keyspace u32, deadline u64, slot u16, hash [5], user key` | empty |
//! | element | `shard u16, 0x03, ...` | reserved for members of collections |
//!
//! A keyspace id names the contents of one database between two flushes. `slot` is the hash slot of
//! the user key (it keeps the keys of a slot together), `hash` the upper 39 bits of xxh3-64 of the
//! user key. Slot and hash together are a 53-bit position: the cursor of SCAN. It needs no state on
//! any node, survives failover, and fits the double-precision numbers that some clients parse.

use bytes::Bytes;
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::ops::Deref;
use xxhash_rust::xxh3::xxh3_64;

pub(crate) const SPACE_META: u8 = 0;
const SPACE_RECORD: u8 = 1;
const SPACE_DEADLINE: u8 = 2;
/// Spaces whose rows belong to a keyspace.
const DATA_SPACES: [u8; 2] = [SPACE_RECORD, SPACE_DEADLINE];

/// Bits of the hash in a position.
const HASH_BITS: u32 = 39;
/// Bytes before the user key in a record's storage key.
const RECORD_PREFIX_BYTES: usize = 2 + 1 + 4 + POSITION_BYTES;
/// Bytes of a slot and a hash.
const POSITION_BYTES: usize = 2 + 5;
/// Where a record's or a deadline's storage key names the keyspace.
const KEYSPACE_AT: std::ops::Range<usize> = 3..7;
/// Bytes before the slot in a deadline's storage key.
const DEADLINE_PREFIX_BYTES: usize = 2 + 1 + 4 + 8;

/// Bytes of a storage key that lie in place; longer ones are on the heap.
const INLINE_BYTES: usize = 48;

/// The key of a row. It sorts as its bytes do.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StorageKey(SmallVec<[u8; INLINE_BYTES]>);

impl StorageKey {
    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Memory it holds besides itself, in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        if self.0.spilled() { self.0.capacity() } else { 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl From<&[u8]> for StorageKey {
    fn from(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }
}

impl Deref for StorageKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for StorageKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// The contents of one database between two flushes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub u32);

/// A key as the user named it, with its hash slot (computed by the caller, 0..16384).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserKey<'a> {
    /// Hash slot, by the rules of Redis Cluster.
    pub slot: u16,
    /// The key itself, at most `limits::USER_KEY_BYTES_MAX` bytes.
    pub bytes: &'a [u8],
}

/// Slot and hash of a user key: its place in the order of a keyspace, below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

impl Position {
    /// The place of `key`.
    pub fn of(key: UserKey<'_>) -> Self {
        Position((u64::from(key.slot) << HASH_BITS) | (xxh3_64(key.bytes) >> (64 - HASH_BITS)))
    }

    /// The first place of `slot` (which may be one past the last slot).
    pub fn start_of_slot(slot: u16) -> Self {
        Position(u64::from(slot) << HASH_BITS)
    }

    /// One past the last place there is.
    pub const END: Position = Position(16384 << HASH_BITS);

    fn put(self, out: &mut StorageKey) {
        out.put(&self.to_bytes());
    }

    fn to_bytes(self) -> [u8; POSITION_BYTES] {
        let [high, low] = ((self.0 >> HASH_BITS) as u16).to_be_bytes();
        let [_, _, _, hash @ ..] = (self.0 & ((1 << HASH_BITS) - 1)).to_be_bytes();
        let [a, b, c, d, e] = hash;
        [high, low, a, b, c, d, e]
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let slot = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
        let hash = bytes.get(2..7)?.iter().fold(0u64, |acc, byte| (acc << 8) | u64::from(*byte));
        Some(Position((u64::from(slot) << HASH_BITS) | hash))
    }
}

fn space(shard: u16, space: u8, capacity: usize) -> StorageKey {
    let [high, low] = shard.to_be_bytes();
    let mut out = StorageKey(SmallVec::with_capacity(3 + capacity));
    out.put(&[high, low, space]);
    out
}

/// The storage key of a row of the shard's own bookkeeping.
pub fn meta(shard: u16, name: &str) -> StorageKey {
    let mut out = space(shard, SPACE_META, name.len());
    out.put(name.as_bytes());
    out
}

/// The name of a row of a shard's own bookkeeping; None for data.
pub(crate) fn meta_name(key: &[u8]) -> Option<&[u8]> {
    (*key.get(2)? == SPACE_META).then(|| &key[3..])
}

/// Start of a shard's data, and the end of it: all spaces but the bookkeeping.
pub(crate) fn data_rows(shard: u16) -> (StorageKey, StorageKey) {
    (space(shard, SPACE_RECORD, 0), space(shard, u8::MAX, 0))
}

/// The storage key of a bookkeeping row with a name that may be any bytes.
pub(crate) fn meta_of(shard: u16, kind: &str, name: &[u8]) -> StorageKey {
    let mut out = space(shard, SPACE_META, kind.len() + name.len());
    out.put(kind.as_bytes());
    out.put(name);
    out
}

/// The storage key of a record.
pub fn record(shard: u16, keyspace: KeyspaceId, key: UserKey<'_>) -> StorageKey {
    // In one piece: every lookup makes one.
    let mut prefix = [0; RECORD_PREFIX_BYTES];
    prefix[..2].copy_from_slice(&shard.to_be_bytes());
    prefix[2] = SPACE_RECORD;
    prefix[KEYSPACE_AT].copy_from_slice(&keyspace.0.to_be_bytes());
    prefix[KEYSPACE_AT.end..].copy_from_slice(&Position::of(key).to_bytes());
    let length = RECORD_PREFIX_BYTES + key.bytes.len();
    if length <= INLINE_BYTES {
        let mut inline = [0; INLINE_BYTES];
        inline[..RECORD_PREFIX_BYTES].copy_from_slice(&prefix);
        inline[RECORD_PREFIX_BYTES..length].copy_from_slice(key.bytes);
        return StorageKey(SmallVec::from_buf_and_len(inline, length));
    }
    let mut out = StorageKey(SmallVec::with_capacity(length));
    out.put(&prefix);
    out.put(key.bytes);
    out
}

/// The bound of a keyspace's records: those at `position` or later sort at or after it.
pub fn record_bound(shard: u16, keyspace: KeyspaceId, position: Position) -> StorageKey {
    let mut out = space(shard, SPACE_RECORD, RECORD_PREFIX_BYTES);
    out.put(&keyspace.0.to_be_bytes());
    position.put(&mut out);
    out
}

/// The storage key that orders a record by its deadline. `record_key` is the record's storage key.
pub fn deadline(shard: u16, deadline_ms: u64, record_key: &[u8]) -> StorageKey {
    let mut out = space(shard, SPACE_DEADLINE, DEADLINE_PREFIX_BYTES + record_key.len());
    out.put(&record_key[KEYSPACE_AT]);
    out.put(&deadline_ms.to_be_bytes());
    out.put(&record_key[KEYSPACE_AT.end..]);
    out
}

/// The bound of a keyspace's deadlines: earlier ones sort before it.
pub fn deadline_bound(shard: u16, keyspace: KeyspaceId, deadline_ms: u64) -> StorageKey {
    let mut out = space(shard, SPACE_DEADLINE, 4 + 8);
    out.put(&keyspace.0.to_be_bytes());
    out.put(&deadline_ms.to_be_bytes());
    out
}

/// Start and end of everything that belongs to a shard.
pub fn shard_bounds(shard: u16) -> (Bytes, Bytes) {
    let [high, low] = shard.to_be_bytes();
    (Bytes::copy_from_slice(&[high, low]), Bytes::copy_from_slice(&[high, low, u8::MAX]))
}

/// The parts of a record's storage key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordKey {
    /// Keyspace the record lives in.
    pub keyspace: KeyspaceId,
    /// Slot and hash of the user key.
    pub position: Position,
    /// The user key, sharing the storage key's buffer.
    pub user_key: Bytes,
}

/// Takes a record's storage key apart; None when it is not one.
pub fn parse_record(key: &Bytes) -> Option<RecordKey> {
    Some(RecordKey {
        keyspace: keyspace_of_record(key)?,
        position: Position::parse(&key[7..14])?,
        user_key: key.slice(RECORD_PREFIX_BYTES..),
    })
}

/// The keyspace that a record key names.
pub(crate) fn keyspace_of_record(key: &[u8]) -> Option<KeyspaceId> {
    if key.len() < RECORD_PREFIX_BYTES || key[2] != SPACE_RECORD {
        return None;
    }
    data_keyspace(key)
}

/// The keyspace whose data a row is; None for bookkeeping.
pub(crate) fn data_keyspace(key: &[u8]) -> Option<KeyspaceId> {
    if !DATA_SPACES.contains(key.get(2)?) {
        return None;
    }
    Some(KeyspaceId(u32::from_be_bytes(key.get(KEYSPACE_AT)?.try_into().ok()?)))
}

/// The shard that a row belongs to.
pub(crate) fn shard_of(key: &[u8]) -> Option<u16> {
    key.first_chunk().map(|shard| u16::from_be_bytes(*shard))
}

/// Where the rows of a keyspace begin in each space of data, ascending.
pub(crate) fn keyspace_starts(
    shard: u16,
    keyspace: KeyspaceId,
) -> impl Iterator<Item = StorageKey> {
    DATA_SPACES.into_iter().map(move |number| {
        let mut out = space(shard, number, 4);
        out.put(&keyspace.0.to_be_bytes());
        out
    })
}

/// Takes a deadline's storage key apart: the deadline, and the storage key of its record.
pub fn parse_deadline(key: &[u8]) -> Option<(u64, StorageKey)> {
    if key.len() < DEADLINE_PREFIX_BYTES || key[2] != SPACE_DEADLINE {
        return None;
    }
    let deadline_ms = u64::from_be_bytes(key[7..15].try_into().ok()?);
    let record_key = [&key[..2], &[SPACE_RECORD], &key[KEYSPACE_AT], &key[DEADLINE_PREFIX_BYTES..]];
    let mut bytes = StorageKey::default();
    record_key.iter().for_each(|part| bytes.put(part));
    Some((deadline_ms, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_keys_come_apart_as_they_were_put_together() {
        let key = UserKey { slot: 16383, bytes: b"some\0key" };
        let stored = record(7, KeyspaceId(300), key);
        let parts = parse_record(&Bytes::copy_from_slice(&stored)).unwrap();
        assert_eq!(parts.keyspace, KeyspaceId(300));
        assert_eq!(parts.position, Position::of(key));
        assert_eq!(&parts.user_key[..], key.bytes);
        assert!(Position::of(key).0 < 1 << 53 && Position::of(key) < Position::END);
        let (deadline_ms, record_key) = parse_deadline(&deadline(7, 99, &stored)).unwrap();
        assert_eq!((deadline_ms, record_key), (99, stored));
    }

    #[test]
    fn keys_sort_by_shard_space_keyspace_slot() {
        let at = |shard, keyspace, slot| {
            record(shard, KeyspaceId(keyspace), UserKey { slot, bytes: b"k" })
        };
        assert!(at(0, 1, 2) < at(0, 1, 3));
        assert!(at(0, 1, 16383) < at(0, 2, 0));
        assert!(at(0, 9, 9) < at(1, 0, 0));
        assert!(at(0, 9, 9) < deadline_bound(0, KeyspaceId(0), 0));
        let due = |keyspace, at_ms| deadline(0, at_ms, &at(0, keyspace, 1));
        assert!(due(1, 9) < deadline_bound(0, KeyspaceId(1), 10));
        assert!(deadline_bound(0, KeyspaceId(1), 9) < due(1, 9) && due(1, 10) < due(2, 1));
        let (start, end) = shard_bounds(u16::MAX);
        let (meta, record) = (meta(u16::MAX, "x"), at(u16::MAX, 5, 5));
        assert!(start < end && *meta >= *start && *record < *end);
    }

    #[test]
    fn layout_is_what_released_data_directories_hold() {
        let stored = record(1, KeyspaceId(2), UserKey { slot: 3, bytes: b"abc" });
        let expected = b"\x00\x01\x01\x00\x00\x00\x02\x00\x03\x3c\x57\xaf\xca\x44abc";
        assert_eq!(stored.escape_ascii().to_string(), expected.escape_ascii().to_string());
        let due = deadline(1, 0x0405, &stored);
        let expected = b"\x00\x01\x02\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x04\x05\x00\x03\x3c\x57\xaf\xca\x44abc";
        assert_eq!(due.escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!((data_keyspace(&due), shard_of(&due)), (Some(KeyspaceId(2)), Some(1)));
        assert_eq!(data_keyspace(&meta(1, "applied")), None);
        assert_eq!(
            (meta_name(&meta(1, "applied")), meta_name(&due)),
            (Some(&b"applied"[..]), None)
        );
    }
}
