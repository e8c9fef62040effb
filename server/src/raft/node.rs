//! One node's part in a Raft group: writes, reads and who leads.
//!
//! Writes go through [`Node::write`]: into this node's log when it leads, else to the leader. Reads
//! wait at [`Node::read_barrier`]. Requests are held for a bounded time while nobody leads, unless
//! they were proposed. What is deliberately elsewhere: membership and other orders
//! (`orders`), forming and joining a cluster (`bootstrap`), the peers' side (`peer_server`).

use crate::clock::Clock;
use crate::config::Settings;
use crate::limits::{
    BACKLOG_AGE_MAX, FORWARD_ANSWER_WAIT, LEADER_LOOK_INTERVAL, READ_INDEX_ANSWER_WAIT,
    SUBMISSION_BYTES_MAX,
};
use crate::raft::applier::{Applier, Machine, store_index};
use crate::raft::barrier::Barrier;
use crate::raft::codec::Wire;
use crate::raft::confirm;
use crate::raft::damage::Damage;
use crate::raft::error::ReplicationError;
use crate::raft::forward::{ForwardAnswer, ForwardRequest};
use crate::raft::frame::Kind;
use crate::raft::identity::Identity;
use crate::raft::log_store::LogStore;
use crate::raft::network::PeerNetworkFactory;
use crate::raft::peer_link::{CallError, PeerLink};
use crate::raft::peers::Peers;
use crate::raft::proposer::{Group, GroupFigures, Groups, Operations, Outcome, propose};
use crate::raft::relay::Relay;
use crate::raft::types::{NodeAddress, Raft};
use crate::surroundings::Surroundings;
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::{ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use storage::log::{RaftLog, ShardLog};
use storage::mutants::{self, Mutant};
use storage::space::{Room, Space};
use tokio::time::Instant;

/// Who leads, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leadership {
    /// This node.
    Here,
    /// Another node.
    At(u64, NodeAddress),
    /// Nobody is known to.
    Unknown,
}

/// Counters of a node since its start.
#[derive(Debug, Default)]
pub(crate) struct NodeCounters {
    pub(crate) forwarded: AtomicU64,
    pub(crate) forwarded_failed: AtomicU64,
    /// Forwarded requests whose answer is due.
    pub(crate) forwarding: AtomicU64,
    /// Rounds of the read barrier.
    pub(crate) read_rounds: AtomicU64,
    pub(crate) append_requests: AtomicU64,
    pub(crate) elections_started: AtomicU64,
    pub(crate) leader_changes: AtomicU64,
}

/// What the parts of a node share.
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) raft: Raft,
    pub(crate) machine: Arc<Machine>,
    pub(crate) log: ShardLog,
    pub(crate) log_files: RaftLog,
    pub(crate) peers: Arc<Peers>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Room on the disk of the data directory.
    pub(crate) space: Arc<Space>,
    pub(crate) address: NodeAddress,
    pub(crate) counters: NodeCounters,
    pub(crate) figures: Arc<GroupFigures>,
    links: Mutex<BTreeMap<u64, (String, Arc<PeerLink>)>>,
    pub(crate) orders: Arc<tokio::sync::Mutex<()>>,
    /// Orders that have a node give up its own cluster for this one.
    pub(crate) winning_over: AtomicU32,
    pub(crate) transferring: AtomicBool,
    pub(crate) damage: Damage,
}

/// A node; see the module.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) shared: Arc<Shared>,
    pub(crate) local: Groups,
    remote: Groups,
    barrier: Barrier,
}

