//! Clients as they are, against one node, a cluster, and through failovers: the redis crate in
//! all its forms here, redis-cli and redis-benchmark (where they are installed) in `tools`.
//!
//! Clients in other languages have a command of their own, `tests/clients/run`.

mod tools;

use kvorum_tests::client::text;
use kvorum_tests::cluster::{CLUSTER_WAIT, Cluster};
use kvorum_tests::node::{Node, wait_until};
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_read_routing::RandomReplicaStrategy;
use redis::{
    AsyncCommands, AsyncConnectionConfig, Commands, Connection, ProtocolVersion, RedisError,
    RedisResult, Value, cmd, pipe,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long a client waits for a reply: longer than an election on a busy machine.
const REPLY_WAIT: Duration = Duration::from_secs(20);

// ---- redis crate, one connection

fn client_of(node: &Node, parameters: &str) -> redis::Client {
    redis::Client::open(format!("redis://{}/{parameters}", node.addr)).expect("an address")
}

fn connect(node: &Node, parameters: &str) -> Connection {
    let client = client_of(node, parameters);
    client.get_connection_with_timeout(REPLY_WAIT).expect("a connection")
}

#[test]
fn one_node_serves_blocking_connections_of_both_protocols() {
    let cluster = Cluster::start(1, &[]);
    let node = &cluster.nodes[0];
    for parameters in ["", "?protocol=resp3"] {
        let mut connection = connect(node, parameters);
        let () = cmd("FLUSHALL").query(&mut connection).expect("FLUSHALL");
        use_strings(&mut connection);
        use_pipelines(&mut connection);
        use_scans(&mut connection);
        let mut third = connect(node, &format!("3{parameters}"));
        let () = third.set("only-here", 1).expect("SET in another database");
        assert_eq!(connection.exists("only-here"), Ok(false));
        assert_eq!(cmd("DBSIZE").query::<u64>(&mut third), Ok(1));
        let server: Value = cmd("HELLO").query(&mut connection).expect("HELLO");
        assert_eq!(matches!(server, Value::Map(_)), !parameters.is_empty(), "{server:?}");
    }
}

fn use_strings(connection: &mut Connection) {
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let () = connection.set(&binary[..300], &binary).expect("SET of binary data");
    assert_eq!(connection.get(&binary[..300]), Ok(binary.clone()));
    assert_eq!(connection.get("nothing"), Ok(None::<String>));
    let () = connection.mset(&[("a", "1"), ("b", "2")]).expect("MSET");
    let values: Vec<Option<u64>> = connection.mget(&["a", "x", "b"]).expect("MGET");
    assert_eq!(values, [Some(1), None, Some(2)]);
    assert_eq!(connection.incr("a", 41), Ok(42));
    assert_eq!(connection.append("b", "34"), Ok(3));
    assert_eq!(connection.getrange("b", 1, -1), Ok("34".to_owned()));
    assert_eq!(connection.set_nx("b", "no"), Ok(false));
    let () = connection.pset_ex("brief", "v", 60).expect("PSETEX");
    wait_until(REPLY_WAIT, "the key has expired", || connection.exists("brief") == Ok(false));
    assert_eq!(connection.expire("a", 100), Ok(true));
    assert_eq!(connection.ttl("a"), Ok(100));
    assert_eq!(connection.del(&["a", "nothing"]), Ok(1));
    let error = connection.incr::<_, _, i64>("b:text", 1).and_then(|_: i64| {
        connection.set::<_, _, ()>("b:text", "x")?;
        connection.incr::<_, _, i64>("b:text", 1)
    });
    let error = error.expect_err("INCR of a text");
    assert!(error.to_string().contains("not an integer"), "{error}");
}

fn use_pipelines(connection: &mut Connection) {
    let mut long = pipe();
    for number in 0..2000 {
        long.set(format!("pipe:{number}"), number).ignore().incr("pipe", 1);
    }
    let replies: Vec<u64> = long.query(connection).expect("a long pipeline");
    assert_eq!(replies, (1..=2000).collect::<Vec<_>>());
    let (old, new): (u64, u64) =
        pipe().atomic().get("pipe").incr("pipe", 1).query(connection).expect("MULTI");
    assert_eq!((old, new), (2000, 2001));
}

fn use_scans(connection: &mut Connection) {
    let found: RedisResult<BTreeSet<String>> =
        connection.scan_match("pipe:19*").expect("SCAN").collect();
    let expected = (0..2000).map(|n| format!("pipe:{n}")).filter(|key| key.starts_with("pipe:19"));
    assert_eq!(found.expect("keys"), expected.collect());
}

#[test]
fn watched_transactions_of_several_clients_lose_no_increment() {
    let cluster = Cluster::start(1, &[]);
    let node = &cluster.nodes[0];
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = connect(node, "?protocol=resp3");
                for _ in 0..25 {
                    let increment = |connection: &mut Connection, block: &mut redis::Pipeline| {
                        let value: Option<u64> = connection.get("n")?;
                        block.set("n", value.unwrap_or(0) + 1).query(connection)
                    };
                    let _: () = redis::transaction(&mut connection, &["n"], increment)
                        .expect("a transaction");
                }
            });
        }
    });
    assert_eq!(connect(node, "").get("n"), Ok(100));
}

