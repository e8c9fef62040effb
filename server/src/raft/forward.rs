//! What a follower sends the leader for its clients' writes, and what comes back.
//!
//! The answer tells apart what the follower's clients must not confuse: done, certainly not
//! proposed, and unknown. A refused frame or a request that was never sent is "not proposed"; a
//! lost answer is "unknown".

use crate::raft::codec::{CodecError, Wire};
use crate::raft::error::ReplicationError;
use crate::raft::proposer::{Group, Outcome};
use bytes::{BufMut, Bytes, BytesMut};
use protocol::Reply;

/// Encoded operations to propose as a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForwardRequest {
    pub(crate) count: u32,
    pub(crate) operations: Bytes,
}

impl ForwardRequest {
    /// All operations of a group, in order.
    pub(crate) fn gather(group: &Group) -> Self {
        let mut operations = BytesMut::with_capacity(group.bytes);
        for part in group.parts() {
            operations.put_slice(part);
        }
        ForwardRequest { count: group.count, operations: operations.freeze() }
    }
}

impl Wire for ForwardRequest {
    fn put(&self, out: &mut BytesMut) {
        self.count.put(out);
        self.operations.put(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, CodecError> {
        let (count, operations) = (u32::read(from)?, Bytes::read(from)?);
        Ok(ForwardRequest { count, operations })
    }
}

/// The leader's answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ForwardAnswer {
    /// Committed at this index, with these replies.
    Done(u64, Vec<Reply>),
    /// Not proposed: the node asked does not lead.
    NotLeader,
    /// Not proposed: too much is waiting.
    Overloaded,
    /// Not proposed: the leader's disk is nearly full.
    NoRoom,
    /// Proposed; the outcome is unknown.
    Unknown(String),
}

impl ForwardAnswer {
    /// What the leader found out.
    pub(crate) fn from_outcome(outcome: Outcome) -> Self {
        match outcome {
            Ok((index, replies)) => ForwardAnswer::Done(index, replies),
            Err(ReplicationError::OutcomeUnknown(why)) => ForwardAnswer::Unknown(why),
            Err(ReplicationError::Overloaded) => ForwardAnswer::Overloaded,
            Err(ReplicationError::NoRoom) => ForwardAnswer::NoRoom,
            Err(
                ReplicationError::NotLeader
                | ReplicationError::NoLeader
                | ReplicationError::TooLong
                | ReplicationError::NotServing(_),
            ) => ForwardAnswer::NotLeader,
        }
    }

    /// As the follower's clients see it; `count` replies are expected.
    pub(crate) fn into_outcome(self, count: u32) -> Outcome {
        match self {
            ForwardAnswer::Done(index, replies) if replies.len() == count as usize => {
                Ok((index, replies))
            }
            ForwardAnswer::Done(..) => Err(ReplicationError::OutcomeUnknown(
                "the leader answered with another number of replies".to_owned(),
            )),
            ForwardAnswer::NotLeader => Err(ReplicationError::NotLeader),
            ForwardAnswer::Overloaded => Err(ReplicationError::Overloaded),
            ForwardAnswer::NoRoom => Err(ReplicationError::NoRoom),
            ForwardAnswer::Unknown(why) => Err(ReplicationError::OutcomeUnknown(why)),
        }
    }
}

impl Wire for ForwardAnswer {
    fn put(&self, out: &mut BytesMut) {
        match self {
            ForwardAnswer::Done(index, replies) => {
                0u8.put(out);
                index.put(out);
                replies.put(out);
            }
            ForwardAnswer::NotLeader => 1u8.put(out),
            ForwardAnswer::Overloaded => 2u8.put(out),
            ForwardAnswer::Unknown(why) => {
                3u8.put(out);
                why.put(out);
            }
            ForwardAnswer::NoRoom => 4u8.put(out),
        }
    }

    fn read(from: &mut Bytes) -> Result<Self, CodecError> {
        Ok(match u8::read(from)? {
            0 => {
                let index = u64::read(from)?;
                ForwardAnswer::Done(index, Vec::read(from)?)
            }
            1 => ForwardAnswer::NotLeader,
            2 => ForwardAnswer::Overloaded,
            3 => ForwardAnswer::Unknown(String::read(from)?),
            4 => ForwardAnswer::NoRoom,
            _ => return Err(CodecError("an unknown answer")),
        })
    }
}
