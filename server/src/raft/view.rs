//! A node's status, gathered from Raft, the log, the store and the peers at one moment.

use crate::raft::node::{Leadership, Node};
use crate::raft::types::NodeAddress;
use crate::status::{ClusterStatus, Member, RaftFigures, Role};
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use storage::log::LogStats;

impl Node {
    /// Figures of the whole log, all shards.
    pub(crate) fn log_stats(&self) -> LogStats {
        self.shared.log_files.stats()
    }

    /// What this node knows of itself and its group.
    pub(crate) fn status(&self) -> ClusterStatus {
        let shared = &self.shared;
        let metrics = shared.raft.metrics().borrow_watched().clone();
        let identity = shared.identity.state();
        let membership = &metrics.membership_config;
        let role = match metrics.state {
            _ if identity.removed => Role::Removed,
            _ if membership.log_id().is_none() => Role::Joining,
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            ServerState::Learner | ServerState::Shutdown => Role::Learner,
        };
        let counted =
            |log_id: Option<crate::raft::types::LogId>| log_id.map_or(0, |id| id.index + 1);
        let voted_for = metrics.vote.leader_id.voted_for;
        ClusterStatus {
            cluster_id: identity.cluster_id,
            node_id: identity.node_id,
            role,
            term: metrics.current_term,
            voted_for: (metrics.current_term > 0).then_some(voted_for),
            leader_id: match self.leadership() {
                Leadership::Here => Some(identity.node_id),
                Leadership::At(id, _) => Some(id),
                Leadership::Unknown => None,
            },
            members: self.members(&metrics, role),
            last_log_index: metrics.last_log_index.map_or(0, |last| last + 1),
            commit_index: counted(metrics.cluster_committed).max(counted(metrics.local_committed)),
            applied_index: shared.machine.applied().log_index,
            durable_index: shared.machine.engine.durable_index(),
            snapshot_index: counted(metrics.snapshot),
            purged_index: counted(metrics.purged),
            membership_changing: membership.get_joint_config().len() > 1
                || shared.orders.try_lock().is_err(),
            transferring: shared.transferring.load(Relaxed),
            snapshot_receiving: shared.machine.snapshot_receiving.load(Relaxed),
            elections_started: shared.counters.elections_started.load(Relaxed),
            leader_changes: shared.counters.leader_changes.load(Relaxed),
            snapshots_created: shared.machine.snapshots_created.load(Relaxed),
            snapshots_sent: shared.peers.snapshots_sent(),
            snapshots_received: shared.machine.snapshots_received.load(Relaxed),
            forwarded_requests: shared.counters.forwarded.load(Relaxed),
            forwarded_failed: shared.counters.forwarded_failed.load(Relaxed),
            entries_proposed: shared.figures.groups.load(Relaxed),
            commands_proposed: shared.figures.commands.load(Relaxed),
            group_commit_max: shared.figures.largest.load(Relaxed),
            append_requests_received: shared.counters.append_requests.load(Relaxed),
        }
    }

    /// Figures that only INFO prints.
    pub(crate) fn figures(&self) -> RaftFigures {
        let (shared, machine) = (&self.shared, &self.shared.machine);
        let snapshot = *machine.last_snapshot.lock();
        let (_, last) = shared.log.state();
        RaftFigures {
            last_log_term: last.map_or(0, |last| last.term),
            snapshot_term: snapshot.term,
            snapshot_bytes: snapshot.bytes,
            snapshot_ms: snapshot.unix_ms,
            snapshot_building: machine.snapshot_building.load(Relaxed),
            append_requests_with_entries: shared.peers.appends_with_entries.load(Relaxed),
            snapshot_requests_received: shared.peers.snapshot_pieces.load(Relaxed),
            peer_messages_sent: shared.peers.sent.load(Relaxed),
            peer_messages_received: shared.peers.received.load(Relaxed),
            peers_refused: shared.peers.refused(),
            proposals_waiting: self.local.waiting() as u64,
            entries_in_flight: self.local.in_flight() as u64,
            group_commit_p50: shared.figures.percentile(50.0),
            group_commit_p99: shared.figures.percentile(99.0),
            forwards_outstanding: shared.counters.forwarding.load(Relaxed),
            throttled: machine.throttled.load(Relaxed),
        }
    }

    fn members(
        &self,
        metrics: &openraft::RaftMetrics<crate::raft::types::TypeConfig>,
        role: Role,
    ) -> Vec<Member> {
        let shared = &self.shared;
        let own = shared.identity.node_id();
        let fresh = Duration::from_millis(shared.settings.load().election_timeout_max_ms);
        let membership = &metrics.membership_config;
        let voters: Vec<u64> = membership.voter_ids().collect();
        let member = |(id, address): (&u64, &NodeAddress)| {
            let (host, port) = split_address(&address.client);
            let (_, peer_port) = split_address(&address.peer);
            let figures = shared.peers.figures(*id);
            let contact = figures.last_contact.map(|contact| contact.elapsed());
            let matched = metrics.replication.as_ref().and_then(|all| all.get(id).cloned());
            let match_index = match role {
                Role::Leader if *id == own => metrics.last_log_index.map(|last| last + 1),
                Role::Leader => Some(matched.flatten().map_or(0, |matched| matched.index + 1)),
                _ => None,
            };
            Member {
                id: *id,
                host,
                port,
                tls_port: address.tls_port,
                peer_port,
                voter: voters.contains(id),
                match_index,
                last_contact_ms: contact.map(|contact| contact.as_millis() as u64),
                round_trip_us: figures.round_trip.map(|trip| trip.as_micros() as u64),
                connected: *id == own
                    || (figures.connected && contact.is_some_and(|contact| contact < fresh)),
            }
        };
        membership.nodes().map(member).collect()
    }
}

/// Host and port of `host:port`; port 0 when there is none.
pub(crate) fn split_address(address: &str) -> (String, u16) {
    match address.rsplit_once(':') {
        Some((host, port)) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (host.to_owned(), port.parse().unwrap_or(0))
        }
        None => (address.to_owned(), 0),
    }
}
