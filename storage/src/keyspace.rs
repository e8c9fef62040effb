//! Keys as commands see them: lookups, changes, counts, order, expiry.
//!
//! [`Reader`] answers from one consistent version, [`Writer`] changes one batch. Both judge expiry
//! by the time of the log entry alone. A `Writer` keeps three things in step with every record: its
//! deadline row, the key counts, and the log index of its last change. Overdue records are absent
//! for every caller; `expire_overdue` removes them in bounded batches. The rows of a flushed
//! keyspace are no concern of anybody any more: each engine removes them when it suits it.

use crate::dropped::Dropped;
use crate::error::StorageError;
use crate::key::{self, KeyspaceId, Position, StorageKey, UserKey};
use crate::meta::{self, KeyCounts, KeyspaceMap};
use crate::txn::{LOOKUPS_EXPECTED_MAX, ReadTxn, WriteTxn};
use crate::value::{Record, RecordHead, ValueKind};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// Reads one shard at one version and one time.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    txn: &'a dyn ReadTxn,
    shard: u16,
    now_ms: u64,
    keyspaces: Option<&'a KeyspaceMap>,
}

impl<'a> Reader<'a> {
    /// Reads `shard` through `txn`; keys whose deadline is at or before `now_ms` are absent.
    pub fn new(txn: &'a dyn ReadTxn, shard: u16, now_ms: u64) -> Self {
        Self { txn, shard, now_ms, keyspaces: None }
    }

    /// Looks databases up in `keyspaces`, which must be the map of this version.
    pub fn with_keyspaces(self, keyspaces: &'a KeyspaceMap) -> Self {
        Self { keyspaces: Some(keyspaces), ..self }
    }

    fn keyspace(&self, database: u8) -> Result<KeyspaceId, StorageError> {
        match self.keyspaces {
            Some(keyspaces) => Ok(keyspaces.get(database)),
            None => meta::keyspace_of(self.txn, self.shard, database),
        }
    }

