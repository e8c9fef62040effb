//! Rows of a shard's own bookkeeping, in the same space and the same batches as its data.
//!
//! | name | value (integers little endian) |
//! |---|---|
//! | `applied` | opaque: what the replication layer stores with every entry |
//! | `membership` | opaque: the members of the Raft group, and the log id that made them so |
//! | `database/<n>` | `keyspace u32`: the keyspace of database n; missing: keyspace n |
//! | `count/<keyspace>` | `keys u64, keys with a deadline u64, sum of the deadlines u128` |
//! | `expired/<keyspace>` | a storage key: the keyspace has no deadline row before it |
//! | `next-keyspace` | `u32`: first keyspace id that was never used; missing: 256 |
//! | `user/<name>` | opaque: what a user may do; missing: there is no such user |
//!
//! A keyspace below `next-keyspace` that no database shows was flushed: see `dropped.rs`. Only
//! keyspaces that have keys have a `count` row.

use crate::error::StorageError;
use crate::key::{self, KeyspaceId, StorageKey};
use crate::limits::DATABASES_MAX;
use crate::txn::{ReadTxn, WriteTxn};
use bytes::Bytes;

const NEXT_KEYSPACE: &str = "next-keyspace";

/// How many keys a keyspace has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// All keys, overdue ones that are not removed yet included.
    pub keys: u64,
    /// Those of them that have a deadline.
    pub with_deadline: u64,
    /// The sum of their deadlines, in milliseconds since 1970: what the average time to live comes
    /// from.
    pub deadlines_sum_ms: u128,
}

impl KeyCounts {
    /// Counts a key that is removed, and had this deadline.
    ///
    /// # Errors
    /// The counts are wrong: they would become negative.
    pub(crate) fn remove(&mut self, deadline_ms: Option<u64>) -> Result<(), StorageError> {
        self.keys = self.keys.checked_sub(1).ok_or_else(wrong_counts)?;
        self.move_deadline(deadline_ms, None)
    }

    /// Counts a key whose deadline changes from `old` to `new`.
    ///
    /// # Errors
    /// The counts are wrong: they would become negative, or too large.
    pub(crate) fn move_deadline(
        &mut self,
        old: Option<u64>,
        new: Option<u64>,
    ) -> Result<(), StorageError> {
        let (come, go) = (u64::from(new.is_some()), u64::from(old.is_some()));
        let (later, earlier) = (u128::from(new.unwrap_or(0)), u128::from(old.unwrap_or(0)));
        let with_deadline = self.with_deadline.checked_add(come).and_then(|n| n.checked_sub(go));
        let sum = self.deadlines_sum_ms.checked_add(later).and_then(|n| n.checked_sub(earlier));
        self.with_deadline = with_deadline.ok_or_else(wrong_counts)?;
        self.deadlines_sum_ms = sum.ok_or_else(wrong_counts)?;
        Ok(())
    }

    /// The average time to live at `now_ms`, in milliseconds, of the keys that have a deadline.
    pub fn average_ttl_ms(&self, now_ms: u64) -> u64 {
        let average = self.deadlines_sum_ms.checked_div(u128::from(self.with_deadline));
        let left = average.unwrap_or(0).saturating_sub(u128::from(now_ms));
        u64::try_from(left).unwrap_or(u64::MAX)
    }
}

fn wrong_counts() -> StorageError {
    StorageError::Corrupt("the number of keys is not what the rows say".to_owned())
}

/// The replication layer's row.
pub fn applied(txn: &dyn ReadTxn, shard: u16) -> Result<Option<Bytes>, StorageError> {
    txn.get(&key::meta(shard, "applied"))
}

/// Sets the replication layer's row.
pub fn set_applied(txn: &mut dyn WriteTxn, shard: u16, value: Bytes) {
    txn.put(&key::meta(shard, "applied"), value);
}

/// The row of the group's membership.
pub fn membership(txn: &dyn ReadTxn, shard: u16) -> Result<Option<Bytes>, StorageError> {
    txn.get(&key::meta(shard, "membership"))
}

