//! The durable Raft log: segments of checksummed records, one writer, many readers.
//!
//! One log directory serves many shards (Raft groups). Appending returns at once: entries can be
//! read immediately, and a callback tells when they are durable. One thread gathers whatever was
//! appended meanwhile into one write and one `fdatasync`, then calls back in the order of the
//! calls. The log does not know what payloads mean, and it does not decide when to purge.
//!
//! **Guarantees.** A callback with `Ok` under `SyncPolicy::Always` means: this record and every
//! record queued before it, of any shard, survives a power cut. Votes, entries, truncations and
//! purges of a shard form one stream; after a crash a prefix of that stream is found, never less
//! than what was acknowledged. Damage to what was synced is reported, not repaired. After the
//! first failed write or sync the log is failed for good: all callbacks get that error.
//!
//! **Map**: `format` bytes; `scan` the rule of recovery, read-only; `recover` opening; `shard`
//! what is in memory; `queue` between callers and the thread of `writer`; `keeper` prepares and
//! retires segments; `reader` entries from files; `driver` a log without threads; `disk` the file operations; `verify` offline
//! check; `stats` measurements; `types` what callers hand over; `names` file names.
//!
//! # Format, version 1
//!
//! All numbers are little-endian. `log.id` (64 bytes) identifies the log; a segment begins with a
//! header of the same shape, then a checkpoint record, then records, each at a multiple of 8.
//!
//! | header | bytes | |
//! |---|---|---|
//! | magic | 0..8 | `KVORUMLG`, in `log.id` `KVORUMID` |
//! | version | 8 | 1 |
//! | log id | 16..24 | random, the same in all files |
//! | segment number | 24..28 | from 1, without gaps; in `log.id` 0 |
//! | previous end | 28..32 | where the records of the previous segment end |
//! | file length | 32..40 | of this segment when it was begun; the file is never shorter |
//! | checksum | 60..64 | CRC32C of bytes 0..60; bytes not named are 0 |
//!
//! | record | bytes | |
//! |---|---|---|
//! | checksum | 0..4 | CRC32C of the rest with its padding, started from the key (below) |
//! | length | 4..8 | of the record without padding, in bytes |
//! | tag | 8..12 | derived from log id and segment number |
//! | synced upto | 12..16 | how far this segment was synced when the record was written |
//! | type | 16 | 1 entry, 2 vote, 3 committed, 4 truncate, 5 purge, 6 checkpoint, 7 mark |
//! | detail | 17 | entry: 0 blank, 1 normal, 2 membership; vote: 1 committed; else: 1 position given |
//! | | 18..20 | 0 |
//! | shard | 20..24 | |
//! | term, index | 24..40 | of the position; of a vote: term, node id |
//! | payload | 40.. | entry: the caller's bytes; checkpoint: 80 bytes per shard; padded with 0 to 8 |
//!
//! | checkpoint, per shard | bytes | |
//! |---|---|---|
//! | shard | 0..4 | |
//! | flags | 4 | 1 vote, 2 vote is committed, 4 purged, 8 committed, 16 entries |
//! | vote | 8..24 | term, node id |
//! | purged, committed | 24..56 | term, index each |
//! | entries | 56..80 | index of the first, term and index of the last |
//!
//! The checksum starts from a value derived from log id and segment number, plus the record's
//! offset. So what a recycled file held before, what a misdirected write put elsewhere, and what
//! a client sends as a payload, never reads as a record.
//!
//! **Crash or damage?** The header of `scan` states the rule that `synced upto` makes exact. Its
//! blind spot is what was synced after the last record was written: damage there looks like a
//! torn write. A second without work therefore ends with a mark, and so does closing.
//!
//! **Segments** are filled with zeros before use or recycled from purged ones, because an
//! `fdatasync` that overwrites written blocks needs no commit of the file system. A record longer
//! than a segment makes its segment longer.

mod blocks;
mod disk;
mod driver;
mod error;
mod format;
mod keeper;
mod names;
mod queue;
mod reader;
mod recover;
mod scan;
mod shard;
mod stats;
mod types;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

use blocks::{BlockWriter, Tail};
use disk::FsDisk;
use format::{HEADER_BYTES, SegmentKey};
use keeper::Keeper;
use queue::{Op, Shared, Wake};
use recover::Recovered;
use scan::Scan;
use shard::{Shard, ShardState};
use writer::{Current, Extent, Writer};

