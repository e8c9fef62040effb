//! Rounds of faults at random: kill -9, SIGSTOP, SIGTERM, transfers, while clients read and write
//! on every node; afterwards the history must be that of registers that are never wrong, and the
//! ledgers of acknowledged writes must be true on every node.
//!
//! `KVORUM_FAULT_ROUNDS` says how many faults each test injects (default 6), `KVORUM_FAULT_SEED`
//! repeats a run's choice of faults; a failing run prints its seed. Time, not the seed, decides
//! what a fault hits.

use kvorum_tests::cluster::Cluster;
use kvorum_tests::history::Recorder;
use kvorum_tests::linearizability::check;
use kvorum_tests::load::{self, Load};
use kvorum_tests::node::wait_until;
use std::env;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Faults of a test where the environment names no number.
const ROUNDS_DEFAULT: u64 = 6;

/// Registers of the history: few, so that clients meet on them.
const KEYS: usize = 4;

/// Clients of the history on each node.
const CLIENTS_PER_NODE: usize = 2;

#[test]
fn histories_are_linearizable_through_kills_and_pauses() {
    let (rounds, mut random) = (rounds(), Random::from_environment());
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let addresses = cluster.addresses();
    let keys: Vec<String> = (0..KEYS).map(|number| format!("register-{number}")).collect();
    let recorder = Recorder::default();
    thread::scope(|scope| {
        // Whatever panics below, the clients end.
        let ended = StopOnDrop(&recorder);
        for client in 0..addresses.len() * CLIENTS_PER_NODE {
            let (addr, keys, recorder) = (&addresses[client % addresses.len()], &keys, &recorder);
            scope.spawn(move || recorder.run_client(client, addr, keys, Duration::from_millis(6)));
        }
        for _ in 0..rounds {
            let before = recorder.known();
            inject(&mut cluster, &mut random);
            wait_until(Duration::from_secs(40), "clients are served again", || {
                recorder.known() > before + 400
            });
        }
        drop(ended);
    });
    let history = recorder.into_history();
    let known = history.iter().filter(|operation| operation.returned.is_some()).count();
    eprintln!("{} operations, {known} with a known outcome", history.len());
    if let Err(violation) = check(&history) {
        panic!("not linearizable: {violation:#?}");
    }
}

#[test]
fn rounds_of_faults_with_a_small_log() {
    let (rounds, mut random) = (rounds(), Random::from_environment());
    let settings = [
        "log-segment-bytes=1mb",
        "log-max-bytes=1mb",
        "overlay-bytes=1mb",
        "follower-writes=forward",
    ];
    let mut cluster = Cluster::start(3, &settings);
    let load = Load::start(&cluster.addresses(), 6);
    for _ in 0..rounds {
        inject(&mut cluster, &mut random);
        load.wait_for(500);
    }
    let ledgers = load.finish();
    cluster.wait_converged();
    for node in &cluster.nodes {
        load::verify(&ledgers, &mut node.client());
    }
    let voters = |at: usize| cluster.nodes[at].raft_figure("raft_num_voting_nodes");
    assert_eq!((voters(0), voters(1), voters(2)), (3, 3, 3));
    let acked: usize = ledgers.iter().map(|ledger| ledger.acked.len()).sum();
    eprintln!("{acked} acknowledged writes, all there");
}

/// `cargo bench-peers failover` measures this, with many rounds and stricter bounds.
#[test]
fn clients_wait_for_a_new_leader_and_no_longer() {
    const WAIT_MAX: Duration = Duration::from_secs(6);
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    for round in 0..4 {
        let leader = cluster.leader();
        let survivor = cluster.others(leader)[0];
        let begun = Instant::now();
        if round % 2 == 0 {
            cluster.nodes[leader].kill();
        } else {
            let moved = cluster.nodes[survivor].client().ask("RAFT.TRANSFER_LEADER");
            assert!(!moved.is_error(), "{moved:?}");
        }
        let key = format!("SET round-{round} written");
        wait_until(WAIT_MAX, "a write is taken", || {
            let mut client = cluster.nodes[survivor].client();
            client.set_reply_wait(WAIT_MAX);
            !client.ask(&key).is_error()
        });
        let waited = begun.elapsed();
        assert!(waited < WAIT_MAX, "{waited:?}");
        if round % 2 == 0 {
            cluster.nodes[leader].spawn();
        }
        cluster.wait_ready();
    }
}

/// One fault, and its end: when this returns, all nodes run.
fn inject(cluster: &mut Cluster, random: &mut Random) {
    let leader = cluster.leader();
    let others = cluster.others(leader);
    let follower = others[random.below(2) as usize];
    let rest = Duration::from_millis(100 + random.below(2500));
    match random.below(7) {
        0 | 1 => kill(cluster, &[leader], rest),
        2 => kill(cluster, &[follower], rest),
        3 => kill(cluster, &[0, 1, 2], Duration::ZERO),
        4 => pause(cluster, leader, rest + Duration::from_secs(2)),
        5 => pause(cluster, follower, rest),
        _ => {
            let (status, _) = cluster.nodes[leader].terminate();
            assert!(status.success(), "{status}");
            cluster.nodes[leader].spawn();
        }
    }
    cluster.wait_ready();
}

fn kill(cluster: &mut Cluster, which: &[usize], rest: Duration) {
    which.iter().for_each(|at| cluster.nodes[*at].kill());
    thread::sleep(rest);
    which.iter().for_each(|at| cluster.nodes[*at].spawn());
}

fn pause(cluster: &Cluster, at: usize, rest: Duration) {
    cluster.nodes[at].pause();
    thread::sleep(rest);
    cluster.nodes[at].resume();
}

fn rounds() -> u64 {
    let named = env::var("KVORUM_FAULT_ROUNDS").ok();
    named.map_or(ROUNDS_DEFAULT, |rounds| rounds.parse().expect("KVORUM_FAULT_ROUNDS is a number"))
}

struct StopOnDrop<'a>(&'a Recorder);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A small generator (xorshift) whose seed is printed.
struct Random(u64);

impl Random {
    fn from_environment() -> Self {
        let now =
            || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
        let seed = env::var("KVORUM_FAULT_SEED").ok();
        let seed =
            seed.map_or_else(now, |seed| seed.parse().expect("KVORUM_FAULT_SEED is a number"));
        eprintln!("KVORUM_FAULT_SEED={seed}");
        Random(seed | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
