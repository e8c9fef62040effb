//! openraft's own storage suite on the real log and state machine, and what it leaves out.

use super::*;
use crate::raft::log_store::LogStore;
use openraft::StorageError as RaftStorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use storage::disk::{DiskEngine, DiskOptions};
use storage::log::{LogOptions, RaftLog};
use tempfile::TempDir;

/// A log and a store in a directory of their own.
struct Stores;

impl StoreBuilder<TypeConfig, LogStore, Applier, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, Applier), RaftStorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, applier) = open(dir.path());
        Ok((dir, log, applier))
    }
}

fn open(dir: &std::path::Path) -> (LogStore, Applier) {
    let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::new(dir.join("log")) };
    let log = RaftLog::open(options).unwrap();
    let engine = DiskEngine::open(DiskOptions::new(dir.join("state"))).unwrap();
    let machine =
        Machine::open(Arc::new(engine), Arc::<crate::tasks::Threads>::default(), 0).unwrap();
    (LogStore::new(log.shard(0)), Applier::new(machine))
}

#[test]
fn openrafts_storage_suite_passes() {
    // The suite makes a runtime of its own for each case.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(Stores)).unwrap();
}

#[test]
fn entries_are_expected_to_take_what_those_before_took() {
    let mut pace = Pace::unknown();
    let short = |pace: &Pace| [1000, 16 << 10, 64 << 10, 1 << 20].map(|bytes| pace.is_short(bytes));
    assert_eq!(short(&pace), [true, true, false, false]);
    // A microsecond for each 280 bytes.
    (0..20).for_each(|_| pace.learn(140_000, Duration::from_micros(500)));
    assert_eq!(short(&pace), [true, true, true, false]);
    (0..20).for_each(|_| pace.learn(140_000, Duration::from_micros(30)));
    assert_eq!((short(&pace), pace.is_short((1 << 20) + 1)), ([true; 4], false));
    // Reads from a cold disk, and what is learned from a short entry: nothing.
    (0..20).for_each(|_| pace.learn(140_000, Duration::from_millis(25)));
    pace.learn(10, Duration::ZERO);
    assert_eq!(short(&pace), [true, false, false, false]);
    assert_eq!([20_000, 30_000].map(|bytes| pace.is_long(bytes)), [false, true]);
    (0..20).for_each(|_| pace.learn(140_000, Duration::from_micros(30)));
    assert_eq!([1_000_000, 1 << 20].map(|bytes| pace.is_long(bytes)), [false, true]);
}
