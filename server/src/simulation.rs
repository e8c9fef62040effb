//! A replica for simulations: the real node of `raft/` with what lies around it handed in.
//!
//! Nothing here behaves: every call passes on to what production runs. The caller gives disk,
//! network, clock and workers, turns the log's driver, and hands accepted connections over. The
//! regular duties run as in production. Left out are clients' connections and joining by itself:
//! orders come from the caller.

use crate::commands::context::ReadContext;
use crate::config::Settings;
use crate::node_control::{MembershipChange, Order};
use crate::raft::applier::{self, Machine};
use crate::raft::barrier::Barrier;
use crate::raft::bootstrap::Bootstrap;
use crate::raft::codec::Wire;
use crate::raft::duties;
use crate::raft::error::ReplicationError;
use crate::raft::identity::{Identity, Pledge};
use crate::raft::introduction::Introduction;
use crate::raft::node::{Leadership, Node};
use crate::raft::peer_server::{PeerServer, WayIn};
use crate::raft::proposer::Operations;
use crate::raft::types::{Membership, NodeAddress, StoredMembership};
use crate::state_machine::entry::encode_command;
use crate::state_machine::{AppliedState, check_operations};
use crate::surroundings::Surroundings;
use crate::transport::{Incoming, Outgoing};
use bytes::{Bytes, BytesMut};
use openraft::async_runtime::WatchReceiver;
use protocol::Request;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::keyspace::Reader;
use storage::log::RaftLog;
use storage::space::Space;
use storage::txn::Engine;
use tokio_util::sync::CancellationToken;

/// Begins the random numbers of this thread anew.
pub fn seed(seed: u64) {
    crate::random::seed(seed);
}

/// A node's shared read barrier by itself: its rounds are confirmed at once, by nobody, so that what is
/// left is what waiting and sharing a round cost on the node.
pub struct LoneBarrier(Barrier);

impl LoneBarrier {
    /// Starts the barrier's task on the runtime of the caller; it ends with the barrier.
    ///
    /// # Panics
    /// There is no runtime.
    pub fn start() -> Self {
        let rounds = AtomicU64::new(0);
        Self(Barrier::start(move || {
            std::future::ready(Ok(rounds.fetch_add(1, Ordering::Relaxed) + 1))
        }))
    }

    /// Waits for a round as a read does; returns its number, from 1 on. `None` when more reads wait
    /// than [`READS_WAITING_MAX`](crate::limits::READS_WAITING_MAX), or the runtime ends.
    pub async fn wait(&self) -> Option<u64> {
        self.0.wait().await.ok()
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Applied at this log index.
    At(u64),
    /// Certainly not proposed.
    Refused,
    /// Perhaps.
    Unknown,
}

/// What a linearizable read saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The index of the read barrier.
    pub barrier: u64,
    /// The log index of the state that was read.
    pub log_index: u64,
    /// The value.
    pub value: Option<Bytes>,
}

/// What can be observed of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its term.
    pub term: u64,
    /// Whether it takes itself for the leader of that term.
    pub leads: bool,
    /// Whether Raft still runs on it.
    pub runs: bool,
    /// What it has applied.
    pub applied: AppliedState,
    /// Snapshots it received since it started.
    pub received: u64,
    /// Raft's index of the membership that it goes by, committed or not, and of that in its state; of
    /// neither before Raft has read its log.
    pub membership_known: Option<u64>,
    pub membership_applied: Option<u64>,
}

/// Voters of a membership: one set, or two in joint consensus.
pub type Voters = Vec<BTreeSet<u64>>;

/// The voters in the payload of a membership entry of the log; None: it is none.
pub fn voters(payload: Bytes) -> Option<Voters> {
    Membership::from_bytes(payload).ok().map(|membership| membership.get_joint_config().clone())
}

/// One replica of a simulated cluster.
#[derive(Clone)]
pub struct Replica {
    node: Node,
    server: PeerServer,
}

impl Replica {
    /// Starts a node that keeps its identity in `dir`: a `founder` of cluster 1, or one that waits to
    /// be added to it.
    ///
    /// # Errors
    /// What prevents a node from starting.
    pub async fn start(
        id: u64,
        dir: &Path,
        log: RaftLog,
        engine: Arc<dyn Engine>,
        around: Surroundings,
        founder: bool,
    ) -> io::Result<Replica> {
        // Simulated disks have no end, and how full the real one is must change nothing.
        let flags = [("disk-free-min".to_owned(), "0".to_owned())];
        let settings = Settings::from_sources(None, [], &flags).map_err(io::Error::other)?;
        let settings = Arc::new(settings);
        let used = log.shard(0).is_used();
        let identity = Arc::new(Identity::open(dir, id, log.id(), used)?);
        if founder && identity.cluster_id() == 0 {
            identity.set_pledge(Some(Pledge { cluster_id: 1, initiator: id }))?;
            identity.adopt_cluster(1)?;
        }
        let machine = Machine::open(engine, around.workers.clone(), 0).map_err(io::Error::other)?;
        let address = address(id);
        let space = Arc::new(Space::new(dir, 0));
        let (values, own) = (settings.clone(), identity.clone());
        let node = Node::start(values, own, machine, log, space, address, around).await?;
        let bootstrap = Arc::new(Bootstrap::new(&settings, identity));
        let stop = CancellationToken::new();
        duties::start(&node, &bootstrap, &stop);
        Ok(Replica { node: node.clone(), server: PeerServer { node, bootstrap, stop } })
    }

