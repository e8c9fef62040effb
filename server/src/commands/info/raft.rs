//! Section raft: the Raft group, in RedisRaft's field names where it has the figure.
//!
//! Times are microseconds unless the name says otherwise; 0 stands for "none" where an id or an
//! index is meant.

use super::Sources;
use super::figures::{Section, ratio};
use crate::status::{Member, Role};

pub(super) fn raft(from: &Sources<'_>, section: &mut Section) {
    general(from, section);
    members(from, section);
    log(from, section);
    snapshot(from, section);
    clients(from, section);
    proposals(from, section);
}

fn general(from: &Sources<'_>, section: &mut Section) {
    let status = &from.status;
    let state = match status.role {
        Role::Joining => "joining",
        Role::Removed => "removed",
        _ if status.snapshot_receiving => "loading",
        _ => "up",
    };
    section.add("raft_version", env!("CARGO_PKG_VERSION"));
    section.add("raft_dbid", format_args!("{:016x}", status.cluster_id));
    section.add("raft_node_id", status.node_id);
    section.add("raft_state", state);
    section.add("raft_role", status.role.name());
    let votes = status.this().is_some_and(|member| member.voter);
    section.add("raft_is_voting", if votes { "yes" } else { "no" });
    section.add("raft_voted_for", status.voted_for.unwrap_or(0));
    section.add("raft_leader_id", status.leader_id.unwrap_or(0));
    section.add("raft_current_term", status.term);
    section.add_flag("raft_membership_changing", status.membership_changing);
    section.add("raft_elections_started", status.elections_started);
    section.add("raft_leader_changes", status.leader_changes);
}

fn members(from: &Sources<'_>, section: &mut Section) {
    let status = &from.status;
    section.add("raft_num_nodes", status.members.len());
    section.add("raft_num_voting_nodes", status.voters());
    let others = status.members.iter().filter(|member| member.id != status.node_id);
    for (number, member) in others.enumerate() {
        section.add(&format!("raft_node{}", number + 1), describe(member, status.last_log_index));
    }
}

fn describe(member: &Member, last_log_index: u64) -> String {
    let mut text = format!(
        "id={},state={},voting={},addr={},port={},peer_port={},last_conn_secs={}",
        member.id,
        match member.last_contact_ms {
            _ if member.connected => "connected",
            Some(_) => "disconnected",
            // Followers do not talk to each other.
            None => "unknown",
        },
        if member.voter { "yes" } else { "no" },
        member.host,
        member.port,
        member.peer_port,
        member.last_contact_ms.map_or(-1, |ms| (ms / 1000) as i64),
    );
    if member.tls_port != 0 {
        text.push_str(&format!(",tls_port={}", member.tls_port));
    }
    if let Some(index) = member.match_index {
        let lag = last_log_index.saturating_sub(index);
        text.push_str(&format!(",match_index={index},lag_entries={lag}"));
    }
    if let Some(micros) = member.round_trip_us {
        text.push_str(&format!(",round_trip_usec={micros}"));
    }
    text
}

fn log(from: &Sources<'_>, section: &mut Section) {
    let (status, log) = (&from.status, from.node.log_stats());
    let entries = status.last_log_index.saturating_sub(status.purged_index);
    section.add("raft_log_entries", entries);
    section.add("raft_current_index", status.last_log_index);
    section.add("raft_last_log_term", from.figures.last_log_term);
    section.add("raft_commit_index", status.commit_index);
    section.add("raft_last_applied_index", status.applied_index);
    section.add("raft_durable_index", status.durable_index);
    section.add("raft_purged_index", status.purged_index);
    section.add("raft_file_size", log.bytes);
    section.add("raft_log_segments", log.segments);
    section.add("raft_log_appended_bytes", log.appended_bytes);
    section.add("raft_log_queued", log.queued);
    section.add("raft_cache_memory_size", log.cache_bytes);
    section.add("raft_cache_misses", log.cache_misses);
    section.add("raft_fsync_mode", from.node.settings().load().appendfsync.name());
    section.add("raft_fsync_count", log.fsync_count);
    section.add("raft_fsync_max_microseconds", log.fsync_us.max);
    section.add("raft_fsync_avg_microseconds", log.fsync_us.mean);
    section.add("raft_fsync_p50_microseconds", log.fsync_us.p50);
    section.add("raft_fsync_p99_microseconds", log.fsync_us.p99);
    section.add("raft_fsync_slow", log.slow_syncs);
    section.add("raft_fsync_entries_p50", log.entries_per_sync.p50);
    section.add("raft_fsync_entries_p99", log.entries_per_sync.p99);
    section.add("raft_fsync_entries_max", log.entries_per_sync.max);
}

fn snapshot(from: &Sources<'_>, section: &mut Section) {
    let (status, figures) = (&from.status, &from.figures);
    section.add("raft_snapshot_last_idx", status.snapshot_index);
    section.add("raft_snapshot_last_term", figures.snapshot_term);
    section.add("raft_snapshot_size", figures.snapshot_bytes);
    section.add("raft_snapshot_time_secs", figures.snapshot_ms / 1000);
    section.add("raft_snapshots_created", status.snapshots_created);
    section.add("raft_snapshots_sent", status.snapshots_sent);
    section.add("raft_snapshots_received", status.snapshots_received);
    let in_progress = figures.snapshot_building || status.snapshot_receiving;
    section.add("raft_snapshot_in_progress", if in_progress { "yes" } else { "no" });
}

fn clients(from: &Sources<'_>, section: &mut Section) {
    let status = &from.status;
    section.add("raft_proxy_reqs", status.forwarded_requests);
    section.add("raft_proxy_failed_reqs", status.forwarded_failed);
    section.add("raft_proxy_outstanding_reqs", from.figures.forwards_outstanding);
}

fn proposals(from: &Sources<'_>, section: &mut Section) {
    let (status, figures) = (&from.status, &from.figures);
    let average = ratio(status.commands_proposed, status.entries_proposed);
    section.add("raft_entries_proposed", status.entries_proposed);
    section.add("raft_commands_proposed", status.commands_proposed);
    section.add("raft_group_commit_avg", format_args!("{average:.2}"));
    section.add("raft_group_commit_p50", figures.group_commit_p50);
    section.add("raft_group_commit_p99", figures.group_commit_p99);
    section.add("raft_group_commit_max", status.group_commit_max);
    section.add("raft_proposals_waiting", figures.proposals_waiting);
    section.add("raft_entries_in_flight", figures.entries_in_flight);
    section.add("raft_exec_throttled", figures.throttled);
    section.add("raft_appendreq_received", status.append_requests_received);
    section.add("raft_appendreq_with_entry_received", figures.append_requests_with_entries);
    section.add("raft_snapshotreq_received", figures.snapshot_requests_received);
    section.add("raft_peers_refused", figures.peers_refused);
}
