//! What reads see: never less than what was acknowledged before them, on any node.

use crate::{expect, expect_error};
use kvorum_tests::client::{Client, text};
use kvorum_tests::cluster::Cluster;
use kvorum_tests::node::{Node, wait_until};
use protocol::Reply;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn followers_see_what_the_leader_has_just_acknowledged() {
    let mut cluster = Cluster::start(3, &[]);
    let mut writer = cluster.leader_client();
    let mut readers: Vec<Client> = cluster.nodes.iter().map(Node::client).collect();
    for number in 0..300 {
        expect(&mut writer, &format!("SET k {number}"), "OK");
        for reader in &mut readers {
            expect(reader, "GET k", &number.to_string());
        }
    }
}

/// A follower that slept lacks entries when it is asked: it waits for them.
#[test]
fn a_follower_that_slept_answers_with_what_is() {
    let mut cluster = Cluster::start(3, &[]);
    let follower = cluster.follower();
    let mut writer = cluster.leader_client();
    let long = "x".repeat(1000);
    for round in 0..3 {
        let mut readers: Vec<Client> = (0..4).map(|_| cluster.nodes[follower].client()).collect();
        cluster.nodes[follower].pause();
        for number in 0..50 {
            expect(&mut writer, &format!("SET k {round}-{number}-{long}"), "OK");
        }
        for reader in &mut readers {
            reader.send(&[vec!["GET", "k"]]).expect("the socket takes a request");
        }
        cluster.nodes[follower].resume();
        for reader in &mut readers {
            let said = text(&reader.receive().expect("a read is answered"));
            let is_newest = said.starts_with(&format!("{round}-49-"));
            assert!(is_newest || said.starts_with("CLUSTERDOWN"), "round {round}: {said:.20}");
        }
    }
}

/// A read sent to a leader that sleeps, answered after another has led and written, must see that
/// write or fail. The same for a read sent when it has just woken.
#[test]
fn a_paused_leader_never_answers_with_what_was() {
    let mut cluster = Cluster::start(3, &[]);
    for round in 0..2 {
        let leader = cluster.leader();
        let mut before = cluster.nodes[leader].client();
        expect(&mut before, "SET k old", "OK");
        let mut waiting: Vec<Client> = (0..4).map(|_| cluster.nodes[leader].client()).collect();
        cluster.nodes[leader].pause();
        for client in &mut waiting {
            client.send(&[vec!["GET", "k"]]).expect("the socket takes a request");
        }
        before.send(&[vec!["SET", "late", "x"]]).expect("the socket takes a request");
        let others = cluster.others(leader);
        let new = cluster.leader_among(&others);
        let mut writer = cluster.nodes[new].client();
        expect(&mut writer, &format!("SET k new{round}"), "OK");
        cluster.nodes[leader].resume();
        let allowed = |reply: &Reply| match reply {
            Reply::Error(text) => text.starts_with("CLUSTERDOWN") || text.starts_with("MOVED"),
            other => text(other) == format!("new{round}"),
        };
        for _ in 0..20 {
            waiting.push(cluster.nodes[leader].client());
            let client = waiting.last_mut().expect("it was just added");
            client.send(&[vec!["GET", "k"]]).expect("the socket takes a request");
        }
        for client in &mut waiting {
            let reply = client.receive().expect("a read is answered");
            assert!(allowed(&reply), "round {round}: {reply:?}");
        }
        // The write it slept on: its fate must be told truthfully.
        let late = before.receive().expect("a write is answered");
        let stored = text(&writer.ask("GET late"));
        match &late {
            Reply::Simple(_) => assert_eq!(stored, "x"),
            Reply::Error(error) if error.starts_with("UNKNOWN") => {}
            Reply::Error(_) => assert_eq!(stored, "nil", "{late:?}"),
            other => panic!("{other:?}"),
        }
        expect(&mut writer, "DEL late k", if stored == "x" { "2" } else { "1" });
        cluster.leader();
    }
}

