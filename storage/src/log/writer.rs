//! The one thread that writes: many operations, one write, one fdatasync, then the callbacks.
//!
//! Invariants: a callback reports success only after its record, and every record before it, is
//! on the disk; a segment is synced to its end before the next one is begun; after a failed write
//! or sync nothing is written or synced again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SyncPolicy;
use super::blocks::{BlockWriter, Tail};
use super::disk::DiskFile;
use super::format::{
    self, Body, HEADER_BYTES, RECORD_BYTES_MIN, SegmentHeader, SegmentKey, ShardSummary,
};
use super::keeper::Keeper;
use super::queue::{Batch, Op, Shared};
use super::shard::{Place, Shard};
use crate::mutants::{self, Mutant};

/// Time between two syncs under `SyncPolicy::EverySecond`.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Time without work after which the end of the log is sealed: a mark says that everything before
/// it is synced, so that damage to it cannot be taken for a torn write.
const SEAL_DELAY: Duration = Duration::from_secs(1);
/// Part of a segment that may fill before the next one is asked for.
const REQUEST_AT: u32 = 4;
/// Capacity that the write buffer keeps between batches, in bytes.
const BUFFER_KEPT_BYTES: usize = 16 << 20;
/// Payloads up to this size, in bytes, are gathered with other records for one write. Tests are to
/// meet both ways, with crashes at every byte of both.
const PAYLOAD_COPIED_BYTES_MAX: usize = if cfg!(test) { 150 } else { 1 << 20 };

/// One segment that holds records still needed.
pub(super) struct Extent {
    pub(super) seq: u32,
    /// Where its records end.
    pub(super) end: u32,
    /// Length of its file, in bytes.
    pub(super) file_bytes: u64,
    /// Per shard the highest index of an entry in it.
    pub(super) index_max: BTreeMap<u32, u64>,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) sync: SyncPolicy,
    pub(super) slow_sync: Duration,
    pub(super) cache_bytes_max: usize,
    /// Length of new segments, in bytes.
    pub(super) segment_bytes: u64,
    pub(super) segment: Current,
    pub(super) blocks: BlockWriter,
    /// What all records up to here say about each shard.
    pub(super) stream: BTreeMap<u32, ShardSummary>,
    /// Oldest first; the last one is the current segment.
    pub(super) extents: VecDeque<Extent>,
    /// Highest purged index per shard that is durable.
    pub(super) purged: BTreeMap<u32, u64>,
    /// Purges that are written and not yet synced.
    pub(super) purging: Vec<(u32, u64)>,
    /// Entries written since the last sync.
    pub(super) entries_unsynced: u64,
    pub(super) last_sync: Instant,
    pub(super) last_work: Instant,
    /// The last record is a mark that says everything before it is synced.
    pub(super) sealed: bool,
    /// Why nothing is written any more.
    pub(super) failed: Option<io::Error>,
}

/// The segment being written.
pub(super) struct Current {
    pub(super) seq: u32,
    pub(super) key: SegmentKey,
    pub(super) file: Arc<dyn DiskFile>,
    /// Length of the file; only a record longer than that writes beyond it.
    pub(super) capacity: u64,
    /// Where the records begin that follow the checkpoint.
    pub(super) base: u32,
    /// Where the next record goes, once the buffer is written.
    pub(super) end: u32,
    /// How far the file is written and synced.
    pub(super) synced: u32,
    /// Records not yet written; they end at `end`.
    pub(super) buffer: Vec<u8>,
    /// What is written before them, back to the beginning of a block.
    pub(super) tail: Tail,
    pub(super) next_requested: bool,
}

/// Where the entries of one append landed: a range of the batch's places.
struct Landing {
    shard: Arc<Shard>,
    first_index: u64,
    ticket: u64,
    places: std::ops::Range<usize>,
}

