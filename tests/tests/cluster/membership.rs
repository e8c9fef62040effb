//! Who is a member: forming, joining, leaving, handing over, and who is kept out.

use crate::{expect, expect_error, verify_everywhere};
use kvorum_tests::client::{Client, text};
use kvorum_tests::cluster::{CLUSTER_WAIT, Cluster};
use kvorum_tests::load::Load;
use kvorum_tests::node::{Node, wait_until};
use protocol::Reply;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

/// Setting of a node that waits to be added.
const WAITS: &str = "bootstrap=no";

fn wait_voters(cluster: &Cluster, at: usize, count: u64) {
    wait_until(CLUSTER_WAIT, &format!("there are {count} voters"), || {
        cluster.nodes[at].raft_figure("raft_num_voting_nodes") == count
    });
}

#[test]
fn nodes_join_and_leave_under_load() {
    let mut cluster = Cluster::start(1, &[]);
    let first = cluster.nodes[0].addr.clone();
    let load = Load::start(std::slice::from_ref(&first), 3);
    load.wait_for(100);
    for count in 2..=4 {
        let at = cluster.add_node(&[], &[&first]);
        cluster.nodes[at].start();
        wait_voters(&cluster, 0, count);
        load.wait_for(100);
    }
    cluster.leader();
    for count in [3, 2] {
        let id = cluster.nodes[count as usize].id();
        expect(&mut cluster.nodes[1].client(), &format!("RAFT.NODE REMOVE {id}"), "OK");
        assert_eq!(cluster.nodes[0].raft_figure("raft_num_voting_nodes"), count);
        load.wait_for(100);
        cluster.nodes[count as usize].kill();
    }
    let ledgers = load.finish();
    cluster.wait_converged();
    verify_everywhere(&mut cluster, &ledgers);
}

#[test]
fn a_waiting_node_is_added_and_a_leader_removes_itself() {
    let mut cluster = Cluster::start(1, &["follower-writes=forward"]);
    let mut client = cluster.nodes[0].client();
    expect(&mut client, "SET k v", "OK");
    for _ in 0..2 {
        let at = cluster.add_node(&[WAITS, "follower-writes=forward"], &[]);
        cluster.nodes[at].start();
        assert_eq!(cluster.nodes[at].info("raft")["raft_state"], "joining");
        let added = client.ask(&format!("RAFT.NODE ADD {}", cluster.nodes[at].addr));
        assert_eq!(text(&added), cluster.nodes[at].id().to_string());
    }
    cluster.wait_converged();
    let leader = cluster.leader();
    let id = cluster.nodes[leader].id();
    expect_error(&mut client, "RAFT.NODE REMOVE 12345", "ERR there is no node");
    expect_error(&mut client, "RAFT.NODE PROMOTE 12345", "ERR there is no node");
    expect(&mut client, &format!("RAFT.NODE PROMOTE {id}"), "OK");
    expect(&mut client, &format!("RAFT.NODE REMOVE {id}"), "OK");
    let others = cluster.others(leader);
    let new = cluster.leader_among(&others);
    wait_voters(&cluster, new, 2);
    expect(&mut cluster.nodes[others[0]].client(), "GET k", "v");
    expect(&mut cluster.nodes[others[1]].client(), "SET k w", "OK");
    expect_error(&mut cluster.nodes[leader].client(), "GET k", "CLUSTERDOWN");
}

/// Starts a node without any further setting, and waits until it leads a cluster of its own.
fn start_plain(cluster: &mut Cluster) -> usize {
    let at = cluster.add_node(&[], &[]);
    cluster.nodes[at].start();
    wait_until(Duration::from_secs(10), "it has its own cluster", || {
        cluster.nodes[at].info("raft").get("raft_role").is_some_and(|role| role == "leader")
    });
    at
}

