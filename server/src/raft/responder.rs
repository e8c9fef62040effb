//! Our own responder: a proposal's outcome goes straight to who waits for it, without a channel for each.

use crate::raft::types::{LogId, TypeConfig};
use openraft::OptionalSend;
use openraft::raft::responder::Responder;

/// Who waits for the outcome of a proposal. Called in Raft's task or the state machine's: it must not
/// block.
pub(crate) trait Waiter<T>: Send {
    /// The entry is committed at this log id, and not yet applied here.
    fn committed(&mut self, log_id: LogId);

    /// The entry is applied here, or never will be.
    fn completed(self: Box<Self>, outcome: T);
}

/// Calls back with the outcome of a proposal.
pub(crate) struct Reply<T>(Box<dyn Waiter<T>>);

impl<T> Reply<T> {
    pub(crate) fn new(waiter: impl Waiter<T> + 'static) -> Self {
        Reply(Box::new(waiter))
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for Reply<T> {
    fn on_commit(&mut self, log_id: LogId) {
        self.0.committed(log_id);
    }

    fn on_complete(self, outcome: T) {
        self.0.completed(outcome);
    }
}
