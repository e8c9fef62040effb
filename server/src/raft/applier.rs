//! Applies committed entries to the state store: openraft's state machine.
//!
//! Each entry is one batch of the store, with the applied log id, the membership and the time in
//! it, and becomes visible as a whole; replies leave only after that, but for those that are known
//! when the entry is committed (`backlog`). The store numbers batches by
//! Raft's log index plus one (Raft's library counts from 0, and 0 means "nothing" in the store).
//! A snapshot is a consistent view that is streamed while writes go on. Short entries are applied on the
//! thread that learns of their commit, longer ones together on a thread of their own.

use crate::limits::{
    APPLY_INLINE_BYTES_MAX, APPLY_INLINE_MAX, APPLY_RUN_BYTES_MAX, APPLY_RUN_MAX, PACE_BYTES_MIN,
    SNAPSHOT_CHUNK_BYTES,
};
use crate::raft::backlog::Backlog;
use crate::raft::codec::Wire;
use crate::raft::proposer::Group;
use crate::raft::types::*;
use crate::state_machine::{AppliedState, apply};
use crate::tasks::{Workers, work, work_in_turn};
use crate::users::Users;
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use storage::StorageError;
use storage::meta::{self, KeyspaceMap};
use storage::mutants::{self, Mutant};
use storage::snapshot::{SnapshotSink, SnapshotSource};
use storage::txn::{Engine, ReadTxn};
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant};

/// The index a log id has in the store: counted from 1.
pub(crate) fn store_index(log_id: &LogId) -> u64 {
    log_id.index + 1
}

/// What the applier shares with the rest of the node.
pub(crate) struct Machine {
    pub(crate) engine: Arc<dyn Engine>,
    /// Who waits for the engine where that takes long.
    pub(crate) workers: Arc<dyn Workers>,
    pub(crate) shard: u16,
    applied: watch::Sender<AppliedState>,
    /// The keyspaces of the databases, and the log index since which they are so.
    pub(crate) keyspaces: ArcSwap<(u64, KeyspaceMap)>,
    membership: Mutex<StoredMembership>,
    /// The users as applied here.
    pub(crate) users: Users,
    /// The earliest deadline set since it was last looked for; u64::MAX: none.
    pub(crate) next_deadline_ms: AtomicU64,
    /// Rung when `next_deadline_ms` moved to an earlier time.
    pub(crate) deadline_moved: Notify,
    /// Keys removed because they were overdue, since the start.
    pub(crate) expired_keys: AtomicU64,
    /// Snapshots built, and received, since the start.
    pub(crate) snapshots_created: AtomicU64,
    pub(crate) snapshots_received: AtomicU64,
    /// Times an entry waited because the store had no room.
    pub(crate) throttled: AtomicU64,
    /// What a leader has committed and not yet applied.
    pub(crate) backlog: Arc<Backlog<Group>>,
    /// The last snapshot built or installed.
    pub(crate) last_snapshot: Mutex<LastSnapshot>,
    /// Whether a snapshot is being built now.
    pub(crate) snapshot_building: AtomicBool,
    /// Whether a snapshot is being received now.
    pub(crate) snapshot_receiving: AtomicBool,
}

impl Machine {
    /// Takes up the state of a store where it was left.
    pub(crate) fn open(
        engine: Arc<dyn Engine>,
        workers: Arc<dyn Workers>,
        shard: u16,
    ) -> Result<Arc<Self>, StorageError> {
        let txn = engine.read();
        let (state, membership) = load(&*txn, shard)?;
        let keyspaces = (state.log_index, KeyspaceMap::load(&*txn, shard)?);
        let machine = Arc::new(Machine {
            users: Users::default(),
            keyspaces: ArcSwap::from_pointee(keyspaces),
            engine,
            workers,
            shard,
            applied: watch::Sender::new(state),
            membership: Mutex::new(membership),
            next_deadline_ms: AtomicU64::new(0),
            deadline_moved: Notify::new(),
            expired_keys: AtomicU64::new(0),
            snapshots_created: AtomicU64::new(0),
            snapshots_received: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            backlog: Arc::default(),
            last_snapshot: Mutex::default(),
            snapshot_building: AtomicBool::new(false),
            snapshot_receiving: AtomicBool::new(false),
        });
        machine.load_users(&*machine.engine.read())?;
        Ok(machine)
    }

    /// Takes over the users of a version of the state.
    fn load_users(&self, txn: &dyn ReadTxn) -> Result<(), StorageError> {
        let rows = meta::users(txn, self.shard)?.into_iter();
        let users = rows.map(|(name, row)| Ok((name, crate::commands::acl::read_row(&row)?)));
        self.users.replace(users.collect::<Result<_, StorageError>>()?);
        Ok(())
    }

