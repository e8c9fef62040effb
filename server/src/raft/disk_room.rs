//! What a node does about the room on its disk, beside refusing writes (`dispatch/checks`, `node`)
//! and entries of its leader (`peer_server`): it looks, tells, and as a leader hands over.
//!
//! A node whose disk fills up keeps what it has and answers reads. As a follower it leaves entries to
//! the others; as a leader it hands leadership to the most caught-up voter that has room. It does
//! not keep itself from being elected: it may be the only one that has everything, and then reads
//! go on through it.

use crate::limits::{DISK_HANDOVER_INTERVAL, DISK_LOOK_INTERVAL, VOTE_ANSWER_WAIT};
use crate::node_control::Order;
use crate::raft::codec::Wire;
use crate::raft::frame::Kind;
use crate::raft::node::{Leadership, Node};
use crate::tasks::{Threads, Workers, work};
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use std::sync::Arc;
use storage::removal::Removed;
use storage::space::{Room, Space};
use tokio::time::{Instant, sleep};

/// Waits until there is room to open the data: a start that runs out of it halfway would fail, and
/// whoever supervises the process would start it again and again. What is left in `removed` goes
/// first: it would be removed by the node that waits.
pub(crate) async fn wait_to_start(space: &Arc<Space>, removed: &Removed) {
    let (workers, mut told) = (Threads::default(), false);
    while measure(&workers, space).await.is_some_and(|(_, room)| room == Room::Exhausted) {
        if !told {
            let removed = removed.clone();
            if let Err(error) = work(&workers, move || removed.empty()).await {
                tracing::warn!(%error, "removed files keep their room");
            }
            let free_bytes = space.free_bytes();
            tracing::warn!(free_bytes, "the disk is nearly full: waiting for room to start");
            told = true;
        }
        sleep(DISK_LOOK_INTERVAL).await;
    }
}

/// Looks at the disk for as long as the node runs.
pub(crate) async fn watch(node: Node) {
    let space = node.shared.space.clone();
    let workers = node.shared.machine.workers.clone();
    let mut hand_over_at = Instant::now();
    loop {
        space.set_min_bytes(node.shared.settings.load().disk_free_min_bytes);
        if let Some((before, room)) = measure(&*workers, &space).await
            && before != room
        {
            tell(&node, room);
        }
        let leads = || node.leadership() == Leadership::Here;
        if space.room() != Room::Enough && Instant::now() >= hand_over_at && leads() {
            hand_over(&node).await;
            hand_over_at = Instant::now() + DISK_HANDOVER_INTERVAL;
        }
        sleep(DISK_LOOK_INTERVAL).await;
    }
}

/// The room before and now; None where the file system does not tell.
async fn measure(workers: &dyn Workers, space: &Arc<Space>) -> Option<(Room, Room)> {
    let space = space.clone();
    // A disk that hangs must not hang the connections.
    work(workers, move || space.measure().ok()).await
}

fn tell(node: &Node, room: Room) {
    let free_bytes = node.shared.space.free_bytes();
    let (node, term, index) = node.shared.place();
    match room {
        Room::Enough => {
            tracing::info!(node, term, index, free_bytes, "the disk has room again");
        }
        Room::Low => {
            tracing::warn!(node, term, index, free_bytes, "the disk is nearly full: no new data");
        }
        Room::Exhausted => {
            tracing::error!(node, term, index, free_bytes, "the disk is nearly full: no writes");
        }
    }
}

/// Hands leadership to the most caught-up voter that says it has room, if there is one.
async fn hand_over(node: &Node) {
    let own = node.shared.identity.node_id();
    let metrics = node.shared.raft.metrics().borrow_watched().clone();
    let members = metrics.membership_config.clone();
    let matched = |id: &u64| {
        let replication = metrics.replication.as_ref();
        replication.and_then(|all| all.get(id).copied().flatten()).map_or(0, |id| id.index + 1)
    };
    let mut others: Vec<u64> = members.voter_ids().filter(|id| *id != own).collect();
    others.sort_by_key(|id| std::cmp::Reverse(matched(id)));
    for id in others {
        let Some(address) = members.get_node(&id) else { continue };
        let link = node.shared.link(id, address);
        let asked = link.call(Kind::Room, Bytes::new(), VOTE_ANSWER_WAIT).await;
        let room = asked.ok().and_then(|answer| u8::from_bytes(answer).ok());
        if room != Some(Room::Enough as u8) {
            continue;
        }
        let order = node.order(Order::TransferLeader { to: Some(id) });
        if let Err(error) = order.await {
            let (node, term, index) = node.shared.place();
            tracing::warn!(node, term, index, to = id, error, "could not hand over");
        }
        return;
    }
}