#[test]
fn plain_nodes_without_data_are_added_and_join() {
    let mut cluster = Cluster::start(1, &[]);
    let first = cluster.nodes[0].addr.clone();
    expect(&mut cluster.nodes[0].client(), "SET k v", "OK");

    let added = start_plain(&mut cluster);
    let before = cluster.nodes[added].id();
    let mut client = cluster.nodes[0].client();
    let id = text(&client.ask(&format!("RAFT.NODE ADD {}", cluster.nodes[added].addr)));
    assert_eq!(id, cluster.nodes[added].id().to_string());
    assert_ne!(id, before.to_string(), "ids are never reused");
    wait_voters(&cluster, 0, 2);

    let joining = start_plain(&mut cluster);
    let mut client = cluster.nodes[joining].client();
    expect(&mut client, &format!("RAFT.CLUSTER JOIN {first}"), "OK");
    wait_voters(&cluster, 0, 3);

    // Started plain once, and the next time told to join.
    let late = start_plain(&mut cluster);
    cluster.nodes[late].kill();
    cluster.nodes[late].args.extend(["--join".to_owned(), first]);
    cluster.nodes[late].start();
    wait_voters(&cluster, 0, 4);

    cluster.wait_converged();
    for at in 0..4 {
        // It is a member for good: nothing is left of how it became one.
        cluster.nodes[at].kill();
        cluster.nodes[at].start();
    }
    cluster.wait_ready();
    for at in 0..4 {
        expect(&mut cluster.nodes[at].client(), "GET k", "v");
        assert_eq!(cluster.nodes[at].raft_figure("raft_num_voting_nodes"), 4);
    }
}

#[test]
fn a_cluster_that_ever_held_data_is_not_given_up() {
    let mut cluster = Cluster::start(1, &[]);
    let first = cluster.nodes[0].addr.clone();
    let other = start_plain(&mut cluster);
    let addr = cluster.nodes[other].addr.clone();
    let mut client = cluster.nodes[other].client();
    expect(&mut client, "SET k v", "OK");
    expect(&mut client, "FLUSHALL", "OK");
    let refused =
        format!("ERR the node at {addr} belongs to another cluster and stays: it has data");
    let id = cluster.nodes[other].id();
    expect_error(&mut cluster.nodes[0].client(), &format!("RAFT.NODE ADD {addr}"), &refused);
    let refused = "ERR this node already belongs to a cluster: it has data, or had";
    expect_error(&mut client, &format!("RAFT.CLUSTER JOIN {first}"), refused);
    cluster.nodes[other].kill();
    cluster.nodes[other].args.extend(["--join".to_owned(), first]);
    cluster.nodes[other].start();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(cluster.nodes[other].id(), id);
    expect(&mut cluster.nodes[other].client(), "SET k w", "OK");
    assert_eq!(cluster.nodes[0].raft_figure("raft_num_nodes"), 1);

    // Nor is one with members given up, however blank.
    let mut pair = Cluster::start(2, &[]);
    let leader = pair.leader();
    let refused = "ERR this node already belongs to a cluster: it is a member of a cluster of 2";
    let join = format!("RAFT.CLUSTER JOIN {addr}");
    expect_error(&mut pair.nodes[leader].client(), &join, refused);
    expect(&mut pair.nodes[leader].client(), "SET k v", "OK");
}