#[test]
fn restarted_nodes_never_answer_with_less() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    for round in 1..=3 {
        expect(&mut cluster.nodes[round % 3].client(), "INCR k", &round.to_string());
        cluster.nodes.iter_mut().for_each(Node::kill);
        cluster.nodes.iter_mut().for_each(Node::spawn);
        // Asked from the first moment on, before there is a leader.
        for node in &mut cluster.nodes {
            node.wait_ready();
            let mut client = node.client();
            let mut seen = String::new();
            wait_until(Duration::from_secs(30), "the read is served", || {
                seen = text(&client.ask("GET k"));
                !seen.starts_with("CLUSTERDOWN")
            });
            assert_eq!(seen, round.to_string());
        }
    }
}

#[test]
fn a_key_that_expired_once_is_never_seen_again_on_any_node() {
    let mut cluster = Cluster::start(3, &[]);
    let mut writer = cluster.leader_client();
    let mut readers: Vec<Client> = cluster.nodes.iter().map(Node::client).collect();
    for number in 0..10 {
        let key = format!("k{number}");
        expect(&mut writer, &format!("SET {key} v PX {}", 60 + 20 * number), "OK");
        let (mut gone, mut seen_after) = (false, 0);
        for turn in 0.. {
            let reply = readers[turn % 3].ask(&format!("GET {key}"));
            assert!(!(gone && reply != Reply::Null), "{key} was absent and is {reply:?}");
            gone |= reply == Reply::Null;
            seen_after += usize::from(gone);
            if seen_after > 12 {
                break;
            }
            assert!(turn < 5000, "{key} does not expire");
        }
    }
    for reader in &mut readers {
        expect(reader, "DBSIZE", "0");
    }
}

/// A node that hears of no entries shows a key whose deadline has come: only an entry can say that
/// it has, no clock of the node.
#[test]
fn a_key_expires_by_an_entry_and_by_no_clock() {
    let mut cluster = Cluster::start(3, &[]);
    let mut tried = false;
    for ttl_ms in [1500, 6000, 24_000] {
        let leader = cluster.leader();
        let others = cluster.others(leader);
        let begun = Instant::now();
        expect(&mut cluster.nodes[leader].client(), &format!("SET k v PX {ttl_ms}"), "OK");
        cluster.wait_converged();
        cluster.nodes[leader].kill();
        cluster.nodes[others[1]].kill();
        // On a slow machine the deadline may have come first; then a longer one is tried.
        tried = begun.elapsed() < Duration::from_millis(ttl_ms - 500);
        if tried {
            let mut reader = cluster.nodes[others[0]].client();
            expect(&mut reader, "READONLY", "OK");
            thread::sleep(Duration::from_millis(ttl_ms + 100));
            expect(&mut reader, "GET k", "v");
            expect(&mut reader, "EXISTS k", "1");
            break;
        }
        cluster.start_all();
    }
    assert!(tried, "the machine is too slow for this test");
    cluster.start_all();
    wait_until(Duration::from_secs(10), "the key expires", || {
        cluster.leader_client().ask("GET k") == Reply::Null
    });
}

/// Two of four nodes have an entry, which is no majority: neither of them shows what it holds, not
/// even to those who ask for no leader.
#[test]
fn what_no_majority_has_is_shown_by_nobody() {
    let mut cluster = Cluster::start(4, &["request-hold-ms=300"]);
    let leader = cluster.leader();
    let mut writer = cluster.nodes[leader].client();
    expect(&mut writer, "SET k old", "OK");
    cluster.wait_converged();
    let others = cluster.others(leader);
    let near = others[0];
    let last = cluster.nodes[near].raft_figure("raft_current_index");
    others[1..].iter().for_each(|at| cluster.nodes[*at].pause());
    writer.send(&[vec!["SET", "k", "new"]]).expect("the socket takes a request");
    wait_until(Duration::from_secs(10), "the entry arrives", || {
        cluster.nodes[near].raft_figure("raft_current_index") > last
    });
    let mut readers = [leader, near].map(|at| cluster.nodes[at].client());
    for reader in &mut readers {
        expect(reader, "READONLY", "OK");
        for _ in 0..20 {
            expect(reader, "GET k", "old");
            thread::sleep(Duration::from_millis(10));
        }
    }
    others[1..].iter().for_each(|at| cluster.nodes[*at].resume());
    writer.set_reply_wait(Duration::from_secs(40));
    let written = writer.receive().expect("a write is answered");
    let now = text(&cluster.leader_client().ask("GET k"));
    assert!(now == "new" || now == "old" && written.is_error(), "{written:?}, and it is {now}");
}

