//! Why a request was not replicated, with what is known of its outcome.

/// An error of replication; the text of its reply is made in `crate::error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplicationError {
    /// Not proposed: this node does not lead, and who does is known or not.
    #[error("this node does not lead")]
    NotLeader,
    /// Not proposed: no leader was found while the request was held.
    #[error("the cluster has no leader")]
    NoLeader,
    /// Not proposed: a queue is full.
    #[error("too many requests are waiting")]
    Overloaded,
    /// Not proposed: the disk of the node that leads is nearly full.
    #[error("the disk is nearly full")]
    NoRoom,
    /// Not proposed: it would not fit a log entry.
    #[error("too long to be replicated")]
    TooLong,
    /// Not proposed: the node is stopping, or was removed from its cluster.
    #[error("this node does not serve: {0}")]
    NotServing(&'static str),
    /// It was proposed, and may or may not take effect.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
}