#[test]
fn a_node_that_is_killed_while_it_is_won_over_becomes_a_member_or_stays_whole() {
    let mut cluster = Cluster::start(1, &[]);
    let first = cluster.nodes[0].addr.clone();
    expect(&mut cluster.nodes[0].client(), "SET k v", "OK");
    for round in 0..5 {
        let at = start_plain(&mut cluster);
        let mut client = cluster.nodes[at].client();
        let joining = thread::spawn({
            let first = first.clone();
            // Its reply may be lost with its node.
            move || drop(client.call(&["RAFT.CLUSTER", "JOIN", &first]))
        });
        thread::sleep(Duration::from_millis(10 + 40 * round));
        cluster.nodes[at].kill();
        joining.join().expect("no panic");
        cluster.nodes[at].start();
        thread::sleep(Duration::from_millis(500));
        if cluster.nodes[at].raft_figure("raft_num_nodes") == 1
            && cluster.nodes[at].info("raft")["raft_role"] == "leader"
        {
            // The order came to nothing: it is a whole node still, and can be told again.
            expect(&mut cluster.nodes[at].client(), &format!("RAFT.CLUSTER JOIN {first}"), "OK");
        }
        wait_voters(&cluster, 0, 2);
        wait_until(CLUSTER_WAIT, "it serves", || {
            text(&cluster.nodes[at].client().ask("GET k")) == "v"
        });
        let id = cluster.nodes[at].id();
        expect(&mut cluster.nodes[0].client(), &format!("RAFT.NODE REMOVE {id}"), "OK");
        cluster.nodes[at].kill();
    }
}

#[test]
fn leadership_is_handed_over_under_load() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let load = Load::start(&cluster.addresses(), 3);
    for round in 0..4 {
        load.wait_for(100);
        let leader = cluster.leader();
        let target = cluster.others(leader)[round % 2];
        let (id, addr) = (cluster.nodes[target].id(), cluster.nodes[target].addr.clone());
        let order = match round {
            0 => format!("RAFT.TRANSFER_LEADER {id}"),
            1 => format!("FAILOVER TO {} TIMEOUT 5000", addr.replace(':', " ")),
            2 => "RAFT.TRANSFER_LEADER".to_owned(),
            _ => "FAILOVER".to_owned(),
        };
        // Any node takes it.
        expect(&mut cluster.nodes[round % 3].client(), &order, "OK");
        let new = cluster.leader();
        assert_ne!(new, leader, "{order}");
        assert!(round > 1 || new == target, "{order}");
    }
    load.wait_for(100);
    let ledgers = load.finish();
    cluster.wait_converged();
    verify_everywhere(&mut cluster, &ledgers);
}

#[test]
fn a_removed_node_says_so_and_serves_nothing() {
    let mut cluster = Cluster::start(3, &["request-hold-ms=500"]);
    expect(&mut cluster.leader_client(), "SET k v", "OK");
    cluster.wait_converged();
    let leader = cluster.leader();
    let others = cluster.others(leader);
    // One that runs and one that is down; the second finds out when it comes back.
    let (running, down) = (others[0], others[1]);
    let id = cluster.nodes[running].id();
    let mut client = cluster.nodes[leader].client();
    expect(&mut client, &format!("RAFT.NODE REMOVE {id}"), "OK");
    let removed = |cluster: &Cluster, at: usize| {
        cluster.nodes[at].info("raft").get("raft_state").is_some_and(|state| state == "removed")
    };
    wait_until(Duration::from_secs(10), "the node knows", || removed(&cluster, running));
    for words in ["GET k", "SET k w"] {
        expect_error(
            &mut cluster.nodes[running].client(),
            words,
            "CLUSTERDOWN This node was removed",
        );
    }
    let id = cluster.nodes[down].id();
    cluster.nodes[down].kill();
    let order = format!("RAFT.NODE REMOVE {id}");
    // Two voters, one of them down: no majority of the two can agree to that.
    expect_error(&mut client, &order, "ERR");
    cluster.nodes[down].start();
    // The order may be carried out now, with the node's own vote; until then no other change is.
    wait_until(CLUSTER_WAIT, "the node is removed", || {
        let Ok(mut client) = Client::connect(&cluster.nodes[leader].addr) else { return false };
        let Ok(reply) = client.call(&["RAFT.NODE", "REMOVE", &id.to_string()]) else {
            return false;
        };
        let reply = text(&reply);
        reply == "OK" || reply.starts_with("ERR there is no node")
    });
    wait_until(Duration::from_secs(20), "the second knows", || removed(&cluster, down));
    for at in [running, down] {
        cluster.nodes[at].kill();
        cluster.nodes[at].start();
        assert!(removed(&cluster, at), "it forgot that it was removed");
        expect_error(&mut cluster.nodes[at].client(), "GET k", "CLUSTERDOWN This node was removed");
    }
    expect(&mut client, "SET k w", "OK");
}

