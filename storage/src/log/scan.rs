//! Reads a whole log and decides what it says, without writing a byte.
//!
//! The rule of what is damage and what is the trace of a crash: every record carries how far its
//! segment was synced when it was written. Records form a chain from the segment's start; where
//! the chain of the *last* segment breaks, at offset D, the remainder is searched for records
//! that stand alone. If one of them says "synced up to more than D", then D had been durable and
//! is damaged: the log is refused. If none does, nothing behind D was ever acknowledged (a power
//! cut may leave any subset of the pages of an unsynced batch), and the log ends at D. A segment
//! that has a successor was synced to its end before the successor was begun, so its chain must
//! be whole up to the end that the successor's header names.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::SEGMENT_BYTES_RANGE;
use super::disk::{Disk, DiskFile, read_upto};
use super::error::LogError;
use super::format::{
    self, Body, HEADER_BYTES, HeaderState, RECORD_ALIGN, RECORD_BYTES_MIN, RawRecord,
    SegmentHeader, SegmentKey, ShardSummary,
};
use super::names;
use super::shard::{Place, Slot};
use crate::mutants::{self, Mutant};

/// What a log directory holds.
pub(super) struct Scan {
    pub(super) log_id: u64,
    /// Segments in use, oldest first, never empty.
    pub(super) segments: Vec<ScannedSegment>,
    /// Numbers of segment files behind the last one in use; true: bytes of a start that was never
    /// synced are in it.
    pub(super) unstarted: Vec<(u32, bool)>,
    pub(super) shards: BTreeMap<u32, ReplayedShard>,
    pub(super) tail: Tail,
}

pub(super) struct ScannedSegment {
    pub(super) seq: u32,
    pub(super) file: Arc<dyn DiskFile>,
    /// Length of the file, in bytes.
    pub(super) file_bytes: u64,
    /// Where the records end.
    pub(super) end: u32,
    pub(super) records: u64,
    /// Per shard the highest index of an entry in this segment.
    pub(super) index_max: BTreeMap<u32, u64>,
}

/// How the last segment ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Some record says that this much of the segment was synced.
    pub(super) proven: u32,
    /// Where the valid chain ends.
    pub(super) end: u32,
    /// Where the last stray record of an unsynced batch ends; equal to `end` if there is none.
    pub(super) stray_end: u32,
    /// The last record is a mark that covers everything before it.
    pub(super) sealed: bool,
}

/// One shard as the records leave it.
#[derive(Default)]
pub(super) struct ReplayedShard {
    pub(super) summary: ShardSummary,
    /// Entries at the beginning that the oldest checkpoint counts and no segment holds. They must
    /// all be purged by later records.
    missing: u64,
    pub(super) slots: VecDeque<Slot>,
}

impl ReplayedShard {
    fn from_checkpoint(summary: ShardSummary) -> ReplayedShard {
        let missing = summary.entries.map_or(0, |(first, last)| last.index - first + 1);
        ReplayedShard { summary, missing, slots: VecDeque::new() }
    }

    fn take(&mut self, body: &Body<'_>, place: Place) -> Result<(), String> {
        let before = self.summary.entries;
        if let Body::Entry { position, .. } = body {
            let expected = before.map(|(_, last)| last).or(self.summary.purged);
            if expected.is_some_and(|p| p.index.checked_add(1) != Some(position.index)) {
                return Err(format!("entry {} does not follow the one before", position.index));
            }
            self.slots.push_back(Slot::in_file(position.term, place));
        }
        self.summary.take(body);
        let Some((first, last)) = self.summary.entries else {
            self.missing = 0;
            self.slots.clear();
            return Ok(());
        };
        // What a purge removed at the beginning, then what a truncation removed at the end.
        let purged = before.map_or(0, |(old, _)| first.saturating_sub(old));
        let from_missing = purged.min(self.missing);
        self.missing -= from_missing;
        let from_slots = usize::try_from(purged - from_missing).unwrap_or(usize::MAX);
        self.slots.drain(..from_slots.min(self.slots.len()));
        let count = last.index - first + 1;
        self.missing = self.missing.min(count);
        self.slots.truncate(usize::try_from(count - self.missing).unwrap_or(usize::MAX));
        Ok(())
    }
}

/// Reads the identity file; `None` if there is none.
pub(super) fn read_identity(disk: &dyn Disk, names: &[String]) -> Result<Option<u64>, LogError> {
    if !names.iter().any(|name| name == names::IDENTITY) {
        return Ok(None);
    }
    let file = disk.open(names::IDENTITY).map_err(LogError::io("open log.id"))?;
    let bytes = read_upto(&*file, 0, HEADER_BYTES).map_err(LogError::io("read log.id"))?;
    match format::decode_identity(&bytes) {
        HeaderState::Valid(log_id) => Ok(Some(log_id)),
        HeaderState::Unknown(version) => Err(LogError::Version { segment: 0, version }),
        HeaderState::Invalid => Err(LogError::corrupt(0, 0, "log.id is damaged")),
    }
}

