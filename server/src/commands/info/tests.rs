//! Tests of INFO's sections and fields.

use super::render;
use crate::commands::fake_node::{FakeNode, member};
use crate::metrics::CommandOutcome;

/// The lines of an INFO without their ends.
fn info(node: &FakeNode, sections: &str) -> Vec<String> {
    let names: Vec<&[u8]> = sections.split_ascii_whitespace().map(str::as_bytes).collect();
    let text = render(node, &names, false);
    assert!(text.is_empty() || text.ends_with("\r\n"));
    text.split_terminator("\r\n").map(str::to_owned).collect()
}

fn titles(node: &FakeNode, sections: &str) -> Vec<String> {
    let lines = info(node, sections).into_iter();
    lines.filter_map(|line| line.strip_prefix("# ").map(str::to_owned)).collect()
}

#[test]
fn sections_come_in_order_whatever_was_asked() {
    let node = FakeNode::new(Some(1));
    assert_eq!(titles(&node, "keyspace CLUSTER nosuch cluster"), ["Cluster", "Keyspace"]);
    assert_eq!(titles(&node, "nosuch"), [""; 0]);
    assert_eq!(titles(&node, ""), titles(&node, "default"));
    assert!(!titles(&node, "").contains(&"Commandstats".to_owned()));
    assert_eq!(titles(&node, "default commandstats").len(), titles(&node, "").len() + 1);
    assert_eq!(titles(&node, "all"), titles(&node, "everything"));
    assert_eq!(titles(&node, "all").len(), super::SECTIONS.len());
}

#[test]
fn every_line_is_a_title_a_field_or_a_gap_and_no_field_is_there_twice_in_its_section() {
    let node = FakeNode::new(Some(2));
    let mut seen = std::collections::BTreeSet::new();
    for line in info(&node, "all") {
        if line.starts_with("# ") {
            seen.clear();
        } else if !line.is_empty() {
            let (name, _) = line.split_once(':').unwrap_or_else(|| panic!("{line}"));
            assert!(seen.insert(name.to_owned()), "{name} is there twice");
        }
    }
}

#[test]
fn a_leader_lists_those_that_follow_it() {
    let mut node = FakeNode::new(Some(1));
    node.status.members[2].connected = false;
    let lines = info(&node, "replication");
    let expected = [
        "# Replication",
        "role:master",
        "connected_slaves:1",
        "slave0:ip=10.0.0.2,port=6379,state=online,offset=92,lag=2",
        "master_failover_state:no-failover",
        "master_replid:0000000000c0ffee000000000000000000000000",
        "master_replid2:0000000000000000000000000000000000000000",
        "master_repl_offset:100",
        "second_repl_offset:-1",
        "repl_backlog_active:1",
        "repl_backlog_size:1073741824",
        "repl_backlog_first_byte_offset:31",
        "repl_backlog_histlen:70",
        "raft_node_id:1",
        "raft_role:leader",
    ];
    assert_eq!(lines[..expected.len()], expected);
}

#[test]
fn a_follower_names_its_leader() {
    let mut node = FakeNode::new(Some(3));
    let expected = [
        "role:slave",
        "master_host:10.0.0.3",
        "master_port:6379",
        "master_link_status:up",
        "master_last_io_seconds_ago:3",
        "master_sync_in_progress:0",
        "slave_read_repl_offset:100",
        "slave_repl_offset:98",
        "slave_priority:100",
        "slave_read_only:1",
        "replica_announced:1",
        "connected_slaves:0",
        "master_failover_state:no-failover",
    ];
    assert_eq!(info(&node, "replication")[1..=expected.len()], expected);
    node.status.leader_id = None;
    node.status.members[0].voter = false;
    let lines = info(&node, "replication");
    for line in ["master_link_status:down", "master_last_io_seconds_ago:-1", "slave_priority:0"] {
        assert!(lines.contains(&line.to_owned()), "{line}");
    }
}

#[test]
fn raft_has_the_names_of_redisraft() {
    let mut node = FakeNode::new(Some(1));
    node.status.members.push(crate::status::Member { voter: false, ..member(9) });
    let lines = info(&node, "raft");
    for line in [
        "raft_dbid:0000000000c0ffee",
        "raft_state:up",
        "raft_role:leader",
        "raft_is_voting:yes",
        "raft_voted_for:1",
        "raft_leader_id:1",
        "raft_current_term:7",
        "raft_num_nodes:4",
        "raft_num_voting_nodes:3",
        "raft_node1:id=2,state=connected,voting=yes,addr=10.0.0.2,port=6379,peer_port=16379,\
         last_conn_secs=2,match_index=92,lag_entries=8,round_trip_usec=200",
        "raft_log_entries:70",
        "raft_commit_index:99",
        "raft_last_applied_index:98",
        "raft_file_size:4096",
        "raft_fsync_count:12",
        "raft_fsync_mode:always",
        "raft_snapshot_last_idx:40",
        "raft_proxy_reqs:7",
        "raft_group_commit_avg:2.50",
    ] {
        assert!(lines.contains(&line.to_owned()), "{line} in {lines:#?}");
    }
}

#[test]
fn counters_show() {
    let node = FakeNode::new(Some(1));
    let mut session = node.session();
    node.run(&mut session, "PING");
    let ping = crate::commands::lookup(b"ping").unwrap();
    node.metrics.record(ping, 1, 2_500, CommandOutcome::Ok, true);
    node.metrics.record(ping, 1, 4_500, CommandOutcome::Failed, true);
    node.metrics.record_error("ERR x");
    let lines = info(&node, "all");
    for line in [
        "redis_version:7.0.15",
        "redis_mode:standalone",
        "connected_clients:1",
        "total_commands_processed:2",
        "cmdstat_ping:calls=2,usec=7,usec_per_call=3.50,rejected_calls=0,failed_calls=1",
        "errorstat_ERR:count=1",
        "rdb_last_save_time:1699999999",
        "rdb_changes_since_last_save:48",
        "loading:0",
        "db0:keys=2,expires=1,avg_ttl=5000",
        "db3:keys=1,expires=0,avg_ttl=0",
        "cluster_enabled:0",
    ] {
        assert!(lines.contains(&line.to_owned()), "{line} in {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("latency_percentiles_usec_ping:p50=2.")));
}

#[test]
fn sizes_are_readable() {
    use super::figures::human_bytes;
    let cases = [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.00K"),
        (1_212_424, "1.16M"),
        (25_276_510_208, "23.54G"),
    ];
    for (bytes, text) in cases {
        assert_eq!(human_bytes(bytes), text);
    }
}