#[test]
fn a_wiped_node_comes_back_as_another() {
    let mut cluster = Cluster::start(3, &[]);
    expect(&mut cluster.leader_client(), "SET k v", "OK");
    cluster.wait_converged();
    let wiped = cluster.follower();
    let others = cluster.others(wiped);
    let old = cluster.nodes[wiped].id();
    cluster.nodes[wiped].wipe();
    cluster.nodes[wiped].start();
    thread::sleep(Duration::from_millis(1500));
    let new = cluster.nodes[wiped].id();
    assert_ne!(old, new, "an id was used twice");
    // The old id is still a member here, so the new node is not let in, and knows nothing.
    assert_eq!(cluster.nodes[wiped].info("raft")["raft_state"], "joining");
    let leader = cluster.leader_among(&others);
    assert_eq!(cluster.nodes[leader].raft_figure("raft_num_nodes"), 3);
    let mut client = cluster.nodes[leader].client();
    expect(&mut client, &format!("RAFT.NODE REMOVE {old}"), "OK");
    wait_voters(&cluster, leader, 3);
    cluster.wait_ready();
    expect(&mut cluster.nodes[wiped].client(), "GET k", "v");
    assert_eq!(cluster.nodes[wiped].id(), new);
}

#[test]
fn a_stray_cluster_at_a_members_address_is_refused() {
    let mut cluster = Cluster::start(3, &[]);
    let stray = cluster.add_node(&[], &[]);
    cluster.nodes[stray].start();
    wait_until(Duration::from_secs(10), "it has its own cluster", || {
        cluster.nodes[stray].info("raft").get("raft_role").is_some_and(|role| role == "leader")
    });
    expect(&mut cluster.nodes[stray].client(), "SET mine yes", "OK");
    let stray_addr = cluster.nodes[stray].addr.clone();
    let mut client = cluster.nodes[0].client();
    expect_error(&mut client, &format!("RAFT.NODE ADD {stray_addr}"), "ERR the node at");
    // Now it takes the address of a member, which keeps sending to it.
    let member = (0..3).find(|at| cluster.nodes[*at].info("raft")["raft_role"] != "leader");
    let member = member.expect("a follower");
    cluster.nodes[member].kill();
    cluster.nodes[stray].kill();
    cluster.nodes[stray].addr = cluster.nodes[member].addr.clone();
    cluster.nodes[stray].peer_addr = cluster.nodes[member].peer_addr.clone();
    cluster.nodes[stray].start();
    let refused = |cluster: &Cluster| cluster.nodes[stray].raft_figure("raft_peers_refused");
    wait_until(Duration::from_secs(10), "it refuses the others", || refused(&cluster) > 0);
    thread::sleep(Duration::from_secs(1));
    let mut own = cluster.nodes[stray].client();
    expect(&mut own, "GET mine", "yes");
    expect(&mut own, "DBSIZE", "1");
    assert_eq!(cluster.nodes[stray].raft_figure("raft_num_nodes"), 1);
    cluster.nodes[stray].kill();
    cluster.nodes.pop();
    cluster.start_all();
    expect(&mut cluster.leader_client(), "GET mine", "nil");
}

