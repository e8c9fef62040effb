//! The keyspace on the model engine: counts, deadlines and versions stay in step with records.

use super::*;
use crate::memory::MemoryEngine;
use crate::txn::Engine;

fn user_key(name: &str) -> UserKey<'_> {
    UserKey { slot: name.len() as u16, bytes: name.as_bytes() }
}

/// Runs `change` as the entry `log_index` at time `now_ms`.
fn entry<T>(
    engine: &MemoryEngine,
    log_index: u64,
    now_ms: u64,
    change: impl FnOnce(&mut Writer<'_>) -> T,
) -> T {
    let mut txn = engine.write(log_index);
    let mut writer = Writer::new(&mut *txn, 0, now_ms);
    let result = change(&mut writer);
    writer.settle();
    txn.commit();
    result
}

fn set(writer: &mut Writer<'_>, database: u8, name: &str, value: &str, deadline_ms: Option<u64>) {
    let loaded = writer.load(database, user_key(name)).unwrap();
    writer.store(loaded, ValueKind::STRING, &[value.as_bytes()], deadline_ms).unwrap();
}

fn counts(engine: &MemoryEngine, database: u8, now_ms: u64) -> (u64, u64) {
    let txn = engine.read();
    let counts = Reader::new(&*txn, 0, now_ms).counts(database).unwrap();
    (counts.keys, counts.with_deadline)
}

fn names(engine: &MemoryEngine, database: u8, now_ms: u64) -> Vec<String> {
    let txn = engine.read();
    let rows = Reader::new(&*txn, 0, now_ms).keys_from(database, Position(0)).unwrap();
    let mut names: Vec<_> =
        rows.map(|row| String::from_utf8(row.unwrap().user_key.to_vec()).unwrap()).collect();
    names.sort();
    names
}

#[test]
fn counts_follow_every_change() {
    let engine = MemoryEngine::new();
    entry(&engine, 1, 10, |writer| {
        set(writer, 0, "a", "1", None);
        set(writer, 0, "b", "2", Some(50));
        set(writer, 3, "c", "3", None);
    });
    assert_eq!((counts(&engine, 0, 10), counts(&engine, 3, 10)), ((2, 1), (1, 0)));
    entry(&engine, 2, 10, |writer| {
        set(writer, 0, "a", "1", Some(70));
        set(writer, 0, "b", "2", None);
        let loaded = writer.load(3, user_key("c")).unwrap();
        assert!(writer.remove(loaded).unwrap());
        assert_eq!(writer.reader().counts(3).unwrap(), KeyCounts::default());
    });
    assert_eq!((counts(&engine, 0, 10), counts(&engine, 3, 10)), ((2, 1), (0, 0)));
}

#[test]
fn the_average_time_to_live_follows_every_change() {
    let engine = MemoryEngine::new();
    let average = |now_ms| {
        let txn = engine.read();
        Reader::new(&*txn, 0, now_ms).counts(0).unwrap().average_ttl_ms(now_ms)
    };
    assert_eq!(average(10), 0);
    entry(&engine, 1, 10, |writer| {
        set(writer, 0, "a", "1", Some(100));
        set(writer, 0, "b", "1", Some(300));
        set(writer, 0, "c", "1", None);
    });
    assert_eq!(average(50), 150);
    entry(&engine, 2, 10, |writer| set(writer, 0, "a", "1", Some(500)));
    assert_eq!(average(50), 350);
    entry(&engine, 3, 300, |writer| writer.expire_overdue(10).unwrap());
    assert_eq!(average(300), 200);
    assert_eq!(average(900), 0);
}

#[test]
fn overdue_keys_are_absent_before_and_after_their_removal() {
    let engine = MemoryEngine::new();
    entry(&engine, 1, 10, |writer| {
        set(writer, 0, "short", "1", Some(50));
        set(writer, 0, "long", "1", Some(500));
    });
    assert_eq!(names(&engine, 0, 49), ["long", "short"]);
    assert_eq!(names(&engine, 0, 50), ["long"]);
    let txn = engine.read();
    assert_eq!(Reader::new(&*txn, 0, 50).next_deadline().unwrap(), Some(50));
    assert_eq!(Reader::new(&*txn, 0, 50).version(0, user_key("short")).unwrap(), 0);
    let removed = entry(&engine, 2, 50, |writer| writer.expire_overdue(10).unwrap());
    assert_eq!((removed, counts(&engine, 0, 50)), (1, (1, 1)));
    let txn = engine.read();
    assert_eq!(Reader::new(&*txn, 0, 50).next_deadline().unwrap(), Some(500));
}

#[test]
fn an_overdue_key_that_is_set_again_is_counted_once() {
    let engine = MemoryEngine::new();
    entry(&engine, 1, 10, |writer| set(writer, 0, "a", "1", Some(50)));
    entry(&engine, 2, 60, |writer| {
        let loaded = writer.load(0, user_key("a")).unwrap();
        assert!(loaded.record().is_none());
        set(writer, 0, "a", "2", None);
    });
    assert_eq!(counts(&engine, 0, 60), (1, 0));
    assert_eq!(entry(&engine, 3, 60, |writer| writer.expire_overdue(10).unwrap()), 0);
    assert_eq!(names(&engine, 0, 60), ["a"]);
}

#[test]
fn a_flush_is_immediate_and_leaves_nothing_to_see() {
    let engine = MemoryEngine::new();
    entry(&engine, 1, 10, |writer| {
        for number in 0..25 {
            set(writer, 0, &format!("key{number}"), "1", (number % 2 == 0).then_some(99));
        }
        set(writer, 1, "other", "1", None);
    });
    entry(&engine, 2, 10, |writer| writer.flush_database(0).unwrap());
    assert_eq!((names(&engine, 0, 10).len(), counts(&engine, 0, 10)), (0, (0, 0)));
    entry(&engine, 3, 10, |writer| set(writer, 0, "new", "1", None));
    assert_eq!(names(&engine, 0, 10), ["new"]);
    assert_eq!(names(&engine, 1, 10), ["other"]);
    assert_eq!(counts(&engine, 0, 10), (1, 0));
    assert_eq!(entry(&engine, 4, 100, |writer| writer.expire_overdue(10).unwrap()), 0);
    let txn = engine.read();
    assert_eq!(Reader::new(&*txn, 0, 10).next_deadline().unwrap(), None);
    let (start, end) = key::data_rows(0);
    assert_eq!(txn.rows(&start, &end).count(), 2, "the model removes flushed rows at once");
}

#[test]
fn a_deadline_before_all_that_were_removed_comes_due() {
    let engine = MemoryEngine::new();
    let expire = |log_index, now_ms| {
        entry(&engine, log_index, now_ms, |writer| writer.expire_overdue(1).unwrap())
    };
    entry(&engine, 1, 10, |writer| {
        set(writer, 0, "a", "1", Some(50));
        set(writer, 0, "b", "1", Some(50));
        set(writer, 0, "c", "1", Some(60));
    });
    assert_eq!((expire(2, 70), expire(3, 70)), (1, 1));
    entry(&engine, 4, 70, |writer| {
        set(writer, 0, "early", "1", Some(40));
        set(writer, 0, "earlier", "1", Some(30));
        set(writer, 0, "late", "1", Some(80));
    });
    let next = || Reader::new(&*engine.read(), 0, 10).next_deadline().unwrap();
    assert_eq!((next(), expire(5, 80), next()), (Some(30), 1, Some(40)));
    assert_eq!([expire(6, 80), expire(7, 80), expire(8, 80), expire(9, 80)], [1, 1, 1, 0]);
    assert_eq!((next(), counts(&engine, 0, 80)), (None, (0, 0)));
    entry(&engine, 10, 90, |writer| {
        set(writer, 0, "again", "1", Some(100));
        writer.flush_database(0).unwrap();
        set(writer, 0, "new", "1", Some(20));
    });
    assert_eq!((next(), expire(11, 90)), (Some(20), 1));
}

/// Without this, each batch of removals would pass the marks that all those before have left.
#[test]
fn removals_go_on_where_the_last_ones_ended() {
    let engine = MemoryEngine::new();
    entry(&engine, 1, 10, |writer| {
        (0..9).for_each(|number| set(writer, 0, &format!("{number}"), "1", Some(50)));
    });
    let (start, end) = (key::deadline_bound(0, KeyspaceId(0), 0), key::data_rows(0).1);
    let rows: Vec<Bytes> = engine.read().rows(&start, &end).map(|row| row.unwrap().0).collect();
    for removed in [3, 6, 9] {
        entry(&engine, 1 + removed as u64, 60, |writer| writer.expire_overdue(3).unwrap());
        let first = meta::first_deadline(&*engine.read(), 0, KeyspaceId(0)).unwrap();
        assert_eq!(*first, rows[removed - 1][..]);
    }
}

#[test]
fn deadlines_of_all_databases_come_due() {
    let engine = MemoryEngine::new();
    entry(&engine, 1, 10, |writer| {
        for (database, deadline_ms) in [(9, 40), (0, 60), (200, 50), (200, 70)] {
            set(writer, database, &format!("k{deadline_ms}"), "1", Some(deadline_ms));
        }
    });
    let next = |expected| {
        let txn = engine.read();
        assert_eq!(Reader::new(&*txn, 0, 10).next_deadline().unwrap(), expected);
    };
    next(Some(40));
    assert_eq!(entry(&engine, 2, 60, |writer| writer.expire_overdue(2).unwrap()), 2);
    assert_eq!(entry(&engine, 3, 60, |writer| writer.expire_overdue(2).unwrap()), 1);
    next(Some(70));
    // A key of this very entry is due as well.
    let removed = entry(&engine, 4, 70, |writer| {
        set(writer, 3, "now", "1", Some(65));
        writer.expire_overdue(9).unwrap()
    });
    assert_eq!(removed, 2);
    next(None);
}

#[test]
fn versions_are_the_log_index_of_the_last_change() {
    let engine = MemoryEngine::new();
    let version = || {
        let txn = engine.read();
        Reader::new(&*txn, 0, 10).version(0, user_key("a")).unwrap()
    };
    assert_eq!(version(), 0);
    entry(&engine, 5, 10, |writer| set(writer, 0, "a", "1", None));
    assert_eq!(version(), 5);
    entry(&engine, 9, 10, |writer| set(writer, 0, "a", "1", None));
    assert_eq!(version(), 9);
}

#[test]
fn databases_can_be_exchanged() {
    let engine = MemoryEngine::new();
    entry(&engine, 1, 10, |writer| {
        set(writer, 0, "zero", "1", None);
        set(writer, 1, "one", "1", None);
        writer.swap_databases(0, 1).unwrap();
        set(writer, 0, "later", "1", None);
    });
    assert_eq!(names(&engine, 0, 10), ["later", "one"]);
    assert_eq!(names(&engine, 1, 10), ["zero"]);
    assert_eq!((counts(&engine, 0, 10), counts(&engine, 1, 10)), ((2, 0), (1, 0)));
}

#[test]
fn a_read_txn_shows_one_log_index_for_ever() {
    let engine = MemoryEngine::new();
    entry(&engine, 1, 10, |writer| set(writer, 0, "a", "1", None));
    let before = engine.read();
    entry(&engine, 2, 10, |writer| set(writer, 0, "b", "1", None));
    assert_eq!(Reader::new(&*before, 0, 10).counts(0).unwrap().keys, 1);
    assert_eq!((before.log_index(), engine.read().log_index()), (1, 2));
}

#[test]
fn digests_tell_keys_values_and_deadlines_apart() {
    let digest = |changes: &[(&str, &str, Option<u64>)]| {
        let engine = MemoryEngine::new();
        entry(&engine, 1, 10, |writer| {
            changes.iter().for_each(|(name, value, at)| set(writer, 0, name, value, *at));
        });
        let txn = engine.read();
        let reader = Reader::new(&*txn, 0, 10);
        (reader.digest().unwrap(), reader.state_digest().unwrap())
    };
    let one = digest(&[("a", "1", None), ("b", "2", None)]);
    assert_eq!(one, digest(&[("b", "2", None), ("a", "1", None)]));
    for (other, what) in [
        (digest(&[("a", "2", None), ("b", "1", None)]), "swapped values"),
        (digest(&[("a", "1", None)]), "a lost key"),
        (digest(&[("a", "1", None), ("b", "2", Some(50))]), "a deadline"),
    ] {
        assert!(one.0 != other.0 && one.1 != other.1, "{what}");
    }
    assert_eq!(digest(&[]).0, 0);
}

#[test]
fn states_with_equal_data_differ_by_all_that_is_kept_beside_it() {
    type Change<'a> = &'a dyn Fn(&mut dyn WriteTxn);
    let digests = |change: Change<'_>| {
        let engine = MemoryEngine::new();
        let mut txn = engine.write(1);
        change(&mut *txn);
        txn.commit();
        let txn = engine.read();
        let reader = Reader::new(&*txn, 0, 10);
        (reader.digest().unwrap(), reader.state_digest().unwrap())
    };
    let changes: [Change<'_>; 5] = [
        &|_| (),
        &|txn| meta::set_applied(txn, 0, Bytes::from_static(b"7")),
        &|txn| meta::set_membership(txn, 0, Bytes::from_static(b"1 2 3")),
        &|txn| meta::set_user(txn, 0, b"ann", Some(b"on")),
        &|txn| meta::set_user(txn, 0, b"ann", Some(b"off")),
    ];
    let digests = changes.map(digests);
    assert!(digests.iter().all(|(data, _)| *data == 0));
    let states: std::collections::BTreeSet<u128> = digests.iter().map(|(_, all)| *all).collect();
    assert_eq!(states.len(), digests.len());
}
