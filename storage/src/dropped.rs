//! Flushed keyspaces: what nobody will look at again.
//!
//! A database shows another keyspace after each flush, ids of keyspaces are given out once, and a
//! keyspace that no database shows is never shown again. So the rows of such a keyspace are rubbish
//! from the entry on that flushed it, on every node and for ever, and none of them has to be removed
//! by an entry. Engines remove them where it costs least; until then they hide in their own ranges:
//! lookups and walks are by keyspace, and whole states leave them out by [`Dropped::kept`].

use crate::error::StorageError;
use crate::key::{self, KeyspaceId, StorageKey};
use crate::meta::{self, KeyspaceMap};
use crate::txn::ReadTxn;

/// The flushed keyspaces of all shards of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    shards: Vec<Shard>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Shard {
    id: u16,
    /// First keyspace that was never used.
    next: KeyspaceId,
    /// Keyspaces that databases show, ascending.
    shown: Vec<KeyspaceId>,
}

impl Dropped {
    /// Those of a state.
    pub(crate) fn load(txn: &dyn ReadTxn) -> Result<Self, StorageError> {
        let mut shards = Vec::new();
        let mut from = Some(0);
        while let Some(id) = from {
            let (start, _) = key::shard_bounds(id);
            let (_, end) = key::shard_bounds(u16::MAX - 1);
            let Some(row) = txn.rows(&start, &end).next().transpose()? else { break };
            let id = key::shard_of(&row.0).unwrap_or_default().max(id);
            let mut shown = KeyspaceMap::load(txn, id)?.all().to_vec();
            shown.sort_unstable();
            shards.push(Shard { id, next: meta::next_keyspace(txn, id)?, shown });
            from = id.checked_add(1);
        }
        Ok(Self { shards })
    }

    /// Whether a row belongs to one of them.
    pub(crate) fn has(&self, storage_key: &[u8]) -> bool {
        let Some(keyspace) = key::data_keyspace(storage_key) else { return false };
        let shard = key::shard_of(storage_key);
        let shard = self.shards.iter().find(|known| Some(known.id) == shard);
        shard.is_some_and(|shard| {
            keyspace < shard.next && shard.shown.binary_search(&keyspace).is_err()
        })
    }

    /// Where their rows lie: starts and ends, ascending and apart.
    pub(crate) fn ranges(&self) -> Vec<(StorageKey, StorageKey)> {
        let mut ranges: Vec<_> = self.shards.iter().flat_map(Shard::ranges).collect();
        ranges.sort_unstable();
        ranges
    }

    /// What is left of a range without them, ascending.
    pub(crate) fn kept(&self, start: &[u8], end: &[u8]) -> Vec<(StorageKey, StorageKey)> {
        let mut kept = Vec::new();
        let mut from = StorageKey::from(start);
        for (gap_start, gap_end) in self.ranges() {
            if *gap_end <= *from || *gap_start >= *end {
                continue;
            }
            if gap_start > from {
                kept.push((from, gap_start));
            }
            from = gap_end;
        }
        if *from < *end {
            kept.push((from, StorageKey::from(end)));
        }
        kept
    }
}

impl Shard {
    fn ranges(&self) -> Vec<(StorageKey, StorageKey)> {
        let mut ranges = Vec::new();
        let mut from = KeyspaceId(0);
        for shown in self.shown.iter().copied().chain([self.next]) {
            if from < shown {
                let starts = key::keyspace_starts(self.id, from);
                ranges.extend(starts.zip(key::keyspace_starts(self.id, shown)));
            }
            from = KeyspaceId(shown.0.saturating_add(1));
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::UserKey;
    use crate::keyspace::Writer;
    use crate::memory::MemoryEngine;
    use crate::txn::Engine;
    use crate::value::ValueKind;

    fn rows_of(keyspace: u32) -> [StorageKey; 2] {
        let record = key::record(0, KeyspaceId(keyspace), UserKey { slot: 7, bytes: b"k" });
        [key::deadline(0, 99, &record), record]
    }

    /// Databases 0 and 3 were flushed, 3 twice; 1 and 2 were exchanged.
    fn flushed() -> Dropped {
        let engine = MemoryEngine::new();
        for (log_index, database) in [0, 3, 3].into_iter().enumerate() {
            let mut txn = engine.write(log_index as u64 + 1);
            let mut writer = Writer::new(&mut *txn, 0, 1);
            let key = writer.load(database, UserKey { slot: 0, bytes: b"k" }).unwrap();
            writer.store(key, ValueKind::STRING, &[b"v"], None).unwrap();
            writer.flush_database(database).unwrap();
            writer.swap_databases(1, 2).unwrap();
            writer.settle();
            txn.commit();
        }
        Dropped::load(&*engine.read()).unwrap()
    }

    #[test]
    fn flushed_keyspaces_are_dropped_and_nothing_else_is() {
        let dropped = flushed();
        for (keyspace, expected) in
            [(0, true), (1, false), (2, false), (3, true), (255, false), (256, false)]
                .into_iter()
                .chain([(257, true), (258, false), (259, false), (u32::MAX, false)])
        {
            for row in rows_of(keyspace) {
                assert_eq!(dropped.has(&row), expected, "keyspace {keyspace}");
                let mut ranges = dropped.ranges().into_iter();
                assert_eq!(ranges.any(|(start, end)| start <= row && row < end), expected);
                let (start, end) = key::shard_bounds(0);
                let kept = dropped.kept(&start, &end);
                assert_eq!(kept.iter().any(|(start, end)| *start <= row && row < *end), !expected);
            }
        }
        assert!(!dropped.has(&key::meta(0, "count/0")) && !dropped.has(b"") && !dropped.has(b"\0"));
        let other = key::record(1, KeyspaceId(0), UserKey { slot: 7, bytes: b"k" });
        assert!(!dropped.has(&other), "a shard that is not there");
    }

    #[test]
    fn what_is_kept_of_a_range_lies_within_it() {
        let dropped = flushed();
        let [_, start] = rows_of(0);
        let [_, end] = rows_of(3);
        let kept = dropped.kept(&start, &end);
        let [from, _]: [StorageKey; 2] = key::keyspace_starts(0, KeyspaceId(1))
            .collect::<Vec<_>>()
            .try_into()
            .expect("there are two spaces");
        let [to, _]: [StorageKey; 2] = key::keyspace_starts(0, KeyspaceId(3))
            .collect::<Vec<_>>()
            .try_into()
            .expect("there are two spaces");
        assert_eq!(kept, [(from, to)]);
        assert_eq!(dropped.kept(&start, &start), []);
        assert_eq!(Dropped::default().kept(b"a", b"b").len(), 1);
        assert_eq!(Dropped::default().ranges(), []);
    }
}
