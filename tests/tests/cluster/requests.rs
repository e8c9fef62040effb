//! Requests on their way: redirects, forwarding, order, whose reply is whose, MULTI, databases.

use crate::{expect, expect_error};
use kvorum_tests::client::{Client, Fate, fate, text};
use kvorum_tests::cluster::Cluster;
use kvorum_tests::load::Load;
use kvorum_tests::node::{Node, wait_until};
use protocol::{Reply, key_slot};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// For each client to be answered a few times, also on a machine that is busy with other things.
const PROGRESS_WAIT: Duration = Duration::from_secs(60);

#[test]
fn one_write_is_one_entry() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    cluster.wait_converged();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    for at in [leader, follower] {
        let before = cluster.nodes[leader].raft_figure("raft_current_index");
        expect(&mut cluster.nodes[at].client(), "SET k v", "OK");
        thread::sleep(Duration::from_millis(300));
        assert_eq!(cluster.nodes[leader].raft_figure("raft_current_index"), before + 1);
    }
    cluster.wait_converged();
    for node in &cluster.nodes {
        let figure = |name| node.raft_figure(name);
        assert_eq!(figure("raft_last_applied_index"), figure("raft_current_index"));
    }
}

#[test]
fn raft_index_orders_what_different_nodes_answered() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    cluster.wait_converged();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let mut leader = cluster.nodes[leader].client();
    let mut follower = cluster.nodes[follower].client();
    let index = |client: &mut Client, command: &str| {
        client.ask(command);
        text(&client.ask("RAFT.INDEX")).parse::<u64>().expect("a log index")
    };
    for round in 0..20 {
        let write = format!("SET k {round}");
        let written = index(&mut leader, &write);
        let read = index(&mut follower, "GET k");
        assert!(read >= written, "{read} {written}");
        let forwarded = index(&mut follower, &write);
        assert!(forwarded > read, "{forwarded} {read}");
        leader.ask("MULTI");
        leader.ask("GET k");
        let block = index(&mut leader, "EXEC");
        assert!(block >= forwarded, "{block} {forwarded}");
        follower.ask("MULTI");
        follower.ask(&write);
        let block = (index(&mut follower, "EXEC"), block);
        assert!(block.0 > block.1, "{block:?}");
        assert_eq!(index(&mut follower, "NONSENSE"), block.0, "an error changes nothing");
    }
}

#[test]
fn clients_on_several_threads_see_each_other() {
    let mut cluster = Cluster::start(1, &["io-threads=3"]);
    let node = &mut cluster.nodes[0];
    let mut clients: Vec<Client> = (0..7).map(|_| node.client()).collect();
    for number in 0..clients.len() {
        expect(&mut clients[number], &format!("SET last {number}"), "OK");
        for client in &mut clients {
            expect(client, "GET last", &number.to_string());
        }
    }
    // Each of them is another's victim, whatever thread it is on.
    for number in (1..clients.len()).cycle().take(60) {
        let id = text(&clients[number].ask("CLIENT ID"));
        expect(&mut clients[number - 1], &format!("CLIENT KILL ID {id}"), "1");
        assert!(clients[number].call(&["PING"]).is_err());
        // It is gone for everybody once its socket is closed.
        expect(&mut clients[number - 1], &format!("CLIENT KILL ID {id}"), "0");
        clients[number] = node.client();
    }
    let mut names = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", node.pid().unwrap())).unwrap() {
        names.push(std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    }
    assert_eq!(
        names.iter().filter(|name| name.starts_with("connections-")).count(),
        2,
        "{names:?}"
    );
    let (status, _) = node.terminate();
    assert!(status.success(), "a stop ends them all: {status}");
}

/// Sends bytes and reads exactly these.
fn exchange(socket: &mut TcpStream, sent: &str, expected: &str) {
    socket.write_all(sent.as_bytes()).expect("the node takes it");
    let mut received = vec![0; expected.len()];
    socket.read_exact(&mut received).unwrap_or_else(|error| panic!("{expected:?}: {error}"));
    assert_eq!(received.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string());
}

/// How often the second thread of connections has run.
fn runs_of_second_thread(node: &Node) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid().unwrap())).unwrap();
    for task in tasks.map(|task| task.unwrap().path()) {
        if std::fs::read_to_string(task.join("comm")).unwrap().trim() == "connections-1" {
            let figures = std::fs::read_to_string(task.join("schedstat")).unwrap();
            return figures.split_whitespace().nth(2).unwrap().parse().unwrap();
        }
    }
    panic!("there is no second thread");
}