    /// A hint: these keys of a database will be looked up next (see [`ReadTxn::expect`]).
    pub fn expect<'k>(&self, database: u8, keys: impl Iterator<Item = UserKey<'k>>) {
        // Without a keyspace there is nothing to fetch, and the lookup says why.
        if let Ok(keyspace) = self.keyspace(database) {
            expect(self.txn, self.shard, keyspace, keys);
        }
    }

    /// The record of a key, unless it is missing or overdue.
    pub fn lookup(&self, database: u8, key: UserKey<'_>) -> Result<Option<Record>, StorageError> {
        let keyspace = self.keyspace(database)?;
        let storage_key = key::record(self.shard, keyspace, key);
        let Some(stored) = self.txn.get(&storage_key)? else { return Ok(None) };
        let record = Record::decode(stored, &storage_key)?;
        Ok((!record.is_overdue(self.now_ms)).then_some(record))
    }

    /// The log index of a key's last change, 0 when it is absent: what WATCH remembers.
    pub fn version(&self, database: u8, key: UserKey<'_>) -> Result<u64, StorageError> {
        Ok(self.lookup(database, key)?.map_or(0, |record| record.changed_at))
    }

    /// A hash of all records and deadlines of this version, with their change indexes; 0 when there
    /// are none. Two nodes that applied the same entries have the same, whatever is left of flushed
    /// keyspaces. Reads every row.
    pub fn digest(&self) -> Result<u128, StorageError> {
        let (start, end) = key::data_rows(self.shard);
        self.hash_rows(&start, &end)
    }

    /// As [`Self::digest`], of all rows of this version: also the members, the users, the counts, the
    /// time, and the log index that it stands at.
    pub fn state_digest(&self) -> Result<u128, StorageError> {
        let (start, end) = key::shard_bounds(self.shard);
        self.hash_rows(&start, &end)
    }

    fn hash_rows(&self, start: &[u8], end: &[u8]) -> Result<u128, StorageError> {
        let kept = Dropped::load(self.txn)?.kept(start, end);
        let mut rows = kept.iter().flat_map(|(start, end)| self.txn.rows(start, end));
        rows.try_fold(0, |digest, row| {
            let (key, value) = row?;
            // The value is hashed with the key's hash as its seed, so that swapped values differ.
            Ok(digest ^ xxh3_128_with_seed(&value, xxh3_64(&key)))
        })
    }

    /// The number of keys in a database (overdue keys that are not removed yet included).
    pub fn counts(&self, database: u8) -> Result<KeyCounts, StorageError> {
        meta::counts(self.txn, self.shard, self.keyspace(database)?)
    }

    /// Keys of a database at `position` or later, ascending, overdue ones left out.
    pub fn keys_from(
        &self,
        database: u8,
        position: Position,
    ) -> Result<impl Iterator<Item = Result<KeyRow, StorageError>> + use<'a>, StorageError> {
        self.keys_between(database, position, Position::END)
    }

    /// Keys of one hash slot, ascending, overdue ones left out.
    pub fn keys_in_slot(
        &self,
        database: u8,
        slot: u16,
    ) -> Result<impl Iterator<Item = Result<KeyRow, StorageError>> + use<'a>, StorageError> {
        let (start, end) = (Position::start_of_slot(slot), Position::start_of_slot(slot + 1));
        self.keys_between(database, start, end)
    }

    fn keys_between(
        &self,
        database: u8,
        start: Position,
        end: Position,
    ) -> Result<impl Iterator<Item = Result<KeyRow, StorageError>> + use<'a>, StorageError> {
        let keyspace = self.keyspace(database)?;
        let start = key::record_bound(self.shard, keyspace, start);
        let end = key::record_bound(self.shard, keyspace, end);
        let now_ms = self.now_ms;
        Ok(self.txn.rows(&start, &end).filter_map(move |row| KeyRow::decode(row, now_ms)))
    }

    /// The earliest deadline of any key of the shard.
    pub fn next_deadline(&self) -> Result<Option<u64>, StorageError> {
        let mut earliest = None;
        for keyspace in meta::keyspaces_with_deadlines(self.txn, self.shard)? {
            let start = meta::first_deadline(self.txn, self.shard, keyspace)?;
            let end = key::deadline_bound(self.shard, keyspace, u64::MAX);
            let Some(row) = self.txn.rows(&start, &end).next().transpose()? else { continue };
            let parsed = key::parse_deadline(&row.0);
            let parsed = parsed.ok_or_else(|| StorageError::corrupt_row("deadline", &row.0))?;
            earliest = Some(earliest.unwrap_or(u64::MAX).min(parsed.0));
        }
        Ok(earliest)
    }
}

fn expect<'k>(
    txn: &(impl ReadTxn + ?Sized),
    shard: u16,
    keyspace: KeyspaceId,
    keys: impl Iterator<Item = UserKey<'k>>,
) {
    let keys: SmallVec<[StorageKey; LOOKUPS_EXPECTED_MAX]> =
        keys.map(|key| key::record(shard, keyspace, key)).collect();
    txn.expect(&keys);
}

/// A key met while walking a keyspace.
#[derive(Clone, Debug)]
pub struct KeyRow {
    /// Its place in the order.
    pub position: Position,
    /// The user key.
    pub user_key: Bytes,
    /// Its record.
    pub record: Record,
}

impl KeyRow {
    fn decode(
        row: Result<(Bytes, Bytes), StorageError>,
        now_ms: u64,
    ) -> Option<Result<Self, StorageError>> {
        let decode = |(storage_key, stored): (Bytes, Bytes)| {
            let parts = key::parse_record(&storage_key)
                .ok_or_else(|| StorageError::corrupt_row("unreadable key", &storage_key))?;
            let record = Record::decode(stored, &storage_key)?;
            let (position, user_key) = (parts.position, parts.user_key);
            Ok(KeyRow { position, user_key, record })
        };
        let decoded = row.and_then(decode);
        match &decoded {
            Ok(row) if row.record.is_overdue(now_ms) => None,
            _ => Some(decoded),
        }
    }
}

