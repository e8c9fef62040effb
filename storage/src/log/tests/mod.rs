//! Tests of the whole log: against a model, on a disk that forgets, with damage, with threads.

mod basic;
mod crash;
mod driven;
mod failure;
mod memory_disk;
mod model;
mod rot;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    EntryKind, LogEntry, LogError, LogOptions, LogPosition, RaftLog, SavedVote, ShardLog,
    SyncPolicy,
};
use memory_disk::MemoryDisk;

/// Small segments, so that short tests cross many of them.
const SEGMENT_BYTES: u64 = 4096;

fn options() -> LogOptions {
    LogOptions { segment_bytes: SEGMENT_BYTES, cache_bytes_max: 2048, ..LogOptions::new("memory") }
}

/// A clock by which each look at it takes its time, so that seconds pass within a short test.
fn hurried_clock() -> Instant {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    static LOOKS: AtomicU32 = AtomicU32::new(0);
    *BEGUN + Duration::from_millis(50) * LOOKS.fetch_add(1, Ordering::Relaxed)
}

/// As [`options`], synced by this policy.
fn synced_by(sync: SyncPolicy) -> LogOptions {
    match sync {
        SyncPolicy::Always => options(),
        SyncPolicy::EverySecond => LogOptions { sync, clock: hurried_clock, ..options() },
    }
}

fn open(disk: &MemoryDisk) -> Result<RaftLog, LogError> {
    RaftLog::open_on(Arc::new(disk.clone()), options())
}

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

fn entry(term: u64, index: u64, payload: &[u8]) -> LogEntry {
    let payload = Bytes::copy_from_slice(payload);
    LogEntry { position: at(term, index), kind: EntryKind::Normal, payload }
}

fn entries(term: u64, range: std::ops::RangeInclusive<u64>) -> Vec<LogEntry> {
    range.map(|index| entry(term, index, format!("payload of {term}/{index}").as_bytes())).collect()
}

/// Calls `act` with a callback and waits for it.
fn wait(act: impl FnOnce(super::Done)) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    act(Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap()
}

fn append(shard: &ShardLog, entries: Vec<LogEntry>) -> io::Result<()> {
    wait(|done| shard.append(entries, done))
}

fn vote(term: u64, node_id: u64) -> SavedVote {
    SavedVote { term, node_id, committed: term.is_multiple_of(2) }
}