#[test]
fn deadlines_outlive_their_leader() {
    let mut cluster = Cluster::start(3, &[]);
    let leader = cluster.leader();
    let mut writer = cluster.nodes[leader].client();
    expect(&mut writer, "SET soon v PX 1500", "OK");
    expect(&mut writer, "SET later v EX 1000", "OK");
    cluster.nodes[leader].kill();
    let new = cluster.leader();
    let mut client = cluster.nodes[new].client();
    wait_until(Duration::from_secs(10), "the key expires", || {
        client.ask("GET soon") == Reply::Null
    });
    expect(&mut client, "GET later", "v");
    let Reply::Integer(ttl) = client.ask("TTL later") else { panic!("TTL is a number") };
    assert!((900..=1000).contains(&ttl), "{ttl}");
}

#[test]
fn stale_reads_are_for_those_who_ask_and_need_no_leader() {
    let mut cluster = Cluster::start(3, &["request-hold-ms=300"]);
    let leader = cluster.leader();
    expect(&mut cluster.nodes[leader].client(), "SET k v", "OK");
    cluster.wait_converged();
    let others = cluster.others(leader);
    let (kept, lost) = (others[0], others[1]);
    cluster.nodes[leader].kill();
    cluster.nodes[lost].kill();
    let mut client = cluster.nodes[kept].client();
    let alone =
        || cluster.nodes[kept].info("raft").get("raft_leader_id").is_some_and(|id| id == "0");
    wait_until(Duration::from_secs(10), "the node notices that it is alone", alone);
    expect_error(&mut client, "GET k", "CLUSTERDOWN");
    expect_error(&mut client, "SET k w", "CLUSTERDOWN");
    expect(&mut client, "READONLY", "OK");
    expect(&mut client, "GET k", "v");
    expect(&mut client, "READWRITE", "OK");
    expect_error(&mut client, "GET k", "CLUSTERDOWN");
    cluster.start_all();
    thread::sleep(Duration::from_millis(50));
    expect(&mut client, "GET k", "v");
}

#[test]
fn a_leader_alone_serves_no_reads_and_acknowledges_no_writes() {
    let mut cluster = Cluster::start(3, &["request-hold-ms=300"]);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].client();
    client.set_reply_wait(Duration::from_secs(40));
    expect(&mut client, "SET k v", "OK");
    let others = cluster.others(leader);
    others.iter().for_each(|at| cluster.nodes[*at].pause());
    let mut reader = cluster.nodes[leader].client();
    reader.set_reply_wait(Duration::from_secs(40));
    reader.send(&[vec!["GET", "k"]]).expect("the socket takes a request");
    let written = client.ask("SET k w");
    let Reply::Error(why) = &written else { panic!("acknowledged by a minority: {written:?}") };
    assert!(why.starts_with("UNKNOWN") || why.starts_with("CLUSTERDOWN"), "{why}");
    let read = reader.receive().expect("a read is answered");
    assert!(read.is_error(), "read from a minority: {read:?}");
    others.iter().for_each(|at| cluster.nodes[*at].resume());
    cluster.leader();
    let now = text(&cluster.leader_client().ask("GET k"));
    assert!(now == "v" || now == "w", "{now}");
}
