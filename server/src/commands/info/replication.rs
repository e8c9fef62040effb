//! Section replication: Redis's fields in Redis's order, then those of the Raft group.
//!
//! Offsets are log indexes, and the backlog is the log: its first offset is the first entry that is
//! still there, its length the number of entries, its size the bytes it may take.

use super::Sources;
use super::figures::Section;
use crate::status::{ClusterStatus, Member, Role, cluster_name};

pub(super) fn replication(from: &Sources<'_>, section: &mut Section) {
    let status = &from.status;
    if status.role == Role::Leader {
        section.add("role", "master");
        leads(status, section);
    } else {
        section.add("role", "slave");
        follows(status, section);
        section.add("connected_slaves", 0);
    }
    let failover = if status.transferring { "failover-in-progress" } else { "no-failover" };
    section.add("master_failover_state", failover);
    section.add("master_replid", cluster_name(status.cluster_id, 0));
    section.add("master_replid2", cluster_name(0, 0));
    section.add("master_repl_offset", status.last_log_index);
    section.add("second_repl_offset", -1);
    section.add_flag("repl_backlog_active", true);
    section.add("repl_backlog_size", from.node.settings().load().log_max_bytes);
    section.add("repl_backlog_first_byte_offset", status.purged_index + 1);
    let entries = status.last_log_index.saturating_sub(status.purged_index);
    section.add("repl_backlog_histlen", entries);
    section.add("raft_node_id", status.node_id);
    section.add("raft_role", status.role.name());
    section.add("raft_leader_id", status.leader_id.unwrap_or(0));
    section.add("raft_current_term", status.term);
    section.add("raft_num_voting_nodes", status.voters());
    section.add("raft_current_index", status.last_log_index);
    section.add("raft_commit_index", status.commit_index);
    section.add("raft_last_applied_index", status.applied_index);
}

/// As in Redis, members that cannot be reached are not among the replicas.
fn leads(status: &ClusterStatus, section: &mut Section) {
    let online: Vec<&Member> = status.replicas().filter(|member| member.connected).collect();
    section.add("connected_slaves", online.len());
    for (number, member) in online.into_iter().enumerate() {
        let offset = member.match_index.unwrap_or(0);
        // A member behind the log needs a snapshot first.
        let state = if offset < status.purged_index { "send_bulk" } else { "online" };
        let lag_s = member.last_contact_ms.unwrap_or(0) / 1000;
        section.add(
            &format!("slave{number}"),
            format_args!(
                "ip={},port={},state={state},offset={offset},lag={lag_s}",
                member.host, member.port
            ),
        );
    }
}

fn follows(status: &ClusterStatus, section: &mut Section) {
    let leader = status.leader();
    let last_io_s = leader.and_then(|leader| leader.last_contact_ms).map(|ms| (ms / 1000) as i64);
    section.add("master_host", leader.map_or("", |leader| &leader.host));
    section.add("master_port", leader.map_or(0, |leader| leader.port));
    section.add("master_link_status", if leader.is_some() { "up" } else { "down" });
    section.add("master_last_io_seconds_ago", last_io_s.unwrap_or(-1));
    section.add_flag("master_sync_in_progress", status.snapshot_receiving);
    section.add("slave_read_repl_offset", status.last_log_index);
    section.add("slave_repl_offset", status.applied_index);
    // Redis: 0 is never made master; neither is a learner.
    let votes = status.this().is_some_and(|member| member.voter);
    section.add("slave_priority", if votes { 100 } else { 0 });
    section.add_flag("slave_read_only", true);
    section.add_flag("replica_announced", status.this().is_some());
}
