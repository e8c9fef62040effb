//! Offline check of a log directory: the same scan that opening does, writing nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, FsDisk};
use super::error::LogError;
use super::{LogPosition, SavedVote, recover, scan};

/// What a sound log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Identifies the log.
    pub log_id: u64,
    /// Segments in use, oldest first.
    pub segments: Vec<SegmentReport>,
    /// What the records say, per shard.
    pub shards: BTreeMap<u32, ShardReport>,
    /// Bytes behind the end that the next open will discard, the trace of a crash.
    pub torn_bytes: u64,
}

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub seq: u32,
    /// Number of its records, checkpoint and marks included.
    pub records: u64,
    /// Where its records end, in bytes.
    pub bytes: u64,
}

/// One shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardReport {
    /// Index of the oldest entry.
    pub first_index: Option<u64>,
    /// The last position; the purged one where there is no entry.
    pub last: Option<LogPosition>,
    /// The purged position.
    pub purged: Option<LogPosition>,
    /// The commit position saved last.
    pub committed: Option<LogPosition>,
    /// The vote saved last.
    pub vote: Option<SavedVote>,
}

/// Checks every byte of the log in `dir`, which no process may have open.
///
/// # Errors
/// As `RaftLog::open`; a directory without a log is `LogError::Corrupt`.
pub fn verify(dir: &Path) -> Result<VerifyReport, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(FsDisk::read_only(dir.to_owned()));
    let _lock = recover::lock(&*disk, dir)?;
    verify_on(&*disk)
}

pub(super) fn verify_on(disk: &dyn Disk) -> Result<VerifyReport, LogError> {
    let names = disk.list().map_err(LogError::io("list the directory"))?;
    let Some(log_id) = scan::read_identity(disk, &names)? else {
        return Err(LogError::corrupt(0, 0, "log.id is missing"));
    };
    let scan = scan::scan(disk, &names, log_id)?;
    let segment = |s: &scan::ScannedSegment| SegmentReport {
        seq: s.seq,
        records: s.records,
        bytes: u64::from(s.end),
    };
    let shard = |(id, replayed): (u32, scan::ReplayedShard)| {
        let summary = replayed.summary;
        let report = ShardReport {
            first_index: summary.entries.map(|(first, _)| first),
            last: summary.entries.map(|(_, last)| last).or(summary.purged),
            purged: summary.purged,
            committed: summary.committed,
            vote: summary.vote,
        };
        (id, report)
    };
    Ok(VerifyReport {
        log_id,
        segments: scan.segments.iter().map(segment).collect(),
        torn_bytes: u64::from(scan.tail.stray_end - scan.tail.end),
        shards: scan.shards.into_iter().map(shard).collect(),
    })
}
