//! Flushed keyspaces leave the tables, and nobody sees anything else of it.

use super::*;
use crate::dropped::Dropped;
use crate::key::{Position, UserKey};
use crate::keyspace::{Reader, Writer};
use crate::memory::MemoryEngine;
use crate::snapshot::decode_chunk;
use crate::value::ValueKind;
use parking_lot::Mutex;

/// Keys of one batch.
const KEYS: u64 = 100;

/// Applies `change` to all engines as the entry `log_index`.
fn entry(engines: &[&dyn Engine], log_index: u64, change: impl Fn(&mut Writer<'_>)) {
    for engine in engines {
        engine.wait_for_room().unwrap();
        let mut txn = engine.write(log_index);
        let mut writer = Writer::new(&mut *txn, 0, 1);
        change(&mut writer);
        writer.settle();
        txn.commit();
    }
}

/// A batch of keys in databases 0 and 1, a third of them with deadlines.
fn fill(writer: &mut Writer<'_>, batch: u64) {
    for number in 0..KEYS {
        let name = format!("key {batch} {number}");
        let key = UserKey { slot: (number * 131 % 16384) as u16, bytes: name.as_bytes() };
        for database in [0, 1] {
            let found = writer.find(database, key).unwrap();
            let deadline_ms = (number % 3 == 0).then_some(1000 + number);
            writer.store(found, ValueKind::STRING, &[&[b'v'; 100]], deadline_ms).unwrap();
        }
    }
}

fn digest(engine: &dyn Engine) -> u128 {
    Reader::new(&*engine.read(), 0, 1).digest().unwrap()
}

/// Rows of flushed keyspaces that a read could stumble over.
fn rubbish(txn: &dyn ReadTxn) -> usize {
    let dropped = Dropped::load(txn).unwrap();
    dropped.ranges().iter().map(|(start, end)| txn.rows(start, end).count()).sum()
}

fn keys_of(txn: &dyn ReadTxn, database: u8) -> usize {
    Reader::new(txn, 0, 1).keys_from(database, Position(0)).unwrap().count()
}

/// Two engines with the same 30 batches: on disk with loads of a few batches each, and the model.
fn filled(options: DiskOptions) -> (DiskEngine, MemoryEngine) {
    let (disk, memory) = (DiskEngine::open(options).unwrap(), MemoryEngine::new());
    for batch in 1..=30 {
        entry(&[&disk, &memory], batch, |writer| fill(writer, batch));
    }
    (disk, memory)
}

#[test]
fn flushed_rows_go_and_older_views_keep_them() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, memory) = filled(small(dir.path()));
    disk.flush().unwrap();
    let before = disk.stats().disk_bytes;
    let (view, export) = (disk.read(), disk.export().unwrap());
    entry(&[&disk, &memory], 31, |writer| writer.flush_database(0).unwrap());
    entry(&[&disk, &memory], 32, |writer| fill(writer, 32));
    assert_eq!(digest(&disk), digest(&memory));
    eventually("the removal", || rubbish(&*disk.read()) == 0);
    assert_eq!(digest(&disk), digest(&memory));
    assert!(disk.stats().disk_bytes < before * 3 / 4, "{} {before}", disk.stats().disk_bytes);
    assert_eq!((keys_of(&*disk.read(), 0), keys_of(&*disk.read(), 1)), (100, 3100));
    assert_eq!((keys_of(&*view, 0), keys_of(&*view, 1)), (3000, 3000));
    assert_eq!(keys_of(export.view(), 0), 3000);
    // Later changes, and everything flushed: nothing is left of it either.
    entry(&[&disk, &memory], 33, |writer| {
        (0..2).for_each(|database| writer.flush_database(database).unwrap());
    });
    eventually("the removal of everything", || rubbish(&*disk.read()) == 0);
    assert_eq!((digest(&disk), digest(&memory)), (0, 0));
    assert_eq!(keys_of(&*view, 1), 3000);
}

#[test]
fn what_is_left_of_flushed_keyspaces_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, memory) = filled(roomy(dir.path()));
    entry(&[&disk, &memory], 31, |writer| writer.flush_database(1).unwrap());
    let mut source = disk.export().unwrap();
    assert!(rubbish(source.view()) > 0, "it is removed a second later");
    let mut sent = BTreeMap::new();
    while let Some(chunk) = source.next_chunk(3000).unwrap() {
        sent.extend(decode_chunk(chunk).unwrap());
    }
    let kept = memory.read();
    let kept: BTreeMap<Bytes, Bytes> = kept.rows(&[], &[0xFF; 4]).map(Result::unwrap).collect();
    assert_eq!(sent.len(), kept.len());
    assert!(sent == kept);
}

#[test]
fn a_stop_at_any_moment_of_the_removal_loses_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let images = tempfile::tempdir().unwrap();
    let (disk, memory) = filled(small(dir.path()));
    let steps = [Step::ReclaimStarts, Step::ReclaimDropped, Step::ReclaimCompacted];
    let (from, to) = (dir.path().to_owned(), images.path().to_owned());
    let met = Arc::new(Mutex::new(Vec::new()));
    let seen = met.clone();
    hook(&disk, move |step| {
        if steps.contains(&step) && !seen.lock().contains(&step) {
            copy_dir(&from, &to.join(format!("{step:?}")));
            seen.lock().push(step);
        }
        Ok(())
    });
    entry(&[&disk, &memory], 31, |writer| writer.flush_database(0).unwrap());
    eventually("the removal", || met.lock().len() == 3);
    drop(disk);
    assert_eq!(*met.lock(), steps);
    for step in steps {
        let options = roomy(&images.path().join(format!("{step:?}")));
        let image = DiskEngine::open(options).unwrap();
        assert_eq!((image.durable_index(), digest(&image)), (31, digest(&memory)), "{step:?}");
        eventually("the removal after a restart", || rubbish(&*image.read()) == 0);
        assert_eq!((keys_of(&*image.read(), 0), keys_of(&*image.read(), 1)), (0, 3000));
    }
}

#[test]
fn a_removal_that_cannot_be_written_stops_writing_and_not_reading() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, memory) = filled(small(dir.path()));
    hook(&disk, |step| match step {
        Step::ReclaimDropped => Err(io::Error::other("no room").into()),
        _ => Ok(()),
    });
    entry(&[&disk, &memory], 31, |writer| writer.flush_database(0).unwrap());
    eventually("the failure", || disk.flush().is_err());
    assert!(disk.flush().unwrap_err().to_string().contains("no room"));
    assert_eq!(digest(&disk), digest(&memory));
}

#[test]
fn a_removal_without_room_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, memory) = filled(small(dir.path()));
    let failures = Mutex::new(1);
    hook(&disk, move |step| {
        let mut failures = failures.lock();
        if step != Step::ReclaimStarts || *failures == 0 {
            return Ok(());
        }
        *failures -= 1;
        Err(StorageError::NoRoom("injected".to_owned()))
    });
    entry(&[&disk, &memory], 31, |writer| writer.flush_database(0).unwrap());
    eventually("the removal", || rubbish(&*disk.read()) == 0);
    assert_eq!(digest(&disk), digest(&memory));
    disk.flush().unwrap();
}