/// Sets the row of the group's membership.
pub fn set_membership(txn: &mut dyn WriteTxn, shard: u16, value: Bytes) {
    txn.put(&key::meta(shard, "membership"), value);
}

/// The row of a user.
pub fn user(txn: &dyn ReadTxn, shard: u16, name: &[u8]) -> Result<Option<Bytes>, StorageError> {
    txn.get(&key::meta_of(shard, "user/", name))
}

/// Names and rows of all users, by name.
pub fn users(txn: &dyn ReadTxn, shard: u16) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    let (start, end) = (key::meta(shard, "user/"), key::meta(shard, "user0"));
    let rows = txn.rows(&start, &end);
    rows.map(|row| row.map(|(name, value)| (Bytes::copy_from_slice(&name[start.len()..]), value)))
        .collect()
}

/// Sets or removes the row of a user.
pub(crate) fn set_user(txn: &mut dyn WriteTxn, shard: u16, name: &[u8], row: Option<&[u8]>) {
    let name = key::meta_of(shard, "user/", name);
    match row {
        Some(row) => txn.put(&name, Bytes::copy_from_slice(row)),
        None => txn.delete(&name),
    }
}

/// The keyspace that database `database` shows.
pub fn keyspace_of(
    txn: &dyn ReadTxn,
    shard: u16,
    database: u8,
) -> Result<KeyspaceId, StorageError> {
    let name = key::meta(shard, &format!("database/{database}"));
    Ok(KeyspaceId(get_u32(txn, &name)?.unwrap_or(u32::from(database))))
}

/// The keyspaces of all databases at one version: a lookup instead of a row read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceMap {
    ids: Vec<KeyspaceId>,
}

impl KeyspaceMap {
    /// Reads the map of a version.
    pub fn load(txn: &dyn ReadTxn, shard: u16) -> Result<Self, StorageError> {
        let mut ids: Vec<KeyspaceId> = (0..DATABASES_MAX as u32).map(KeyspaceId).collect();
        let (start, end) = (key::meta(shard, "database/"), key::meta(shard, "database0"));
        for row in txn.rows(&start, &end) {
            let (name, value) = row?;
            let unreadable = || StorageError::corrupt_row("unreadable database", &name);
            let digits = std::str::from_utf8(&name[start.len()..]).map_err(|_| unreadable())?;
            let database: usize = digits.parse().map_err(|_| unreadable())?;
            let id = value[..].try_into().map_err(|_| unreadable())?;
            *ids.get_mut(database).ok_or_else(unreadable)? = KeyspaceId(u32::from_le_bytes(id));
        }
        Ok(KeyspaceMap { ids })
    }

    /// The keyspace that a database shows.
    pub fn get(&self, database: u8) -> KeyspaceId {
        self.ids[usize::from(database)]
    }

    /// All keyspaces that databases show, in the order of the databases.
    pub(crate) fn all(&self) -> &[KeyspaceId] {
        &self.ids
    }
}

/// Makes database `database` show `keyspace`.
pub(crate) fn set_keyspace_of(
    txn: &mut dyn WriteTxn,
    shard: u16,
    database: u8,
    keyspace: KeyspaceId,
) {
    let name = key::meta(shard, &format!("database/{database}"));
    txn.put(&name, Bytes::copy_from_slice(&keyspace.0.to_le_bytes()));
}

/// A keyspace id that was never used before.
pub(crate) fn allocate_keyspace(
    txn: &mut dyn WriteTxn,
    shard: u16,
) -> Result<KeyspaceId, StorageError> {
    let id = next_keyspace(txn, shard)?;
    let name = key::meta(shard, NEXT_KEYSPACE);
    txn.put(&name, Bytes::copy_from_slice(&(id.0 + 1).to_le_bytes()));
    Ok(id)
}

/// The first keyspace id that was never used.
pub(crate) fn next_keyspace(txn: &dyn ReadTxn, shard: u16) -> Result<KeyspaceId, StorageError> {
    let id = get_u32(txn, &key::meta(shard, NEXT_KEYSPACE))?;
    Ok(KeyspaceId(id.unwrap_or(DATABASES_MAX as u32)))
}