/// On two or three cores, a client that sends a pipeline may be served by another thread from then on.
#[test]
fn a_client_that_moves_to_another_thread_notices_nothing() {
    let cores = thread::available_parallelism().unwrap().get();
    let cluster = Cluster::start(1, if cores == 1 { &["io-threads=2"] } else { &[] });
    let node = &cluster.nodes[0];
    let mut single: Vec<Client> = (0..4).map(|_| node.client()).collect();
    let before = runs_of_second_thread(node);
    for _ in 0..100 {
        single.iter_mut().for_each(|client| expect(client, "ECHO alone", "alone"));
    }
    let singly = runs_of_second_thread(node) - before;
    let mut sockets = Vec::new();
    for number in 0..6 {
        let mut socket = TcpStream::connect(&node.addr).unwrap();
        socket.set_read_timeout(Some(PROGRESS_WAIT)).unwrap();
        // It moves with a name, a database, half a block and half a request.
        let pipeline = format!(
            "SELECT 3\r\nCLIENT SETNAME name-{number}\r\nMULTI\r\nSET k{number} 1\r\nINCR k{number}\r\nIN"
        );
        let queued = "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n";
        exchange(&mut socket, &pipeline, queued);
        let rest = format!("CR k{number}\r\nEXEC\r\n");
        exchange(&mut socket, &rest, "+QUEUED\r\n*3\r\n+OK\r\n:2\r\n:3\r\n");
        exchange(&mut socket, "CLIENT GETNAME\r\n", &format!("$6\r\nname-{number}\r\n"));
        exchange(&mut socket, &format!("GET k{number}\r\n"), "$1\r\n3\r\n");
        sockets.push(socket);
    }
    let before = runs_of_second_thread(node);
    for _ in 0..100 {
        sockets.iter_mut().for_each(|socket| exchange(socket, "PING\r\n", "+PONG\r\n"));
    }
    let moved = runs_of_second_thread(node) - before;
    assert!(moved >= 100, "nobody was served there: {moved}");
    if (2..4).contains(&cores) {
        assert!(singly < 100, "who sends no pipelines is served there, too: {singly}");
    }
    // Some of them listen, and are then killed, wherever they are.
    let pings = "PING\r\n".repeat(4);
    let pongs = "+PONG\r\n".repeat(4);
    for number in 0..4 {
        let mut socket = TcpStream::connect(&node.addr).unwrap();
        socket.set_read_timeout(Some(PROGRESS_WAIT)).unwrap();
        let pipeline = format!("CLIENT SETNAME listener\r\n{pings}MONITOR\r\n");
        exchange(&mut socket, &pipeline, &format!("+OK\r\n{pongs}+OK\r\n"));
        expect(&mut single[0], &format!("ECHO heard-{number}"), &format!("heard-{number}"));
        let mut heard = Vec::new();
        let wanted = format!("heard-{number}");
        while !String::from_utf8_lossy(&heard).contains(&wanted) {
            let mut chunk = [0; 1024];
            let bytes = socket.read(&mut chunk).expect("what others send is shown");
            assert!(bytes > 0, "the node closed the connection");
            heard.extend_from_slice(&chunk[..bytes]);
        }
        let list = text(&single[0].ask("CLIENT LIST"));
        let line = list.lines().find(|line| line.contains("name=listener")).expect("it is listed");
        let id = line.split(' ').find_map(|field| field.strip_prefix("id=")).expect("an id");
        expect(&mut single[0], &format!("CLIENT KILL ID {id}"), "1");
        socket.read_to_end(&mut heard).expect("its socket is closed");
        expect(&mut single[0], &format!("CLIENT KILL ID {id}"), "0");
    }
}

