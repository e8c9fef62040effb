//! What was acknowledged stays: kill -9, SIGTERM, restarts, damaged and locked directories.

use crate::{expect, verify_everywhere};
use kvorum_tests::client::text;
use kvorum_tests::cluster::Cluster;
use kvorum_tests::load::Load;
use kvorum_tests::node::{Node, wait_until};
use kvorum_tests::random::Random;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of a cluster whose nodes take writes for the leader.
const FORWARD: &[&str] = &["follower-writes=forward"];

#[test]
fn writes_survive_kill_9_of_the_leader() {
    kill_leaders(2, &[]);
}

/// Their leader is lost with answers under way: what it may have done is not sent once more.
#[test]
fn forwarded_writes_survive_kill_9_of_the_leader_and_happen_once() {
    kill_leaders(3, FORWARD);
}

fn kill_leaders(times: usize, settings: &[&str]) {
    let mut cluster = Cluster::start(3, settings);
    let load = Load::start(&cluster.addresses(), 3);
    for _ in 0..times {
        load.wait_for(200);
        let leader = cluster.leader();
        cluster.nodes[leader].kill();
        load.wait_for(200);
        cluster.nodes[leader].start();
    }
    load.wait_for(100);
    let ledgers = load.finish();
    cluster.wait_converged();
    verify_everywhere(&mut cluster, &ledgers);
}

#[test]
fn writes_survive_kill_9_of_a_follower() {
    let mut cluster = Cluster::start(3, FORWARD);
    let load = Load::start(&cluster.addresses(), 3);
    for _ in 0..2 {
        load.wait_for(200);
        let follower = cluster.follower();
        cluster.nodes[follower].kill();
        load.wait_for(200);
        cluster.nodes[follower].start();
    }
    let ledgers = load.finish();
    cluster.wait_converged();
    verify_everywhere(&mut cluster, &ledgers);
}

#[test]
fn writes_survive_kill_9_of_all_nodes_at_once() {
    let mut cluster = Cluster::start(3, FORWARD);
    let mut ledgers = Vec::new();
    for round in 0..2 {
        let load = Load::start(&cluster.addresses(), 3);
        load.wait_for(300);
        cluster.nodes.iter_mut().for_each(Node::kill);
        // The second round begins its numbers anew and overwrites the first's keys with the same
        // values; counters go on, so each round's bounds are raised by what was there before.
        let mut these = load.finish();
        cluster.start_all();
        if round == 0 {
            verify_everywhere(&mut cluster, &these);
            expect(&mut cluster.nodes[0].client(), "FLUSHALL", "OK");
        }
        ledgers.clear();
        ledgers.append(&mut these);
    }
    verify_everywhere(&mut cluster, &ledgers);
}

/// A node that forgot its vote could elect a second leader in the same term.
#[test]
fn a_node_remembers_the_term_it_voted_in() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.leader();
    let vote = |node: &Node| {
        let names = ["raft_current_term", "raft_voted_for"];
        names.map(|name| node.raft_figure(name))
    };
    let before: Vec<_> = cluster.nodes.iter().map(vote).collect();
    assert!(before.iter().flatten().all(|figure| *figure > 0), "{before:?}");
    cluster.nodes.iter_mut().for_each(Node::kill);
    for (node, before) in cluster.nodes.iter_mut().zip(before) {
        // Alone, it hears of no other vote.
        node.start();
        assert_eq!(vote(node), before, "{}", node.addr);
        node.kill();
    }
}

#[test]
fn one_node_keeps_its_writes_through_kill_9_and_sigterm() {
    let mut cluster = Cluster::start(1, &[]);
    let load = Load::start(&cluster.addresses(), 4);
    load.wait_for(500);
    cluster.nodes[0].kill();
    let ledgers = load.finish();
    cluster.start_all();
    verify_everywhere(&mut cluster, &ledgers);
    let (status, took) = cluster.nodes[0].terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
    cluster.start_all();
    verify_everywhere(&mut cluster, &ledgers);
}

