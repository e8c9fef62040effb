//! Clients that take what they can: memory stays bounded, and the others are served.

use crate::{expect, expect_error};
use kvorum_tests::client::{Client, text};
use kvorum_tests::cluster::{CLUSTER_WAIT, Cluster};
use kvorum_tests::node::{Node, wait_until};
use protocol::Reply;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

const VALUE_BYTES: usize = 8 << 20;

fn with_a_long_value() -> Cluster {
    let cluster = Cluster::start(1, &["storage-engine=memory"]);
    let value = "v".repeat(VALUE_BYTES);
    let set = cluster.nodes[0].client().call(&["SET", "long", &value]);
    assert_eq!(text(&set.unwrap()), "OK");
    cluster
}

fn figure(node: &Node, section: &str, name: &str) -> u64 {
    node.info(section).get(name).and_then(|figure| figure.parse().ok()).unwrap_or(0)
}

#[test]
fn clients_that_never_read_are_closed_when_all_together_have_too_much() {
    let cluster = with_a_long_value();
    let node = &cluster.nodes[0];
    let mut client = node.client();
    expect(&mut client, "CONFIG SET maxmemory-clients 32mb", "OK");
    let mut deaf: Vec<Client> = (0..20).map(|_| node.client()).collect();
    for client in &mut deaf {
        client.send(&vec![vec!["GET", "long"]; 10]).expect("requests are short");
    }
    wait_until(CLUSTER_WAIT, "most of them are closed", || {
        expect(&mut client, "PING", "PONG");
        figure(node, "stats", "evicted_clients") >= 16
    });
    wait_until(CLUSTER_WAIT, "the others fit", || {
        figure(node, "memory", "mem_clients_normal") <= 32 << 20
    });
    expect(&mut client, "STRLEN long", &VALUE_BYTES.to_string());
    // Four of the deaf at most, this client, and the one that asks for INFO.
    wait_until(CLUSTER_WAIT, "they are gone", || figure(node, "clients", "connected_clients") <= 6);
    drop(deaf);
}

#[test]
fn a_reply_beyond_the_output_limit_is_never_put_together() {
    let cluster = with_a_long_value();
    let node = &cluster.nodes[0];
    let mut client = node.client();
    let before = figure(node, "memory", "used_memory_peak");
    // More than a gibibyte, of one value.
    let many = format!("MGET{}", " long".repeat((1 << 30) / VALUE_BYTES + 1));
    expect_error(&mut client, &many, "ERR the values together exceed 1073741824 bytes");
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "normal 20mb 0 0"];
    assert_eq!(text(&client.call(&limit).unwrap()), "OK");
    let fits = client.call(&["MGET", "long", "long"]).expect("a reply within the limit");
    assert!(matches!(fits, Reply::Array(values) if values.len() == 2));
    assert!(client.call(&["MGET", "long", "long", "long"]).is_err(), "it is closed instead");
    assert_eq!(figure(node, "stats", "client_output_buffer_limit_disconnections"), 1);
    let after = figure(node, "memory", "used_memory_peak");
    assert!(after < before + (512 << 20), "{before} {after}");
}

#[test]
fn reads_of_many_keys_are_answered_as_those_of_few() {
    let cluster = Cluster::start(1, &["storage-engine=memory"]);
    let mut client = cluster.nodes[0].client();
    let keys: Vec<String> = (0..5000).map(|number| format!("k{number}")).collect();
    let mut set = vec!["MSET".to_owned()];
    set.extend(keys.iter().flat_map(|key| [key.clone(), format!("value of {key}")]));
    assert_eq!(text(&client.call(&set).unwrap()), "OK");
    let with = |name: &str| -> Vec<String> {
        std::iter::once(name.to_owned()).chain(keys.iter().cloned()).collect()
    };
    // Around them, in one pipeline, requests that are answered elsewhere: the order stays.
    let one = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<String>>();
    client
        .send(&[one("GET k7"), with("MGET"), one("SET k7 x"), with("EXISTS"), one("GET k7")])
        .unwrap();
    assert_eq!(text(&client.receive().unwrap()), "value of k7");
    let Reply::Array(values) = client.receive().unwrap() else { panic!("an array") };
    let expected = keys.iter().map(|key| format!("value of {key}"));
    assert!(values.iter().map(text).eq(expected));
    assert_eq!(text(&client.receive().unwrap()), "OK");
    assert_eq!(text(&client.receive().unwrap()), "5000");
    assert_eq!(text(&client.receive().unwrap()), "x");
}

