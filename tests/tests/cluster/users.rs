//! ACL users in a cluster: entries of the log like any write, and no password anywhere.

use crate::snapshots::{SMALL_LOG, write_much};
use crate::{expect, expect_error};
use kvorum_tests::cluster::Cluster;
use kvorum_tests::node::{Node, wait_until};
use std::fs;
use std::path::Path;
use std::time::Duration;

const PASSWORD: &str = "correct-horse-battery";
const CHANGE_WAIT: Duration = Duration::from_secs(20);

#[test]
fn users_survive_restarts_snapshots_and_flushall_and_no_password_is_kept() {
    let mut cluster = Cluster::start(3, SMALL_LOG);
    let away = cluster.follower();
    cluster.wait_converged();
    let last = cluster.nodes[away].raft_figure("raft_current_index");
    cluster.nodes[away].kill();
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].client();
    let rules = format!("ACL SETUSER alice on >{PASSWORD} ~app:* +@read +set +auth +slowlog");
    expect(&mut client, "CONFIG SET slowlog-log-slower-than 0", "OK");
    expect(&mut client, &rules, "OK");
    expect(&mut client, &format!("AUTH alice {PASSWORD}"), "OK");
    expect(&mut client, "AUTH default x", "OK");
    let mut written = 0;
    while cluster.nodes[leader].raft_figure("raft_purged_index") <= last {
        assert!(written < 10_000, "the log is never purged");
        write_much(&mut client, written, 250);
        written += 250;
    }
    cluster.nodes[away].start();
    cluster.wait_converged();
    let received = cluster.nodes[away].raft_figure("raft_snapshots_received");
    assert!(received >= 1, "caught up without a snapshot");
    cluster.nodes.iter().for_each(rights_of_alice);
    expect(&mut client, "FLUSHALL", "OK");
    cluster.wait_converged();
    for node in &mut cluster.nodes {
        assert!(!node.output().contains(PASSWORD), "it is logged");
        for section in ["ACL LIST", "SLOWLOG GET 128", "INFO everything", "CLIENT LIST"] {
            let said = format!("{:?}", node.client().ask(section));
            assert!(!said.contains(PASSWORD), "{section}: {said}");
        }
        node.kill();
        assert!(!holds(&node.dir, PASSWORD.as_bytes()), "it is on the disk");
        node.start();
    }
    cluster.leader();
    cluster.nodes.iter().for_each(rights_of_alice);
}

/// What alice may and may not do on a node, and that a wrong password proves nothing.
fn rights_of_alice(node: &Node) {
    let mut alice = node.client();
    expect_error(&mut alice, "AUTH alice wrong", "WRONGPASS");
    expect(&mut alice, &format!("AUTH alice {PASSWORD}"), "OK");
    expect(&mut alice, "SET app:name kvorum", "OK");
    expect(&mut alice, "GET app:name", "kvorum");
    expect_error(&mut alice, "GET other", "NOPERM");
    expect_error(&mut alice, "DEL app:name", "NOPERM");
    expect_error(&mut alice, "ACL LIST", "NOPERM");
}

/// Whether any file below `dir` holds `bytes`.
fn holds(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => holds(&path, bytes),
            false => {
                let content = fs::read(&path).expect("a file");
                content.windows(bytes.len()).any(|window| window == bytes)
            }
        }
    })
}

#[test]
fn changes_of_users_count_on_every_node_at_once() {
    let cluster = Cluster::start(3, &["follower-writes=forward"]);
    let mut admin = cluster.nodes[0].client();
    expect(&mut admin, &format!("ACL SETUSER bob on >{PASSWORD} allkeys +@all"), "OK");
    let mut sessions: Vec<_> = cluster.nodes.iter().map(Node::client).collect();
    for bob in &mut sessions {
        wait_until(CHANGE_WAIT, "bob is known", || {
            kvorum_tests::client::text(&bob.ask(&format!("AUTH bob {PASSWORD}"))) == "OK"
        });
        expect(bob, "SET k v", "OK");
    }
    expect(&mut admin, "ACL SETUSER bob -set", "OK");
    for bob in &mut sessions {
        // A read that is not stale: this node has applied the change before it answers.
        expect(bob, "GET k", "v");
        expect_error(bob, "SET k v", "NOPERM");
    }
    expect(&mut admin, "ACL DELUSER bob", "1");
    for bob in &mut sessions {
        wait_until(CHANGE_WAIT, "the session of a user that is gone ends", || {
            bob.call(&["PING"]).is_err()
        });
    }
}
