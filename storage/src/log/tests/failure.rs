//! Writes and syncs that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::log::LogHooks;

#[test]
fn after_the_first_failure_nothing_is_acknowledged_and_nothing_retried() {
    for passing in 0..12 {
        let disk = MemoryDisk::default();
        let failures = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&failures);
        let hooks = LogHooks {
            on_failure: Some(Arc::new(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
            })),
            ..LogHooks::default()
        };
        let options = LogOptions { hooks, ..options() };
        let log = RaftLog::open_on(Arc::new(disk.clone()), options).unwrap();
        let shard = log.shard(0);
        disk.fail_after(passing);
        let results: Vec<_> =
            (0..20).map(|index| append(&shard, entries(1, index..=index))).collect();
        let acked = results.iter().take_while(|result| result.is_ok()).count();
        assert_eq!(acked, passing / 2, "a write and a sync per append");
        assert!(results[acked..].iter().all(Result::is_err));
        assert_eq!(failures.load(Ordering::SeqCst), 1);
        assert!(log.failure().is_some());
        let events = disk.trace().len();
        assert!(wait(|done| shard.save_vote(vote(1, 1), done)).is_err());
        assert!(log.sync().is_err());
        assert!(log.close().is_err());
        assert!(append(&shard, entries(1, 20..=20)).is_err(), "after closing");
        assert_eq!(disk.trace().len(), events, "the disk was left alone");
        drop((log, shard));

        let log = open(&MemoryDisk::with(disk.content())).unwrap();
        let found = log.shard(0).read(0..99, usize::MAX).unwrap();
        assert!(found.len() >= acked && found == entries(1, 0..=19)[..found.len()]);
    }
}

/// Waits until a segment could not be created again and again.
fn wait_for_refusals(disk: &MemoryDisk) {
    let (before, begun) = (disk.refused(), Instant::now());
    while disk.refused() < before + 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody asks for a segment");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_log_on_a_full_disk_waits_for_room_and_goes_on() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    let shard = log.shard(0);
    disk.refuse_create(Some("spare"));
    for index in 0..30 {
        append(&shard, entries(1, index..=index)).unwrap();
    }
    let writer = {
        let shard = shard.clone();
        std::thread::spawn(move || {
            (30..400).try_for_each(|index| append(&shard, entries(1, index..=index)))
        })
    };
    wait_for_refusals(&disk);
    assert!(log.failure().is_none());
    disk.refuse_create(None);
    writer.join().unwrap().unwrap();
    drop((log, shard));
    let log = open(&disk).unwrap();
    assert_eq!(log.shard(0).state().1.unwrap().index, 399);
}

#[test]
fn a_log_that_waits_for_room_can_be_closed() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    let shard = log.shard(0);
    disk.refuse_create(Some("spare"));
    let writer = std::thread::spawn(move || {
        (0..).find_map(|index| append(&shard, entries(1, index..=index)).err()).unwrap()
    });
    wait_for_refusals(&disk);
    drop(log.close());
    assert_eq!(writer.join().unwrap().kind(), io::ErrorKind::StorageFull);
    disk.refuse_create(None);
    drop(log);
    let log = open(&disk).unwrap();
    append(&log.shard(0), vec![]).unwrap();
}

#[test]
fn a_panic_in_a_callback_fails_the_log() {
    let log = open(&MemoryDisk::default()).unwrap();
    let shard = log.shard(0);
    shard.append(entries(1, 0..=0), Box::new(|_| panic!("intended")));
    assert!(append(&shard, entries(1, 1..=1)).is_err() || log.failure().is_some());
    assert!(log.close().is_err());
}

#[test]
fn the_last_handle_may_be_dropped_by_a_callback() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    let shard = log.shard(0);
    let (sender, receiver) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let inside = shard.clone();
    shard.append(
        entries(1, 0..=0),
        Box::new(move |result| {
            wait.recv().unwrap();
            drop(inside);
            sender.send(result).unwrap();
        }),
    );
    drop((log, shard));
    go.send(()).unwrap();
    receiver.recv().unwrap().unwrap();
}
