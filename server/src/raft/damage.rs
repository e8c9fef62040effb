//! A node that finds its state damaged leaves the service to those whose state is sound.
//!
//! The block that a read cannot use is an error for that read. The node then hands leadership over
//! and the process ends, so that clients go to other nodes; alone in its cluster it goes on, because
//! everything else can still be read. What an entry needs of such a block stops Raft instead, at
//! once. Nothing is repaired here.

use crate::limits::ORDER_WAIT;
use crate::node_control::Order;
use crate::raft::node::{Leadership, Node};
use openraft::async_runtime::WatchReceiver;
use storage::StorageError;
use tokio::sync::watch;

/// What was found first.
#[derive(Debug)]
pub(crate) struct Damage(watch::Sender<Option<String>>);

impl Default for Damage {
    fn default() -> Self {
        Damage(watch::Sender::new(None))
    }
}

impl Damage {
    /// Reports an error of a read, if it is damage; only the first is kept.
    pub(crate) fn report(&self, error: &StorageError) {
        if error.is_damage() {
            self.0.send_if_modified(|found| {
                let is_first = found.is_none();
                found.get_or_insert_with(|| error.to_string());
                is_first
            });
        }
    }

    async fn found(&self) -> String {
        let mut watched = self.0.subscribe();
        let found = watched.wait_for(Option::is_some).await;
        found.ok().and_then(|found| found.clone()).unwrap_or_default()
    }
}

/// Returns once this node has found damage and others can serve in its place; leadership is handed
/// over then, if that was possible.
pub(crate) async fn until_to_be_replaced(node: &Node) {
    let error = node.shared.damage.found().await;
    let (own, term, index) = node.shared.place();
    loop {
        let members = node.shared.raft.metrics().borrow_watched().membership_config.clone();
        if members.voter_ids().any(|id| id != own) {
            break;
        }
        tracing::error!(
            node = own,
            term,
            index,
            error,
            "the state is damaged; no other node has it"
        );
        tokio::time::sleep(ORDER_WAIT).await;
    }
    if node.leadership() == Leadership::Here {
        // Without it the others elect one of them once this process is gone.
        drop(node.order(Order::TransferLeader { to: None }).await);
    }
    tracing::error!(
        node = own,
        term,
        index,
        error,
        "the state is damaged; the process ends, replace this node"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn damage_is_told_and_trouble_of_other_kinds_is_not() {
        let damage = Damage::default();
        damage.report(&StorageError::Io(std::io::Error::other("no descriptors")));
        damage.report(&StorageError::Snapshot("cut short".to_owned()));
        assert_eq!(*damage.0.borrow(), None);
        damage.report(&StorageError::Corrupt("first".to_owned()));
        damage.report(&StorageError::Corrupt("second".to_owned()));
        assert!(damage.found().await.ends_with("first"));
    }
}
