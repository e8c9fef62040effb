//! Disks without room. A reserve that no disk has stands for a full disk; `cargo overload` fills real
//! ones.

use crate::{expect, expect_error};
use kvorum_tests::client::text;
use kvorum_tests::cluster::{CLUSTER_WAIT, Cluster};
use kvorum_tests::load::Load;
use kvorum_tests::node::{Node, wait_until};

/// A reserve that no disk has.
const IMPOSSIBLE: &str = "CONFIG SET disk-free-min 1000gb";

fn wait_for_room(node: &Node, room: &str) {
    wait_until(CLUSTER_WAIT, &format!("{}: disk_room:{room}", node.addr), || {
        node.info("persistence").get("disk_room").is_some_and(|found| found == room)
    });
}

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_recovers_by_itself() {
    let cluster = Cluster::start(1, &[]);
    let node = &cluster.nodes[0];
    let mut client = node.client();
    for words in ["SET k v", "SET gone v", "SET old v PX 20"] {
        expect(&mut client, words, "OK");
    }
    let free: u64 = node.info("persistence")["disk_free_bytes"].parse().unwrap();

    // Less than the reserve, more than half of it: data may go, but not come.
    expect(&mut client, &format!("CONFIG SET disk-free-min {}", free / 4 * 5), "OK");
    wait_for_room(node, "low");
    assert_eq!(node.info("persistence")["aof_last_write_status"], "err");
    expect_error(&mut client, "SET k other", "MISCONF The disk is nearly full");
    expect_error(&mut client, "APPEND k more", "MISCONF");
    expect(&mut client, "GET k", "v");
    expect(&mut client, "DEL gone", "1");
    expect(&mut client, "MULTI", "OK");
    expect_error(&mut client, "INCR n", "MISCONF");
    expect_error(&mut client, "EXEC", "EXECABORT");

    expect(&mut client, IMPOSSIBLE, "OK");
    wait_for_room(node, "exhausted");
    expect_error(&mut client, "DEL k", "MISCONF The disk is nearly full");
    expect(&mut client, "GET k", "v");
    expect(&mut client, "PING", "PONG");
    assert!(node.info("stats")["writes_without_room"].parse::<u64>().unwrap() >= 4);

    expect(&mut client, "CONFIG SET disk-free-min 1", "OK");
    wait_for_room(node, "ok");
    expect(&mut client, "EXISTS k gone old n", "1");
    expect(&mut client, "SET k other", "OK");
}

#[test]
fn the_others_go_on_without_a_node_whose_disk_is_full() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let load = Load::start(&cluster.addresses(), 3);
    load.wait_for(200);
    // The leader hands over, and then leaves the entries to the others.
    let full = cluster.leader();
    expect(&mut cluster.nodes[full].client(), IMPOSSIBLE, "OK");
    wait_for_room(&cluster.nodes[full], "exhausted");
    let others = cluster.others(full);
    wait_until(CLUSTER_WAIT, "a node with room leads", || {
        cluster.nodes[others[0]].raft_figure("raft_leader_id") != cluster.nodes[full].id()
    });
    let leader = cluster.leader_among(&others);
    let index = |at: usize| cluster.nodes[at].raft_figure("raft_current_index");
    wait_until(CLUSTER_WAIT, "the others go on alone", || index(leader) > index(full) + 20);
    let mut client = cluster.nodes[full].client();
    let moved = text(&client.ask("GET w0:counter"));
    assert!(moved.starts_with("MOVED "), "{moved}: it cannot have what the others have");
    expect(&mut client, "READONLY", "OK");
    assert!(!text(&client.ask("GET w0:counter")).is_empty(), "what it has can be read");

    expect(&mut client, "CONFIG SET disk-free-min 1", "OK");
    wait_for_room(&cluster.nodes[full], "ok");
    load.wait_for(200);
    let ledgers = load.finish();
    cluster.wait_converged();
    crate::verify_everywhere(&mut cluster, &ledgers);
}

#[test]
fn a_start_waits_for_room() {
    let mut cluster = Cluster::prepare(1, &["disk-free-min=1000gb"]);
    let node = &mut cluster.nodes[0];
    node.spawn();
    wait_until(CLUSTER_WAIT, "the node says why it waits", || {
        node.output().contains("waiting for room to start")
    });
    assert_eq!(node.exited(), None);
    assert!(std::fs::read_dir(&node.dir).unwrap().next().is_none(), "nothing was begun");
}

#[test]
fn a_start_that_waits_for_room_gives_back_what_was_removed() {
    let mut cluster = Cluster::prepare(1, &["disk-free-min=1000gb"]);
    let node = &mut cluster.nodes[0];
    let removed = node.dir.join("state/removed");
    std::fs::create_dir_all(&removed).unwrap();
    std::fs::write(removed.join("left"), [b'x'; 100]).unwrap();
    node.spawn();
    wait_until(CLUSTER_WAIT, "what a stop has left is removed", || {
        std::fs::read_dir(&removed).unwrap().next().is_none()
    });
    assert_eq!(node.exited(), None);
}
