//! What handles and writer share: the queue between them, the shards, the open files.
//!
//! Lock order: a shard's state, then the queue. An operation changes the shard and enters the
//! queue under the shard's lock, so the stream of each shard has the order of its calls.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use super::recover::SegmentFiles;
use super::shard::Shard;
use super::stats::Meter;
use super::{Done, LogEntry, LogHooks, LogPosition, SavedVote, WorkHook};

/// Bytes of entries that the writer takes for one write; an operation is never split.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How long a commit position may wait for a batch to travel with.
const LAZY_DELAY: Duration = Duration::from_millis(20);

/// One operation on its way to the writer.
pub(super) enum Op {
    Append {
        shard: Arc<Shard>,
        entries: Vec<LogEntry>,
        ticket: u64,
        done: Done,
    },
    Vote {
        shard: u32,
        vote: SavedVote,
        done: Done,
    },
    Truncate {
        shard: u32,
        after: Option<LogPosition>,
    },
    Purge {
        shard: u32,
        upto: LogPosition,
    },
    /// Everything before is to be synced.
    Barrier {
        done: Done,
    },
    /// Was refused when called; travels only to keep the order of the callbacks.
    Refused {
        error: io::Error,
        done: Done,
    },
}

impl Op {
    fn bytes(&self) -> usize {
        match self {
            Op::Append { entries, .. } => entries.iter().map(|e| e.payload.len() + 64).sum(),
            _ => 0,
        }
    }

    /// Calls back. `failure`: why the operation was not carried out.
    pub(super) fn complete(self, failure: Option<&io::Error>) {
        let result = match failure {
            None => Ok(()),
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        match self {
            Op::Append { done, .. } | Op::Vote { done, .. } | Op::Barrier { done } => done(result),
            Op::Refused { error, done } => done(result.and(Err(error))),
            Op::Truncate { .. } | Op::Purge { .. } => {}
        }
    }
}

#[derive(Default)]
struct Queue {
    ops: VecDeque<Op>,
    /// The newest commit position of each shard that was not written yet.
    committed: BTreeMap<u32, Option<LogPosition>>,
    committed_since: Option<Instant>,
    stop: bool,
    /// The writer has ended; operations are answered at once.
    ended: bool,
}

/// What the writer is to do next.
pub(super) struct Batch {
    pub(super) ops: Vec<Op>,
    pub(super) committed: BTreeMap<u32, Option<LogPosition>>,
    /// Nothing comes after this.
    pub(super) last: bool,
}

/// How whoever runs the writer learns that there is something to do.
pub(super) enum Wake {
    /// A thread waits for it.
    Thread(Condvar),
    /// The owner of a `Driver` is told.
    Owner(WorkHook),
}

impl Wake {
    fn ring(&self) {
        match self {
            Wake::Thread(condvar) => drop(condvar.notify_one()),
            Wake::Owner(hook) => hook(),
        }
    }
}

pub(super) struct Shared {
    pub(super) log_id: u64,
    queue: Mutex<Queue>,
    wake: Wake,
    pub(super) clock: fn() -> Instant,
    pub(super) shards: RwLock<BTreeMap<u32, Arc<Shard>>>,
    pub(super) files: RwLock<SegmentFiles>,
    pub(super) meter: Meter,
    pub(super) hooks: LogHooks,
    failure: OnceLock<(io::ErrorKind, String)>,
    tickets: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        log_id: u64,
        shards: BTreeMap<u32, Arc<Shard>>,
        files: SegmentFiles,
        hooks: LogHooks,
        wake: Wake,
        clock: fn() -> Instant,
    ) -> Shared {
        Shared {
            log_id,
            queue: Mutex::default(),
            wake,
            clock,
            shards: RwLock::new(shards),
            files: RwLock::new(files),
            meter: Meter::new(),
            hooks,
            failure: OnceLock::new(),
            tickets: AtomicU64::new(0),
        }
    }

    /// Numbers for `count` entries, in a row, never given again.
    pub(super) fn tickets(&self, count: usize) -> u64 {
        self.tickets.fetch_add(count as u64, Ordering::Relaxed)
    }

    /// Queues an operation; a log whose writer has ended answers it at once.
    pub(super) fn push(&self, op: Op) {
        let mut queue = self.queue.lock();
        if queue.ended {
            drop(queue);
            op.complete(Some(&self.ended_error()));
            return;
        }
        queue.ops.push_back(op);
        self.wake.ring();
    }

    /// Notes a commit position. Newer ones replace it until it is written.
    pub(super) fn push_committed(&self, shard: u32, committed: Option<LogPosition>) {
        let mut queue = self.queue.lock();
        queue.committed.insert(shard, committed);
        if queue.committed_since.is_none() {
            queue.committed_since = Some((self.clock)());
            // The writer may sleep without a deadline.
            self.wake.ring();
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.lock().ops.len()
    }

    /// Lets the writer end after what is queued.
    pub(super) fn stop(&self) {
        self.queue.lock().stop = true;
        self.wake.ring();
    }

    /// Waits for work, at most until `deadline`. Under a driver there is no waiting.
    pub(super) fn next_batch(&self, deadline: Option<Instant>) -> Batch {
        let mut queue = self.queue.lock();
        let Wake::Thread(wake) = &self.wake else { return queue.take() };
        loop {
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= (self.clock)());
            let lazy = queue.committed_since.map(|since| since + LAZY_DELAY);
            if !queue.ops.is_empty() || queue.stop || due(lazy) || due(deadline) {
                return queue.take();
            }
            match [lazy, deadline].into_iter().flatten().min() {
                Some(at) => {
                    wake.wait_until(&mut queue, at);
                }
                None => wake.wait(&mut queue),
            }
        }
    }

    /// Marks the log as failed, once, and calls the hook.
    pub(super) fn fail(&self, error: &io::Error) {
        let mut first = false;
        self.failure.get_or_init(|| {
            first = true;
            (error.kind(), error.to_string())
        });
        if let Some(hook) = self.hooks.on_failure.as_ref().filter(|_| first) {
            hook(error);
        }
    }

    /// Why the log failed, if it did.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.get().map(|(kind, what)| io::Error::new(*kind, what.as_str()))
    }

    fn ended_error(&self) -> io::Error {
        self.failure().unwrap_or_else(|| io::Error::other("the log is closed"))
    }

    /// The writer has ended: whatever waits is answered, and all that follows.
    pub(super) fn end(&self) {
        let ops = {
            let mut queue = self.queue.lock();
            queue.ended = true;
            std::mem::take(&mut queue.ops)
        };
        let error = self.ended_error();
        for op in ops {
            op.complete(Some(&error));
        }
    }
}

impl Queue {
    fn take(&mut self) -> Batch {
        let mut bytes = 0;
        let mut ops = Vec::new();
        while bytes < BATCH_BYTES_MAX
            && let Some(op) = self.ops.pop_front()
        {
            bytes += op.bytes();
            ops.push(op);
        }
        if !self.ops.is_empty() {
            // A commit position must not be written before the entries it names.
            return Batch { ops, committed: BTreeMap::new(), last: false };
        }
        self.committed_since = None;
        Batch { ops, committed: std::mem::take(&mut self.committed), last: self.stop }
    }
}