impl Writer {
    /// The thread's loop.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // Whatever panics, a hook for example: nobody may wait for ever.
        if catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            shared.fail(&io::Error::other("the writer of the log panicked"));
        }
        shared.end();
    }

    fn work(&mut self) {
        while self.turn() {}
    }

    /// Takes the next batch and does it; false after the last one.
    pub(super) fn turn(&mut self) -> bool {
        let batch = self.shared.next_batch(self.deadline());
        let last = batch.last;
        if let Some(error) = &self.failed {
            // Answered without a look at the disk, until nobody is left to ask.
            for op in batch.ops {
                op.complete(Some(error));
            }
        } else if let Err(error) = self.process(batch, last) {
            self.shared.fail(&error);
            self.failed = Some(error);
        }
        !last
    }

    /// When there is something to do even without new operations.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.failed.is_some() {
            return None;
        }
        let unsynced = self.segment.synced != self.segment.end;
        let sync = (unsynced && self.sync == SyncPolicy::EverySecond)
            .then(|| self.last_sync + SYNC_INTERVAL);
        let seal = (!self.sealed).then(|| self.last_work + SEAL_DELAY);
        [sync, seal].into_iter().flatten().min()
    }

    fn process(&mut self, batch: Batch, last: bool) -> io::Result<()> {
        let idle = batch.ops.is_empty() && batch.committed.is_empty();
        let mut result = self
            .write_batch(&batch)
            .and_then(|sync_now| if sync_now { self.sync_segment() } else { Ok(()) });
        if let Err(error) = &result {
            self.shared.fail(error);
        }
        for op in batch.ops {
            let called = catch_unwind(AssertUnwindSafe(|| op.complete(result.as_ref().err())));
            if called.is_err() {
                let error = io::Error::other("a callback of the log panicked");
                self.shared.fail(&error);
                result = Err(error);
            }
        }
        result?;
        self.evict();
        if self.sync == SyncPolicy::EverySecond && self.sync_is_due() {
            self.sync_segment()?;
        }
        if !idle {
            self.last_work = (self.shared.clock)();
        }
        let seal = !self.sealed && (last || (idle && self.since(self.last_work) >= SEAL_DELAY));
        if seal { self.seal() } else { Ok(()) }
    }

    fn since(&self, moment: Instant) -> Duration {
        (self.shared.clock)().saturating_duration_since(moment)
    }

    fn sync_is_due(&self) -> bool {
        self.segment.synced != self.segment.end && self.since(self.last_sync) >= SYNC_INTERVAL
    }

    /// Writes the batch, and says whether its callbacks have to wait for a sync.
    fn write_batch(&mut self, batch: &Batch) -> io::Result<bool> {
        let mut sync_now = false;
        let mut places = Vec::new();
        let mut landings = Vec::new();
        for op in &batch.ops {
            match op {
                Op::Append { shard, entries, ticket, .. } => {
                    let start = places.len();
                    for entry in entries {
                        let (position, kind) = (entry.position, entry.kind);
                        let body = Body::Entry { position, kind, payload: &entry.payload };
                        places.push(self.record(shard.id, &body)?);
                    }
                    sync_now |= self.sync == SyncPolicy::Always;
                    self.entries_unsynced += entries.len() as u64;
                    if let Some(head) = entries.first() {
                        landings.push(Landing {
                            shard: Arc::clone(shard),
                            first_index: head.position.index,
                            ticket: *ticket,
                            places: start..places.len(),
                        });
                    }
                }
                Op::Vote { shard, vote, .. } => {
                    // A vote given twice elects two leaders, so it is synced under any policy.
                    if !mutants::on(Mutant::VoteNotPersisted) {
                        self.record(*shard, &Body::Vote(*vote))?;
                    }
                    sync_now = true;
                }
                Op::Truncate { shard, after } => {
                    if !mutants::on(Mutant::TruncationNotPersisted) {
                        self.record(*shard, &Body::Truncate(*after))?;
                    }
                }
                Op::Purge { shard, upto } => {
                    self.record(*shard, &Body::Purge(*upto))?;
                    self.purging.push((*shard, upto.index));
                }
                Op::Barrier { .. } => sync_now = true,
                Op::Refused { .. } => {}
            }
        }
        for (shard, committed) in &batch.committed {
            self.record(*shard, &Body::Committed(*committed))?;
        }
        self.write_buffer()?;
        for landing in landings {
            let places = &places[landing.places];
            landing.shard.state.lock().landed(landing.first_index, landing.ticket, places);
        }
        self.request_next();
        Ok(sync_now && !mutants::on(Mutant::AckBeforeFsync))
    }

    /// Puts one record into the buffer, beginning a new segment where this one is full.
    fn record(&mut self, shard: u32, body: &Body<'_>) -> io::Result<Place> {
        let payload = if let Body::Entry { payload, .. } = body { payload.len() } else { 0 };
        let on_disk = format::padded(RECORD_BYTES_MIN + payload) as u64;
        let full = u64::from(self.segment.end) + on_disk > self.segment.capacity;
        if full && self.segment.end > self.segment.base {
            self.roll()?;
        }
        if !matches!(body, Body::Mark) {
            self.stream.entry(shard).or_default().take(body);
        }
        let place = match body {
            Body::Entry { payload, .. } if payload.len() > PAYLOAD_COPIED_BYTES_MAX => {
                self.write_apart(shard, body, payload)?
            }
            _ => self.segment.push(shard, body),
        };
        if let Some(extent) = self.extents.back_mut() {
            extent.end = self.segment.end;
            if let Body::Entry { position, .. } = body {
                let highest = extent.index_max.entry(shard).or_default();
                *highest = position.index.max(*highest);
            }
        }
        self.sealed = matches!(body, Body::Mark);
        Ok(place)
    }

    /// Writes a record with a long payload from where that is, after what waits in the buffer.
    fn write_apart(&mut self, shard: u32, body: &Body<'_>, payload: &[u8]) -> io::Result<Place> {
        self.write_buffer()?;
        let mut head = std::mem::take(&mut self.segment.buffer);
        let Current { seq, key, end: offset, synced, .. } = self.segment;
        let (on_disk, padding) =
            format::encode_head(&mut head, key, offset, synced, shard, body, payload);
        self.segment.end += on_disk;
        self.write_parts(&[&head, payload, padding])?;
        head.clear();
        self.segment.buffer = head;
        Ok(Place { segment: seq, offset, on_disk })
    }

    /// Completes the current segment and begins the next with a checkpoint.
    fn roll(&mut self) -> io::Result<()> {
        self.write_buffer()?;
        self.sync_segment()?;
        let seq = self
            .segment
            .seq
            .checked_add(1)
            .ok_or_else(|| io::Error::other("the log has used up its segment numbers"))?;
        let file = self.keeper.take(seq)?;
        let key = SegmentKey::new(self.shared.log_id, seq);
        self.shared.files.write().insert(seq, (key, Arc::clone(&file)));
        let header = SegmentHeader {
            log_id: self.shared.log_id,
            seq,
            previous_end: self.segment.end,
            file_bytes: self.segment_bytes,
        };
        let mut buffer = std::mem::take(&mut self.segment.buffer);
        buffer.extend_from_slice(&header.encode());
        self.segment = Current {
            seq,
            key,
            file,
            capacity: self.segment_bytes,
            base: 0,
            end: HEADER_BYTES as u32,
            synced: 0,
            buffer,
            tail: Tail::default(),
            next_requested: false,
        };
        self.segment.push(0, &Body::Checkpoint(self.stream.clone()));
        self.segment.base = self.segment.end;
        self.extents.push_back(Extent {
            seq,
            end: self.segment.end,
            file_bytes: self.segment_bytes,
            index_max: BTreeMap::new(),
        });
        Ok(())
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        if self.segment.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.segment.buffer);
        self.write_parts(&[&buffer])?;
        buffer.clear();
        buffer.shrink_to(BUFFER_KEPT_BYTES);
        self.segment.buffer = buffer;
        Ok(())
    }

    /// Writes records that end at the segment's end.
    fn write_parts(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let segment = &mut self.segment;
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let place = (u64::from(segment.end) - len, segment.capacity);
        self.blocks.write(&*segment.file, &mut segment.tail, place, parts)?;
        if let Some(extent) = self.extents.back_mut() {
            extent.file_bytes = extent.file_bytes.max(u64::from(segment.end));
        }
        self.shared.meter.written(len);
        Ok(())
    }

    /// Syncs what is written, and lets go of segments that nothing needs any more.
    fn sync_segment(&mut self) -> io::Result<()> {
        if self.segment.synced == self.segment.end {
            return Ok(());
        }
        let begin = (self.shared.clock)();
        if !mutants::on(Mutant::NoFsync) {
            let synced = self.segment.file.sync_data();
            synced.or_else(|error| mutants::tolerate(Mutant::FsyncErrorsIgnored, error))?;
        }
        self.last_sync = (self.shared.clock)();
        self.segment.synced = self.segment.end;
        let took = self.last_sync - begin;
        let slow = took > self.slow_sync;
        self.shared.meter.synced(took, std::mem::take(&mut self.entries_unsynced), slow);
        if let Some(hook) = self.shared.hooks.on_slow_sync.as_ref().filter(|_| slow) {
            hook(took);
        }
        for (shard, index) in self.purging.drain(..) {
            let highest = self.purged.entry(shard).or_default();
            *highest = index.max(*highest);
        }
        self.retire();
        Ok(())
    }

    /// Hands the oldest segments to the keeper while all their entries are durably purged. Called
    /// after a sync, so the checkpoint that stands in for them is durable.
    fn retire(&mut self) {
        while self.extents.len() > 1
            && let Some(oldest) = self.extents.front()
        {
            let purged =
                |(shard, max): (&u32, &u64)| self.purged.get(shard).is_some_and(|p| p >= max);
            if !oldest.index_max.iter().all(purged) {
                break;
            }
            self.shared.files.write().remove(&oldest.seq);
            self.keeper.retire(oldest.seq, oldest.file_bytes == self.segment_bytes);
            self.extents.pop_front();
        }
        self.measure();
    }

    pub(super) fn measure(&self) {
        let bytes = self.extents.iter().map(|extent| u64::from(extent.end)).sum();
        self.shared.meter.extent(self.extents.len(), bytes);
    }

    /// Asks for the next segment when this one is durably begun and filling.
    fn request_next(&mut self) {
        let segment = &mut self.segment;
        let filling = u64::from(segment.end) > segment.capacity / u64::from(REQUEST_AT);
        if filling && segment.synced > 0 && !segment.next_requested {
            segment.next_requested = true;
            self.keeper.request(segment.seq + 1);
        }
    }

    /// Writes a record that says everything before it is synced, and syncs it. One that had to
    /// begin a segment says nothing of that segment's beginning, so another follows.
    fn seal(&mut self) -> io::Result<()> {
        self.sync_segment()?;
        for _ in 0..2 {
            let seq = self.segment.seq;
            self.record(0, &Body::Mark)?;
            self.write_buffer()?;
            self.sync_segment()?;
            if self.segment.seq == seq {
                break;
            }
        }
        Ok(())
    }

    /// Brings the tail caches under their common bound, taking from the largest first.
    fn evict(&self) {
        let shards = self.shared.shards.read();
        loop {
            let cached = |shard: &Arc<Shard>| shard.state.lock().cached_bytes();
            let sizes: Vec<usize> = shards.values().map(cached).collect();
            let over = sizes.iter().sum::<usize>().saturating_sub(self.cache_bytes_max);
            let largest = shards.values().zip(&sizes).max_by_key(|(_, size)| **size);
            let Some((shard, before)) = largest.filter(|_| over > 0) else {
                return;
            };
            let mut state = shard.state.lock();
            state.evict(over.min(*before));
            if state.cached_bytes() >= *before {
                // All of it waits to be written.
                return;
            }
        }
    }
}

impl Current {
    fn push(&mut self, shard: u32, body: &Body<'_>) -> Place {
        let (offset, synced) = (self.end, self.synced);
        let on_disk =
            format::encode_record(&mut self.buffer, self.key, offset, synced, shard, body);
        self.end += on_disk;
        Place { segment: self.seq, offset, on_disk }
    }
}