/// Opens every segment file and reads its beginning.
fn open_segments(
    disk: &dyn Disk,
    names: &[String],
    log_id: u64,
) -> Result<Vec<OpenSegment>, LogError> {
    let mut seqs: Vec<u32> = names.iter().filter_map(|name| names::segment_seq(name)).collect();
    seqs.sort_unstable();
    for pair in seqs.windows(2) {
        if pair[0] + 1 != pair[1] {
            return Err(LogError::corrupt(pair[0] + 1, 0, "the segment's file is missing"));
        }
    }
    seqs.into_iter().map(|seq| OpenSegment::open(disk, log_id, seq)).collect()
}

struct OpenSegment {
    seq: u32,
    key: SegmentKey,
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    /// The header, if it is sound, belongs here, and a checkpoint follows it.
    header: Option<SegmentHeader>,
}

impl OpenSegment {
    fn open(disk: &dyn Disk, log_id: u64, seq: u32) -> Result<OpenSegment, LogError> {
        let name = names::segment(seq);
        let context = |action: &str| LogError::io(format!("{action} {name}"));
        let file = disk.open(&name).map_err(context("open"))?;
        let file_bytes = file.len().map_err(context("measure"))?;
        if file_bytes > u64::from(u32::MAX) {
            return Err(LogError::corrupt(seq, 0, format!("the file has {file_bytes} bytes")));
        }
        // A file gets a segment's name when it is filled and synced.
        if file_bytes < *SEGMENT_BYTES_RANGE.start() {
            return Err(LogError::corrupt(seq, file_bytes, "the file was shortened"));
        }
        let key = SegmentKey::new(log_id, seq);
        let mut segment = OpenSegment { seq, key, file, file_bytes, header: None };
        let start = read_upto(&*segment.file, 0, HEADER_BYTES + RECORD_BYTES_MIN)
            .map_err(context("read"))?;
        match SegmentHeader::decode(&start) {
            HeaderState::Unknown(version) => {
                return Err(LogError::Version { segment: seq, version });
            }
            HeaderState::Valid(header) if header.log_id != log_id => {
                return Err(LogError::corrupt(seq, 0, "the segment belongs to another log"));
            }
            HeaderState::Valid(header) if header.seq == seq => {
                if segment.file_bytes < header.file_bytes {
                    return Err(LogError::corrupt(
                        seq,
                        segment.file_bytes,
                        "the file was shortened",
                    ));
                }
                if segment.has_checkpoint(&start)? {
                    segment.header = Some(header);
                }
            }
            HeaderState::Valid(_) | HeaderState::Invalid => {}
        }
        Ok(segment)
    }