#[test]
fn followers_redirect_writes_to_the_leader() {
    let mut cluster = Cluster::start(3, &[]);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let addr = cluster.nodes[leader].addr.clone();
    let mut client = cluster.nodes[follower].client();
    let moved = format!("MOVED {} {addr}", key_slot(b"foo"));
    expect(&mut client, "SET foo bar", &moved);
    expect(&mut client, "MULTI", "OK");
    expect(&mut client, "GET foo", "QUEUED");
    expect(&mut client, "SET foo bar", &moved);
    expect_error(&mut client, "EXEC", "EXECABORT");
    expect(&mut client, "CLIENT CAPA redirect", "OK");
    expect(&mut client, "SET foo bar", &format!("REDIRECT {addr}"));
    expect(&mut client, "CONFIG SET follower-writes forward", "OK");
    expect(&mut client, "SET foo bar", "OK");
    expect(&mut client, "GET foo", "bar");
    expect(&mut client, "CONFIG SET follower-reads redirect", "OK");
    expect(&mut client, "GET foo", &format!("REDIRECT {addr}"));
}

#[test]
fn a_forwarded_pipeline_keeps_its_order() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let follower = cluster.follower();
    let mut client = cluster.nodes[follower].client();
    let mut requests: Vec<Vec<String>> = Vec::new();
    let mut expected = Vec::new();
    for number in 0..500 {
        let (key, tag) = (format!("k{}", number % 7), format!("tag-{number}"));
        requests.push(vec!["SET".into(), key.clone(), tag.clone()]);
        expected.push("OK".to_owned());
        requests.push(vec!["GET".into(), key]);
        expected.push(tag.clone());
        requests.push(vec!["INCR".into(), "n".into()]);
        expected.push((number + 1).to_string());
        requests.push(vec!["ECHO".into(), tag.clone()]);
        expected.push(tag);
    }
    client.send(&requests).expect("the node takes a pipeline");
    for expected in expected {
        assert_eq!(text(&client.receive().expect("every request is answered")), expected);
    }
}

/// A pipeline that waits again and again does not keep what it has already answered to itself.
#[test]
fn replies_do_not_wait_for_the_end_of_a_slow_pipeline() {
    let mut cluster = Cluster::start(3, &["enable-debug-command=yes"]);
    let (leader, mut client) = (cluster.leader(), cluster.leader_client());
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    for other in &others {
        cluster.nodes[*other].pause();
    }
    let requests = [vec!["ECHO", "ready"], vec!["DEBUG", "SLEEP", "0.1"], vec!["SET", "k", "v"]];
    client.send(&requests).expect("sent");
    assert_eq!(text(&client.receive().expect("it was ready long ago")), "ready");
    assert_eq!(text(&client.receive().expect("so was this")), "OK");
    for other in others {
        cluster.nodes[other].resume();
    }
    client.receive().expect("the write is answered in the end");
}

/// Each client's replies carry its own tag, also while the leader is killed.
#[test]
fn replies_never_cross_clients() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let leader = cluster.leader();
    let stop = AtomicBool::new(false);
    let addresses = cluster.addresses();
    let done: Vec<AtomicU64> = (0..9).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        let _stopped_in_any_case = StopOnDrop(&stop);
        let handles: Vec<_> = (done.iter().enumerate())
            .map(|(client, done)| {
                let (addr, stop) = (&addresses[client % 3], &stop);
                scope.spawn(move || tagged_requests(client, addr, stop, done))
            })
            .collect();
        let more = |clients: Vec<usize>| {
            let before: Vec<u64> = done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
            wait_until(PROGRESS_WAIT, "every client gets replies", || {
                let has_ended = |client: &usize| handles[*client].is_finished();
                assert!(!clients.iter().any(has_ended), "a client has failed, see above");
                let has_more =
                    |client: &usize| done[*client].load(Ordering::Relaxed) > before[*client] + 5;
                clients.iter().all(has_more)
            });
        };
        more((0..9).collect());
        cluster.nodes[leader].kill();
        cluster.leader();
        more((0..9).filter(|client| client % 3 != leader).collect());
        stop.store(true, Ordering::Relaxed);
        for client in handles {
            client.join().expect("no reply was another client's");
        }
    });
}

