//! Regular duties of a node: expiry, snapshots and purging, noticing
//! that the cluster removed it, and one line of tracing for every change that operators look for.

use crate::limits::{DUTY_INTERVAL, VOTE_ANSWER_WAIT};
use crate::raft::bootstrap::Bootstrap;
use crate::raft::codec::Wire;
use crate::raft::disk_room;
use crate::raft::frame::Kind;
use crate::raft::node::{Leadership, Node};
use crate::raft::proposer::Operations;
use crate::raft::types::StoredMembership;
use crate::state_machine::Operation;
use bytes::{Bytes, BytesMut};
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::StorageError;
use storage::keyspace::Reader;
use storage::log::LogPosition;
use storage::mutants::{self, Mutant};
use storage::space::Room;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Time without a leader after which a node asks whether it is still a member.
const LONELY_AFTER: Duration = Duration::from_secs(3);

/// Starts all duties; they end with `stop`.
pub(crate) fn start(node: &Node, bootstrap: &Arc<Bootstrap>, stop: &CancellationToken) {
    run_until(stop, expiry(node.clone()));
    run_until(stop, log_space(node.clone()));
    run_until(stop, disk_room::watch(node.clone()));
    run_until(stop, watch_leadership(node.clone()));
    run_until(stop, loneliness(node.clone(), bootstrap.clone()));
    run_until(stop, membership_changes(node.clone()));
}

fn run_until(stop: &CancellationToken, duty: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    crate::tasks::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = duty => {}
        }
    });
}

/// On the leader: commits a time mark whenever a deadline is due, which removes overdue keys in
/// bounded batches.
async fn expiry(node: Node) {
    let machine = node.shared.machine.clone();
    let (mut marked_ms, mut took) = (0, Duration::ZERO);
    loop {
        if node.leadership() != Leadership::Here {
            sleep(DUTY_INTERVAL).await;
            continue;
        }
        let now_ms = node.shared.clock.unix_ms();
        if machine.next_deadline_ms.load(Ordering::Acquire) <= now_ms {
            let Ok(deadline_ms) = next_deadline(&node) else {
                // The store's own failure is reported where it writes.
                sleep(Duration::from_secs(1)).await;
                continue;
            };
            if let Some(deadline_ms) = deadline_ms.filter(|deadline_ms| *deadline_ms <= now_ms) {
                if deadline_ms <= marked_ms {
                    // The last mark left keys for removal. They are absent already: clients first.
                    sleep(took).await;
                }
                let (keys_max, begun) = (expire_batch(&node), Instant::now());
                propose(&node, &Operation::TimeMark { keys_max }).await;
                (marked_ms, took) = (now_ms, begun.elapsed());
                continue;
            }
        }
        let left_ms = machine.next_deadline_ms.load(Ordering::Acquire).saturating_sub(now_ms);
        let until = Duration::from_millis(left_ms).min(DUTY_INTERVAL);
        // Either way it is time to look again.
        drop(timeout(until, machine.deadline_moved.notified()).await);
    }
}

fn expire_batch(node: &Node) -> u32 {
    node.shared.settings.load().expire_batch as u32
}

/// The earliest deadline.
fn next_deadline(node: &Node) -> Result<Option<u64>, StorageError> {
    let machine = &node.shared.machine;
    // What is set from here on rings `deadline_moved`; what was set before is found below.
    machine.next_deadline_ms.store(u64::MAX, Ordering::Release);
    let txn = machine.engine.read();
    let reader = Reader::new(&*txn, machine.shard, 0);
    let deadline_ms = reader.next_deadline()?.filter(|_| !mutants::on(Mutant::DeadlinesForgotten));
    machine.next_deadline_ms.fetch_min(deadline_ms.unwrap_or(u64::MAX), Ordering::AcqRel);
    Ok(deadline_ms)
}

async fn propose(node: &Node, operation: &Operation) {
    let mut encoded = BytesMut::new();
    operation.encode(&mut encoded);
    let encoded = encoded.freeze();
    if node.write_here(Operations::new(encoded, 1, false)).await.is_err() {
        // Leadership went elsewhere; the duty with it.
        sleep(DUTY_INTERVAL).await;
    }
}