#[test]
fn sigterm_hands_leadership_over_and_exits_0_within_5_s() {
    let mut cluster = Cluster::start(3, FORWARD);
    let load = Load::start(&cluster.addresses(), 3);
    load.wait_for(200);
    let leader = cluster.leader();
    let (status, took) = cluster.nodes[leader].terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    let others = cluster.others(leader);
    let leads = |at: &usize| cluster.nodes[*at].info("raft")["raft_role"] == "leader";
    assert!(others.iter().any(leads), "nobody led when the old leader had ended");
    load.wait_for(200);
    let ledgers = load.finish();
    cluster.start_all();
    cluster.wait_converged();
    verify_everywhere(&mut cluster, &ledgers);
}

#[test]
fn shutdown_ends_a_node_as_sigterm_does() {
    let mut cluster = Cluster::start(1, &[]);
    let mut client = cluster.nodes[0].client();
    expect(&mut client, "SET k v", "OK");
    assert!(client.call(&["SHUTDOWN"]).is_err(), "SHUTDOWN is answered by the end");
    wait_until(Duration::from_secs(5), "the process ends", || cluster.nodes[0].exited().is_some());
    assert!(cluster.nodes[0].exited().expect("it has ended").success());
    cluster.start_all();
    expect(&mut cluster.nodes[0].client(), "GET k", "v");
}

#[test]
fn appendfsync_everysec_works_and_says_so() {
    let mut cluster = Cluster::start(3, &["appendfsync=everysec", "follower-writes=forward"]);
    let load = Load::start(&cluster.addresses(), 3);
    load.wait_for(500);
    let ledgers = load.finish();
    for node in &cluster.nodes {
        assert_eq!(node.info("raft")["raft_fsync_mode"], "everysec");
    }
    verify_everywhere(&mut cluster, &ledgers);
    for node in &mut cluster.nodes {
        assert!(node.terminate().0.success());
    }
    cluster.start_all();
    verify_everywhere(&mut cluster, &ledgers);
}

#[test]
fn a_second_process_on_the_same_directory_refuses_to_start() {
    let mut cluster = Cluster::start(1, &[]);
    let other = cluster.add_node(&[], &[]);
    cluster.nodes[other].dir = cluster.nodes[0].dir.clone();
    let (status, output) = cluster.nodes[other].run_to_its_end();
    assert!(!status.success() && output.contains("another process"), "{status}: {output}");
    expect(&mut cluster.nodes[0].client(), "SET k v", "OK");
}

#[test]
fn a_log_damaged_in_the_middle_keeps_the_node_from_starting() {
    let mut cluster = Cluster::start(1, &[]);
    let mut client = cluster.nodes[0].client();
    for number in 0..50 {
        expect(&mut client, &format!("SET k{number} marker-{number}-marker"), "OK");
    }
    cluster.nodes[0].kill();
    let (path, at) = find(&cluster.nodes[0].dir.join("log"), b"marker-25-marker");
    let mut bytes = fs::read(&path).expect("the segment can be read");
    bytes[at] ^= 0x10;
    fs::write(&path, bytes).expect("the segment can be written");
    let (status, output) = cluster.nodes[0].run_to_its_end();
    assert!(!status.success(), "{output}");
    assert!(output.contains("log") && output.contains("damage"), "{output}");
}

/// The last record of a log that is damaged before a mark follows it looks like a torn write, and is cut.
/// The leader knows that the node had it.
#[test]
fn a_follower_that_lost_the_end_of_its_log_is_given_it_again() {
    let mut cluster = Cluster::start(3, &[]);
    let leader = cluster.leader();
    let follower = cluster.others(leader)[0];
    let mut client = cluster.nodes[leader].client();
    for number in 0..50 {
        expect(&mut client, &format!("SET k{number} marker-{number}-marker"), "OK");
    }
    expect(&mut client, "WAIT 2 10000", "2");
    cluster.nodes[follower].kill();
    let (path, at) = find(&cluster.nodes[follower].dir.join("log"), b"marker-49-marker");
    let mut bytes = fs::read(&path).expect("the segment can be read");
    bytes[at] ^= 0x10;
    fs::write(&path, bytes).expect("the segment can be written");
    cluster.nodes[follower].spawn();
    expect(&mut client, "SET later marker", "OK");
    cluster.wait_converged();
    let mut client = cluster.nodes[follower].client();
    expect(&mut client, "GET k49", "marker-49-marker");
    expect(&mut client, "GET later", "marker");
}

