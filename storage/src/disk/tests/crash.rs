//! Crashes and failures at every step: copies of the folder, injected errors, damaged files.

use super::*;
use std::sync::Mutex;

/// Copies the engine's folder at each step; returns the copies with their steps.
#[derive(Clone, Default)]
struct Copies(Arc<Mutex<Vec<(Step, tempfile::TempDir)>>>);

impl Copies {
    fn of(engine: &DiskEngine, dir: &Path) -> Self {
        let (copies, dir) = (Self::default(), dir.to_owned());
        let list = copies.clone();
        hook(engine, move |step| {
            let copy = tempfile::tempdir().unwrap();
            copy_dir(&dir, copy.path());
            list.0.lock().unwrap().push((step, copy));
            Ok(())
        });
        copies
    }

    /// The rows that each copy shows when it is opened.
    fn states(&self) -> Vec<(Step, String)> {
        let copies = self.0.lock().unwrap();
        let state = |(step, copy): &(Step, tempfile::TempDir)| {
            let engine = open(copy.path());
            assert_eq!(generation_dirs(copy.path()), 1, "leftovers of {step:?} are removed");
            assert_eq!(engine.read().log_index(), engine.durable_index());
            let rows = one_line(&state(&engine));
            // What came out of a crash can go on.
            put(&engine, 1000, "z", "later");
            assert_eq!(engine.flush().unwrap(), 1000);
            (*step, rows)
        };
        copies.iter().map(state).collect()
    }
}

#[test]
fn a_crash_during_a_flush_leaves_the_state_before_or_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    commit(&engine, 1, &[("a", Some("1")), ("b", Some("1"))]);
    engine.flush().unwrap();
    let copies = Copies::of(&engine, dir.path());
    commit(&engine, 2, &[("a", Some("2")), ("b", None)]);
    engine.flush().unwrap();
    let states = copies.states();
    let expected = [
        (Step::FlushStarts, "a=1 b=1"),
        (Step::FlushWritten, "a=1 b=1"),
        (Step::FlushLoaded, "a=2"),
    ];
    assert_eq!(states, expected.map(|(step, rows)| (step, rows.to_owned())));
}