/// Whether a change of the row `key` gives a keyspace out: with it goes another one.
pub(crate) fn drops_a_keyspace(key: &[u8]) -> bool {
    key::meta_name(key) == Some(NEXT_KEYSPACE.as_bytes())
}

/// The number of keys of a keyspace.
pub fn counts(
    txn: &dyn ReadTxn,
    shard: u16,
    keyspace: KeyspaceId,
) -> Result<KeyCounts, StorageError> {
    let name = key::meta(shard, &format!("count/{}", keyspace.0));
    let Some(value) = txn.get(&name)? else { return Ok(KeyCounts::default()) };
    read_counts(&value).ok_or_else(|| StorageError::corrupt_row("unreadable key count", &name))
}

/// Where the deadlines of a keyspace begin: there are none before. Rows that were removed leave marks
/// in the engine's tables for a while, which a walk from the very start would have to pass.
pub(crate) fn first_deadline(
    txn: &dyn ReadTxn,
    shard: u16,
    keyspace: KeyspaceId,
) -> Result<StorageKey, StorageError> {
    let begin = key::deadline_bound(shard, keyspace, 0);
    let row = txn.get(&key::meta(shard, &format!("expired/{}", keyspace.0)))?;
    Ok(row.map_or(begin, |row| StorageKey::from(&row[..])))
}

/// Says where the deadlines of a keyspace begin; None: nowhere in particular.
pub(crate) fn set_first_deadline(
    txn: &mut dyn WriteTxn,
    shard: u16,
    keyspace: KeyspaceId,
    first: Option<&[u8]>,
) {
    let name = key::meta(shard, &format!("expired/{}", keyspace.0));
    match first {
        Some(first) => txn.put(&name, Bytes::copy_from_slice(first)),
        None => txn.delete(&name),
    }
}

/// The keyspaces that have keys with a deadline.
pub(crate) fn keyspaces_with_deadlines(
    txn: &dyn ReadTxn,
    shard: u16,
) -> Result<Vec<KeyspaceId>, StorageError> {
    let (start, end) = (key::meta(shard, "count/"), key::meta(shard, "count0"));
    let mut found = Vec::new();
    for row in txn.rows(&start, &end) {
        let (name, value) = row?;
        let unreadable = || StorageError::corrupt_row("unreadable key count", &name);
        let counts = read_counts(&value).ok_or_else(unreadable)?;
        if counts.with_deadline > 0 {
            let digits = std::str::from_utf8(&name[start.len()..]).map_err(|_| unreadable())?;
            found.push(KeyspaceId(digits.parse().map_err(|_| unreadable())?));
        }
    }
    Ok(found)
}

/// Takes the value of a `count` row apart.
pub(crate) fn read_counts(value: &[u8]) -> Option<KeyCounts> {
    let (keys, rest) = value.split_first_chunk()?;
    let (with_deadline, rest) = rest.split_first_chunk()?;
    Some(KeyCounts {
        keys: u64::from_le_bytes(*keys),
        with_deadline: u64::from_le_bytes(*with_deadline),
        deadlines_sum_ms: u128::from_le_bytes(rest.try_into().ok()?),
    })
}

pub(crate) fn set_counts(
    txn: &mut dyn WriteTxn,
    shard: u16,
    keyspace: KeyspaceId,
    counts: KeyCounts,
) {
    let name = key::meta(shard, &format!("count/{}", keyspace.0));
    if counts == KeyCounts::default() {
        return txn.delete(&name);
    }
    let mut value = Vec::with_capacity(32);
    value.extend_from_slice(&counts.keys.to_le_bytes());
    value.extend_from_slice(&counts.with_deadline.to_le_bytes());
    value.extend_from_slice(&counts.deadlines_sum_ms.to_le_bytes());
    txn.put(&name, value.into());
}

fn get_u32(txn: &dyn ReadTxn, name: &[u8]) -> Result<Option<u32>, StorageError> {
    let Some(value) = txn.get(name)? else { return Ok(None) };
    let bytes = value[..].try_into();
    let bytes = bytes.map_err(|_| StorageError::corrupt_row("unreadable number", name))?;
    Ok(Some(u32::from_le_bytes(bytes)))
}