/// Keeps the log within its limit: makes the state durable, then purges what it covers.
async fn log_space(node: Node) {
    let engine = node.shared.machine.engine.clone();
    if engine.stats().engine == "memory" {
        return;
    }
    loop {
        sleep(DUTY_INTERVAL).await;
        let bytes_max = node.shared.settings.load().log_max_bytes;
        // What is purged is one half.
        let has_room = node.shared.space.room() == Room::Enough;
        node.shared.log_files.recycle(if has_room { bytes_max / 2 } else { 0 });
        if node.log_stats().bytes <= bytes_max {
            continue;
        }
        match node.snapshot().await {
            Ok(upto) => {
                let (node, term, index) = node.shared.place();
                tracing::info!(node, term, index, upto, "snapshot built to free the log");
            }
            Err(error) => {
                tracing::warn!(error, "the log cannot be freed yet");
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        node.purge_half().await;
    }
}

impl Node {
    /// Purges the older half of the log, never past what the state has made durable.
    pub(crate) async fn purge_half(&self) {
        let log = &self.shared.log;
        let (Some(first), (_, Some(last))) = (log.first_index(), log.state()) else { return };
        let durable = self.shared.machine.engine.durable_index();
        let metrics = self.shared.raft.metrics().borrow_watched().clone();
        let snapshot = metrics.snapshot.map_or(0, |snapshot| snapshot.index + 1);
        let LogPosition { index: last, .. } = last;
        let half = first + (last - first) / 2;
        let upto = half.min(durable.min(snapshot).saturating_sub(1));
        if upto <= first {
            return;
        }
        match self.shared.raft.trigger().purge_log(upto).await {
            Ok(()) => {
                let (node, term, index) = self.shared.place();
                tracing::info!(node, term, index, upto = upto + 1, "purged the log");
            }
            Err(error) => tracing::error!(%error, "the log was not purged"),
        }
        // The purge goes through Raft's task and the log's writer.
        sleep(Duration::from_millis(200)).await;
    }
}

/// Traces every change of role, term and membership, and counts them.
async fn watch_leadership(node: Node) {
    let own = node.shared.identity.node_id();
    let mut metrics = node.shared.raft.server_metrics();
    let (mut state, mut leader, mut members) = (ServerState::Learner, None, None);
    loop {
        let now = metrics.borrow_watched().clone();
        let term = now.vote.leader_id.term;
        let index = node.shared.machine.applied().log_index;
        if now.state != state {
            if now.state == ServerState::Candidate {
                node.shared.counters.elections_started.fetch_add(1, Ordering::Relaxed);
            }
            tracing::info!(node = own, term, index, role = ?now.state, "role changed");
            state = now.state;
        }
        if now.current_leader != leader {
            if let Some(leader) = now.current_leader {
                node.shared.counters.leader_changes.fetch_add(1, Ordering::Relaxed);
                tracing::info!(node = own, term, index, leader, "leader known");
            } else {
                tracing::info!(node = own, term, index, "leader lost");
            }
            leader = now.current_leader;
        }
        if *now.membership_config.log_id() != members {
            let voters: Vec<u64> = now.membership_config.voter_ids().collect();
            let all: Vec<u64> = now.membership_config.nodes().map(|(id, _)| *id).collect();
            tracing::info!(node = own, term, index, ?voters, members = ?all, "membership changed");
            members = *now.membership_config.log_id();
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// On the leader: finishes what a leader before it, or an order that gave up, left in between.
async fn membership_changes(node: Node) {
    loop {
        sleep(Duration::from_millis(500)).await;
        node.finish_change().await;
    }
}

/// A node that hears of no leader for long asks the members it knows whether it is still one.
async fn loneliness(node: Node, bootstrap: Arc<Bootstrap>) {
    let mut heard = Instant::now();
    loop {
        sleep(Duration::from_millis(500)).await;
        if node.leadership() != Leadership::Unknown {
            heard = Instant::now();
        }
        if heard.elapsed() < LONELY_AFTER || bootstrap.identity.state().removed {
            continue;
        }
        heard = Instant::now();
        let own = node.shared.identity.node_id();
        let metrics = node.shared.raft.server_metrics();
        let known = metrics.borrow_watched().membership_config.clone();
        let ours = metrics.borrow_watched().committed_membership_config.clone();
        for (id, address) in known.nodes().filter(|(id, _)| **id != own) {
            let link = node.shared.link(*id, address);
            let asked = link.call(Kind::Membership, Bytes::new(), VOTE_ANSWER_WAIT).await;
            let Some(theirs) = asked.ok().and_then(|row| StoredMembership::from_bytes(row).ok())
            else {
                continue;
            };
            if was_let_go(own, &ours, &theirs) {
                bootstrap.believe_removed(&node, *theirs.log_id());
                break;
            }
        }
    }
}

/// Whether a node was a member and is none any more, by what it and another member have committed. A
/// node that is still catching up has not seen itself come in: then the other's membership may be
/// newer than its own, and yet from before.
fn was_let_go(own: u64, ours: &StoredMembership, theirs: &StoredMembership) -> bool {
    ours.get_node(&own).is_some()
        && theirs.get_node(&own).is_none()
        && theirs.log_id() > ours.log_id()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{Membership, NodeAddress, log_id};
    use std::collections::{BTreeMap, BTreeSet};

    fn committed(index: u64, voters: &[u64], learners: &[u64]) -> StoredMembership {
        let all = voters.iter().chain(learners).map(|id| (*id, NodeAddress::default()));
        let voters = vec![voters.iter().copied().collect::<BTreeSet<u64>>()];
        let membership = Membership::new(voters, all.collect::<BTreeMap<_, _>>()).unwrap();
        StoredMembership::new(Some(log_id(1, index)), membership)
    }

    #[test]
    fn only_a_member_that_is_none_any_more_was_let_go() {
        let before = committed(0, &[1, 2, 3], &[]);
        let changed = committed(5, &[1, 2, 4], &[]);
        assert!(!was_let_go(5, &before, &changed), "it is catching up, and comes in later");
        let with = committed(9, &[1, 2, 4], &[5]);
        let without = committed(12, &[1, 2, 4], &[]);
        assert!(was_let_go(5, &with, &without));
        assert!(!was_let_go(5, &with, &changed), "the other is behind");
        assert!(!was_let_go(5, &with, &with));
        assert!(was_let_go(3, &before, &changed));
    }
}