/// Commands that the node executes between two requests of a client that waits for each, while
/// another sends without end: it must not be served until it happens to stop.
#[test]
fn an_endless_pipeline_takes_turns_with_the_others() {
    let cluster = Cluster::start(1, &["storage-engine=memory"]);
    let node = &cluster.nodes[0];
    let mut greedy = TcpStream::connect(&node.addr).unwrap();
    let mut replies = greedy.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let pings = b"*1\r\n$4\r\nPING\r\n".repeat(10_000);
        while greedy.write_all(&pings).is_ok() {}
    });
    let reader = thread::spawn(move || {
        let mut chunk = vec![0; 1 << 20];
        while replies.read(&mut chunk).is_ok_and(|count| count > 0) {}
    });
    let mut client = node.client();
    let executed = |client: &mut Client| -> u64 {
        let info = text(&client.ask("INFO stats"));
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        line.expect("a figure of INFO").trim().parse().unwrap()
    };
    while executed(&mut client) < 100_000 {}
    let figures: Vec<u64> = (0..40).map(|_| executed(&mut client)).collect();
    let mut between: Vec<u64> = figures.windows(2).map(|pair| pair[1] - pair[0]).collect();
    between.sort_unstable();
    // A turn is one chunk of input, some 4,700 of these; a few turns may pass until this client is
    // awake. Without turns it is some 300,000, every second time.
    assert!(between[between.len() * 3 / 4] < 60_000, "{between:?}");
    expect(&mut client, "CLIENT KILL TYPE normal SKIPME yes", "1");
    sender.join().unwrap();
    reader.join().unwrap();
}

/// Long values are written from where they are, in pieces, beside replies that are gathered.
#[test]
fn long_and_short_replies_of_a_pipeline_keep_their_order() {
    let cluster = Cluster::start(1, &["storage-engine=memory"]);
    let node = &cluster.nodes[0];
    let values: Vec<String> = [40_000, 1, 1 << 20, 32 << 10, (32 << 10) - 1]
        .iter()
        .enumerate()
        .map(|(number, length)| format!("{number}").repeat(*length))
        .collect();
    let mut client = node.client();
    for (number, value) in values.iter().enumerate() {
        let set = client.call(&["SET", &format!("k{number}"), value]);
        assert_eq!(text(&set.unwrap()), "OK");
    }
    let order = [1, 0, 2, 3, 1, 1, 4, 2, 2, 1, 0];
    let get = |number: &usize| vec!["GET".to_owned(), format!("k{number}")];
    let requests: Vec<Vec<String>> = order.iter().map(get).collect();
    let mut clients: Vec<Client> = (0..8).map(|_| node.client()).collect();
    for client in &mut clients {
        client.send(&requests).expect("requests are short");
    }
    for client in &mut clients {
        for number in order {
            let reply = client.receive().expect("every request is answered");
            assert!(text(&reply) == values[number], "a value came back otherwise");
        }
    }
}

/// More than the connections of peers that a node has places for.
const SILENT_PEERS: usize = 1100;

#[test]
fn who_connects_to_the_peer_port_and_says_nothing_keeps_no_member_out() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    cluster.nodes[follower].kill();
    let addr = cluster.nodes[leader].peer_addr.clone();
    let mut silent = Vec::new();
    for _ in 0..SILENT_PEERS {
        silent.push(TcpStream::connect(&addr).expect("the port takes connections"));
    }
    // What it needs of the leader it asks for on a new connection.
    cluster.nodes[follower].start();
    let mut client = cluster.nodes[follower].client();
    wait_until(CLUSTER_WAIT, "the follower reaches the leader", || {
        text(&client.ask("SET key value")) == "OK"
    });
    expect(&mut client, "GET key", "value");
    silent.clear();
}

#[test]
fn what_follows_auth_in_a_pipeline_is_read_with_the_limits_of_the_known() {
    let cluster = Cluster::start(1, &["storage-engine=memory"]);
    expect(&mut cluster.nodes[0].client(), "CONFIG SET requirepass hush", "OK");
    let mut client = cluster.nodes[0].client();
    // Longer than a stranger may send.
    let mut long = vec!["MSET"];
    long.extend(["key", "value"].repeat(20));
    let pipeline =
        [vec!["PING"], vec!["GET", "key"], vec!["AUTH", "hush"], long, vec!["GET", "key"]];
    client.send(&pipeline).expect("it is short");
    for expected in ["NOAUTH", "NOAUTH", "OK", "OK", "value"] {
        let reply = text(&client.receive().expect("a reply"));
        assert!(reply.starts_with(expected), "{reply}, not {expected}");
    }
}