    /// What was applied last.
    pub(crate) fn applied(&self) -> AppliedState {
        *self.applied.borrow()
    }

    /// Follows what is applied.
    pub(crate) fn watch_applied(&self) -> watch::Receiver<AppliedState> {
        self.applied.subscribe()
    }

    /// Notes a snapshot that was built or installed.
    pub(crate) fn note_snapshot(&self, term: u64, bytes: u64) {
        let unix_ms = crate::clock::unix_ms();
        *self.last_snapshot.lock() = LastSnapshot { term, bytes, unix_ms };
    }

    /// Applies one entry in one batch.
    fn apply_entry(&self, entry: &Entry, keep_replies: bool) -> Result<Applied, StorageError> {
        let log_index = store_index(&entry.log_id);
        let last = self.applied();
        let mut txn = self.engine.write(log_index);
        let mut state = AppliedState { term: term_of(&entry.log_id), log_index, ..last };
        let mut outcome = crate::state_machine::Applied::default();
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(proposal) => {
                let applied = apply(&mut *txn, self.shard, last.now_ms, &proposal.0, keep_replies)?;
                (outcome, state.now_ms) = applied;
            }
            EntryPayload::Membership(membership) => {
                let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
                meta::set_membership(&mut *txn, self.shard, stored.to_bytes());
                *self.membership.lock() = stored;
            }
        }
        if !mutants::on(Mutant::ReplayedTwice) {
            state.store(&mut *txn, self.shard);
        }
        if outcome.databases_changed {
            // Before the commit: a reader of the version before finds the map too new, and reads rows.
            let map = KeyspaceMap::load(&*txn, self.shard)?;
            self.keyspaces.store(Arc::new((log_index, map)));
        }
        let users_changed = outcome.users_changed;
        txn.commit();
        if users_changed {
            self.load_users(&*self.engine.read())?;
        }
        self.applied.send_replace(state);
        self.expired_keys.fetch_add(outcome.expired, Ordering::Relaxed);
        if let Some(deadline_ms) = outcome.earliest_deadline_ms
            && self.next_deadline_ms.fetch_min(deadline_ms, Ordering::AcqRel) > deadline_ms
        {
            self.deadline_moved.notify_one();
        }
        Ok(Applied { log_index, replies: outcome.replies })
    }

    /// Applies entries one after the other; waits where the store has no room. To be called where it may
    /// block.
    fn apply_all(&self, run: Vec<Committed>) -> Result<Vec<(Waiting, Applied)>, StorageError> {
        let apply = |(entry, responder): Committed| {
            if !self.engine.has_room() {
                self.throttled.fetch_add(1, Ordering::Relaxed);
                self.engine.wait_for_room()?;
            }
            let rest = self.engine.rest();
            if !rest.is_zero() {
                std::thread::sleep(rest);
            }
            let applied = self.apply_entry(&entry, responder.is_some())?;
            Ok((responder, applied))
        };
        run.into_iter().map(apply).collect()
    }

    fn install(&self, meta: &SnapshotMeta, sink: Box<dyn SnapshotSink>) -> io::Result<()> {
        let log_index = meta.last_log_id.as_ref().map_or(0, store_index);
        // Until the new state's map is known, readers look databases up row by row.
        let known = self.keyspaces.load_full();
        self.keyspaces.store(Arc::new((u64::MAX, known.1.clone())));
        sink.finish(log_index).map_err(io::Error::other)?;
        let txn = self.engine.read();
        let (state, membership) = load(&*txn, self.shard).map_err(io::Error::other)?;
        let map = KeyspaceMap::load(&*txn, self.shard).map_err(io::Error::other)?;
        self.keyspaces.store(Arc::new((log_index, map)));
        if state.log_index != log_index {
            return Err(io::Error::other("a snapshot does not hold the log index it names"));
        }
        self.load_users(&*txn).map_err(io::Error::other)?;
        *self.membership.lock() = membership;
        self.applied.send_replace(state);
        self.next_deadline_ms.store(0, Ordering::Release);
        self.deadline_moved.notify_one();
        self.snapshots_received.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes over a state that is in reach of this process: a node's own at its start.
    fn copy(&self, meta: &SnapshotMeta, mut source: Box<dyn SnapshotSource>) -> io::Result<()> {
        if meta.last_log_id.as_ref().map_or(0, store_index) <= self.applied().log_index {
            return Ok(());
        }
        let mut sink = self.engine.import().map_err(io::Error::other)?;
        while let Some(chunk) = source.next_chunk(SNAPSHOT_CHUNK_BYTES).map_err(io::Error::other)? {
            sink.write_chunk(chunk).map_err(io::Error::other)?;
        }
        self.install(meta, sink)
    }

    /// A view of the state now, as a snapshot.
    fn view(&self) -> Result<Snapshot, StorageError> {
        let source = self.engine.export()?;
        let (state, mut last_membership) = load(source.view(), self.shard)?;
        if mutants::on(Mutant::SnapshotWithoutMembership) {
            last_membership = StoredMembership::default();
        }
        let last_log_id = last_log_id(&state);
        let meta = SnapshotMeta { last_log_id, last_membership };
        Ok(Snapshot { meta, snapshot: SnapshotData::Sending(source) })
    }
}