/// A key as it was found by [`Writer::find`], ready to be changed.
#[derive(Debug)]
pub struct Found {
    keyspace: KeyspaceId,
    storage_key: StorageKey,
    stored: Option<RecordHead>,
    live: bool,
}

impl Found {
    /// The head of the key's record, unless it is missing or overdue.
    pub fn head(&self) -> Option<&RecordHead> {
        self.stored.as_ref().filter(|_| self.live)
    }
}

/// A key as it was loaded by [`Writer::load`], ready to be changed.
#[derive(Debug)]
pub struct Loaded {
    found: Found,
    record: Option<Record>,
}

impl Loaded {
    /// The key's record, unless it is missing or overdue.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref().filter(|_| self.found.live)
    }
}

impl From<Loaded> for Found {
    fn from(loaded: Loaded) -> Self {
        loaded.found
    }
}

/// Changes one shard in one batch, at one log index and one time.
pub struct Writer<'a> {
    txn: &'a mut dyn WriteTxn,
    shard: u16,
    now_ms: u64,
    log_index: u64,
    counts: BTreeMap<KeyspaceId, KeyCounts>,
    first_deadlines: BTreeMap<KeyspaceId, StorageKey>,
    databases: BTreeMap<u8, KeyspaceId>,
    changes: u64,
    databases_changed: bool,
    users_changed: bool,
    earliest_deadline_ms: Option<u64>,
}

impl<'a> Writer<'a> {
    /// Writes `shard` through `txn`, at the txn's log index; `now_ms` is the entry's time.
    pub fn new(txn: &'a mut dyn WriteTxn, shard: u16, now_ms: u64) -> Self {
        let log_index = txn.log_index();
        let (counts, databases) = (BTreeMap::new(), BTreeMap::new());
        Self {
            txn,
            shard,
            now_ms,
            log_index,
            counts,
            first_deadlines: BTreeMap::new(),
            databases,
            changes: 0,
            databases_changed: false,
            users_changed: false,
            earliest_deadline_ms: None,
        }
    }

    /// The time of the entry, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// How many changes of keys or databases this batch holds so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether this batch made any database show another keyspace.
    pub fn databases_changed(&self) -> bool {
        self.databases_changed
    }

    /// Whether this batch changed a user.
    pub fn users_changed(&self) -> bool {
        self.users_changed
    }

    /// The row of a user.
    pub fn user(&self, name: &[u8]) -> Result<Option<Bytes>, StorageError> {
        meta::user(&*self.txn, self.shard, name)
    }

    /// Sets or removes the row of a user.
    pub fn set_user(&mut self, name: &[u8], row: Option<&[u8]>) {
        self.changes += 1;
        self.users_changed = true;
        meta::set_user(self.txn, self.shard, name, row);
    }

    /// The earliest deadline that this batch has set.
    pub fn earliest_deadline_ms(&self) -> Option<u64> {
        self.earliest_deadline_ms
    }

