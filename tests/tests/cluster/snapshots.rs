//! Nodes that were away for longer than the log reaches back.

use crate::expect;
use kvorum_tests::client::{Client, text};
use kvorum_tests::cluster::Cluster;
use kvorum_tests::node::wait_until;
use std::time::Duration;

/// A log so small that a few thousand writes purge it.
pub(crate) const SMALL_LOG: &[&str] =
    &["log-segment-bytes=1mb", "log-max-bytes=2mb", "overlay-bytes=1mb", "follower-writes=forward"];

/// Bytes of each value written to make the log long.
const VALUE_BYTES: usize = 8000;

/// Writes `count` values of keys `big-<from>...`, in pipelines.
pub(crate) fn write_much(client: &mut Client, from: usize, count: usize) {
    let value = "v".repeat(VALUE_BYTES);
    let numbers: Vec<usize> = (from..from + count).collect();
    for numbers in numbers.chunks(50) {
        let set = |number: &usize| vec!["SET".into(), format!("big-{number}"), value.clone()];
        let requests: Vec<Vec<String>> = numbers.iter().map(set).collect();
        client.send(&requests).expect("the node takes a pipeline");
        for _ in numbers {
            assert_eq!(text(&client.receive().expect("a write is answered")), "OK");
        }
    }
}

#[test]
fn a_node_that_was_away_comes_back_by_snapshot() {
    let mut cluster = Cluster::start(3, SMALL_LOG);
    let mut written = 0;
    let mut members = None;
    for round in 0..2 {
        let away = cluster.follower();
        cluster.wait_converged();
        let last = cluster.nodes[away].raft_figure("raft_current_index");
        cluster.nodes[away].kill();
        let leader = cluster.leader();
        let mut client = cluster.nodes[leader].client();
        let purged = |cluster: &Cluster| cluster.nodes[leader].raft_figure("raft_purged_index");
        while purged(&cluster) <= last {
            assert!(written < 10_000, "the log is never purged");
            write_much(&mut client, written, 250);
            written += 250;
        }
        expect(&mut client, &format!("SET round {round}"), "OK");
        cluster.nodes[away].start();
        cluster.wait_converged();
        let received = cluster.nodes[away].raft_figure("raft_snapshots_received");
        assert!(received >= 1, "round {round}: caught up without a snapshot");
        let mut returned = cluster.nodes[away].client();
        expect(&mut returned, "GET round", &round.to_string());
        expect(&mut returned, "DBSIZE", &(written + 1).to_string());
        // A snapshot, then a restart from it: the members are the same.
        for node in &mut cluster.nodes {
            node.kill();
            node.start();
        }
        cluster.leader();
        let now: Vec<(u64, u64)> = cluster
            .nodes
            .iter()
            .map(|node| (node.id(), node.raft_figure("raft_num_voting_nodes")))
            .collect();
        assert!(now.iter().all(|(_, voters)| *voters == 3), "{now:?}");
        assert_eq!(members.get_or_insert_with(|| now.clone()), &now);
    }
    // Alone, a node must not think that it is a majority.
    for node in &mut cluster.nodes {
        node.kill();
    }
    cluster.nodes[0].start();
    std::thread::sleep(Duration::from_secs(5));
    assert_ne!(cluster.nodes[0].info("raft")["raft_role"], "leader");
    cluster.start_all();
    expect(&mut cluster.nodes[0].client(), "GET round", "1");
}

#[test]
fn raft_snapshot_frees_the_log_of_one_node() {
    let mut cluster = Cluster::start(1, SMALL_LOG);
    let mut client = cluster.nodes[0].client();
    write_much(&mut client, 0, 1000);
    let bytes = |cluster: &Cluster| cluster.nodes[0].raft_figure("raft_file_size");
    wait_until(Duration::from_secs(20), "the log is purged", || {
        cluster.nodes[0].raft_figure("raft_purged_index") > 0 && bytes(&cluster) <= 4 << 20
    });
    let before = cluster.nodes[0].raft_figure("raft_last_applied_index");
    let index: u64 = text(&client.ask("RAFT.SNAPSHOT")).parse().expect("a log index");
    assert!(index >= before);
    assert!(cluster.nodes[0].raft_figure("raft_durable_index") >= before);
    cluster.nodes[0].kill();
    cluster.start_all();
    expect(&mut cluster.nodes[0].client(), "DBSIZE", "1000");
}

#[test]
fn a_receiver_killed_while_it_receives_comes_back_whole() {
    let mut cluster = Cluster::start(3, SMALL_LOG);
    let away = cluster.follower();
    let last = cluster.nodes[away].raft_figure("raft_current_index");
    cluster.nodes[away].kill();
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].client();
    let mut written = 0;
    while cluster.nodes[leader].raft_figure("raft_purged_index") <= last {
        write_much(&mut client, written, 250);
        written += 250;
    }
    // Killed ever later, so that some kill hits the snapshot on its way in.
    for wait_ms in [0, 5, 20, 60, 150] {
        cluster.nodes[away].start();
        std::thread::sleep(Duration::from_millis(wait_ms));
        cluster.nodes[away].kill();
    }
    cluster.start_all();
    cluster.wait_converged();
    let mut returned = cluster.nodes[away].client();
    expect(&mut returned, "READONLY", "OK");
    expect(&mut returned, "DBSIZE", &written.to_string());
    let value = "v".repeat(VALUE_BYTES);
    for number in (0..written).step_by(97) {
        expect(&mut returned, &format!("GET big-{number}"), &value);
    }
}
