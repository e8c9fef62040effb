//! The serialized forms of Raft's messages: ours, so that a library's upgrade is not a format's.
//!
//! Integers are little endian. `option` is a byte 0 or 1 before the value; `text` and `bytes` are a
//! u32 length and the bytes. The frame around each message carries the version. Decoding never
//! panics and allocates in proportion to what was received.

use crate::raft::types::*;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use std::collections::{BTreeMap, BTreeSet};

/// Why received bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable peer message: {0}")]
pub(crate) struct CodecError(pub(crate) &'static str);

impl From<CodecError> for std::io::Error {
    fn from(error: CodecError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

type Decoded<T> = Result<T, CodecError>;

const ENDS_EARLY: CodecError = CodecError("it ends early");

/// A value with a serialized form.
pub(crate) trait Wire: Sized {
    /// Appends the serialized form.
    fn put(&self, out: &mut BytesMut);
    /// Takes it from the front of `from`.
    fn read(from: &mut Bytes) -> Decoded<Self>;

    /// The serialized form alone.
    fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.put(&mut out);
        out.freeze()
    }

    /// Reads bytes that hold exactly one value.
    fn from_bytes(mut bytes: Bytes) -> Decoded<Self> {
        let value = Self::read(&mut bytes)?;
        if bytes.is_empty() { Ok(value) } else { Err(CodecError("it has bytes after its end")) }
    }
}

impl Wire for u8 {
    fn put(&self, out: &mut BytesMut) {
        out.put_u8(*self);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        if from.is_empty() { Err(ENDS_EARLY) } else { Ok(from.get_u8()) }
    }
}

impl Wire for u32 {
    fn put(&self, out: &mut BytesMut) {
        out.put_u32_le(*self);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        if from.len() < 4 { Err(ENDS_EARLY) } else { Ok(from.get_u32_le()) }
    }
}

impl Wire for u64 {
    fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(*self);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        if from.len() < 8 { Err(ENDS_EARLY) } else { Ok(from.get_u64_le()) }
    }
}

impl Wire for bool {
    fn put(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        match u8::read(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError("a flag is neither 0 nor 1")),
        }
    }
}

impl Wire for Bytes {
    fn put(&self, out: &mut BytesMut) {
        out.put_u32_le(self.len() as u32);
        out.put_slice(self);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let len = u32::read(from)? as usize;
        if from.len() < len { Err(ENDS_EARLY) } else { Ok(from.split_to(len)) }
    }
}

impl Wire for String {
    fn put(&self, out: &mut BytesMut) {
        out.put_u32_le(self.len() as u32);
        out.put_slice(self.as_bytes());
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let bytes = Bytes::read(from)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| CodecError("a text is not UTF-8"))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut BytesMut) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        if bool::read(from)? { T::read(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut BytesMut) {
        (self.len() as u32).put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let count = u32::read(from)? as usize;
        let mut items = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            items.push(T::read(from)?);
        }
        Ok(items)
    }
}

impl Wire for LogId {
    fn put(&self, out: &mut BytesMut) {
        term_of(self).put(out);
        self.index.put(out);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let term = u64::read(from)?;
        Ok(log_id(term, u64::read(from)?))
    }
}

impl Wire for Vote {
    fn put(&self, out: &mut BytesMut) {
        self.leader_id.term.put(out);
        self.leader_id.voted_for.put(out);
        self.committed.put(out);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let (term, node) = (u64::read(from)?, u64::read(from)?);
        Ok(if bool::read(from)? { Vote::new_committed(term, node) } else { Vote::new(term, node) })
    }
}

/// Stands where a text's length would: what follows is a version, and the fields of that version.
const VERSIONED: u32 = u32::MAX;

/// A member with a TLS port is of version 2; one without is written as before there were versions.
impl Wire for NodeAddress {
    fn put(&self, out: &mut BytesMut) {
        if self.tls_port != 0 {
            VERSIONED.put(out);
            2u8.put(out);
        }
        self.client.put(out);
        self.peer.put(out);
        if self.tls_port != 0 {
            u32::from(self.tls_port).put(out);
        }
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        if !from.starts_with(&VERSIONED.to_le_bytes()) {
            let (client, peer) = (String::read(from)?, String::read(from)?);
            return Ok(NodeAddress { client, peer, tls_port: 0 });
        }
        from.advance(VERSIONED.to_le_bytes().len());
        if u8::read(from)? != 2 {
            return Err(CodecError("an address of an unknown version"));
        }
        let (client, peer) = (String::read(from)?, String::read(from)?);
        let tls_port = u16::try_from(u32::read(from)?);
        let tls_port = tls_port.map_err(|_| CodecError("an impossible port"))?;
        Ok(NodeAddress { client, peer, tls_port })
    }
}

impl Wire for Membership {
    fn put(&self, out: &mut BytesMut) {
        let configs = self.get_joint_config();
        (configs.len() as u32).put(out);
        for voters in configs {
            voters.iter().copied().collect::<Vec<u64>>().put(out);
        }
        let nodes: Vec<_> = self.nodes().collect();
        (nodes.len() as u32).put(out);
        for (id, address) in nodes {
            id.put(out);
            address.put(out);
        }
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let mut configs: Vec<BTreeSet<u64>> = Vec::new();
        for _ in 0..u32::read(from)? {
            configs.push(Vec::<u64>::read(from)?.into_iter().collect());
        }
        let mut nodes = BTreeMap::new();
        for _ in 0..u32::read(from)? {
            let id = u64::read(from)?;
            nodes.insert(id, NodeAddress::read(from)?);
        }
        if configs.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(configs, nodes).map_err(|_| CodecError("an impossible membership"))
    }
}

