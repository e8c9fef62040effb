//! What `txn::Engine` promises, checked on the model engine and on the disk engine alike.

use super::*;
use crate::memory::MemoryEngine;

/// Runs a check on an engine of each kind; the disk one with an overlay that is full at once, so
/// that rows wander through sealed overlays into tables while the check goes on.
fn on_each(check: impl Fn(&dyn Engine)) {
    check(&MemoryEngine::new());
    let dir = tempfile::tempdir().unwrap();
    check(&DiskEngine::open(roomy(dir.path())).unwrap());
    let dir = tempfile::tempdir().unwrap();
    check(&DiskEngine::open(DiskOptions { overlay_bytes_max: 1, ..small(dir.path()) }).unwrap());
}

#[test]
fn a_batch_is_visible_as_a_whole_after_commit_and_to_itself_before() {
    on_each(|engine| {
        commit(engine, 1, &[("a", Some("1")), ("b", Some("1"))]);
        let mut txn = engine.write(3);
        assert_eq!(txn.log_index(), 3);
        txn.put(bytes("a").as_ref(), bytes("2"));
        txn.delete(bytes("b").as_ref());
        txn.put(bytes("c").as_ref(), bytes("2"));
        assert_eq!(txn.get(b"a").unwrap(), Some(bytes("2")));
        assert_eq!(txn.get(b"b").unwrap(), None);
        assert_eq!(one_line(&state_of(&*txn)), "a=2 c=2");
        assert_eq!(one_line(&state(engine)), "a=1 b=1");
        assert_eq!(engine.read().log_index(), 1);
        txn.commit();
        assert_eq!(one_line(&state(engine)), "a=2 c=2");
        assert_eq!(engine.read().log_index(), 3);
    });
}

#[test]
fn a_dropped_batch_leaves_nothing_for_ever() {
    on_each(|engine| {
        put(engine, 1, "a", "1");
        let mut txn = engine.write(5);
        txn.put(bytes("a").as_ref(), bytes("lost"));
        txn.put(bytes("b").as_ref(), bytes("lost"));
        drop(txn);
        assert_eq!(one_line(&state(engine)), "a=1");
        for log_index in 2..9 {
            put(engine, log_index, "c", &log_index.to_string());
            engine.flush().unwrap();
            assert_eq!(one_line(&state(engine)), format!("a=1 c={log_index}"));
        }
    });
}

#[test]
fn reads_keep_the_state_they_began_with() {
    on_each(|engine| {
        let mut reads = vec![(engine.read(), String::new())];
        for log_index in 1..30u64 {
            let key = format!("k{}", log_index % 5);
            let value = (log_index % 3 > 0).then(|| log_index.to_string());
            commit(engine, log_index, &[(&key, value.as_deref())]);
            if log_index % 7 == 0 {
                engine.flush().unwrap();
            }
            reads.push((engine.read(), one_line(&state(engine))));
        }
        let mut other = engine.import().unwrap();
        let mut rows = [Ok((bytes("k1"), bytes("new")))].into_iter();
        let chunk = crate::snapshot::encode_chunk(&mut rows, 100).unwrap().unwrap();
        other.write_chunk(chunk).unwrap();
        other.finish(40).unwrap();
        assert_eq!((one_line(&state(engine)), engine.read().log_index()), ("k1=new".into(), 40));
        for (log_index, (read, expected)) in reads.iter().enumerate() {
            assert_eq!(read.log_index(), log_index as u64);
            assert_eq!(one_line(&state_of(&**read)), *expected, "at {log_index}");
        }
        put(engine, 41, "k2", "after");
        assert_eq!(one_line(&state(engine)), "k1=new k2=after");
    });
}

#[test]
fn ranges_merge_all_sources_and_respect_their_bounds() {
    on_each(|engine| {
        let keys = ["a", "b", "c", "d", "e"];
        commit(engine, 1, &keys.map(|key| (key, Some("old"))));
        engine.flush().unwrap();
        commit(engine, 2, &[("b", None), ("c", Some("mid"))]);
        commit(engine, 3, &[("c", None), ("d", Some("new")), ("f", Some("new"))]);
        let mut txn = engine.write(4);
        txn.put(bytes("b").as_ref(), bytes("own"));
        txn.delete(bytes("e").as_ref());
        let range = |txn: &dyn ReadTxn, start: &str, end: &str| {
            one_line(&txn.rows(start.as_bytes(), end.as_bytes()).map(text).collect())
        };
        assert_eq!(range(&*txn, "", "z"), "a=old b=own d=new f=new");
        assert_eq!(range(&*txn, "b", "d"), "b=own");
        assert_eq!(range(&*txn, "d", "d"), "");
        drop(txn);
        let read = engine.read();
        assert_eq!(range(&*read, "", "z"), "a=old d=new e=old f=new");
        assert_eq!(range(&*read, "a\0", "e"), "d=new");
        assert_eq!(range(&*read, "f", "f"), "");
    });
}