pub use disk::{Disk, DiskFile};
pub use driver::Driver;
pub use error::LogError;
pub use stats::{LogStats, Spread};
pub use types::{
    Done, ENTRY_BYTES_MAX, EntryKind, FailureHook, LogEntry, LogHooks, LogOptions, LogPosition,
    SEGMENT_BYTES_RANGE, SavedVote, SlowSyncHook, SyncPolicy, WorkHook,
};
pub use verify::{SegmentReport, ShardReport, VerifyReport, verify};

/// An open log. Clones and shard handles share it; when the last of them is dropped, what is
/// queued is written and synced and the threads end.
#[derive(Clone)]
pub struct RaftLog {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    keeper: Arc<Keeper>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Keeps other processes out.
    _lock: Guard,
}

/// Keeps a directory taken until it is dropped.
type Guard = Box<dyn Any + Send + Sync>;

impl RaftLog {
    /// Opens the log, creating it where there is none. Reads every segment, so this takes as long
    /// as reading them.
    ///
    /// # Errors
    /// `LogError::Corrupt` if what had been synced is damaged or missing; see `LogError`.
    pub fn open(options: LogOptions) -> Result<RaftLog, LogError> {
        let disk = FsDisk::create(options.dir.clone(), options.removed.clone());
        let disk = disk.map_err(LogError::io("open directory"))?;
        RaftLog::open_on(Arc::new(disk), options)
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, options: LogOptions) -> Result<RaftLog, LogError> {
        let (lock, writer) = RaftLog::recover(disk, options, Wake::Thread(Condvar::new()))?;
        let (shared, keeper) = (Arc::clone(&writer.shared), Arc::clone(&writer.keeper));
        let for_keeper = Arc::clone(&keeper);
        let threads = vec![
            spawn("log-keeper", move || for_keeper.run())?,
            spawn("log-writer", move || writer.run())?,
        ];
        let threads = Mutex::new(threads);
        Ok(RaftLog { inner: Arc::new(Inner { shared, keeper, threads, _lock: lock }) })
    }

    /// Opens a log on a disk of the caller's that has no threads: the caller gives the driver its
    /// turns, and is told by `wake` when there is something to do. `options.dir` only names it.
    ///
    /// # Errors
    /// As [`RaftLog::open`].
    pub fn open_driven(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        wake: WorkHook,
    ) -> Result<(RaftLog, Driver), LogError> {
        let (lock, writer) = RaftLog::recover(disk, options, Wake::Owner(wake))?;
        let (shared, keeper) = (Arc::clone(&writer.shared), Arc::clone(&writer.keeper));
        let threads = Mutex::default();
        let inner = Arc::new(Inner { shared, keeper, threads, _lock: lock });
        Ok((RaftLog { inner }, Driver { writer }))
    }

    fn recover(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        wake: Wake,
    ) -> Result<(Guard, Writer), LogError> {
        if !SEGMENT_BYTES_RANGE.contains(&options.segment_bytes) {
            let (range, given) = (SEGMENT_BYTES_RANGE, options.segment_bytes);
            return Err(LogError::Options(format!("segment_bytes is {given}, not in {range:?}")));
        }
        let lock = recover::lock(&*disk, &options.dir)?;
        let Recovered { scan, spares } = recover::recover(&*disk, options.segment_bytes)?;
        let has_thread = matches!(wake, Wake::Thread(_));
        let keeper = Arc::new(Keeper::new(disk, options.segment_bytes, spares, has_thread));
        Ok((lock, writer(scan, keeper, options, wake)?))
    }

    /// A number that tells this log from any other, also from one made in its place.
    pub fn id(&self) -> u64 {
        self.inner.shared.log_id
    }

    /// The handle of a shard, which exists as soon as it is asked for.
    pub fn shard(&self, id: u32) -> ShardLog {
        let existing = self.inner.shared.shards.read().get(&id).cloned();
        let shard = existing.unwrap_or_else(|| {
            let fresh = || Arc::new(Shard { id, state: Mutex::default() });
            Arc::clone(self.inner.shared.shards.write().entry(id).or_insert_with(fresh))
        });
        ShardLog { inner: Arc::clone(&self.inner), shard }
    }