/// Ends the threads of a test that fails, which otherwise would wait for them.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Pipelines of SET with GET (the reply is what this client wrote before) and ECHO; counts in
/// `done` how many were answered.
fn tagged_requests(client: usize, addr: &str, stop: &AtomicBool, done: &AtomicU64) {
    let mut connection = Client::connect(addr).expect("the node listens");
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("own-{client}");
        let tag = |part: usize| format!("tag-{client}-{number}-{part}");
        let set = |part| vec!["SET".into(), key.clone(), tag(part), "GET".into()];
        let echo = |part| vec!["ECHO".to_owned(), tag(part)];
        if connection.send(&[set(0), echo(1), set(2), echo(3)]).is_err() {
            break;
        }
        for part in 0..4 {
            let Ok(reply) = connection.receive() else { return };
            let said = text(&reply);
            if part % 2 == 1 {
                assert_eq!(said, tag(part), "the reply to ECHO");
            } else if fate(&reply) == Fate::Done {
                let own = said == "nil" || said.starts_with(&format!("tag-{client}-"));
                assert!(own, "client {client} was given {said}");
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn multi_blocks_are_atomic_on_every_node() {
    let cluster = Cluster::start(3, &["follower-writes=forward"]);
    let addresses = cluster.addresses();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let _stopped_in_any_case = StopOnDrop(stop);
        let writers: Vec<_> =
            addresses.iter().map(|addr| scope.spawn(move || write_pairs(addr, stop))).collect();
        let readers: Vec<_> =
            addresses.iter().map(|addr| scope.spawn(move || read_pairs(addr, 1500))).collect();
        readers.into_iter().for_each(|reader| reader.join().expect("no reader saw half a block"));
        stop.store(true, Ordering::Relaxed);
        let written: u64 = writers.into_iter().map(|writer| writer.join().expect("no panic")).sum();
        assert!(written > 30, "only {written} blocks were written");
    });
}

fn write_pairs(addr: &str, stop: &AtomicBool) -> u64 {
    let mut client = Client::connect(addr).expect("the node listens");
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return number;
        }
        let tag = format!("{addr}-{number}");
        expect(&mut client, "MULTI", "OK");
        expect(&mut client, &format!("SET {{p}}a {tag}"), "QUEUED");
        expect(&mut client, "INCR {p}n", "QUEUED");
        expect(&mut client, &format!("SET {{p}}b {tag}"), "QUEUED");
        let Reply::Array(replies) = client.ask("EXEC") else { panic!("EXEC has replies") };
        assert_eq!(replies.len(), 3);
    }
    0
}

fn read_pairs(addr: &str, count: usize) {
    let mut client = Client::connect(addr).expect("the node listens");
    for turn in 0..count {
        let pair = match turn % 2 {
            0 => client.ask("MGET {p}a {p}b"),
            _ => {
                expect(&mut client, "MULTI", "OK");
                expect(&mut client, "GET {p}a", "QUEUED");
                expect(&mut client, "GET {p}b", "QUEUED");
                client.ask("EXEC")
            }
        };
        let Reply::Array(pair) = pair else { panic!("{pair:?}") };
        assert_eq!(pair[0], pair[1], "half a block at {addr}");
    }
}

#[test]
fn watch_sees_changes_made_on_other_nodes() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    for (watching, changing) in [(leader, follower), (follower, leader), (follower, follower)] {
        let mut watcher = cluster.nodes[watching].client();
        let mut changer = cluster.nodes[changing].client();
        expect(&mut changer, "SET k 1", "OK");
        for change in ["SET k 2", "DEL k", "PEXPIRE k 100000"] {
            expect(&mut changer, "SET k 1", "OK");
            expect(&mut watcher, "WATCH k other", "OK");
            changer.ask(change);
            expect(&mut watcher, "MULTI", "OK");
            expect(&mut watcher, "SET k mine", "QUEUED");
            expect(&mut watcher, "EXEC", "nil");
        }
        expect(&mut watcher, "WATCH k other", "OK");
        expect(&mut changer, "SET unrelated 1", "OK");
        expect(&mut watcher, "MULTI", "OK");
        expect(&mut watcher, "SET k mine", "QUEUED");
        expect(&mut watcher, "EXEC", "[OK]");
        expect(&mut changer, "GET k", "mine");
    }
}

/// Increments by WATCH, GET, MULTI, SET, EXEC on all nodes at once: none is lost.
#[test]
fn optimistic_increments_on_all_nodes_lose_nothing() {
    let cluster = Cluster::start(3, &["follower-writes=forward"]);
    let addresses = cluster.addresses();
    thread::scope(|scope| {
        for addr in &addresses {
            scope.spawn(move || {
                let mut client = Client::connect(addr).expect("the node listens");
                let mut done = 0;
                while done < 40 {
                    expect(&mut client, "WATCH n", "OK");
                    let value: u64 = text(&client.ask("GET n")).parse().unwrap_or(0);
                    expect(&mut client, "MULTI", "OK");
                    expect(&mut client, &format!("SET n {}", value + 1), "QUEUED");
                    done += u64::from(client.ask("EXEC") != Reply::NullArray);
                }
            });
        }
    });
    expect(&mut cluster.nodes[0].client(), "GET n", "120");
}