impl Wire for StoredMembership {
    fn put(&self, out: &mut BytesMut) {
        self.log_id().put(out);
        self.membership().put(out);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let log_id = Option::read(from)?;
        Ok(StoredMembership::new(log_id, Membership::read(from)?))
    }
}

impl Wire for SnapshotMeta {
    fn put(&self, out: &mut BytesMut) {
        self.last_log_id.put(out);
        self.last_membership.put(out);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let last_log_id = Option::read(from)?;
        Ok(SnapshotMeta { last_log_id, last_membership: StoredMembership::read(from)? })
    }
}

impl Wire for Entry {
    fn put(&self, out: &mut BytesMut) {
        self.log_id().put(out);
        match &self.payload {
            EntryPayload::Blank => 0u8.put(out),
            EntryPayload::Normal(proposal) => {
                1u8.put(out);
                proposal.0.put(out);
            }
            EntryPayload::Membership(membership) => {
                2u8.put(out);
                membership.put(out);
            }
        }
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let log_id = LogId::read(from)?;
        let payload = match u8::read(from)? {
            0 => EntryPayload::Blank,
            1 => EntryPayload::Normal(Proposal(Bytes::read(from)?)),
            2 => EntryPayload::Membership(Membership::read(from)?),
            _ => return Err(CodecError("an entry of unknown kind")),
        };
        Ok(Entry::new(log_id, payload))
    }
}

impl Wire for AppendRequest {
    fn put(&self, out: &mut BytesMut) {
        self.vote.put(out);
        self.prev_log_id.put(out);
        self.leader_commit.put(out);
        self.entries.put(out);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let (vote, prev_log_id) = (Vote::read(from)?, Option::read(from)?);
        let leader_commit = Option::read(from)?;
        Ok(AppendRequest { vote, prev_log_id, leader_commit, entries: Vec::read(from)? })
    }
}

impl Wire for AppendResponse {
    fn put(&self, out: &mut BytesMut) {
        match self {
            AppendResponse::Success => 0u8.put(out),
            AppendResponse::PartialSuccess(log_id) => {
                1u8.put(out);
                log_id.put(out);
            }
            AppendResponse::Conflict => 2u8.put(out),
            AppendResponse::HigherVote(vote) => {
                3u8.put(out);
                vote.put(out);
            }
        }
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        Ok(match u8::read(from)? {
            0 => AppendResponse::Success,
            1 => AppendResponse::PartialSuccess(Option::read(from)?),
            2 => AppendResponse::Conflict,
            3 => AppendResponse::HigherVote(Vote::read(from)?),
            _ => return Err(CodecError("an unknown append response")),
        })
    }
}

impl Wire for StreamAppendResult {
    fn put(&self, out: &mut BytesMut) {
        use openraft::raft::StreamAppendError;
        match self {
            Ok(matched) => {
                0u8.put(out);
                matched.put(out);
            }
            Err(StreamAppendError::Conflict(log_id)) => {
                1u8.put(out);
                log_id.put(out);
            }
            Err(StreamAppendError::HigherVote(vote)) => {
                2u8.put(out);
                vote.put(out);
            }
        }
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        use openraft::raft::StreamAppendError;
        Ok(match u8::read(from)? {
            0 => Ok(Option::read(from)?),
            1 => Err(StreamAppendError::Conflict(LogId::read(from)?)),
            2 => Err(StreamAppendError::HigherVote(Vote::read(from)?)),
            _ => return Err(CodecError("an unknown append result")),
        })
    }
}

impl Wire for VoteRequest {
    fn put(&self, out: &mut BytesMut) {
        self.vote.put(out);
        self.last_log_id.put(out);
        self.leadership_transfer.put(out);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let mut request = VoteRequest::new(Vote::read(from)?, Option::read(from)?);
        request.leadership_transfer = bool::read(from)?;
        Ok(request)
    }
}

impl Wire for VoteResponse {
    fn put(&self, out: &mut BytesMut) {
        self.vote.put(out);
        self.vote_granted.put(out);
        self.last_log_id.put(out);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let (vote, granted) = (Vote::read(from)?, bool::read(from)?);
        Ok(VoteResponse::new(vote, Option::read(from)?, granted))
    }
}

impl Wire for TransferRequest {
    fn put(&self, out: &mut BytesMut) {
        self.from_leader().put(out);
        self.to_node_id().put(out);
        self.last_log_id().cloned().put(out);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        let (vote, to) = (Vote::read(from)?, u64::read(from)?);
        Ok(TransferRequest::new(vote, to, Option::read(from)?))
    }
}

impl Wire for TransferResponse {
    fn put(&self, out: &mut BytesMut) {
        use openraft::raft::TransferLeaderError;
        match self {
            Ok(()) => 0u8.put(out),
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                1u8.put(out);
                expected.put(out);
                actual.put(out);
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                2u8.put(out);
                expected.put(out);
                actual.put(out);
            }
        }
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        use openraft::raft::TransferLeaderError;
        Ok(match u8::read(from)? {
            0 => Ok(()),
            1 => {
                let (expected, actual) = (Vote::read(from)?, Vote::read(from)?);
                Err(TransferLeaderError::VoteChanged { expected, actual })
            }
            2 => {
                let (expected, actual) = (Option::read(from)?, Option::read(from)?);
                Err(TransferLeaderError::LogNotFlushed { expected, actual })
            }
            _ => return Err(CodecError("an unknown transfer response")),
        })
    }
}

impl Wire for SnapshotResponse {
    fn put(&self, out: &mut BytesMut) {
        self.vote.put(out);
    }

    fn read(from: &mut Bytes) -> Decoded<Self> {
        Ok(SnapshotResponse { vote: Vote::read(from)? })
    }
}