#[test]
fn a_crash_during_an_installation_leaves_the_old_or_the_new_state() {
    let (from_dir, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = open(from_dir.path());
    commit(&from, 7, &[("a", Some("new")), ("c", Some("new"))]);
    let engine = open(dir.path());
    commit(&engine, 1, &[("a", Some("old")), ("b", Some("old"))]);
    engine.flush().unwrap();
    put(&engine, 2, "a", "not flushed");
    let copies = Copies::of(&engine, dir.path());
    copy_state(&from, &engine, 1000);
    let old = |step| (step, "a=old b=old".to_owned());
    let new = |step| (step, "a=new c=new".to_owned());
    let expected = [old(Step::ImportLoaded), old(Step::ImportPrepared), new(Step::ImportSwitched)];
    assert_eq!(copies.states(), expected);
    assert_eq!((engine.durable_index(), engine.read().log_index()), (7, 7));
    drop(engine);
    assert_eq!(one_line(&state(&open(dir.path()))), "a=new c=new");
}

#[test]
fn large_states_arrive_in_parts_and_an_interrupted_one_goes_away() {
    let (from_dir, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = open(from_dir.path());
    let large = "x".repeat(1 << 20);
    for log_index in 1..=70 {
        put(&from, log_index, &format!("key{log_index:02}"), &large);
    }
    let engine = open(dir.path());
    put(&engine, 1, "a", "old");
    engine.flush().unwrap();
    let copies = Copies::of(&engine, dir.path());
    let mut source = from.export().unwrap();
    let mut sink = engine.import().unwrap();
    while let Some(chunk) = source.next_chunk(1 << 20).unwrap() {
        sink.write_chunk(chunk).unwrap();
    }
    assert_eq!(generation_dirs(dir.path()), 2);
    drop(sink);
    assert_eq!(generation_dirs(dir.path()), 1);
    let expected = (Step::ImportPart, "a=old".to_owned());
    assert_eq!(copies.states(), [expected.clone(), expected]);
    *engine.shared.hook.lock() = None;
    copy_state(&from, &engine, 3 << 20);
    assert!(state(&engine) == state(&from), "the states differ");
    eventually("removal of the old generation", || generation_dirs(dir.path()) == 1);
}

#[test]
fn an_overlay_on_its_way_never_lands_in_a_new_generation() {
    for held_at in [Step::FlushStarts, Step::FlushLoaded] {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        let (reached, is_reached) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let may_go_on = Mutex::new(may_go_on);
        hook(&engine, move |step| {
            if step == held_at {
                reached.send(()).unwrap();
                let _ = may_go_on.lock().unwrap().recv();
            }
            Ok(())
        });
        commit(&engine, 5, &[("a", Some("old")), ("b", Some("old"))]);
        std::thread::scope(|scope| {
            let flushing = scope.spawn(|| engine.flush().unwrap());
            is_reached.recv().unwrap();
            install_b(&engine).unwrap();
            assert_eq!(flushing.join().unwrap(), 9, "whoever waited for the old state is let go");
        });
        assert_eq!(one_line(&state(&engine)), "b=new");
        drop(go_on);
        *engine.shared.hook.lock() = None;
        put(&engine, 10, "c", "later");
        assert_eq!(engine.flush().unwrap(), 10);
        eventually("removal of the old generation", || generation_dirs(dir.path()) == 1);
        drop(engine);
        assert_eq!(one_line(&state(&open(dir.path()))), "b=new c=later");
    }
}

/// Lets `step` fail; then `act` runs on an engine that holds a=1 (durable) and a=2 (not).
fn with_failure(step: Step, act: impl Fn(&DiskEngine)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, 1, "a", "1");
    engine.flush().unwrap();
    put(&engine, 2, "a", "2");
    hook(&engine, move |reached| {
        let full = || io::Error::new(io::ErrorKind::StorageFull, "injected");
        if reached == step { Err(full().into()) } else { Ok(()) }
    });
    act(&engine);
    drop(engine);
    dir
}

fn install_b(engine: &DiskEngine) -> Result<(), StorageError> {
    let mut rows = [Ok((bytes("b"), bytes("new")))].into_iter();
    let chunk = crate::snapshot::encode_chunk(&mut rows, 100).unwrap().unwrap();
    let mut sink = engine.import()?;
    sink.write_chunk(chunk)?;
    sink.finish(9)
}

#[test]
fn a_failed_flush_stops_writing_but_not_reading() {
    for (step, survives) in [(Step::FlushStarts, "a=1"), (Step::FlushLoaded, "a=2")] {
        let dir = with_failure(step, |engine| {
            for _ in 0..2 {
                let error = engine.flush().unwrap_err().to_string();
                assert!(error.contains("injected"), "{error}");
            }
            assert!(!engine.has_room());
            let error = engine.wait_for_room().unwrap_err();
            assert!(
                matches!(&error, StorageError::Io(io) if io.kind() == io::ErrorKind::StorageFull)
            );
            assert!(engine.import().is_err());
            assert_eq!(engine.durable_index(), 1);
            assert_eq!(one_line(&state(engine)), "a=2");
            put(engine, 3, "a", "3");
            assert_eq!(one_line(&state(engine)), "a=3");
        });
        assert_eq!(one_line(&state(&open(dir.path()))), survives);
    }
}

#[test]
fn a_flush_that_meets_a_full_disk_waits_for_room() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, 1, "a", "1");
    let failures = Mutex::new(2);
    hook(&engine, move |step| {
        let mut failures = failures.lock().unwrap();
        if step != Step::FlushWritten || *failures == 0 {
            return Ok(());
        }
        *failures -= 1;
        Err(io::Error::from(io::ErrorKind::StorageFull).into())
    });
    assert_eq!(engine.flush().unwrap(), 1);
    *engine.shared.hook.lock() = None;
    put(&engine, 2, "b", "2");
    assert_eq!(engine.flush().unwrap(), 2);
    let tables = fs::read_dir(dir.path().join("state.g1/keyspaces/1/tables")).unwrap();
    assert_eq!(tables.count(), 3, "one of the first state, and of each flush");
    drop(engine);
    assert_eq!(one_line(&state(&open(dir.path()))), "a=1 b=2");
}

#[test]
fn a_real_io_error_is_such_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, 1, "a", "1");
    engine.flush().unwrap();
    put(&engine, 2, "a", "2");
    let tables = dir.path().join("state.g1/keyspaces/1/tables");
    fs::rename(&tables, dir.path().join("away")).unwrap();
    assert!(engine.flush().is_err());
    assert!(engine.wait_for_room().is_err());
    assert_eq!(engine.read().get(b"a").unwrap(), Some(bytes("2")));
    fs::rename(dir.path().join("away"), tables).unwrap();
    assert!(engine.flush().is_err(), "it does not come back before it is opened again");
    assert_eq!(one_line(&state(&engine)), "a=2");
    drop(engine);
    assert_eq!(one_line(&state(&open(dir.path()))), "a=1");
}

#[test]
fn a_failed_installation_leaves_the_old_state_as_long_as_that_is_certain() {
    for step in [Step::ImportLoaded, Step::ImportPrepared] {
        let dir = with_failure(step, |engine| {
            assert!(install_b(engine).is_err());
            assert_eq!(one_line(&state(engine)), "a=2");
            assert_eq!(generation_dirs(&engine.shared.options.dir), 1);
            assert_eq!(engine.flush().unwrap(), 2);
        });
        assert_eq!(one_line(&state(&open(dir.path()))), "a=2");
    }
    let dir = with_failure(Step::ImportSwitched, |engine| {
        assert!(install_b(engine).is_err());
        assert_eq!(one_line(&state(engine)), "a=2");
        // Which of the two states a restart finds is unknown now, so nothing is durable any more.
        assert!(engine.flush().is_err());
    });
    assert_eq!(one_line(&state(&open(dir.path()))), "b=new");
}