    /// The shards that have records or were asked for.
    pub fn shards(&self) -> Vec<u32> {
        self.inner.shared.shards.read().keys().copied().collect()
    }

    /// Waits until everything called before is durable, under any policy. Never call it from a
    /// callback.
    ///
    /// # Errors
    /// The error that failed the log.
    pub fn sync(&self) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel();
        let done = Box::new(move |result| drop(sender.send(result)));
        self.inner.shared.push(Op::Barrier { done });
        receiver.recv().unwrap_or_else(|_| Err(io::Error::other("the log's writer has ended")))
    }

    /// Writes and syncs what is queued and ends the threads; later calls are answered with an
    /// error. Dropping the last handle does the same, but cannot report an error.
    ///
    /// # Errors
    /// The error that failed the log.
    pub fn close(&self) -> io::Result<()> {
        self.inner.close();
        self.inner.shared.failure().map_or(Ok(()), Err)
    }

    /// Why the log failed, if it did. A failed log acknowledges nothing any more, and the process
    /// should end.
    pub fn failure(&self) -> Option<io::Error> {
        self.inner.shared.failure()
    }

    /// Keeps purged segments of up to so many bytes for reuse, from now on. A segment that has to be
    /// made is filled with zeros first; what is not kept is removed.
    pub fn recycle(&self, bytes_max: u64) {
        self.inner.keeper.recycle(bytes_max);
    }

    /// What the log measured.
    pub fn stats(&self) -> LogStats {
        let shared = &self.inner.shared;
        let cached = |shard: &Arc<Shard>| shard.state.lock().cached_bytes();
        let cache_bytes = shared.shards.read().values().map(cached).sum();
        LogStats { cache_bytes, queued: shared.queued(), ..shared.meter.read() }
    }
}

impl fmt::Debug for RaftLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RaftLog({:016x})", self.inner.shared.log_id)
    }
}

impl Inner {
    fn close(&self) {
        self.shared.stop();
        self.keeper.close();
        let threads = std::mem::take(&mut *self.threads.lock());
        // The keeper goes first in the list and has to go last: the writer may wait for it.
        for thread in threads.into_iter().rev() {
            // A callback may hold the last handle; a thread cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                // A panic of the thread was turned into the log's failure already.
                drop(thread.join());
            }
            self.keeper.stop();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(run).map_err(LogError::io("start a thread"))
}

/// The writer that goes on where the scanned log ends.
fn writer(
    scan: Scan,
    keeper: Arc<Keeper>,
    options: LogOptions,
    wake: Wake,
) -> Result<Writer, LogError> {
    let Some(last) = scan.segments.last() else {
        return Err(LogError::corrupt(recover::FIRST_SEGMENT, 0, "there is no segment"));
    };
    let segment = Current {
        seq: last.seq,
        key: SegmentKey::new(scan.log_id, last.seq),
        file: Arc::clone(&last.file),
        capacity: last.file_bytes,
        base: HEADER_BYTES as u32,
        end: scan.tail.end,
        synced: scan.tail.end,
        buffer: Vec::new(),
        tail: Tail::read(&*last.file, scan.tail.end).map_err(LogError::io("read the end"))?,
        next_requested: false,
    };
    let file = |s: &scan::ScannedSegment| {
        (s.seq, (SegmentKey::new(scan.log_id, s.seq), Arc::clone(&s.file)))
    };
    let files = scan.segments.iter().map(file).collect();
    let (mut shards, mut stream, mut purged) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (id, replayed) in scan.shards {
        stream.insert(id, replayed.summary);
        purged.extend(replayed.summary.purged.map(|purged| (id, purged.index)));
        let state = Mutex::new(ShardState::recovered(&replayed.summary, replayed.slots));
        shards.insert(id, Arc::new(Shard { id, state }));
    }
    let extent = |s: scan::ScannedSegment| Extent {
        seq: s.seq,
        end: s.end,
        file_bytes: s.file_bytes,
        index_max: s.index_max,
    };
    let writer = Writer {
        shared: Arc::new(Shared::new(
            scan.log_id,
            shards,
            files,
            options.hooks,
            wake,
            options.clock,
        )),
        keeper,
        sync: options.sync,
        slow_sync: options.slow_sync,
        cache_bytes_max: options.cache_bytes_max,
        segment_bytes: options.segment_bytes,
        segment,
        blocks: BlockWriter::new(),
        stream,
        extents: scan.segments.into_iter().map(extent).collect::<VecDeque<_>>(),
        purged,
        purging: Vec::new(),
        entries_unsynced: 0,
        last_sync: (options.clock)(),
        last_work: (options.clock)(),
        sealed: scan.tail.sealed,
        failed: None,
    };
    writer.measure();
    Ok(writer)
}

/// One shard of a log. All calls return at once; what they change can be read at once.
#[derive(Clone)]
pub struct ShardLog {
    inner: Arc<Inner>,
    shard: Arc<Shard>,
}

impl ShardLog {
    /// The purged position and the last one; the last is the purged one where there is no entry.
    pub fn state(&self) -> (Option<LogPosition>, Option<LogPosition>) {
        let state = self.shard.state.lock();
        (state.purged, state.last())
    }

