//! Our own responder: a proposal's outcome goes straight to a closure, without a channel for each.

use crate::raft::types::{LogId, TypeConfig};
use openraft::OptionalSend;
use openraft::raft::responder::Responder;

/// Calls back once with the outcome of a proposal.
pub(crate) struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    /// `done` runs in the state machine's or Raft's task: it must not block.
    pub(crate) fn new(done: impl FnOnce(T) + Send + 'static) -> Self {
        Reply(Box::new(done))
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for Reply<T> {
    fn on_commit(&mut self, _log_id: LogId) {}

    fn on_complete(self, outcome: T) {
        (self.0)(outcome);
    }
}