/// The last snapshot of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastSnapshot {
    /// Term of its last entry.
    pub(crate) term: u64,
    /// Its size: received, or of the tables it was made durable in.
    pub(crate) bytes: u64,
    /// When it was made, in milliseconds since 1970.
    pub(crate) unix_ms: u64,
}

/// The log id of what was applied last.
fn last_log_id(state: &AppliedState) -> Option<LogId> {
    (state.log_index > 0).then(|| log_id(state.term, state.log_index - 1))
}

/// What a store says was applied to it.
pub(crate) fn load(
    txn: &dyn ReadTxn,
    shard: u16,
) -> Result<(AppliedState, StoredMembership), StorageError> {
    let state = AppliedState::load(txn, shard)?;
    let membership = match meta::membership(txn, shard)? {
        Some(row) => StoredMembership::from_bytes(row)
            .map_err(|error| StorageError::Corrupt(format!("membership: {error}")))?,
        None => StoredMembership::default(),
    };
    Ok((state, membership))
}

/// The data of a snapshot, on its way out or in.
pub(crate) enum SnapshotData {
    /// A view to be streamed to a peer.
    Sending(Box<dyn SnapshotSource>),
    /// A state received whole, not yet switched to.
    Received(Box<dyn SnapshotSink>),
}

impl SnapshotData {
    /// The next chunk of a view.
    pub(crate) fn next_chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        match self {
            SnapshotData::Sending(source) => source.next_chunk(bytes_max),
            SnapshotData::Received(_) => {
                Err(StorageError::Snapshot("a received snapshot is not sent on".to_owned()))
            }
        }
    }
}

/// openraft's state machine.
pub(crate) struct Applier {
    machine: Arc<Machine>,
    pace: Pace,
}

/// How long an entry takes, by what those before took: a SET of a key in memory needs a microsecond,
/// of one in tables ten, of one that is read from the disk a hundred.
struct Pace {
    ns_per_byte: f64,
}

impl Pace {
    /// Where nothing is known yet, short entries only are expected to be fast.
    fn unknown() -> Self {
        Pace { ns_per_byte: APPLY_INLINE_MAX.as_nanos() as f64 / PACE_BYTES_MIN as f64 }
    }

    fn expected(&self, bytes: usize) -> Duration {
        Duration::from_nanos((bytes as f64 * self.ns_per_byte) as u64)
    }

    /// Whether an entry of so many bytes should be short enough for the thread that others wait for.
    fn is_short(&self, bytes: usize) -> bool {
        bytes <= APPLY_INLINE_BYTES_MAX && self.expected(bytes) <= APPLY_INLINE_MAX
    }

    /// Whether entries of so many bytes are as much as is applied at once.
    fn is_long(&self, bytes: usize) -> bool {
        bytes >= APPLY_RUN_BYTES_MAX || self.expected(bytes) >= APPLY_RUN_MAX
    }

    /// Learns from an entry; from very short ones there is nothing to learn.
    fn learn(&mut self, bytes: usize, took: Duration) {
        if bytes >= PACE_BYTES_MIN {
            let seen = took.as_nanos() as f64 / bytes as f64;
            self.ns_per_byte += (seen - self.ns_per_byte) / 4.0;
        }
    }
}

impl Applier {
    pub(crate) fn new(machine: Arc<Machine>) -> Self {
        Applier { machine, pace: Pace::unknown() }
    }

    /// Waits while the store has no room, so that memory stays bounded, and as it asks for to keep some.
    async fn wait_for_room(&self) -> io::Result<()> {
        if self.machine.engine.has_room() {
            let rest = self.machine.engine.rest();
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            return Ok(());
        }
        self.machine.throttled.fetch_add(1, Ordering::Relaxed);
        let engine = self.machine.engine.clone();
        let waited = work(&*self.machine.workers, move || engine.wait_for_room()).await;
        waited.map_err(io::Error::other)
    }

