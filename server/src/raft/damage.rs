//! A node that finds its state damaged leaves the service to those whose state is sound.
//!
//! The block that a read cannot use is an error for that read. The node then hands leadership over
//! and the process ends, so that clients go to other nodes. As long as those who answer are no majority
//! without it, it goes on: everything else can still be read, and written. What an entry needs of such a block stops Raft instead, at
//! once. Nothing is repaired here.

use crate::limits::VOTE_ANSWER_WAIT;
use crate::node_control::Order;
use crate::raft::frame::Kind;
use crate::raft::node::{Leadership, Node};
use bytes::Bytes;
use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver;
use std::time::Duration;
use storage::StorageError;
use tokio::sync::watch;

/// Pause between two looks whether others can serve.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

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

/// Returns once this node has found damage and a majority without it can serve; leadership is handed
/// over then, if that was possible.
pub(crate) async fn until_to_be_replaced(node: &Node) {
    let error = node.shared.damage.found().await;
    let (own, term, index) = node.shared.place();
    while !others_are_a_majority(node).await {
        let what = "the state is damaged; too few others can serve, so this node goes on";
        tracing::error!(node = own, term, index, error, "{what}");
        tokio::time::sleep(LOOK_PAUSE).await;
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

/// Whether the other voters that answer are a majority by themselves.
async fn others_are_a_majority(node: &Node) -> bool {
    let members = node.shared.raft.metrics().borrow_watched().membership_config.clone();
    let own = node.shared.identity.node_id();
    let others = members.voter_ids().filter(|id| *id != own);
    let asked = others.filter_map(|id| Some(node.shared.link(id, members.get_node(&id)?)));
    let asked = asked.map(|link| async move {
        link.call(Kind::Room, Bytes::new(), VOTE_ANSWER_WAIT).await.is_ok()
    });
    let answered = join_all(asked).await.into_iter().filter(|answered| *answered).count();
    2 * answered > members.voter_ids().count()
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
