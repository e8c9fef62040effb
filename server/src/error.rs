//! Errors as clients read them: one exhaustive match from our errors to RESP prefix and text.
//!
//! What a prefix makes clients do decides here (`MOVED` and `TRYAGAIN` are retried by themselves):
//! only requests that certainly were not proposed get an error that is retried. `UNKNOWN` is ours;
//! no client retries it.

use crate::commands::error::{CommandError, Failure};
use crate::limits::SUBMISSION_BYTES_MAX;
use crate::raft::error::ReplicationError;
use protocol::Reply;

impl From<ReplicationError> for Reply {
    fn from(error: ReplicationError) -> Self {
        match error {
            ReplicationError::NotLeader | ReplicationError::NoLeader => {
                Reply::error("CLUSTERDOWN The cluster has no leader")
            }
            ReplicationError::Overloaded => {
                Reply::error("TRYAGAIN Too many requests are waiting to be replicated")
            }
            ReplicationError::NoRoom => Reply::error(
                "MISCONF The disk is nearly full: less than 'disk-free-min' is free. The write was not \
                 made; writes are taken again when there is room",
            ),
            ReplicationError::TooLong => Reply::error(format!(
                "ERR the commands together exceed {SUBMISSION_BYTES_MAX} bytes of one log entry"
            )),
            ReplicationError::NotServing(why) => Reply::error(format!("CLUSTERDOWN {why}")),
            ReplicationError::OutcomeUnknown(why) => Reply::error(format!(
                "UNKNOWN The outcome of this write is unknown, it may take effect: {why}"
            )),
        }
    }
}

impl From<CommandError> for Reply {
    fn from(error: CommandError) -> Self {
        Reply::error(error.to_string())
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Command(error) => error.into(),
            Failure::Storage(error) => Reply::error(format!("IOERR {error}")),
        }
    }
}