#[test]
fn databases_are_separate_on_every_node() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let follower = cluster.follower();
    let mut writer = cluster.nodes[follower].client();
    for database in 0..16 {
        expect(&mut writer, &format!("SELECT {database}"), "OK");
        expect(&mut writer, &format!("SET k in-{database}"), "OK");
    }
    expect_error(&mut writer, "SELECT 16", "ERR DB index is out of range");
    let mut readers: Vec<Client> = cluster.nodes.iter().map(Node::client).collect();
    for reader in &mut readers {
        for database in 0..16 {
            expect(reader, &format!("SELECT {database}"), "OK");
            expect(reader, "GET k", &format!("in-{database}"));
            expect(reader, "DBSIZE", "1");
        }
    }
    expect(&mut writer, "SELECT 3", "OK");
    expect(&mut writer, "FLUSHDB", "OK");
    for reader in &mut readers {
        for database in 0..16 {
            expect(reader, &format!("SELECT {database}"), "OK");
            expect(reader, "DBSIZE", if database == 3 { "0" } else { "1" });
        }
    }
}

#[test]
fn forwarded_load_starts_no_elections() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let leader = cluster.leader();
    let followers = cluster.others(leader);
    let term = cluster.nodes[leader].raft_figure("raft_current_term");
    let addresses: Vec<String> =
        followers.iter().map(|at| cluster.nodes[*at].addr.clone()).collect();
    let memory = |cluster: &Cluster| {
        let used = |at: &usize| cluster.nodes[*at].info("memory")["used_memory_rss"].parse::<u64>();
        followers.iter().map(|at| used(at).expect("a figure")).max().expect("two followers")
    };
    let load = Load::start(&addresses, 8);
    load.wait_for(2000);
    let before = memory(&cluster);
    load.wait_for(6000);
    let after = memory(&cluster);
    load.finish();
    assert_eq!(cluster.leader(), leader);
    assert_eq!(cluster.nodes[leader].raft_figure("raft_current_term"), term);
    let forwarded = |at: &usize| cluster.nodes[*at].raft_figure("raft_proxy_reqs");
    assert!(followers.iter().map(forwarded).sum::<u64>() >= 8000, "the load was forwarded");
    // 12,000 writes of some 50 bytes are in the overlay and the log's cache by design.
    assert!(after < before + (32 << 20), "memory grew from {before} to {after}");
}

/// Writes that answer with large values, many in one pipeline: no node holds all replies at once.
#[test]
fn values_in_the_replies_of_writes_are_bounded_on_every_node() {
    // On a slow machine so many bytes take long, and this is not about elections.
    let patient = ["election-timeout-min-ms=10000", "election-timeout-max-ms=12000"];
    let mut cluster = Cluster::start(3, &patient);
    let mut client = cluster.leader_client();
    let value = "x".repeat(2 << 20);
    assert_eq!(text(&client.call(&["SET", "large", &value]).expect("a reply")), "OK");
    // In tables each reply is a copy of its own; in memory they would share one.
    cluster.wait_converged();
    for node in &cluster.nodes {
        let taken = node.client().ask("RAFT.SNAPSHOT");
        assert!(matches!(taken, Reply::Integer(_)), "{taken:?}");
    }
    let peaks = |cluster: &Cluster| {
        let peak = |node: &Node| node.info("memory")["used_memory_peak"].parse::<u64>();
        let peaks = cluster.nodes.iter().map(|node| peak(node).expect("a figure"));
        peaks.collect::<Vec<_>>()
    };
    let before = peaks(&cluster);
    let requests = vec![vec!["GETEX", "large", "PERSIST"]; 400];
    client.send(&requests).expect("sent");
    for _ in &requests {
        let Reply::Bulk(bytes) = client.receive().expect("a reply") else { panic!("no value") };
        assert_eq!(bytes.len(), value.len());
    }
    for (before, after) in before.into_iter().zip(peaks(&cluster)) {
        assert!(after < before + (300 << 20), "memory grew from {before} to {after}");
    }
}
