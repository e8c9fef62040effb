//! Readers, the writer and the background threads at the same time.

use super::*;
use crate::key::StorageKey;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

/// Every batch sets all of these to its log index, so no reader may ever see two of them differ.
const TWINS: [&str; 4] = ["aa", "mm", "mn", "zz"];

fn check_twins(txn: &dyn ReadTxn) {
    let log_index = txn.log_index();
    let expected = (log_index > 0).then(|| bytes(&log_index.to_string()));
    for key in TWINS {
        assert_eq!(txn.get(key.as_bytes()).unwrap(), expected, "{key} at {log_index}");
    }
    let rows: Vec<_> = txn.rows(b"mm", b"mn\0").map(|row| row.unwrap().1).collect();
    assert_eq!(rows.len(), if log_index > 0 { 2 } else { 0 });
    assert!(rows.iter().all(|value| Some(value) == expected.as_ref()));
    let removed = format!("filler{:03}", log_index % 900);
    assert_eq!(txn.get(removed.as_bytes()).unwrap(), None);
}

fn write_twins(engine: &dyn Engine, log_index: u64) {
    engine.wait_for_room().unwrap();
    let mut txn = engine.write(log_index);
    for key in TWINS {
        txn.put(bytes(key).as_ref(), bytes(&log_index.to_string()));
    }
    for filler in 0..10 {
        let key = format!("filler{:03}", (log_index * 7 + filler) % 900);
        txn.put(key.as_bytes(), Bytes::from(vec![b'x'; 100]));
    }
    txn.delete(format!("filler{:03}", log_index % 900).as_bytes());
    txn.commit();
}

#[test]
fn readers_see_whole_batches_during_flushes_and_installations() {
    let dir = tempfile::tempdir().unwrap();
    let engine = DiskEngine::open(small(dir.path())).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !is_over.load(Relaxed) {
                    let txn = engine.read();
                    assert!(txn.log_index() >= last, "reads never go back");
                    last = txn.log_index();
                    check_twins(&*txn);
                    thread::yield_now();
                    check_twins(&*txn);
                }
            });
        }
        for log_index in 1..=600 {
            write_twins(&engine, log_index);
            if log_index % 200 == 0 {
                copy_state(&engine, &engine, 2000);
            }
        }
        is_over.store(true, Relaxed);
    });
    assert_eq!(engine.flush().unwrap(), 600);
    let stats = engine.stats();
    assert!(stats.flushes > 5, "{stats:?}");
    assert!(stats.overlay_rows == 0 && stats.overlay_bytes == 0 && stats.disk_bytes > 0);
    drop(engine);
    let engine = DiskEngine::open(small(dir.path())).unwrap();
    assert_eq!(engine.durable_index(), 600);
    check_twins(&*engine.read());
}

#[test]
fn batches_find_what_they_replace_whoever_looks_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let engine = DiskEngine::open(small(dir.path())).unwrap();
    let mut random = Random(1);
    let mut model = BTreeMap::new();
    for log_index in 1..=300 {
        engine.wait_for_room().unwrap();
        engine.shared.lookups.help_next();
        let numbers: Vec<_> = (0..200).map(|_| random.below(2000) as u64).collect();
        let key = |number: &u64| StorageKey::from(format!("{number:04}").as_bytes());
        let mut txn = engine.write(log_index);
        txn.expect_all(numbers.len(), &mut numbers.iter().map(key));
        for number in &numbers {
            let key = key(number);
            assert_eq!(txn.get(&key).unwrap(), model.get(number).cloned(), "{number}");
            let value = Bytes::from(format!("{log_index:050}"));
            if (number + log_index) % 5 == 0 {
                txn.delete(&key);
                model.remove(number);
            } else {
                txn.put(&key, value.clone());
                model.insert(*number, value);
            }
        }
        txn.commit();
        if log_index % 100 == 0 {
            copy_state(&engine, &engine, 2000);
        }
    }
    let stats = engine.stats();
    assert!(stats.flushes > 5, "{stats:?}");
    assert_eq!(stats.lookups_ahead > 0, ahead::threads() > 0, "{stats:?}");
}

#[test]
fn an_export_is_one_state_while_the_writer_goes_on() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = DiskEngine::open(small(dir.path())).unwrap();
    let other = DiskEngine::open(small(other_dir.path())).unwrap();
    for log_index in 1..=100 {
        write_twins(&engine, log_index);
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut log_index = 100;
            while !is_over.load(Relaxed) {
                log_index += 1;
                write_twins(&engine, log_index);
            }
            log_index
        });
        let mut sent = 0;
        for _ in 0..5 {
            let log_index = copy_state(&engine, &other, 200);
            assert!(log_index >= sent && log_index == other.read().log_index());
            check_twins(&*other.read());
            assert_eq!(other.durable_index(), log_index);
            sent = log_index;
        }
        is_over.store(true, Relaxed);
        assert!(writer.join().unwrap() > 100);
    });
}

