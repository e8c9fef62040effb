//! A log without threads: nothing happens but in its turns, and its owner is told of work.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

#[test]
fn a_driven_log_works_in_its_turns_only() {
    let (disk, told) = (MemoryDisk::default(), Arc::new(AtomicU64::new(0)));
    let open = || {
        let told = Arc::clone(&told);
        let wake = Arc::new(move || {
            told.fetch_add(1, Ordering::Relaxed);
        });
        RaftLog::open_driven(Arc::new(disk.clone()), options(), wake).unwrap()
    };
    let (log, mut driver) = open();
    let (shard, (sender, synced)) = (log.shard(0), mpsc::channel());
    let append = |shard: &ShardLog, range| {
        let sender = sender.clone();
        let done = move |result: io::Result<()>| sender.send(result.is_ok()).unwrap();
        shard.append(entries(1, range), Box::new(done));
    };
    // Enough for several segments, which nobody but the driver prepares.
    append(&shard, 0..=299);
    assert!(told.load(Ordering::Relaxed) > 0);
    assert!(synced.try_recv().is_err(), "no turn, no sync");
    assert!(driver.turn());
    assert_eq!(synced.try_recv(), Ok(true));
    append(&shard, 300..=300);
    drop(driver);
    assert_eq!(synced.try_recv(), Ok(false), "a dropped driver does no more");
    drop((shard, log));

    let (log, mut driver) = open();
    assert_eq!(log.shard(0).state().1, Some(at(1, 299)));
    log.shard(0).purge(at(1, 250));
    assert!(driver.turn() && driver.turn(), "open until it is closed");
    assert_eq!(log.shard(0).first_index(), Some(251));
}