#[test]
fn a_complete_state_counts_only_when_it_is_finished_at_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, 1, "a", "1");
    let sink = |complete_at: Option<u64>| {
        let mut rows = [Ok((bytes("b"), bytes("new")))].into_iter();
        let chunk = crate::snapshot::encode_chunk(&mut rows, 100).unwrap().unwrap();
        let mut sink = engine.import().unwrap();
        sink.write_chunk(chunk).unwrap();
        complete_at.into_iter().for_each(|index| sink.complete(index).unwrap());
        sink
    };
    drop(sink(Some(9)));
    assert_eq!((generation_dirs(dir.path()), engine.read().log_index()), (1, 1));
    let mut complete = sink(Some(9));
    complete.complete(9).unwrap();
    assert!(complete.complete(8).is_err());
    let late = crate::snapshot::encode_chunk(&mut [Ok((bytes("c"), bytes("")))].into_iter(), 100);
    assert!(complete.write_chunk(late.unwrap().unwrap()).is_err());
    assert!(sink(Some(9)).finish(8).is_err());
    assert_eq!(one_line(&state(&engine)), "a=1");
    sink(Some(9)).finish(9).unwrap();
    assert_eq!(one_line(&state(&engine)), "b=new");
    sink(None).finish(10).unwrap();
    assert_eq!(engine.durable_index(), 10);
}

#[test]
fn an_installation_waits_for_no_batch() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut txn = engine.write(1);
    txn.put(bytes("a").as_ref(), bytes("1"));
    assert!(install_b(&engine).unwrap_err().to_string().contains("batch"));
    txn.commit();
    assert_eq!(one_line(&state(&engine)), "a=1");
    install_b(&engine).unwrap();
    assert_eq!(one_line(&state(&engine)), "b=new");
}

/// Damages the folder of an engine that holds a=1, and returns what opening it says.
fn damage(damage: impl Fn(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, 1, "a", "1");
    engine.flush().unwrap();
    drop(engine);
    damage(dir.path());
    let error = DiskEngine::open(roomy(dir.path())).err().expect("damage is noticed");
    assert!(matches!(error, StorageError::Corrupt(_) | StorageError::Lsm(_)), "{error}");
    error.to_string()
}

#[test]
fn damage_is_an_error_and_never_an_empty_store() {
    let current =
        |text: &'static str| move |dir: &Path| fs::write(dir.join("CURRENT"), text).unwrap();
    assert!(damage(current("")).contains("CURRENT"));
    assert!(
        damage(current("kvorum-state format=7 generation=1 phase=ready crc32c=00000000\n"))
            .contains("format=7")
    );
    let missing = damage(|dir| fs::remove_file(dir.join("CURRENT")).unwrap());
    assert!(missing.contains("CURRENT is missing"));
    damage(|dir| fs::remove_dir_all(dir.join("state.g1")).unwrap());
    damage(|dir| fs::remove_file(dir.join("state.g1/version")).unwrap());
    damage(|dir| fs::remove_dir_all(dir.join("state.g1/keyspaces")).unwrap());
    damage(|dir| fs::remove_dir_all(dir.join("state.g1/keyspaces/1")).unwrap());
    damage(|dir| fs::remove_dir_all(dir.join("state.g1/keyspaces/0")).unwrap());
    damage(|dir| fs::remove_file(dir.join("state.g1/0.jnl")).unwrap());
    damage(|dir| fs::create_dir(dir.join("state.g1/keyspaces/stray")).unwrap());
    damage(|dir| {
        let tables = dir.join("state.g1/keyspaces/1/tables");
        for entry in fs::read_dir(tables).unwrap() {
            fs::File::create(entry.unwrap().path()).unwrap();
        }
    });
}

#[test]
fn a_crash_while_the_first_generation_is_made_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    current::prepare(dir.path(), Current::Creating).unwrap();
    current::switch(dir.path()).unwrap();
    fs::create_dir_all(dir.path().join("state.g1/keyspaces")).unwrap();
    let engine = open(dir.path());
    assert_eq!(engine.durable_index(), 0);
    put(&engine, 1, "a", "1");
    engine.flush().unwrap();
    drop(engine);
    assert_eq!(one_line(&state(&open(dir.path()))), "a=1");
}

#[test]
fn a_folder_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let error = DiskEngine::open(roomy(dir.path())).err().unwrap();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(engine);
    open(dir.path());
}
