//! Offline check of a state: every row of a shard against the rows that must agree with it.
//!
//! The layout's own invariants, which [`crate::keyspace::Writer`] keeps: a record's place follows
//! from its key; each record with a deadline has one deadline row and each deadline row a record;
//! key counts are what is there; no keyspace is in use before it is given out. Of flushed keyspaces
//! any part may be left. What the opaque rows of the replication layer hold is for their owner to check.

use crate::dropped::Dropped;
use crate::error::StorageError;
use crate::key::{self, KeyspaceId, Position, UserKey};
use crate::limits::DATABASES_MAX;
use crate::meta::KeyCounts;
use crate::txn::{ReadTxn, Row};
use crate::value::Record;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Problems that are described; further ones are only counted.
const PROBLEMS_SHOWN: usize = 20;

/// What a state holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateReport {
    /// All rows.
    pub rows: u64,
    /// Keys of all databases, overdue ones that are not removed yet included.
    pub keys: u64,
    /// Those of them that have a deadline.
    pub keys_with_deadline: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Rows of flushed databases that are not removed yet: keys and deadlines.
    pub dropped_rows: u64,
    /// The first problems, in words.
    pub problems: Vec<String>,
    /// How many there are.
    pub problem_count: u64,
}

impl StateReport {
    fn problem(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_SHOWN {
            self.problems.push(text);
        }
    }
}

/// What the bookkeeping rows say.
#[derive(Default)]
struct Books {
    databases: BTreeMap<u32, KeyspaceId>,
    counts: BTreeMap<KeyspaceId, KeyCounts>,
    next_keyspace: Option<u32>,
    first_deadlines: BTreeMap<KeyspaceId, Bytes>,
}

/// Checks every row of `shard`. `slot_of` is the rule that gives a user key its hash slot.
///
/// # Errors
/// Only when rows cannot be read at all; what they say wrongly is in the report.
pub fn verify_state(
    txn: &dyn ReadTxn,
    shard: u16,
    slot_of: fn(&[u8]) -> u16,
) -> Result<StateReport, StorageError> {
    let mut report = StateReport::default();
    let mut books = Books::default();
    let mut found: BTreeMap<KeyspaceId, KeyCounts> = BTreeMap::new();
    let mut deadlines = 0;
    let dropped = Dropped::load(txn)?;
    let (start, end) = key::shard_bounds(shard);
    for row in txn.rows(&start, &end) {
        let row = row?;
        report.rows += 1;
        if row.0.get(2) == Some(&key::SPACE_META) {
            books.read(&row, &mut report);
        } else if dropped.has(&row.0) {
            report.dropped_rows += 1;
        } else if let Some((deadline_ms, record_key)) = key::parse_deadline(&row.0) {
            deadlines += 1;
            if books.begins_after(&row.0) {
                report.problem(format!("deadline row {} is overlooked", row.0.escape_ascii()));
            }
            let stored = txn.get(&record_key)?;
            let record = stored.and_then(|stored| Record::decode(stored, &record_key).ok());
            if record.is_none_or(|record| record.deadline_ms != Some(deadline_ms)) {
                report.problem(format!("deadline row {} has no such key", row.0.escape_ascii()));
            }
        } else if let Err(why) = check_record(&row, txn.log_index(), slot_of, &mut found) {
            report.problem(format!("row {}: {why}", row.0.escape_ascii()));
        } else {
            report.bytes += (row.0.len() + row.1.len()) as u64;
        }
    }
    let with_deadline: u64 = found.values().map(|counts| counts.with_deadline).sum();
    if with_deadline != deadlines {
        report.problem(format!("{with_deadline} keys have a deadline, {deadlines} deadline rows"));
    }
    books.compare(&found, &mut report);
    Ok(report)
}