    fn has_checkpoint(&self, start: &[u8]) -> Result<bool, LogError> {
        let claimed = start.get(HEADER_BYTES + 4..).and_then(|b| b.first_chunk());
        let len = claimed.map_or(0, |len| u32::from_le_bytes(*len));
        let fits = self.file_bytes.saturating_sub(HEADER_BYTES as u64);
        let len = u64::from(len).next_multiple_of(RECORD_ALIGN as u64).min(fits);
        let bytes = self.read(HEADER_BYTES as u64, usize::try_from(len).unwrap_or(0))?;
        let record = format::record_in(&bytes, self.key, HEADER_BYTES as u32);
        Ok(record.is_some_and(|record| matches!(record.body(), Ok(Body::Checkpoint(_)))))
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, LogError> {
        read_upto(&*self.file, offset, len)
            .map_err(LogError::io(format!("read {}", names::segment(self.seq))))
    }

    fn read_all(&self) -> Result<Vec<u8>, LogError> {
        self.read(0, usize::try_from(self.file_bytes).unwrap_or(usize::MAX))
    }
}

/// Stray records behind a broken chain.
struct Strays {
    /// End of the last one, in bytes.
    end: usize,
    /// The most that any of them says was synced.
    synced_upto: u32,
}

fn strays(segment: &[u8], key: SegmentKey, from: usize) -> Strays {
    let mut found = Strays { end: from, synced_upto: 0 };
    let mut offset = from.next_multiple_of(RECORD_ALIGN);
    while offset < segment.len() {
        match format::record_at(segment, key, offset) {
            Some(record) => {
                found.synced_upto = found.synced_upto.max(record.synced_upto);
                offset += record.on_disk as usize;
                found.end = offset;
            }
            None => offset += RECORD_ALIGN,
        }
    }
    found
}

/// Reads the log of this id, whose directory holds these names.
pub(super) fn scan(disk: &dyn Disk, names: &[String], log_id: u64) -> Result<Scan, LogError> {
    let mut opened = open_segments(disk, names, log_id)?;
    let started = opened.iter().take_while(|segment| segment.header.is_some()).count();
    let mut unstarted = Vec::new();
    for segment in opened.split_off(started) {
        if segment.header.is_some() {
            let what = "the segment cannot be read, yet a later one was begun";
            return Err(LogError::corrupt(segment.seq - 1, 0, what));
        }
        let bytes = segment.read_all()?;
        let strays = strays(&bytes, segment.key, 0);
        if strays.synced_upto > 0 {
            let what = "the segment's beginning is damaged, and records in it say it was synced";
            return Err(LogError::corrupt(segment.seq, 0, what));
        }
        let begun = matches!(SegmentHeader::decode(&bytes),
            HeaderState::Valid(header) if header.seq == segment.seq);
        unstarted.push((segment.seq, begun || strays.end > 0));
    }
    if opened.is_empty() {
        let lowest = unstarted.first().map_or(1, |(seq, _)| *seq);
        return Err(LogError::corrupt(lowest, 0, "the oldest segment has no readable beginning"));
    }
    let mut replay =
        Replay { shards: BTreeMap::new(), segments: Vec::new(), proven: 0, sealed: false };
    let mut tail = Tail::default();
    for at in 0..opened.len() {
        let successor = opened.get(at + 1).and_then(|next| next.header);
        tail = replay.segment(&opened[at], successor)?;
    }
    replay.finish(log_id, unstarted, tail)
}

struct Replay {
    shards: BTreeMap<u32, ReplayedShard>,
    segments: Vec<ScannedSegment>,
    /// Highest synced offset that a record of the current segment tells.
    proven: u32,
    /// As `Tail::sealed`, so far.
    sealed: bool,
}

impl Replay {
    fn segment(
        &mut self,
        segment: &OpenSegment,
        successor: Option<SegmentHeader>,
    ) -> Result<Tail, LogError> {
        self.proven = 0;
        self.segments.push(ScannedSegment {
            seq: segment.seq,
            file: Arc::clone(&segment.file),
            file_bytes: segment.file_bytes,
            end: 0,
            records: 0,
            index_max: BTreeMap::new(),
        });
        let bytes = match successor {
            Some(successor) => segment.read(0, successor.previous_end as usize)?,
            None => segment.read_all()?,
        };
        let mut offset = HEADER_BYTES;
        while let Some(record) = format::record_at(&bytes, segment.key, offset) {
            let place =
                Place { segment: segment.seq, offset: offset as u32, on_disk: record.on_disk };
            self.record(&record, place)
                .map_err(|what| LogError::corrupt(segment.seq, offset as u64, what))?;
            offset += record.on_disk as usize;
        }
        let damaged = |what: &str| Err(LogError::corrupt(segment.seq, offset as u64, what));
        let end = offset as u32;
        if let Some(scanned) = self.segments.last_mut() {
            scanned.end = end;
        }
        if let Some(successor) = successor {
            if end != successor.previous_end {
                return damaged("records are unreadable before the segment's end");
            }
            return Ok(Tail::default());
        }
        let strays = strays(&bytes, segment.key, offset);
        if strays.synced_upto > end && !mutants::on(Mutant::TruncatedLogAccepted) {
            return damaged("unreadable, and a later record says that it was synced");
        }
        let stray_end = strays.end.max(offset) as u32;
        Ok(Tail { proven: self.proven, end, stray_end, sealed: self.sealed })
    }

    fn record(&mut self, record: &RawRecord<'_>, place: Place) -> Result<(), String> {
        let body = record.body()?;
        if record.synced_upto > place.offset {
            return Err(format!("the record says that {} bytes were synced", record.synced_upto));
        }
        self.proven = self.proven.max(record.synced_upto);
        self.sealed = body == Body::Mark && record.synced_upto == place.offset;
        let oldest = self.segments.len() == 1;
        let Some(segment) = self.segments.last_mut() else {
            return Ok(());
        };
        segment.records += 1;
        match &body {
            Body::Mark => {}
            Body::Checkpoint(_) if place.offset as usize != HEADER_BYTES => {
                return Err("checkpoint in the middle of a segment".to_owned());
            }
            Body::Checkpoint(shards) if oldest => {
                let shard = |(id, summary): (&u32, &ShardSummary)| {
                    (*id, ReplayedShard::from_checkpoint(*summary))
                };
                self.shards = shards.iter().map(shard).collect();
            }
            Body::Checkpoint(shards) => {
                let replayed = self.shards.iter().map(|(id, shard)| (*id, shard.summary));
                if !replayed.eq(shards.iter().map(|(id, summary)| (*id, *summary))) {
                    return Err("checkpoint contradicts the records before it".to_owned());
                }
            }
            _ if place.offset as usize == HEADER_BYTES => {
                return Err("the segment does not begin with a checkpoint".to_owned());
            }
            _ => {
                if let Body::Entry { position, .. } = &body {
                    let highest = segment.index_max.entry(record.shard).or_default();
                    *highest = position.index.max(*highest);
                }
                self.shards.entry(record.shard).or_default().take(&body, place)?;
            }
        }
        Ok(())
    }

    fn finish(
        self,
        log_id: u64,
        unstarted: Vec<(u32, bool)>,
        tail: Tail,
    ) -> Result<Scan, LogError> {
        let oldest = self.segments.first().map_or(1, |segment| segment.seq);
        for (id, shard) in &self.shards {
            if shard.missing > 0 {
                let what = format!("{} entries of shard {id} before it are missing", shard.missing);
                return Err(LogError::corrupt(oldest, 0, what));
            }
        }
        let Replay { shards, segments, .. } = self;
        Ok(Scan { log_id, segments, unstarted, shards, tail })
    }
}