#[test]
fn a_writer_without_room_waits_for_the_flush() {
    let dir = tempfile::tempdir().unwrap();
    let engine = DiskEngine::open(small(dir.path())).unwrap();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    hook(&engine, move |_| {
        let _ = may_go_on.lock().unwrap().recv();
        Ok(())
    });
    let mut log_index = 0;
    while engine.has_room() {
        log_index += 1;
        put(&engine, log_index, &format!("{log_index}"), &"x".repeat(500));
        assert!(log_index < 1000);
    }
    let stats = engine.stats();
    assert!(stats.overlay_bytes >= 2 * (16 << 10) && stats.overlay_rows == log_index, "{stats:?}");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| engine.wait_for_room());
        thread::sleep(Duration::from_millis(30));
        assert!(!waiting.is_finished());
        drop(go_on);
        waiting.join().unwrap().unwrap();
    });
    assert!(engine.has_room());
    let stats = engine.stats();
    assert!(stats.stalls == 1 && stats.flushes >= 1, "{stats:?}");
    assert_eq!(engine.flush().unwrap(), log_index);
}

#[test]
fn batches_rest_while_merges_are_slower_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let generation = engine.shared.version.load().tables.generation.clone();
    let large = "x".repeat(16 << 20);
    put(&engine, 1, "a", &large);
    assert_eq!(engine.rest(), Duration::ZERO);
    generation.pace.see(8);
    thread::sleep(Duration::from_millis(400));
    generation.pace.see(0);
    put(&engine, 2, "b", &large);
    assert_eq!(engine.rest(), Duration::ZERO, "no merge is due");
    generation.pace.see(8);
    put(&engine, 3, "c", &large);
    // Of 400 ms a fifth for each load, and a quarter of that for a quarter of a load.
    let rest = engine.rest();
    assert!(rest > Duration::from_millis(5) && rest <= Duration::from_millis(500), "{rest:?}");
    thread::sleep(rest);
    assert_eq!(engine.rest(), Duration::ZERO);
    generation.pace.see(0);
    put(&engine, 4, "d", &large);
    assert_eq!((engine.rest(), engine.stats().rests), (Duration::ZERO, 1));
}

#[test]
fn short_batches_rest_seldom_and_long_enough_for_a_clock() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let generation = engine.shared.version.load().tables.generation.clone();
    generation.pace.see(8);
    thread::sleep(Duration::from_millis(400));
    generation.pace.see(0);
    generation.pace.see(8);
    // Each is 0.3 ms of a load that should take 80 ms.
    let short = "x".repeat(256 << 10);
    let mut rests = 0;
    let mut rested = Duration::ZERO;
    for log_index in 1..=100 {
        put(&engine, log_index, &log_index.to_string(), &short);
        let rest = engine.rest();
        if !rest.is_zero() {
            assert!(rest >= Duration::from_millis(5), "{rest:?}");
            thread::sleep(rest);
            rests += 1;
            rested += rest;
        }
    }
    assert!((1..=8).contains(&rests), "{rests}, {rested:?}");
    assert_eq!(engine.stats().rests, rests);
}

#[test]
fn level_0_stays_short_however_fast_loads_come() {
    let dir = tempfile::tempdir().unwrap();
    let engine =
        DiskEngine::open(DiskOptions { overlay_bytes_max: 1, ..small(dir.path()) }).unwrap();
    for log_index in 1..=40 {
        write_twins(&engine, log_index);
        assert!(engine.shared.version.load().tables.generation.level_0_runs() <= 12);
    }
    assert_eq!(engine.flush().unwrap(), 40);
    check_twins(&*engine.read());
}

#[test]
fn an_overlay_waits_for_room_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    // No disk has that much.
    let space = Arc::new(Space::new(dir.path(), u64::MAX));
    let options = DiskOptions { space: Some(space.clone()), ..small(dir.path()) };
    let engine = DiskEngine::open(options).unwrap();
    let mut log_index = 0;
    while engine.has_room() {
        log_index += 1;
        put(&engine, log_index, &format!("key {log_index}"), &"v".repeat(100));
    }
    assert_eq!((engine.durable_index(), engine.stats().flushes), (0, 0));
    space.set_min_bytes(1);
    engine.wait_for_room().unwrap();
    assert_eq!(engine.flush().unwrap(), log_index);
}