/// Checks a record by itself and counts it.
fn check_record(
    (key, stored): &Row,
    log_index: u64,
    slot_of: fn(&[u8]) -> u16,
    found: &mut BTreeMap<KeyspaceId, KeyCounts>,
) -> Result<(), String> {
    let parts = key::parse_record(key).ok_or("no row of a known kind")?;
    let user_key = UserKey { slot: slot_of(&parts.user_key), bytes: &parts.user_key };
    if Position::of(user_key) != parts.position {
        return Err("it is not at the place of its key".to_owned());
    }
    let record = Record::decode(stored.clone(), key).map_err(|error| error.to_string())?;
    if record.changed_at == 0 || record.changed_at > log_index {
        return Err(format!("changed at {}, the state ends at {log_index}", record.changed_at));
    }
    let counts = found.entry(parts.keyspace).or_default();
    counts.keys += 1;
    counts.move_deadline(None, record.deadline_ms).map_err(|error| error.to_string())
}

impl Books {
    fn read(&mut self, (key, value): &Row, report: &mut StateReport) {
        let name = String::from_utf8_lossy(&key[3..]);
        if self.take(&name, value).is_none() {
            report.problem(format!("bookkeeping row '{name}' is unreadable"));
        }
    }

    fn take(&mut self, name: &str, value: &Bytes) -> Option<()> {
        let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
        match name.split_once('/') {
            None if matches!(name, "applied" | "membership") => {}
            None if name == "next-keyspace" => self.next_keyspace = Some(number(value)?),
            Some(("user", _)) => {}
            Some(("database", id)) => {
                self.databases.insert(id.parse().ok()?, KeyspaceId(number(value)?));
            }
            Some(("expired", id)) => {
                self.first_deadlines.insert(KeyspaceId(id.parse().ok()?), value.clone());
            }
            Some(("count", id)) => {
                let counts = crate::meta::read_counts(value)?;
                self.counts.insert(KeyspaceId(id.parse().ok()?), counts);
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether the deadlines of a row's keyspace are said to begin after it.
    fn begins_after(&self, row: &Bytes) -> bool {
        let keyspace = key::data_keyspace(row);
        let first = keyspace.and_then(|keyspace| self.first_deadlines.get(&keyspace));
        first.is_some_and(|first| row < first)
    }

    fn compare(&self, found: &BTreeMap<KeyspaceId, KeyCounts>, report: &mut StateReport) {
        let next_keyspace = self.next_keyspace.unwrap_or(DATABASES_MAX as u32);
        let mut keyspaces: Vec<KeyspaceId> = found
            .keys()
            .chain(self.counts.keys())
            .chain(self.databases.values())
            .copied()
            .collect();
        keyspaces.sort_unstable();
        keyspaces.dedup();
        for keyspace in keyspaces {
            let id = keyspace.0;
            let counted = self.counts.get(&keyspace).copied().unwrap_or_default();
            let there = found.get(&keyspace).copied().unwrap_or_default();
            if id >= next_keyspace {
                report.problem(format!("keyspace {id} is in use and yet to be given out"));
            }
            report.keys += there.keys;
            report.keys_with_deadline += there.with_deadline;
            if counted != there {
                report.problem(format!(
                    "keyspace {id} counts {} keys, {} with a deadline; there are {} and {}",
                    counted.keys, counted.with_deadline, there.keys, there.with_deadline
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Writer;
    use crate::memory::MemoryEngine;
    use crate::txn::{Engine, WriteTxn};
    use crate::value::ValueKind;

    fn slot_of(key: &[u8]) -> u16 {
        u16::from(key[0])
    }

    fn user_key(bytes: &[u8]) -> UserKey<'_> {
        UserKey { slot: slot_of(bytes), bytes }
    }

    /// Ten keys in each of two databases, five with a deadline each; one database was flushed
    /// before.
    fn sound() -> MemoryEngine {
        let engine = MemoryEngine::new();
        for (log_index, flush) in [(1, true), (2, false)] {
            let mut txn = engine.write(log_index);
            let mut writer = Writer::new(&mut *txn, 0, 1000);
            for (database, number) in (0..20).map(|n| (n % 2, n / 2)) {
                let name = format!("{number}-key");
                let loaded = writer.load(database, user_key(name.as_bytes())).unwrap();
                let deadline_ms = (number % 2 == 0).then_some(5000);
                writer.store(loaded, ValueKind::STRING, &[b"value"], deadline_ms).unwrap();
            }
            if flush {
                writer.flush_database(0).unwrap();
            }
            writer.settle();
            txn.commit();
        }
        engine
    }

    fn verify(engine: &MemoryEngine) -> StateReport {
        verify_state(&*engine.read(), 0, slot_of).unwrap()
    }

    /// Changes a sound state and expects a problem that says `expected`.
    #[track_caller]
    fn check(change: impl FnOnce(&mut dyn WriteTxn), expected: &str) {
        let engine = sound();
        let mut txn = engine.write(3);
        change(&mut *txn);
        txn.commit();
        let report = verify(&engine);
        let problems = report.problems.join("\n");
        assert!(problems.contains(expected), "{problems}");
    }

    fn record_key(name: &[u8]) -> key::StorageKey {
        key::record(0, KeyspaceId(1), user_key(name))
    }

    #[test]
    fn a_sound_state_has_no_problem_and_is_counted() {
        let report = verify(&sound());
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!((report.keys, report.keys_with_deadline, report.dropped_rows), (20, 10, 0));
    }

    #[test]
    fn what_does_not_agree_is_found() {
        check(|txn| txn.delete(&record_key(b"0-key")), "has no such key");
        check(|txn| txn.delete(&record_key(b"1-key")), "counts 10 keys, 5 with a deadline");
        check(
            |txn| txn.delete(&key::deadline(0, 5000, &record_key(b"0-key"))),
            "10 keys have a deadline, 9 deadline rows",
        );
        check(|txn| txn.put(&record_key(b"1-key"), Bytes::from_static(b"\x09")), "1-key");
        let late = Record::encode(ValueKind::STRING, 99, None, &[b"v"]);
        check(|txn| txn.put(&record_key(b"1-key"), late), "changed at 99, the state ends at 3");
    }

    #[test]
    fn rows_that_nothing_would_read_are_found() {
        let record = Record::encode(ValueKind::STRING, 1, None, &[b"v"]);
        let misplaced = key::record(0, KeyspaceId(1), UserKey { slot: 9, bytes: b"k" });
        check(|txn| txn.put(&misplaced, record.clone()), "not at the place of its key");
        check(|txn| txn.put(&key::meta(0, "else"), Bytes::new()), "'else' is unreadable");
        let orphan = key::record(0, KeyspaceId(400), user_key(b"9-key"));
        check(|txn| txn.put(&orphan, record), "keyspace 400 is in use and yet to be given out");
    }

    #[test]
    fn a_deadline_that_would_be_overlooked_is_found() {
        let later = Bytes::copy_from_slice(&key::deadline(0, 5001, &record_key(b"0-key")));
        check(|txn| txn.put(&key::meta(0, "expired/1"), later), "is overlooked");
    }

    #[test]
    fn what_is_left_of_a_flushed_keyspace_is_counted_and_no_problem() {
        let engine = sound();
        let mut txn = engine.write(3);
        let record = key::record(0, KeyspaceId(0), user_key(b"1-key"));
        txn.put(&record, Record::encode(ValueKind::STRING, 1, None, &[b"v"]));
        txn.put(&key::deadline(0, 7, &record), Bytes::new());
        txn.commit();
        let report = verify(&engine);
        assert_eq!((report.problems.len(), report.dropped_rows, report.keys), (0, 2, 20));
        let count = Bytes::copy_from_slice(&[1; 32]);
        check(|txn| txn.put(&key::meta(0, "count/0"), count), "keyspace 0 counts");
    }
}