#[test]
fn a_leader_without_a_majority_changes_no_members() {
    let mut cluster = Cluster::start(3, &[]);
    let leader = cluster.leader();
    let others = cluster.others(leader);
    let ids: Vec<u64> = others.iter().map(|at| cluster.nodes[*at].id()).collect();
    let waiting = cluster.add_node(&[WAITS], &[]);
    cluster.nodes[waiting].start();
    others.iter().for_each(|at| cluster.nodes[*at].pause());
    let mut client = cluster.nodes[leader].client();
    client.set_reply_wait(Duration::from_secs(90));
    let mut adder = cluster.nodes[leader].client();
    adder.set_reply_wait(Duration::from_secs(90));
    let add = vec!["RAFT.NODE".to_owned(), "ADD".into(), cluster.nodes[waiting].addr.clone()];
    adder.send(&[add]).expect("the socket takes a request");
    thread::sleep(Duration::from_millis(2500));
    let reply = client.ask(&format!("RAFT.NODE REMOVE {}", ids[0]));
    assert!(reply.is_error(), "{reply:?}");
    others.iter().for_each(|at| cluster.nodes[*at].resume());
    // What was asked before the pause ended may be carried out now, but only as a whole.
    let added = adder.receive().expect("the order is answered");
    cluster.leader_among(&[0, 1, 2]);
    let nodes = cluster.nodes[leader].raft_figure("raft_num_voting_nodes");
    match added {
        Reply::Integer(_) => assert_eq!(nodes, 4),
        other => assert!(other.is_error() && (3..=4).contains(&nodes), "{other:?}, {nodes} voters"),
    }
    let info = cluster.nodes[leader].info("raft");
    for id in ids {
        assert!(
            info.values().any(|value| value.contains(&format!("id={id},"))),
            "{id} was removed"
        );
    }
}

#[test]
fn whatever_the_order_of_starts_and_crashes_one_cluster_is_formed() {
    for round in 0..4u64 {
        let mut cluster = Cluster::prepare(3, &[]);
        for turn in 0..6 {
            let at = (round + turn * 2 + turn / 3) as usize % 3;
            if cluster.nodes[at].is_running() {
                cluster.nodes[at].kill();
            } else {
                cluster.nodes[at].spawn();
            }
            thread::sleep(Duration::from_millis((round * 97 + turn * 131) % 450));
        }
        cluster.start_all();
        assert_one_cluster(&cluster, 3);
        expect(&mut cluster.leader_client(), "SET k v", "OK");
        cluster.nodes.iter_mut().for_each(Node::kill);
        cluster.start_all();
        assert_one_cluster(&cluster, 3);
        expect(&mut cluster.leader_client(), "GET k", "v");
    }
}

/// More nodes than the cluster needs to form: the others join it.
#[test]
fn five_nodes_that_need_three_form_one_cluster() {
    let mut cluster = Cluster::prepare(5, &[]);
    for node in &mut cluster.nodes {
        for at in 0..node.args.len() {
            if node.args[at] == "--bootstrap-expect" {
                node.args[at + 1] = "3".to_owned();
            }
        }
    }
    for at in [4, 2, 0, 3, 1] {
        cluster.nodes[at].spawn();
        thread::sleep(Duration::from_millis(120));
    }
    cluster.nodes[2].kill();
    cluster.start_all();
    wait_voters(&cluster, 0, 5);
    cluster.leader();
    assert_one_cluster(&cluster, 5);
}

fn assert_one_cluster(cluster: &Cluster, voters: u64) {
    // Those that were away learn of it a little later.
    (0..cluster.nodes.len()).for_each(|at| wait_voters(cluster, at, voters));
    let infos: Vec<_> = cluster.nodes.iter().map(|node| node.info("raft")).collect();
    let clusters: BTreeSet<_> = infos.iter().map(|info| &info["raft_dbid"]).collect();
    assert_eq!(clusters.len(), 1, "{clusters:?}");
}

