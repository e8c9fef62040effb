//! The node as commands see it: a small trait that the node implements, so that commands know
//! nothing of Raft's library, of sockets or of tasks.

use crate::clients::ClientRegistry;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::slowlog::SlowLog;
use crate::status::{ClusterStatus, RaftFigures};
use crate::users::Users;
use futures_util::future::BoxFuture;
use std::time::Duration;
use storage::log::LogStats;
use storage::meta::KeyCounts;
use storage::space::Room;
use storage::txn::EngineStats;

/// What a digest is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestOf {
    /// Keys of all databases, their values and deadlines.
    Data,
    /// All that nodes replicate: also members, users, counts, and what is applied.
    State,
}

/// A change of the members of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// Add the node that serves clients at this address: learner, caught up, then voter.
    Add {
        /// Host and port of its client listener.
        address: String,
    },
    /// Remove a node.
    Remove {
        /// Its id.
        id: u64,
    },
    /// Make a learner a voter.
    Promote {
        /// Its id.
        id: u64,
    },
}

/// What an administrative command asks of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// RAFT.CLUSTER INIT: form a cluster of this node alone.
    Init,
    /// RAFT.CLUSTER JOIN: join the cluster of these client addresses.
    Join {
        /// Client addresses of members.
        addresses: Vec<String>,
    },
    /// RAFT.NODE ADD, REMOVE, PROMOTE; CLUSTER FORGET.
    Membership(MembershipChange),
    /// RAFT.TRANSFER_LEADER, FAILOVER: to the node given, or to the most caught-up follower.
    TransferLeader {
        /// Its id.
        to: Option<u64>,
    },
    /// RAFT.SNAPSHOT: make the state durable and let the log be purged.
    Snapshot,
    /// RAFT.PEER: what a node that wants to join must know of this one.
    Identify,
    /// SHUTDOWN: hand over, flush, exit.
    Shutdown,
}

/// The answer to an [`Order`]: text of a reply; the error's prefix included.
pub type OrderResult = Result<OrderDone, String>;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderDone {
    /// Nothing to tell.
    Ok,
    /// The id of the node that was added.
    NodeId(u64),
    /// A log index.
    Index(u64),
    /// A line of text.
    Text(String),
}

/// Room on the disk, at the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// How it is judged.
    pub room: Room,
    /// Free bytes.
    pub free_bytes: u64,
}

/// The node a command runs on.
pub trait NodeControl: Send + Sync {
    /// Settings, their table and their values.
    fn settings(&self) -> &Settings;
    /// Connected clients.
    fn clients(&self) -> &ClientRegistry;
    /// Counters and histograms.
    fn metrics(&self) -> &Metrics;
    /// Fills `bytes` with randomness that is fit for secrets.
    ///
    /// # Errors
    /// The operating system gives none.
    fn fill_secret(&self, bytes: &mut [u8]) -> std::io::Result<()>;
    /// Users and their rights.
    fn users(&self) -> &Users;
    /// Slow commands.
    fn slowlog(&self) -> &SlowLog;
    /// Raft group and members.
    fn status(&self) -> ClusterStatus;
    /// State store.
    fn engine_stats(&self) -> EngineStats;
    /// Room on the disk of the data directory.
    fn disk_space(&self) -> DiskSpace;
    /// Raft log.
    fn log_stats(&self) -> LogStats;
    /// Keys of each database that has any, as applied on this node.
    fn key_counts(&self) -> Vec<(u8, KeyCounts)>;
    /// A hash of the data as applied on this node, or of its whole state; reads all of it.
    ///
    /// # Errors
    /// The store cannot be read.
    fn digest(&self, of: DigestOf) -> BoxFuture<'_, Result<u128, String>>;
    /// Milliseconds since 1970 of the last moment the state became durable.
    fn last_save_ms(&self) -> u64;
    /// Figures of the Raft group that only INFO prints.
    fn raft_figures(&self) -> RaftFigures;
    /// The time.
    fn clock(&self) -> &dyn Clock {
        &SystemClock
    }
    /// Carries out an administrative command, on any node (forwarded to the leader if need be).
    fn order(&self, order: Order) -> BoxFuture<'_, OrderResult>;
    /// How many other nodes have `log_index` on their disk, waiting until there are `count` of
    /// them or `timeout` is over (None: for ever).
    fn wait_replicated(
        &self,
        log_index: u64,
        count: usize,
        timeout: Option<Duration>,
    ) -> BoxFuture<'_, usize>;
}
