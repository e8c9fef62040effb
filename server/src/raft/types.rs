//! The types of our Raft group: the only file that spells out openraft's generics.

use crate::raft::responder::Reply as Responder;
use bytes::Bytes;
use openraft::{EntryPayload, OptionalSend};
use std::fmt;

/// One log entry's payload: an encoded [`crate::state_machine::Entry`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry returns to its proposer.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Applied {
    /// Index of the entry.
    pub(crate) log_index: u64,
    /// One reply for each operation.
    pub(crate) replies: Vec<protocol::Reply>,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} replies at {}", self.replies.len(), self.log_index)
    }
}

/// Where a member is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeAddress {
    /// `host:port` for clients; with the TLS port where none is served without TLS.
    pub(crate) client: String,
    /// Port of the same host for clients that speak TLS; 0: none.
    pub(crate) tls_port: u16,
    /// `host:port` for peers.
    pub(crate) peer: String,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tls_port {
            0 => write!(f, "{} (peers: {})", self.client, self.peer),
            port => write!(f, "{} (TLS: {port}, peers: {})", self.client, self.peer),
        }
    }
}

impl NodeAddress {
    /// `host:port` for a client that speaks TLS or not.
    pub(crate) fn for_client(&self, tls: bool) -> String {
        match (self.client.rsplit_once(':'), self.tls_port) {
            (Some((host, _)), 1..) if tls => format!("{host}:{}", self.tls_port),
            _ => self.client.clone(),
        }
    }
}

/// The configuration of openraft's generics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

/// Standard Raft: at most one leader in a term.
type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Applied;
    type NodeId = u64;
    type Node = NodeAddress;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = openraft::impls::Vote<LeaderId>;
    type Payload = EntryPayload<Proposal, u64, NodeAddress>;
    type Entry = openraft::alias::DefaultEntryOf<Self>;
    type AsyncRuntime = crate::raft::runtime::Runtime;
    type Responder<T>
        = Responder<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::AnyError;
}

pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, NodeAddress>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot =
    openraft::alias::SnapshotOf<TypeConfig, crate::raft::applier::SnapshotData>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::raft::applier::Applier>;
pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
pub(crate) type AppendResponse = openraft::raft::AppendEntriesResponse<TypeConfig>;
pub(crate) type StreamAppendResult = openraft::raft::StreamAppendResult<TypeConfig>;
pub(crate) type VoteRequest = openraft::raft::VoteRequest<TypeConfig>;
pub(crate) type VoteResponse = openraft::raft::VoteResponse<TypeConfig>;
pub(crate) type TransferRequest = openraft::raft::TransferLeaderRequest<TypeConfig>;
pub(crate) type TransferResponse = openraft::raft::TransferLeaderResponse<TypeConfig>;
pub(crate) type SnapshotResponse = openraft::raft::SnapshotResponse<TypeConfig>;
pub(crate) type RpcError = openraft::errors::RPCError<TypeConfig>;
pub(crate) type WriteResult = openraft::raft::ClientWriteResult<TypeConfig>;

/// A log id of standard Raft.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

/// The term of a log id.
pub(crate) fn term_of(log_id: &LogId) -> u64 {
    **log_id.committed_leader_id()
}