#[test]
fn one_async_connection_carries_many_requests_at_once() {
    let cluster = Cluster::start(1, &[]);
    let runtime = Runtime::new().expect("a runtime");
    for parameters in ["", "?protocol=resp3"] {
        let client = client_of(&cluster.nodes[0], parameters);
        runtime.block_on(async {
            let config = AsyncConnectionConfig::new().set_response_timeout(Some(REPLY_WAIT));
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            let mut connection = connection.expect("a connection");
            let () = connection.del("n").await.expect("DEL");
            let increments = (0..200).map(|_| {
                let mut connection = connection.clone();
                tokio::spawn(async move { connection.incr::<_, _, u64>("n", 1).await })
            });
            let mut seen = BTreeSet::new();
            for increment in increments.collect::<Vec<_>>() {
                seen.insert(increment.await.expect("a task").expect("INCR"));
            }
            assert_eq!(seen, (1..=200).collect());
        });
    }
}

// ---- redis crate, failovers

/// What a client was told about its increments.
#[derive(Default)]
struct Ledger {
    acked: AtomicU64,
    /// Increments that may have had an effect.
    unknown: AtomicU64,
    stopping: AtomicBool,
}

impl Ledger {
    /// Increments without end; the answers must rise.
    async fn count(self: Arc<Self>, mut connection: impl ConnectionLike) {
        let mut last = 0;
        while !self.stopping.load(SeqCst) {
            let answer = cmd("INCR").arg("n").query_async::<u64>(&mut connection).await;
            match answer {
                Ok(value) => {
                    assert!(value > last, "{value} after {last}");
                    last = value;
                    self.acked.fetch_add(1, SeqCst);
                }
                Err(error) => {
                    self.unknown.fetch_add(u64::from(!is_refusal(&error)), SeqCst);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    fn wait_for_more(&self, what: &str) {
        let wanted = self.acked.load(SeqCst) + 20;
        wait_until(CLUSTER_WAIT, what, || self.acked.load(SeqCst) >= wanted);
    }

    fn check(&self, value: u64) {
        let (acked, unknown) = (self.acked.load(SeqCst), self.unknown.load(SeqCst));
        let counts = format!("{value}, with {acked} acknowledged and {unknown} unknown");
        assert!(acked <= value && value <= acked + unknown, "{counts}");
    }
}

/// Whether an error says that the request had no effect.
fn is_refusal(error: &RedisError) -> bool {
    matches!(error.code(), Some("CLUSTERDOWN" | "TRYAGAIN" | "MOVED"))
}

/// kill -9 of the leader, or an order to hand over.
fn change_leader(cluster: &mut Cluster, by_killing: bool) {
    let leader = cluster.leader();
    if by_killing {
        return cluster.nodes[leader].kill();
    }
    wait_until(CLUSTER_WAIT, "the leader hands over", || {
        let reply = cluster.nodes[leader].client().ask("RAFT.TRANSFER_LEADER");
        text(&reply) == "OK"
    });
    wait_until(CLUSTER_WAIT, "another node leads", || cluster.leader() != leader);
}

fn cluster_client(cluster: &Cluster) -> ClusterClientBuilder {
    let addresses = cluster.addresses().into_iter().map(|addr| format!("redis://{addr}"));
    ClusterClient::builder(addresses.collect::<Vec<_>>())
        .connection_timeout(REPLY_WAIT)
        .response_timeout(REPLY_WAIT)
}

#[test]
fn cluster_clients_of_both_protocols_reach_leader_and_replicas() {
    let mut cluster = Cluster::start(3, &[]);
    let runtime = Runtime::new().expect("a runtime");
    for protocol in [ProtocolVersion::RESP2, ProtocolVersion::RESP3] {
        let builder = cluster_client(&cluster).use_protocol(protocol);
        let client = builder.build().expect("a client");
        let mut blocking = client.get_connection().expect("a connection");
        runtime.block_on(async {
            let mut connection = client.get_async_connection().await.expect("a connection");
            for number in 0..100 {
                let () = connection.set(format!("k{number}"), number).await.expect("SET");
            }
            for number in 0..100 {
                assert_eq!(connection.get(format!("k{number}")).await, Ok(number));
            }
            let mut block = pipe();
            block.atomic().set("{t}a", 1).ignore().incr("{t}a", 1);
            assert_eq!(block.query_async(&mut connection).await, Ok((2,)));
        });
        assert_eq!(blocking.get("k7"), Ok(7));
    }
    let gets = |node: &Node| {
        let stats = node.info("commandstats").remove("cmdstat_get").unwrap_or_default();
        stats.split(['=', ',']).nth(1).and_then(|calls| calls.parse().ok()).unwrap_or(0)
    };
    let leader = cluster.leader();
    let before: Vec<u64> = cluster.nodes.iter().map(gets).collect();
    let from_replicas = cluster_client(&cluster).read_routing_strategy(RandomReplicaStrategy);
    let client = from_replicas.build().expect("a client");
    runtime.block_on(async {
        let mut connection = client.get_async_connection().await.expect("a connection");
        for number in 0..100 {
            assert_eq!(connection.get(format!("k{number}")).await, Ok(number));
        }
    });
    for (at, node) in cluster.nodes.iter().enumerate() {
        assert_eq!(gets(node) > before[at], at != leader, "reads at node {at}, leader {leader}");
    }
}

#[test]
fn a_cluster_client_follows_the_leader_and_loses_nothing() {
    let mut cluster = Cluster::start(3, &[]);
    let runtime = Runtime::new().expect("a runtime");
    // One client tries again by itself, what is harmless with SET; the other does not, so that
    // its ledger of increments is exact.
    let patient = cluster_client(&cluster).build().expect("a client");
    let strict = cluster_client(&cluster).retries(0).build().expect("a client");
    let ledger = Arc::new(Ledger::default());
    let counting = {
        let connection = runtime.block_on(strict.get_async_connection()).expect("a connection");
        runtime.spawn(ledger.clone().count(connection))
    };
    let written = Arc::new(AtomicU64::new(0));
    let writing = {
        let connection = runtime.block_on(patient.get_async_connection()).expect("a connection");
        runtime.spawn(write_distinct_keys(connection, ledger.clone(), written.clone()))
    };
    for by_killing in [false, true, false, true] {
        ledger.wait_for_more("increments before the change");
        change_leader(&mut cluster, by_killing);
        ledger.wait_for_more("increments after the change");
        let wanted = written.load(SeqCst) + 20;
        wait_until(CLUSTER_WAIT, "writes go on", || written.load(SeqCst) >= wanted);
        cluster.start_all();
    }
    ledger.stopping.store(true, SeqCst);
    runtime.block_on(counting).expect("the counter");
    runtime.block_on(writing).expect("the writer");
    let leader = cluster.leader();
    let mut connection = connect(&cluster.nodes[leader], "");
    ledger.check(connection.get("n").expect("the counter's value"));
    for number in 0..written.load(SeqCst) {
        assert_eq!(connection.get(format!("written:{number}")), Ok(number));
    }
}

/// Each key until it is acknowledged.
async fn write_distinct_keys(
    mut connection: redis::cluster_async::ClusterConnection,
    ledger: Arc<Ledger>,
    written: Arc<AtomicU64>,
) {
    while !ledger.stopping.load(SeqCst) {
        let number = written.load(SeqCst);
        let answer = connection.set::<_, _, ()>(format!("written:{number}"), number).await;
        match answer {
            Ok(()) => drop(written.fetch_add(1, SeqCst)),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[test]
fn a_managed_connection_to_a_forwarding_follower_outlives_leaders() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let runtime = Runtime::new().expect("a runtime");
    let follower = cluster.follower();
    let manager = runtime.block_on(managed(&cluster.nodes[follower]));
    let ledger = Arc::new(Ledger::default());
    let counting = runtime.spawn(ledger.clone().count(manager));
    for _ in 0..2 {
        ledger.wait_for_more("increments before the change");
        let by_killing = cluster.leader() != follower;
        change_leader(&mut cluster, by_killing);
        ledger.wait_for_more("increments after the change");
        cluster.start_all();
    }
    ledger.stopping.store(true, SeqCst);
    runtime.block_on(counting).expect("the counter");
    ledger.check(connect(&cluster.nodes[follower], "").get("n").expect("the counter's value"));
}

#[test]
fn a_managed_connection_comes_back_after_a_restart() {
    let mut cluster = Cluster::start(1, &[]);
    let runtime = Runtime::new().expect("a runtime");
    let manager = runtime.block_on(managed(&cluster.nodes[0]));
    let ledger = Arc::new(Ledger::default());
    let counting = runtime.spawn(ledger.clone().count(manager));
    ledger.wait_for_more("increments before the restart");
    cluster.nodes[0].kill();
    cluster.start_all();
    ledger.wait_for_more("increments after the restart");
    ledger.stopping.store(true, SeqCst);
    runtime.block_on(counting).expect("the counter");
    ledger.check(connect(&cluster.nodes[0], "").get("n").expect("the counter's value"));
}

async fn managed(node: &Node) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(REPLY_WAIT))
        .set_max_delay(Duration::from_millis(200));
    let client = client_of(node, "?protocol=resp3");
    client.get_connection_manager_with_config(config).await.expect("a connection")
}