    /// A reader of what this batch has made of the state so far.
    pub fn reader(&mut self) -> Reader<'_> {
        self.settle();
        Reader::new(self.txn, self.shard, self.now_ms)
    }

    /// A hint: these keys of a database will be looked up next (see [`ReadTxn::expect`]).
    pub fn expect<'k>(&mut self, database: u8, keys: impl Iterator<Item = UserKey<'k>>) {
        // Without a keyspace there is nothing to fetch, and the lookup says why.
        if let Ok(keyspace) = self.keyspace(database) {
            expect(self.txn, self.shard, keyspace, keys);
        }
    }

    /// A hint: these keys of a database will be looked up, in this order (see [`WriteTxn::expect_all`]).
    pub fn expect_all<'k>(
        &mut self,
        database: u8,
        count: usize,
        keys: impl Iterator<Item = UserKey<'k>>,
    ) {
        if let Ok(keyspace) = self.keyspace(database) {
            let mut keys = keys.map(|key| key::record(self.shard, keyspace, key));
            self.txn.expect_all(count, &mut keys);
        }
    }

    /// Looks a key up for a change that does not need its value.
    pub fn find(&mut self, database: u8, key: UserKey<'_>) -> Result<Found, StorageError> {
        let keyspace = self.keyspace(database)?;
        let storage_key = key::record(self.shard, keyspace, key);
        let mut stored = None;
        self.txn.look(&storage_key, &mut |bytes| {
            stored = Some(RecordHead::decode(bytes, &storage_key).map(|(head, _)| head));
        })?;
        let stored = stored.transpose()?;
        let live = stored.as_ref().is_some_and(|head| !head.is_overdue(self.now_ms));
        Ok(Found { keyspace, storage_key, stored, live })
    }

    /// Loads a key for a change.
    pub fn load(&mut self, database: u8, key: UserKey<'_>) -> Result<Loaded, StorageError> {
        let keyspace = self.keyspace(database)?;
        let storage_key = key::record(self.shard, keyspace, key);
        let record = match self.txn.get(&storage_key)? {
            Some(bytes) => Some(Record::decode(bytes, &storage_key)?),
            None => None,
        };
        let stored = record.as_ref().map(Record::head);
        let live = stored.as_ref().is_some_and(|head| !head.is_overdue(self.now_ms));
        Ok(Loaded { found: Found { keyspace, storage_key, stored, live }, record })
    }

    /// Sets the value and deadline of a loaded key; the payload is the parts joined.
    pub fn store(
        &mut self,
        found: impl Into<Found>,
        kind: ValueKind,
        payload: &[&[u8]],
        deadline_ms: Option<u64>,
    ) -> Result<(), StorageError> {
        let found = found.into();
        self.changes += 1;
        let old_deadline = found.stored.as_ref().and_then(|head| head.deadline_ms);
        self.move_deadline(&found.storage_key, old_deadline, deadline_ms)?;
        let shard_counts = self.counts_of(found.keyspace)?;
        shard_counts.keys = shard_counts.keys.saturating_add(u64::from(found.stored.is_none()));
        shard_counts.move_deadline(old_deadline, deadline_ms)?;
        let value = Record::encode(kind, self.log_index, deadline_ms, payload);
        self.txn.put(&found.storage_key, value);
        Ok(())
    }

    /// Removes a loaded key. Returns whether it was there (an overdue key was not).
    pub fn remove(&mut self, found: impl Into<Found>) -> Result<bool, StorageError> {
        let found = found.into();
        let Some(head) = &found.stored else { return Ok(false) };
        self.changes += 1;
        self.move_deadline(&found.storage_key, head.deadline_ms, None)?;
        self.counts_of(found.keyspace)?.remove(head.deadline_ms)?;
        self.txn.delete(&found.storage_key);
        Ok(found.live)
    }

    /// Makes a database empty, whatever it holds: it shows another keyspace from now on. The engine
    /// removes the rows of the old one in its own time.
    pub fn flush_database(&mut self, database: u8) -> Result<(), StorageError> {
        let old = self.keyspace(database)?;
        if *self.counts_of(old)? == KeyCounts::default() {
            return Ok(());
        }
        self.changes += 1;
        self.databases_changed = true;
        let new = meta::allocate_keyspace(self.txn, self.shard)?;
        meta::set_keyspace_of(self.txn, self.shard, database, new);
        self.counts.insert(old, KeyCounts::default());
        self.set_first_deadline(old, None);
        self.databases.insert(database, new);
        Ok(())
    }

    /// Exchanges the contents of two databases.
    pub fn swap_databases(&mut self, one: u8, other: u8) -> Result<(), StorageError> {
        let (first, second) = (self.keyspace(one)?, self.keyspace(other)?);
        self.changes += 1;
        self.databases_changed = true;
        for (database, keyspace) in [(one, second), (other, first)] {
            meta::set_keyspace_of(self.txn, self.shard, database, keyspace);
            self.databases.insert(database, keyspace);
        }
        Ok(())
    }

    /// Removes at most `keys_max` overdue keys; returns how many it removed.
    pub fn expire_overdue(&mut self, keys_max: usize) -> Result<usize, StorageError> {
        self.settle();
        let mut removed = 0;
        for keyspace in meta::keyspaces_with_deadlines(self.txn, self.shard)? {
            let start = meta::first_deadline(self.txn, self.shard, keyspace)?;
            let end = key::deadline_bound(self.shard, keyspace, self.now_ms.saturating_add(1));
            let due = self.txn.rows(&start, &end).take(keys_max - removed);
            let due: Vec<_> = due.collect::<Result<_, _>>()?;
            removed += due.len();
            for (deadline_key, _) in &due {
                let (_, storage_key) = key::parse_deadline(deadline_key)
                    .ok_or_else(|| StorageError::corrupt_row("deadline", deadline_key))?;
                self.remove_row(&storage_key)?;
            }
            if let Some((last, _)) = due.last() {
                self.set_first_deadline(keyspace, Some(last));
            }
        }
        Ok(removed)
    }

    /// Writes the key counts of this batch into it; needed once, after the last change.
    pub fn settle(&mut self) {
        for (keyspace, counts) in std::mem::take(&mut self.counts) {
            meta::set_counts(self.txn, self.shard, keyspace, counts);
        }
    }

    /// Removes a record by its storage key, its deadline row and its share of the counts.
    fn remove_row(&mut self, storage_key: &[u8]) -> Result<(), StorageError> {
        let missing = || StorageError::corrupt_row("deadline without its key", storage_key);
        let stored = self.txn.get(storage_key)?.ok_or_else(missing)?;
        let record = Record::decode(stored, storage_key)?;
        let keyspace = key::keyspace_of_record(storage_key).ok_or_else(missing)?;
        self.move_deadline(storage_key, record.deadline_ms, None)?;
        self.counts_of(keyspace)?.remove(record.deadline_ms)?;
        self.txn.delete(storage_key);
        Ok(())
    }

    fn move_deadline(
        &mut self,
        storage_key: &[u8],
        old: Option<u64>,
        new: Option<u64>,
    ) -> Result<(), StorageError> {
        if old == new {
            return Ok(());
        }
        if let Some(deadline_ms) = old {
            self.txn.delete(&key::deadline(self.shard, deadline_ms, storage_key));
        }
        if let Some(deadline_ms) = new {
            let earliest = self.earliest_deadline_ms.unwrap_or(u64::MAX);
            self.earliest_deadline_ms = Some(deadline_ms.min(earliest));
            let row = key::deadline(self.shard, deadline_ms, storage_key);
            let keyspace = key::data_keyspace(&row).expect("every record is in a keyspace");
            if row < *self.first_deadline(keyspace)? {
                self.set_first_deadline(keyspace, Some(&row));
            }
            self.txn.put(&row, Bytes::new());
        }
        Ok(())
    }

    /// Where the deadlines of a keyspace begin.
    fn first_deadline(&mut self, keyspace: KeyspaceId) -> Result<&StorageKey, StorageError> {
        use std::collections::btree_map::Entry;
        match self.first_deadlines.entry(keyspace) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                Ok(entry.insert(meta::first_deadline(self.txn, self.shard, keyspace)?))
            }
        }
    }

    fn set_first_deadline(&mut self, keyspace: KeyspaceId, first: Option<&[u8]>) {
        self.first_deadlines.remove(&keyspace);
        meta::set_first_deadline(self.txn, self.shard, keyspace, first);
    }

    fn keyspace(&mut self, database: u8) -> Result<KeyspaceId, StorageError> {
        if let Some(keyspace) = self.databases.get(&database) {
            return Ok(*keyspace);
        }
        let keyspace = meta::keyspace_of(self.txn, self.shard, database)?;
        self.databases.insert(database, keyspace);
        Ok(keyspace)
    }

    fn counts_of(&mut self, keyspace: KeyspaceId) -> Result<&mut KeyCounts, StorageError> {
        use std::collections::btree_map::Entry;
        match self.counts.entry(keyspace) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(meta::counts(self.txn, self.shard, keyspace)?)),
        }
    }
}

#[cfg(test)]
mod tests;