#[test]
fn empty_batches_and_empty_values_count() {
    on_each(|engine| {
        commit(engine, 1, &[("a", Some(""))]);
        commit(engine, 8, &[]);
        assert_eq!(engine.read().log_index(), 8);
        assert!(engine.flush().unwrap() == engine.durable_index());
        assert_eq!(engine.read().get(b"a").unwrap(), Some(Bytes::new()));
    });
}

#[test]
fn states_travel_between_engines_of_all_kinds() {
    on_each(|from| {
        for log_index in 1..200u64 {
            let key = format!("key{:03}", log_index * 7 % 100);
            let value = (log_index % 4 > 0).then_some("value");
            commit(from, log_index, &[(&key, value)]);
        }
        on_each(|to| {
            put(to, 1, "left over", "x");
            assert_eq!(copy_state(from, to, 300), 199);
            assert_eq!(state(to), state(from));
            assert_eq!(to.read().log_index(), 199);
        });
    });
}

#[test]
fn an_import_that_is_dropped_or_refused_changes_nothing() {
    on_each(|engine| {
        put(engine, 1, "a", "1");
        let chunk = |keys: &[&str]| {
            let mut rows = keys.iter().map(|key| Ok((bytes(key), bytes("x"))));
            crate::snapshot::encode_chunk(&mut rows, 1000).unwrap().unwrap()
        };
        let mut sink = engine.import().unwrap();
        sink.write_chunk(chunk(&["b", "c"])).unwrap();
        drop(sink);
        let mut sink = engine.import().unwrap();
        sink.write_chunk(chunk(&["b", "c"])).unwrap();
        assert!(sink.write_chunk(chunk(&["c", "d"])).is_err());
        drop(sink);
        let mut sink = engine.import().unwrap();
        assert!(sink.write_chunk(chunk(&["d"]).slice(1..)).is_err());
        drop(sink);
        assert_eq!(one_line(&state(engine)), "a=1");
        put(engine, 2, "a", "2");
        assert_eq!(one_line(&state(engine)), "a=2");
    });
}

#[test]
#[should_panic(expected = "one writer at a time")]
fn two_batches_at_once_are_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let _first = engine.write(1);
    let _second = engine.write(2);
}

#[test]
#[should_panic(expected = "only grow")]
fn log_indexes_that_go_back_are_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, 2, "a", "1");
    let _second = engine.write(2);
}

#[test]
fn the_engines_own_row_is_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    commit(&engine, 1, &[("a", Some("1"))]);
    engine.flush().unwrap();
    assert_eq!(one_line(&state(&engine)), "a=1");
    assert_eq!(engine.read().get(b"\xFF\xFFdurable").unwrap(), None);
    let mut source = engine.export().unwrap();
    let chunk = source.next_chunk(1000).unwrap().unwrap();
    assert_eq!(crate::snapshot::decode_chunk(chunk).unwrap().len(), 1);
    assert!(source.next_chunk(1000).unwrap().is_none());
}

#[test]
fn nothing_becomes_durable_before_the_log_is() {
    let dir = tempfile::tempdir().unwrap();
    let broken = || Err(std::io::Error::other("the log is not on disk"));
    let before_durable = BeforeDurable(Some(std::sync::Arc::new(broken)));
    let options = DiskOptions { before_durable, ..roomy(dir.path()) };
    let engine = DiskEngine::open(options).unwrap();
    let mut txn = engine.write(1);
    txn.put(b"a", Bytes::from_static(b"1"));
    txn.commit();
    assert!(engine.flush().is_err());
    assert_eq!(engine.durable_index(), 0);
    drop(engine);
    assert_eq!(open(dir.path()).read().get(b"a").unwrap(), None);
}
