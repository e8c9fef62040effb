//! One operation at a time, and a reopened log after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::log::{SyncPolicy, verify};

fn indexes(shard: &ShardLog) -> Vec<(u64, u64)> {
    let found = shard.read(0..u64::MAX, usize::MAX).unwrap();
    found.iter().map(|entry| (entry.position.term, entry.position.index)).collect()
}

#[test]
fn everything_is_there_after_reopening_a_real_directory() {
    let dir = tempfile::tempdir().unwrap();
    let options = || LogOptions { segment_bytes: 4096, ..LogOptions::new(dir.path().join("log")) };
    let log = RaftLog::open(options()).unwrap();
    let (a, b) = (log.shard(0), log.shard(7));
    append(&a, entries(1, 0..=99)).unwrap();
    append(&b, entries(3, 5..=6)).unwrap();
    wait(|done| a.save_vote(vote(4, 2), done)).unwrap();
    a.save_committed(Some(at(1, 98)));
    a.truncate_after(Some(at(1, 89)));
    append(&a, entries(2, 90..=91)).unwrap();
    a.purge(at(1, 49));
    assert!(matches!(RaftLog::open(options()), Err(LogError::Locked(_))));
    assert!(matches!(verify(&dir.path().join("log")), Err(LogError::Locked(_))));
    log.close().unwrap();
    drop((log, a, b));

    let report = verify(&dir.path().join("log")).unwrap();
    assert_eq!(
        (report.shards[&0].first_index, report.shards[&0].last),
        (Some(50), Some(at(2, 91)))
    );
    assert_eq!(report.torn_bytes, 0);
    let log = RaftLog::open(options()).unwrap();
    assert_eq!(log.shards(), vec![0, 7]);
    let (a, b) = (log.shard(0), log.shard(7));
    assert_eq!(a.state(), (Some(at(1, 49)), Some(at(2, 91))));
    assert_eq!((a.vote(), a.committed()), (Some(vote(4, 2)), Some(at(1, 98))));
    let expected: Vec<_> = [entries(1, 50..=89), entries(2, 90..=91)].concat();
    assert_eq!(a.read(0..u64::MAX, usize::MAX).unwrap(), expected);
    assert_eq!(b.read(0..u64::MAX, usize::MAX).unwrap(), entries(3, 5..=6));
    assert_eq!((b.vote(), b.committed(), b.state().0), (None, None, None));
    assert!(verify(dir.path()).is_err(), "a directory without a log");
}

/// Names of all files of a disk that contain `part`.
fn count(disk: &MemoryDisk, part: &str) -> usize {
    disk.content().names.keys().filter(|name| name.contains(part)).count()
}

#[test]
fn purged_segments_are_kept_for_reuse_as_far_as_was_said() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    let shard = log.shard(0);
    let keeps = |spares: usize| {
        let begun = Instant::now();
        while count(&disk, ".free") != spares || count(&disk, ".tmp") != 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", disk.content().names.keys());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let mut next = 0;
    let mut fill_and_purge = || {
        append(&shard, entries(1, next..=next + 999)).unwrap();
        next += 1000;
        assert!(count(&disk, ".seg") > 10, "{:?}", disk.content().names.keys());
        shard.purge(at(1, next - 1));
        append(&shard, vec![entry(1, next, b"last")]).unwrap();
        next += 1;
    };
    fill_and_purge();
    keeps(2);
    log.recycle(5 * SEGMENT_BYTES + 1);
    fill_and_purge();
    keeps(5);
    log.recycle(3 * SEGMENT_BYTES);
    keeps(3);
    drop((log, shard));
    let log = open(&disk).unwrap();
    assert_eq!(log.shard(0).state().1, Some(at(1, next - 1)));
}

#[test]
fn purge_past_the_end_is_the_last_position() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    let shard = log.shard(0);
    append(&shard, entries(1, 0..=10)).unwrap();
    shard.purge(at(1, 20));
    assert_eq!(shard.state(), (Some(at(1, 20)), Some(at(1, 20))));
    assert_eq!(indexes(&shard), vec![]);
    assert!(append(&shard, entries(1, 20..=20)).is_err());
    drop((log, shard));
    let log = open(&disk).unwrap();
    let shard = log.shard(0);
    assert_eq!(shard.state(), (Some(at(1, 20)), Some(at(1, 20))));
    append(&shard, entries(2, 21..=22)).unwrap();
    assert_eq!(indexes(&shard), vec![(2, 21), (2, 22)]);
    assert_eq!(shard.position_at(22), Some(at(2, 22)));
    assert_eq!(shard.position_at(20), None);
}