    /// Applies entries one after the other and answers who waits for them: on this thread when they are
    /// short together, beside it else.
    async fn apply_run(&mut self, run: Vec<Committed>) -> io::Result<()> {
        let bytes = run.iter().map(|(entry, _)| payload_bytes(entry)).sum();
        if self.pace.is_short(bytes) && !run.iter().any(|(entry, _)| may_walk(entry)) {
            let begun = Instant::now();
            for (entry, responder) in run {
                self.wait_for_room().await?;
                let applied = self.machine.apply_entry(&entry, responder.is_some());
                answer(responder, applied.map_err(io::Error::other)?);
            }
            self.pace.learn(bytes, begun.elapsed());
            return Ok(());
        }
        let machine = self.machine.clone();
        let (outcomes, took) = work_in_turn(&*self.machine.workers, move || {
            let begun = Instant::now();
            (machine.apply_all(run), begun.elapsed())
        })
        .await;
        self.pace.learn(bytes, took);
        // In the thread of those who wait: one for each would be woken from another.
        for (responder, applied) in outcomes.map_err(io::Error::other)? {
            answer(responder, applied);
        }
        Ok(())
    }
}

/// A committed entry, and who waits for it.
type Committed = EntryResponder<TypeConfig>;
type Waiting = Option<ApplyResponder<TypeConfig>>;

fn answer(responder: Waiting, applied: Applied) {
    if let Some(responder) = responder {
        responder.send(applied);
    }
}

fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// Whether its commands may take longer than its size tells.
fn may_walk(entry: &Entry) -> bool {
    match &entry.payload {
        EntryPayload::Normal(proposal) => crate::state_machine::Entry::has_multi(&proposal.0),
        EntryPayload::Blank | EntryPayload::Membership(_) => false,
    }
}

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let state = self.machine.applied();
        Ok((last_log_id(&state), self.machine.membership.lock().clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut entries = entries.fuse();
        let mut expected = None;
        let mut next = entries.try_next().await?;
        while let Some(first) = next.take() {
            // What is there with it goes with it.
            let mut bytes = payload_bytes(&first.0);
            let mut run = vec![first];
            while !self.pace.is_long(bytes)
                && let Some(Some(entry)) = entries.try_next().now_or_never().transpose()?
            {
                bytes += payload_bytes(&entry.0);
                run.push(entry);
            }
            for (entry, _) in &run {
                let log_index = store_index(&entry.log_id);
                if expected.is_some_and(|expected| expected != log_index) {
                    let why = format!("log entries before {log_index} are missing");
                    return Err(io::Error::other(why));
                }
                expected = Some(log_index + 1);
            }
            self.apply_run(run).await?;
            next = entries.try_next().await?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(Builder { machine: self.machine.clone() })
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { machine: self.machine.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let (machine, meta) = (self.machine.clone(), meta.clone());
        work(&*self.machine.workers, move || match snapshot {
            SnapshotData::Received(sink) => machine.install(&meta, sink),
            SnapshotData::Sending(source) => machine.copy(&meta, source),
        })
        .await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let snapshot = self.machine.view().map_err(io::Error::other)?;
        Ok(snapshot.meta.last_log_id.is_some().then_some(snapshot))
    }
}

/// Builds a snapshot: takes a view, and makes the state durable up to it, so that the log before
/// it can go.
pub(crate) struct Builder {
    machine: Arc<Machine>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let machine = self.machine.clone();
        work(&*self.machine.workers, move || {
            machine.snapshot_building.store(true, Ordering::Relaxed);
            let built = machine.build();
            machine.snapshot_building.store(false, Ordering::Relaxed);
            built
        })
        .await
    }
}

impl Machine {
    /// A view of the state, made durable.
    fn build(&self) -> io::Result<Snapshot> {
        let snapshot = self.view().map_err(io::Error::other)?;
        let last = snapshot.meta.last_log_id.as_ref();
        let needed = last.map_or(0, store_index);
        let durable = self.engine.flush().map_err(io::Error::other)?;
        if durable < needed {
            let why = format!("state is durable up to {durable}, not up to {needed}");
            return Err(io::Error::other(why));
        }
        self.note_snapshot(last.map_or(0, term_of), self.engine.stats().disk_bytes);
        self.snapshots_created.fetch_add(1, Ordering::Relaxed);
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests;