impl Node {
    /// Starts the Raft group of one shard.
    pub(crate) async fn start(
        settings: Arc<Settings>,
        identity: Arc<Identity>,
        machine: Arc<Machine>,
        log_files: RaftLog,
        space: Arc<Space>,
        address: NodeAddress,
        surroundings: Surroundings,
    ) -> io::Result<Self> {
        let log = log_files.shard(u32::from(machine.shard));
        let peers = Arc::new(Peers::new(surroundings.transport));
        let network = PeerNetworkFactory {
            shard: machine.shard,
            identity: identity.clone(),
            peers: peers.clone(),
            workers: machine.workers.clone(),
        };
        let applier = Applier::new(machine.clone());
        let config = Arc::new(raft_config(&settings).validate().map_err(io::Error::other)?);
        let store = LogStore::new(log.clone());
        let raft = Raft::new(identity.node_id(), config, network, store, applier)
            .await
            .map_err(io::Error::other)?;
        let figures = Arc::new(GroupFigures::default());
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            identity,
            raft,
            machine,
            log,
            log_files,
            peers,
            clock: surroundings.clock,
            space,
            address,
            counters: NodeCounters::default(),
            figures: figures.clone(),
            links: Mutex::default(),
            orders: Arc::default(),
            winning_over: AtomicU32::new(0),
            transferring: AtomicBool::new(false),
            damage: Damage::default(),
        });
        let own = shared.clone();
        let local =
            Groups::start(settings.clone(), figures, move |group| propose(own.clone(), group));
        let own = shared.clone();
        let remote =
            Groups::start(settings, Arc::default(), move |group| forward(own.clone(), group));
        let own = shared.clone();
        let barrier = Barrier::start(move || read_round(own.clone()));
        Ok(Node { shared, local, remote, barrier })
    }

    /// From now on, what connections of the calling thread submit goes to Raft's thread in groups. Its
    /// runtime must be entered, and belong to the thread.
    pub(crate) fn relay_this_thread(&self) {
        let (local, remote) = (self.local.clone(), self.remote.clone());
        let to = Relay { local, remote, barrier: self.barrier.clone() };
        Relay::install(&self.shared.settings, to);
    }

    /// Who leads now.
    pub(crate) fn leadership(&self) -> Leadership {
        self.shared.leadership()
    }

    /// Waits until somebody leads, at most until `deadline`.
    pub(crate) async fn wait_for_leader(&self, deadline: Instant) -> Leadership {
        let mut changes = self.shared.raft.server_metrics();
        loop {
            let leadership = self.shared.leadership();
            if leadership != Leadership::Unknown {
                return leadership;
            }
            if Instant::now() >= deadline {
                return Leadership::Unknown;
            }
            // A leader that is heard again changes no metrics, so this also looks by itself.
            let look = deadline.min(Instant::now() + LEADER_LOOK_INTERVAL);
            if let Ok(Err(_)) = tokio::time::timeout_at(look, changes.changed()).await {
                return Leadership::Unknown;
            }
        }
    }

    /// Replicates encoded operations: here when this node leads, else through the leader. Held for
    /// the configured time while there is no leader, as long as nothing was proposed.
    pub(crate) async fn write(&self, operations: Operations) -> Outcome {
        if operations.bytes() > SUBMISSION_BYTES_MAX {
            return Err(ReplicationError::TooLong);
        }
        let deadline = self.hold_deadline(Instant::now());
        let relay = Relay::of_this_thread();
        loop {
            let outcome = match self.wait_for_leader(deadline).await {
                Leadership::Here if self.is_exhausted() => Err(ReplicationError::NoRoom),
                Leadership::Here => {
                    let local = relay.as_ref().map_or(&self.local, |relay| &relay.local);
                    local.submit(operations.clone()).await
                }
                Leadership::At(..) => {
                    let remote = relay.as_ref().map_or(&self.remote, |relay| &relay.remote);
                    remote.submit(operations.clone()).await
                }
                Leadership::Unknown => return Err(ReplicationError::NoLeader),
            };
            if outcome != Err(ReplicationError::NotLeader) {
                return outcome;
            }
            if Instant::now() >= deadline {
                return Err(ReplicationError::NoLeader);
            }
            // Leadership is changing hands: give the news a moment to arrive.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Replicates operations if this node leads, without holding them.
    pub(crate) async fn write_here(&self, operations: Operations) -> Outcome {
        match self.shared.leadership() {
            Leadership::Here if self.is_exhausted() => Err(ReplicationError::NoRoom),
            Leadership::Here => self.local.submit(operations).await,
            Leadership::At(..) | Leadership::Unknown => Err(ReplicationError::NotLeader),
        }
    }

    /// Waits until this node's applied state covers every write acknowledged before the call.
    pub(crate) async fn read_barrier(&self) -> Result<u64, ReplicationError> {
        if mutants::on(Mutant::ReadsWithoutBarrier) {
            return Ok(self.shared.machine.applied().log_index);
        }
        let begun = Instant::now();
        let relay = Relay::of_this_thread();
        let barrier = relay.as_ref().map_or(&self.barrier, |relay| &relay.barrier);
        loop {
            let passed = barrier.wait().await;
            if !matches!(passed, Err(ReplicationError::NotLeader | ReplicationError::NoLeader)) {
                return passed;
            }
            let deadline = self.hold_deadline(begun);
            if self.wait_for_leader(deadline).await == Leadership::Unknown
                || Instant::now() >= deadline
            {
                return Err(ReplicationError::NoLeader);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The leader's answer to a peer that asks for a read index; fails at once when not leading.
    pub(crate) async fn read_index_for_peer(&self) -> Result<u64, ReplicationError> {
        match self.shared.leadership() {
            Leadership::Here => self.barrier.wait().await,
            Leadership::At(..) | Leadership::Unknown => Err(ReplicationError::NotLeader),
        }
    }

    /// Waits until `log_index` (counted from 1) is applied here.
    pub(crate) async fn wait_applied(
        &self,
        log_index: u64,
        wait: Duration,
    ) -> Result<(), ReplicationError> {
        self.shared.wait_applied(log_index, wait).await
    }

    /// Gives a leader a moment to apply what a session has written, so that what it shows includes
    /// that.
    pub(crate) async fn settle(&self, log_index: u64) {
        if self.shared.machine.applied().log_index < log_index
            && self.leadership() == Leadership::Here
        {
            // Where the disk is full, what is committed waits for room; who asks has to see that.
            drop(self.shared.wait_applied(log_index, BACKLOG_AGE_MAX).await);
        }
    }

    /// Waits until what is committed, as far as this node knows, is applied here.
    pub(crate) async fn apply_committed(&self, wait: Duration) -> Result<(), ReplicationError> {
        let committed = self.shared.raft.metrics().borrow_watched().local_committed;
        self.wait_applied(committed.as_ref().map_or(0, store_index), wait).await
    }

    /// Whether the log takes no entries of clients and duties, for want of room on the disk.
    fn is_exhausted(&self) -> bool {
        self.shared.space.room() == Room::Exhausted
    }

    /// Until when a request that came at this time is held while nobody leads.
    fn hold_deadline(&self, came: Instant) -> Instant {
        came + Duration::from_millis(self.shared.settings.load().request_hold_ms)
    }
}

impl Shared {
    /// The data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        PathBuf::from(&self.settings.load().data_dir)
    }

    /// Who leads now. A leader that has been silent for the longest election timeout is none: it
    /// may be gone, and with pre-vote a node that reaches no majority stays a follower for ever.
    pub(crate) fn leadership(&self) -> Leadership {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let Some(leader) = metrics.current_leader else { return Leadership::Unknown };
        if leader == metrics.id {
            return match metrics.state {
                ServerState::Leader => Leadership::Here,
                _ => Leadership::Unknown,
            };
        }
        let limit = Duration::from_millis(self.settings.load().election_timeout_max_ms);
        let is_heard = |contact: Instant| contact.elapsed() < limit;
        match metrics.membership_config.get_node(&leader) {
            Some(address) if self.peers.figures(leader).last_contact.is_some_and(is_heard) => {
                Leadership::At(leader, address.clone())
            }
            Some(_) | None => Leadership::Unknown,
        }
    }

    /// What every line of tracing says: this node, its term, the last index applied here.
    pub(crate) fn place(&self) -> (u64, u64, u64) {
        let metrics = self.raft.server_metrics();
        let term = metrics.borrow_watched().vote.leader_id.term;
        (self.identity.node_id(), term, self.machine.applied().log_index)
    }

    /// The link to a member, for requests of clients and orders.
    pub(crate) fn link(&self, id: u64, address: &NodeAddress) -> Arc<PeerLink> {
        let mut links = self.links.lock();
        match links.get(&id) {
            Some((known, link)) if *known == address.peer => link.clone(),
            _ => {
                let (peer, identity) = (address.peer.clone(), self.identity.clone());
                let (shard, peers) = (self.machine.shard, self.peers.clone());
                let link = Arc::new(PeerLink::new(peer, id, shard, identity, peers));
                links.insert(id, (address.peer.clone(), link.clone()));
                link
            }
        }
    }

    /// Waits until `log_index` (counted from 1) is applied here.
    pub(crate) async fn wait_applied(
        &self,
        log_index: u64,
        wait: Duration,
    ) -> Result<(), ReplicationError> {
        let mut applied = self.machine.watch_applied();
        if applied.borrow().log_index >= log_index {
            return Ok(());
        }
        let _awaited = self.machine.backlog.awaited();
        let reached = applied.wait_for(|state| state.log_index >= log_index);
        match tokio::time::timeout(wait, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ReplicationError::NoLeader),
        }
    }
}

/// One round of the read barrier.
async fn read_round(shared: Arc<Shared>) -> Result<u64, ReplicationError> {
    shared.counters.read_rounds.fetch_add(1, Ordering::Relaxed);
    match shared.leadership() {
        Leadership::Here if mutants::on(Mutant::UnconfirmedLeader) => {
            Ok(shared.machine.applied().log_index)
        }
        Leadership::Here => {
            let wait = READ_INDEX_ANSWER_WAIT / 2;
            let confirmed = confirm::by_saved_votes(&shared, wait).await;
            let index = store_index(&confirmed.ok_or(ReplicationError::NotLeader)?);
            if !mutants::on(Mutant::LeaderReadsBeforeApply) {
                shared.wait_applied(index, wait).await?;
            }
            Ok(index)
        }
        Leadership::At(id, address) => {
            let link = shared.link(id, &address);
            let wait = READ_INDEX_ANSWER_WAIT;
            let answer = link.call(Kind::ReadIndex, Bytes::new(), wait).await;
            let answer = answer.map_err(|_| ReplicationError::NotLeader)?;
            let index = u64::from_bytes(answer).map_err(|_| ReplicationError::NotLeader)?;
            if !mutants::on(Mutant::ReadsBeforeApply) {
                shared.wait_applied(index, wait).await?;
            }
            Ok(index)
        }
        Leadership::Unknown => Err(ReplicationError::NoLeader),
    }
}

/// Sends a group to the leader and finishes it with the leader's answer.
async fn forward(shared: Arc<Shared>, group: Group) {
    let count = u64::from(group.count);
    shared.counters.forwarded.fetch_add(count, Ordering::Relaxed);
    shared.counters.forwarding.fetch_add(count, Ordering::Relaxed);
    let mut outcome = match shared.leadership() {
        Leadership::At(id, address) => {
            let request = ForwardRequest::gather(&group);
            let link = shared.link(id, &address);
            match link.call(Kind::Forward, request.to_bytes(), FORWARD_ANSWER_WAIT).await {
                Ok(answer) => match ForwardAnswer::from_bytes(answer) {
                    Ok(answer) => answer.into_outcome(group.count),
                    Err(error) => Err(ReplicationError::OutcomeUnknown(error.to_string())),
                },
                Err(CallError::NotSent(_) | CallError::Refused(_)) => {
                    Err(ReplicationError::NotLeader)
                }
                Err(_) if mutants::on(Mutant::ForwardedTwice) => Err(ReplicationError::NotLeader),
                Err(error @ CallError::Lost(_)) => {
                    Err(ReplicationError::OutcomeUnknown(error.to_string()))
                }
            }
        }
        Leadership::Here | Leadership::Unknown => Err(ReplicationError::NotLeader),
    };
    shared.counters.forwarding.fetch_sub(count, Ordering::Relaxed);
    if mutants::on(Mutant::SwappedReplies)
        && let Ok((_, replies)) = &mut outcome
    {
        replies.reverse();
    }
    if outcome.is_err() {
        shared.counters.forwarded_failed.fetch_add(count, Ordering::Relaxed);
    }
    group.finish(outcome);
}

/// openraft's lease and election timeout. A follower of its asks for votes when a lease *and* an
/// election timeout have gone by without a sign of the leader, and its lease is as long as its
/// longest election timeout; our settings name the whole silence, as the Raft paper does.
fn election_timeouts(min_ms: u64, max_ms: u64) -> (u64, u64) {
    let lease_ms = max_ms / 2;
    (min_ms.saturating_sub(lease_ms), lease_ms)
}

fn raft_config(settings: &Settings) -> openraft::Config {
    let values = settings.load();
    let (min_ms, max_ms) = (values.election_timeout_min_ms, values.election_timeout_max_ms);
    let (election_timeout_min, election_timeout_max) = election_timeouts(min_ms, max_ms);
    openraft::Config {
        cluster_name: "kvorum".to_owned(),
        heartbeat_interval: values.heartbeat_interval_ms,
        heartbeat_min_interval: Some(values.heartbeat_interval_ms * 2 / 3),
        election_timeout_min,
        election_timeout_max,
        max_payload_entries: 4096,
        max_append_entries: Some(4096),
        api_batch_capacity: 4096,
        api_batch_linger_ms: 0,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        // The end of a log that is damaged before a mark follows it looks like a torn write, and is cut.
        // What the node had said it has is then sent again: the sooner, the fewer copies are missing.
        allow_log_reversion: Some(true),
        quorum_loss_probe_interval: Some(2 * max_ms),
        replication_lag_threshold: 1_000_000,
        // Purging is ours alone: by bytes, and never past what is durable (see `duties`).
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1,
        snapshot_policy: SnapshotPolicy::Never,
        ..openraft::Config::default()
    }
}

#[cfg(test)]
pub(crate) mod tests;