    /// Forms the cluster of these members.
    ///
    /// # Errors
    /// There is one already.
    pub async fn initialize(&self, members: impl IntoIterator<Item = u64>) -> io::Result<()> {
        let members: BTreeMap<u64, NodeAddress> =
            members.into_iter().map(|id| (id, address(id))).collect();
        self.node.shared.raft.initialize(members).await.map_err(io::Error::other)
    }

    /// Serves a peer's connection until it ends.
    pub async fn serve(&self, incoming: Incoming, outgoing: Outgoing, from: &str) {
        self.server.clone().serve(incoming, outgoing, from, WayIn::Known { _place: None }).await;
    }

    /// Ends Raft, after the replica was cut off from its disk and its peers.
    pub async fn shut_down(&self) {
        self.server.stop.cancel();
        // What it was doing when it was cut off has failed: that is no news.
        drop(self.node.shared.raft.shutdown().await);
    }

    /// A command that writes, through this replica.
    pub async fn write(&self, words: &[&str]) -> Written {
        let mut operation = BytesMut::new();
        encode_command(0, &Request::from_parts(words), &mut operation);
        let encoded = operation.freeze();
        // What is no command at all is refused where it is proposed.
        let certain = check_operations(&encoded).is_ok_and(|checked| checked.certain);
        match self.node.write(Operations::new(encoded, 1, certain)).await {
            Ok((index, _)) => Written::At(index),
            Err(ReplicationError::OutcomeUnknown(_)) => Written::Unknown,
            Err(_) => Written::Refused,
        }
    }

    /// Has the cluster take a node in, as a learner and then as a voter.
    ///
    /// # Errors
    /// Why not, or not yet.
    pub async fn add(&self, id: u64) -> Result<(), String> {
        let node = Introduction { node_id: id, cluster_id: 0, address: address(id) };
        self.node.add_member(node).await
    }

    /// Has the cluster let a node go.
    ///
    /// # Errors
    /// Why not, or not yet.
    pub async fn remove(&self, id: u64) -> Result<(), String> {
        self.order(Order::Membership(MembershipChange::Remove { id })).await
    }

    /// Hands leadership over, to whoever is best if `to` is None.
    ///
    /// # Errors
    /// Why not.
    pub async fn transfer(&self, to: Option<u64>) -> Result<(), String> {
        self.order(Order::TransferLeader { to }).await
    }

    /// Makes the state durable, and purges the older half of the log behind it, some times over, as
    /// the duty for the log's space does.
    ///
    /// # Errors
    /// Why not.
    pub async fn snapshot(&self, halves: u64) -> Result<(), String> {
        self.order(Order::Snapshot).await?;
        for _ in 0..halves {
            self.node.purge_half().await;
        }
        Ok(())
    }

    async fn order(&self, order: Order) -> Result<(), String> {
        self.node.order(order).await.map(|_| ())
    }

    /// GET, linearizable, on this replica; None: it could not be served.
    pub async fn get(&self, key: &str) -> Option<Seen> {
        let barrier = self.node.read_barrier().await.ok()?;
        let txn = self.node.shared.machine.engine.read();
        let state = AppliedState::load(&*txn, 0).ok()?;
        let reader = Reader::new(&*txn, 0, state.now_ms);
        let context = ReadContext::new(reader, 0, 16, state.now_ms, 0);
        let record = context.lookup(key.as_bytes()).ok()?;
        let value = record.map(|record| record.payload);
        Some(Seen { barrier, log_index: txn.log_index(), value })
    }

    /// What it shows now.
    pub fn observe(&self) -> Observed {
        let shared = &self.node.shared;
        let state = applier::load(&*shared.machine.engine.read(), 0);
        let index = |membership: &StoredMembership| membership.log_id().map(|id| id.index);
        let metrics = shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        // A state that cannot be read names none, and fails elsewhere. Until Raft has said anything after
        // a start there is nothing to compare with.
        let state = state.ok().filter(|_| metrics.last_log_index.is_some());
        Observed {
            term: metrics.current_term,
            leads: shared.leadership() == Leadership::Here,
            runs: metrics.running_state.is_ok(),
            applied: shared.machine.applied(),
            received: shared.machine.snapshots_received.load(Ordering::Relaxed),
            membership_known: index(&metrics.membership_config),
            membership_applied: state.and_then(|(_, membership)| index(&membership)),
        }
    }

    /// The voters, as far as it knows, and all members.
    pub fn members(&self) -> (Voters, BTreeSet<u64>) {
        let metrics = self.node.shared.raft.server_metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        let voters = membership.get_joint_config().clone();
        (voters, membership.nodes().map(|(id, _)| *id).collect())
    }
}

fn address(id: u64) -> NodeAddress {
    NodeAddress { client: format!("{id}:client"), peer: format!("{id}"), tls_port: 0 }
}