/// Whom nobody will take in keeps what it has.
#[test]
fn a_node_gives_up_its_cluster_only_for_another_one() {
    let mut cluster = Cluster::start(1, &[]);
    let other = start_plain(&mut cluster);
    let (id, addr) = (cluster.nodes[other].id(), cluster.nodes[other].addr.clone());
    let waiting = cluster.add_node(&[WAITS], &[]);
    cluster.nodes[waiting].start();
    let nobody = cluster.add_node(&[], &[]);
    let nobody = cluster.nodes[nobody].addr.clone();
    cluster.nodes.pop();
    let joins = [&addr, &nobody, &cluster.nodes[waiting].addr];
    for target in joins {
        let order = format!("RAFT.CLUSTER JOIN {target}");
        let refused = "ERR this node already belongs to a cluster: no member of another one";
        expect_error(&mut cluster.nodes[other].client(), &order, refused);
    }
    let order = format!("RAFT.NODE ADD {addr}");
    expect_error(&mut cluster.nodes[waiting].client(), &order, "ERR the cluster has no leader");
    cluster.nodes[other].kill();
    cluster.nodes[other].start();
    cluster.leader_among(&[other]);
    assert_eq!(cluster.nodes[other].id(), id);
    expect(&mut cluster.nodes[other].client(), "SET k v", "OK");
}

#[test]
fn two_nodes_that_are_told_to_add_each_other_do_not_both_give_up() {
    for _ in 0..3 {
        let mut cluster = Cluster::start(1, &[]);
        let at = start_plain(&mut cluster);
        let orders: Vec<Client> = [(0, at), (at, 0)]
            .into_iter()
            .map(|(on, added)| {
                let mut client = cluster.nodes[on].client();
                client.set_reply_wait(Duration::from_secs(30));
                let order = ["RAFT.NODE", "ADD", &cluster.nodes[added].addr].map(str::to_owned);
                client.send(&[order.to_vec()]).expect("the socket takes a request");
                client
            })
            .collect();
        for mut client in orders {
            // The one that gave up has closed its connections.
            let _ = client.receive();
        }
        if cluster.nodes[0].raft_figure("raft_num_voting_nodes") == 1 {
            let order = format!("RAFT.NODE ADD {}", cluster.nodes[at].addr);
            let added = cluster.nodes[0].client().ask(&order);
            assert!(matches!(added, Reply::Integer(_)), "{added:?}");
        }
        wait_voters(&cluster, 0, 2);
        assert_one_cluster(&cluster, 2);
    }
}

/// A node of a forming cluster that was never heard of again, until it had lost its pledge.
#[test]
fn a_voter_that_lost_its_pledge_is_invited_again() {
    let mut cluster = Cluster::start(3, &[]);
    expect(&mut cluster.leader_client(), "SET k v", "OK");
    let at = cluster.follower();
    let id = cluster.nodes[at].id();
    // Its pledge given back, and no frame of the cluster taken: a member with an empty log, which
    // belongs to no cluster. Made from a new directory that gets the member's id.
    cluster.nodes.iter_mut().for_each(Node::kill);
    cluster.nodes[at].wipe();
    let waits = ["--set".to_owned(), WAITS.to_owned()];
    let args = std::mem::replace(&mut cluster.nodes[at].args, waits.to_vec());
    cluster.nodes[at].start();
    let fresh = cluster.nodes[at].id();
    cluster.nodes[at].kill();
    cluster.nodes[at].args = args;
    let path = cluster.nodes[at].dir.join("identity");
    let identity = std::fs::read_to_string(&path).expect("an identity");
    assert!(identity.contains("cluster 0\n") && !identity.contains("pledge"), "{identity}");
    let identity = identity.replace(&format!("node {fresh}\n"), &format!("node {id}\n"));
    // As the first version wrote it, without a checksum.
    let (identity, _) = identity.split_once("crc ").expect("a checksum");
    let identity = identity.replace("kvorum-identity 2\n", "kvorum-identity 1\n");
    std::fs::write(&path, identity).expect("the identity can be written");
    cluster.start_all();
    cluster.wait_converged();
    assert_one_cluster(&cluster, 3);
    assert_eq!(cluster.nodes[at].id(), id);
    expect(&mut cluster.nodes[at].client(), "GET k", "v");
}