/// Tables are not read when a node starts. What a read finds is an error there, and the node leaves
/// the service to the others, as soon as they can do without it.
#[test]
fn a_node_that_meets_damage_in_its_tables_hands_over_and_ends() {
    // All comes into one table, at the stop: a compaction would meet the damage before a client does.
    let mut cluster = Cluster::start(3, &[]);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].client();
    // Nothing that could be compressed away.
    let mut random = Random::new(1);
    let value: String = (0..2_000).map(|_| format!("{:016x}", random.number())).collect();
    for number in 0..200 {
        let request = ["SET", &format!("k{number}"), &format!("{number} {}", &value[number..])];
        assert_eq!(client.call(&request).map(|reply| text(&reply)).unwrap_or_default(), "OK");
    }
    cluster.wait_converged();
    let (status, _) = cluster.nodes[leader].terminate();
    assert!(status.success(), "{status}");
    assert!(damage_tables(&cluster.nodes[leader].dir.join("state")) > 0, "there are tables");
    cluster.nodes[leader].spawn();
    cluster.wait_converged();
    if cluster.leader() != leader {
        let id = cluster.nodes[leader].info("raft")["raft_node_id"].clone();
        expect(&mut cluster.nodes[leader].client(), &format!("RAFT.TRANSFER_LEADER {id}"), "OK");
    }
    let others = cluster.others(leader);
    cluster.nodes[others[0]].kill();
    let (mut client, mut errors) = (cluster.nodes[leader].client(), 0);
    for number in 0..200 {
        let reply = text(&client.ask(&format!("GET k{number}")));
        match reply.starts_with("IOERR") {
            true => errors += 1,
            false => assert_eq!(reply, format!("{number} {}", &value[number..])),
        }
    }
    assert!(errors > 0, "no read met the damage");
    wait_until(Duration::from_secs(20), "it says that it is needed", || {
        cluster.nodes[leader].output().contains("too few others can serve")
    });
    expect(&mut client, "SET needed yes", "OK");
    cluster.nodes[others[0]].spawn();
    wait_until(Duration::from_secs(20), "the damaged node ends", || {
        cluster.nodes[leader].exited().is_some()
    });
    let code = cluster.nodes[leader].exited().and_then(|status| status.code());
    assert_eq!(code, Some(70), "{}", cluster.nodes[leader].output());
    let new = cluster.leader_among(&others);
    expect(&mut cluster.nodes[new].client(), "EXISTS k0 k99 k199 needed", "4");
    expect(&mut cluster.nodes[new].client(), "SET k0 new", "OK");
}

/// Flips a bit in the middle of each large table; returns how many there are.
fn damage_tables(dir: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(dir).expect("a directory of the state").flatten() {
        let path = entry.path();
        if path.is_dir() {
            count += damage_tables(&path);
        } else if path.parent().is_some_and(|parent| parent.ends_with("tables")) {
            let mut bytes = fs::read(&path).expect("the table can be read");
            // The small ones hold the bookkeeping, which is read at the start.
            if bytes.len() > 256 << 10 {
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
                fs::write(&path, bytes).expect("the table can be written");
                count += 1;
            }
        }
    }
    count
}

/// Where the file with these bytes is, and at what offset they are.
fn find(dir: &Path, bytes: &[u8]) -> (PathBuf, usize) {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).expect("the log's directory").flatten().map(|file| file.path()).collect();
    files.sort();
    let place = |path: &PathBuf| {
        let content = fs::read(path).ok()?;
        content.windows(bytes.len()).position(|window| window == bytes)
    };
    let found = files.iter().find_map(|path| place(path).map(|at| (path.clone(), at)));
    found.expect("the log holds what was written")
}