#[test]
fn a_conflicting_suffix_is_replaced_at_once_and_for_good() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    let shard = log.shard(0);
    shard.append(entries(1, 1..=5), Box::new(|result| result.unwrap()));
    shard.truncate_after(Some(at(1, 2)));
    shard.append(entries(3, 3..=4), Box::new(|result| result.unwrap()));
    let expected = vec![(1, 1), (1, 2), (3, 3), (3, 4)];
    assert_eq!(indexes(&shard), expected);
    log.sync().unwrap();
    assert_eq!(indexes(&shard), expected);
    drop((log, shard));
    let log = open(&disk).unwrap();
    assert_eq!(indexes(&log.shard(0)), expected);
    log.shard(0).truncate_after(None);
    assert_eq!(log.shard(0).state(), (None, None));
    drop(log);
    assert_eq!(open(&disk).unwrap().shard(0).state(), (None, None));
}

#[test]
fn purging_lets_go_of_whole_segments_and_reuses_them() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    let shard = log.shard(0);
    for round in 0..60u64 {
        append(&shard, entries(1, round * 10..=round * 10 + 9)).unwrap();
        if let Some(purged) = (round * 10).checked_sub(25) {
            shard.purge(at(1, purged));
        }
        assert_eq!(shard.first_index(), Some((round * 10 + 1).saturating_sub(25)));
        assert!(log.stats().segments <= 3, "round {round}: {:?}", log.stats());
    }
    log.close().unwrap();
    let files = disk.content().names.len();
    assert!(files <= 7, "{:?}", disk.content().names);
    drop((log, shard));
    let log = open(&disk).unwrap();
    assert_eq!(log.shard(0).state(), (Some(at(1, 565)), Some(at(1, 599))));
    assert_eq!(log.shard(0).read(0..900, usize::MAX).unwrap(), entries(1, 566..=599));
}

#[test]
fn an_entry_may_be_larger_than_a_segment() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    let shard = log.shard(0);
    let large = |index| entry(1, index, &vec![index as u8; 3 * SEGMENT_BYTES as usize]);
    let all = vec![large(1), large(2), entry(1, 3, b"small"), large(4), entry(1, 5, b"small")];
    append(&shard, all.clone()).unwrap();
    assert_eq!(shard.read(0..9, usize::MAX).unwrap(), all);
    drop((log, shard));
    let log = open(&disk).unwrap();
    assert_eq!(log.shard(0).read(0..9, usize::MAX).unwrap(), all);
    log.shard(0).purge(at(1, 5));
    append(&log.shard(0), entries(1, 6..=200)).unwrap();
    drop(log);
    let log = open(&disk).unwrap();
    assert_eq!(log.shard(0).read(0..900, usize::MAX).unwrap(), entries(1, 6..=200));
}

#[test]
fn callbacks_come_in_the_order_of_the_calls_with_refusals_among_them() {
    let log = open(&MemoryDisk::default()).unwrap();
    let shards = [log.shard(0), log.shard(1)];
    let (sender, receiver) = mpsc::channel();
    let mut expected = Vec::new();
    for number in 0..200u64 {
        let sender = sender.clone();
        let done = Box::new(move |result: io::Result<()>| {
            sender.send((number, result.map_err(|error| error.kind()))).unwrap();
        });
        let shard = &shards[(number % 2) as usize];
        let refused = number % 7 == 3;
        if number % 5 == 0 {
            shard.save_vote(vote(number, 1), done);
        } else if refused {
            shard.append(entries(1, 1_000..=1_000), done);
        } else {
            let next = shard.state().1.map_or(0, |last| last.index + 1);
            shard.append(entries(1, next..=next + number % 3), done);
        }
        let refused = refused && number % 5 != 0 && shard.state().1.is_some();
        expected.push((number, if refused { Err(io::ErrorKind::InvalidInput) } else { Ok(()) }));
    }
    let got: Vec<_> = receiver.iter().take(200).collect();
    assert_eq!(got, expected);
    assert!(log.failure().is_none());
}