    /// Whether a vote or an entry was ever written.
    pub fn is_used(&self) -> bool {
        let state = self.shard.state.lock();
        state.vote.is_some() || state.last().is_some()
    }

    /// Index of the oldest entry.
    pub fn first_index(&self) -> Option<u64> {
        self.shard.state.lock().first_index()
    }

    /// The position of the entry with this index, without reading it.
    pub fn position_at(&self, index: u64) -> Option<LogPosition> {
        self.shard.state.lock().position_at(index)
    }

    /// The vote saved last.
    pub fn vote(&self) -> Option<SavedVote> {
        self.shard.state.lock().vote
    }

    /// The commit position saved last.
    pub fn committed(&self) -> Option<LogPosition> {
        self.shard.state.lock().committed
    }

    /// Appends entries. Their indexes follow the last one; any index may begin a shard that has
    /// neither entries nor a purged position. Otherwise `done` gets `InvalidInput` and nothing is
    /// changed.
    pub fn append(&self, entries: Vec<LogEntry>, done: Done) {
        let shared = &self.inner.shared;
        let mut state = self.shard.state.lock();
        if let Err(error) = state.check_append(&entries) {
            return shared.push(Op::Refused { error, done });
        }
        let ticket = shared.tickets(entries.len());
        state.append(&entries, ticket);
        shared.push(Op::Append { shard: Arc::clone(&self.shard), entries, ticket, done });
    }

    /// Saves a vote. It is synced before `done` under any policy.
    pub fn save_vote(&self, vote: SavedVote, done: Done) {
        let mut state = self.shard.state.lock();
        state.vote = Some(vote);
        self.inner.shared.push(Op::Vote { shard: self.shard.id, vote, done });
    }

    /// Notes how far entries are committed. Written with the next batch or a little later, never
    /// synced for its own sake; a crash may bring back an older value, never one whose entries
    /// are not there if they were appended before this call. Entries that are committed must not be
    /// truncated: taking the position back may become durable later than the truncation.
    pub fn save_committed(&self, committed: Option<LogPosition>) {
        let mut state = self.shard.state.lock();
        state.committed = committed;
        self.inner.shared.push_committed(self.shard.id, committed);
    }

    /// Removes all entries behind `after`; all entries, if it is `None`. Durable not later than
    /// whatever is called after it.
    pub fn truncate_after(&self, after: Option<LogPosition>) {
        let mut state = self.shard.state.lock();
        if let Some(after) = state.truncate(after) {
            self.inner.shared.push(Op::Truncate { shard: self.shard.id, after });
        }
    }

    /// Removes all entries up to and with `upto`, which may be behind the last one and is the
    /// last position then. Durable not later than whatever is called after it; files are let go
    /// of only when it is durable.
    pub fn purge(&self, upto: LogPosition) {
        let mut state = self.shard.state.lock();
        if state.purge(upto) {
            self.inner.shared.push(Op::Purge { shard: self.shard.id, upto });
        }
    }

    /// The entries of `range` that exist, in order and without a gap, at most `bytes_max` payload
    /// bytes but at least one entry if any exists. Where the beginning of the range is purged,
    /// the result begins at the first entry. May read files.
    ///
    /// # Errors
    /// `InvalidData` if an entry in a file is damaged; else what the file system reports.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        reader::read(&self.inner.shared, &self.shard, range, bytes_max)
    }
}

impl fmt::Debug for ShardLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardLog({:016x}/{})", self.inner.shared.log_id, self.shard.id)
    }
}
