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
    let machine = Machine::open(Arc::new(engine), Arc::new(crate::tasks::Threads), 0).unwrap();
    (LogStore::new(log.shard(0)), Applier { machine })
}

#[test]
fn openrafts_storage_suite_passes() {
    // The suite makes a runtime of its own for each case.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(Stores)).unwrap();
}