#[test]
fn reads_respect_bounds_and_come_from_files_too() {
    let log = open(&MemoryDisk::default()).unwrap();
    let shard = log.shard(0);
    let all: Vec<_> = (1..=100).map(|index| entry(1, index, &[index as u8; 100])).collect();
    append(&shard, all.clone()).unwrap();
    log.sync().unwrap();
    assert!(log.stats().cache_bytes <= 2048, "{:?}", log.stats());
    assert_eq!(shard.read(0..u64::MAX, usize::MAX).unwrap(), all);
    assert!(log.stats().cache_misses >= 79);
    assert_eq!(shard.read(1..101, 0).unwrap(), all[..1]);
    assert_eq!(shard.read(95..101, 0).unwrap(), all[94..95]);
    assert_eq!(shard.read(91..101, 300).unwrap(), all[90..93]);
    let some = shard.read(3..101, 1000).unwrap();
    assert!(!some.is_empty() && some.len() <= 10 && some == all[2..2 + some.len()]);
    assert_eq!(shard.read(50..50, 1000).unwrap(), vec![]);
    assert_eq!(shard.read(101..200, 1000).unwrap(), vec![]);
    assert_eq!(shard.read(70..90, usize::MAX).unwrap(), all[69..89]);
}

#[test]
fn readers_see_whole_entries_while_others_append_truncate_and_purge() {
    let log = open(&MemoryDisk::default()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (shard, stop) = (log.shard(0), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut seen = 0usize;
                while !stop.load(Ordering::Relaxed) {
                    let found = shard.read(0..u64::MAX, 4000).unwrap();
                    for (entry, next) in found.iter().zip(found.iter().skip(1)) {
                        assert_eq!(entry.position.index + 1, next.position.index);
                    }
                    for entry in &found {
                        let LogPosition { term, index } = entry.position;
                        assert_eq!(entry, &entries(term, index..=index)[0]);
                    }
                    seen += found.len();
                }
                seen
            })
        })
        .collect();
    let shard = log.shard(0);
    let mut next = 0;
    for round in 1..400u64 {
        shard.append(entries(round, next..=next + round % 9), Box::new(|r| r.unwrap()));
        next += round % 9 + 1;
        if round % 5 == 0 {
            next -= 2;
            shard.truncate_after(shard.position_at(next - 1));
        }
        if round % 11 == 0 {
            shard.purge(shard.position_at(next - 30.min(next)).unwrap_or(at(round, next - 10)));
        }
        if round % 20 == 0 {
            log.sync().unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
}

#[test]
fn every_second_answers_before_the_sync_and_syncs_votes() {
    let disk = MemoryDisk::default();
    let options = LogOptions { sync: SyncPolicy::EverySecond, ..options() };
    let log = RaftLog::open_on(Arc::new(disk.clone()), options).unwrap();
    let shard = log.shard(0);
    // The clock of the interval starts with the log, so these come before the first sync is due.
    append(&shard, entries(1, 0..=0)).unwrap();
    append(&shard, entries(1, 1..=1)).unwrap();
    assert_eq!(log.stats().fsync_count, 0);
    wait(|done| shard.save_vote(vote(2, 1), done)).unwrap();
    assert_eq!(log.stats().fsync_count, 1);
    append(&shard, entries(1, 2..=2)).unwrap();
    let begin = Instant::now();
    while log.stats().fsync_count < 2 {
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", log.stats());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn one_sync_covers_what_waits_together() {
    let log = open(&MemoryDisk::default()).unwrap();
    let shard = log.shard(0);
    let (enter, entered) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let hold = Box::new(move |_| {
        enter.send(()).unwrap();
        left.recv().unwrap();
    });
    shard.append(entries(1, 0..=0), hold);
    entered.recv().unwrap();
    for index in 1..=20 {
        shard.append(entries(1, index..=index), Box::new(|r| r.unwrap()));
    }
    assert_eq!(log.stats().queued, 20);
    leave.send(()).unwrap();
    log.sync().unwrap();
    let stats = log.stats();
    assert_eq!(stats.fsync_count, 2, "{stats:?}");
    assert_eq!((stats.entries_per_sync.max, stats.fsync_us.count), (20, 2));
}

#[test]
fn a_second_without_work_seals_the_end() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    append(&log.shard(0), entries(1, 0..=0)).unwrap();
    let syncs = log.stats().fsync_count;
    let begin = Instant::now();
    while log.stats().fsync_count == syncs {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    }
    // As after kill -9 now: damage to the acknowledged entry is found.
    let mut content = disk.content();
    let segment = content.named("0000000001.seg");
    let payload = segment.windows(7).position(|bytes| bytes == b"payload").unwrap();
    segment[payload] ^= 1;
    assert!(matches!(open(&MemoryDisk::with(content)), Err(LogError::Corrupt { segment: 1, .. })));
}

#[test]
fn options_out_of_range_are_refused() {
    let options = LogOptions { segment_bytes: 100, ..options() };
    let opened = RaftLog::open_on(Arc::new(MemoryDisk::default()), options);
    assert!(matches!(opened, Err(LogError::Options(_))));
}
