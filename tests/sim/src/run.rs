//! One run from one seed: faults for a while, then none, and everything has to work again.

use crate::clients::{Clients, KEYS};
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::faults;
use crate::invariants::{self, Invariant, View};
use crate::trace::{self, Trace};
use kvorum::simulation::Voters;
use kvorum_tests::linearizability;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::keyspace::Reader;
use storage::txn::Engine;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Simulated time between two looks at the invariants, while nothing happens: they are looked at after
/// every moment at which something did.
const STEP: Duration = Duration::from_millis(20);
/// Clients of a run.
const CLIENTS: usize = 4;
/// Simulated time after the faults within which orders end and the cluster serves on every node:
/// an order may wait a minute for a node that is down.
const RECOVERY: Duration = Duration::from_secs(150);

/// Looks within which members that are left alone hold the same state and know the same members.
const EQUAL_STEPS: u64 = 200;
/// More than the time of a state can be ahead of right clocks, after an hour's error, and a key lives.
const EXPIRY: Duration = Duration::from_secs(2 * 3600);
/// Looks within which keys are removed that are overdue on a cluster without faults.
const EXPIRY_STEPS: u64 = 1500;

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    /// Nodes at the beginning.
    pub nodes: u64,
    pub simulated_us: u64,
    /// Operations of clients that were answered, and the reads among them.
    pub operations: u64,
    pub reads: u64,
    /// Events by kind.
    pub counts: BTreeMap<&'static str, u64>,
    /// Hash of all events.
    pub trace: u64,
    /// What was violated.
    pub violation: Option<String>,
}

/// Runs a seed; `harmed` is the simulated time with faults.
pub fn run(seed: u64, harmed: Duration) -> Report {
    kvorum::simulation::seed(seed);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    let runtime =
        builder.enable_time().start_paused(true).build().expect("a runtime of one thread");
    runtime.block_on(simulate(seed, harmed))
}

async fn simulate(seed: u64, harmed: Duration) -> Report {
    let dice = Dice::new(seed);
    let trace = Trace::begin();
    let clients = Clients::default();
    let nodes = dice.pick(&[3, 3, 5]);
    let outcome = scenario(nodes, &dice, &trace, &clients, harmed).await;
    let violation = outcome.err().or_else(|| judge(&clients));
    Report {
        seed,
        nodes,
        simulated_us: trace.now_us(),
        operations: clients.answered(),
        reads: clients.reads(),
        counts: trace.counts(),
        trace: trace.hash(),
        violation,
    }
}

/// Whether the history of the clients can have come from registers that are never wrong.
fn judge(clients: &Clients) -> Option<String> {
    linearizability::check(&clients.history()).err().map(|violation| format!("{violation:?}"))
}

async fn scenario(
    nodes: u64,
    dice: &Dice,
    trace: &Trace,
    clients: &Clients,
    harmed: Duration,
) -> Result<(), String> {
    let text = |error: std::io::Error| format!("a node cannot start: {error}");
    let cluster = Cluster::new(nodes, dice, trace.clone()).map_err(text)?;
    for id in cluster.ids() {
        cluster.start(id).await.map_err(text)?;
    }
    let first = cluster.get(1).ok_or("node 1 does not run")?;
    first.replica.initialize(cluster.ids()).await.map_err(text)?;
    let stop = CancellationToken::new();
    for client in 0..CLIENTS {
        let (own, stop) = (dice.fork(), stop.clone());
        tokio::spawn(clients.clone().run(client, cluster.clone(), own, stop));
    }
    let mut invariants = invariants::all();
    let chosen = faults::choose(dice);
    tokio::select! {
        biased;
        ended = faults::harm(&cluster, dice, &chosen, harmed) => ended.map_err(text)?,
        violation = watch(&cluster, clients, &mut invariants) => return Err(violation),
    }
    faults::calm(&cluster);
    cluster.crash_failing();
    stop.cancel();
    let recovering = timeout(RECOVERY, recover(&cluster, clients));
    tokio::select! {
        biased;
        recovered = recovering => recovered.map_err(|_| not_recovered(&cluster))??,
        violation = watch(&cluster, clients, &mut invariants) => return Err(violation),
    }
    look(&cluster, clients, &mut invariants)?;
    let effects = faults::effects(&chosen, &trace.counts());
    for id in cluster.ids() {
        cluster.retire(id);
    }
    // What was cut off ends.
    sleep(Duration::from_secs(1)).await;
    match effects {
        _ if trace::panics() > 0 => Err("something panicked; see above".to_owned()),
        0 => Err(format!("the faults {chosen:?} had no effect: this run tested nothing")),
        _ => Ok(()),
    }
}

/// Looks at the invariants for ever; returns what was violated.
async fn watch(
    cluster: &Cluster,
    clients: &Clients,
    invariants: &mut [Box<dyn Invariant>],
) -> String {
    loop {
        // Either way it is time to look.
        drop(timeout(STEP, cluster.trace.noted()).await);
        if let Err(violation) = look(cluster, clients, invariants) {
            return violation;
        }
        cluster.crash_failed();
    }
}

fn look(
    cluster: &Cluster,
    clients: &Clients,
    invariants: &mut [Box<dyn Invariant>],
) -> Result<(), String> {
    let view = View::of(cluster, clients);
    invariants.iter_mut().try_for_each(|invariant| invariant.check(&view))
}

fn not_recovered(cluster: &Cluster) -> String {
    let seen = |(id, node): (u64, crate::cluster::Incarnation)| {
        let (seen, members) = (node.replica.observe(), node.replica.members());
        format!("\n  node {id}: {seen:?}, voters and members {members:?}")
    };
    let nodes: String = cluster.running().into_iter().map(seen).collect();
    format!("the cluster did not recover within {RECOVERY:?}{nodes}")
}

/// Waits until every member is a voter, serves writes and reads, and all hold the same state
/// and know the same members.
async fn recover(cluster: &Cluster, clients: &Clients) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        for id in cluster.ids() {
            cluster.start(id).await.map_err(|error| format!("a node cannot start: {error}"))?;
        }
        sleep(STEP).await;
        if cluster.orders.load(Ordering::Relaxed) > 0 {
            continue;
        }
        let Some((_, leader)) = cluster.leader() else { continue };
        let (voters, members) = leader.replica.members();
        if voters.len() != 1 || !members.iter().all(|id| voters[0].contains(id)) {
            // A learner whose order was given up: it is given again.
            let learners = members.iter().filter(|id| !voters.iter().any(|set| set.contains(id)));
            for id in learners {
                let added = leader.replica.add(*id).await;
                cluster.trace.note("added again", format_args!("{id} {added:?}"));
            }
            continue;
        }
        if !serves(cluster, clients, &members).await {
            continue;
        }
        for _ in 0..EQUAL_STEPS {
            if is_equal(cluster, &members, &voters)? {
                cluster.trace.note("recovered", begun.elapsed().as_micros());
                return expire(cluster, &members).await;
            }
            sleep(STEP).await;
        }
    }
}

/// Moves the dates on until every key with a deadline is overdue: all have to be gone soon.
async fn expire(cluster: &Cluster, members: &BTreeSet<u64>) -> Result<(), String> {
    cluster.advance_dates(EXPIRY);
    for _ in 0..EXPIRY_STEPS {
        sleep(STEP).await;
        let mut is_over = true;
        for id in members {
            let node = cluster.get(*id).ok_or("a node ended by itself")?;
            let txn = node.engine.read();
            let deadline = Reader::new(&*txn, 0, 0).next_deadline();
            is_over &= deadline.map_err(|error| error.to_string())?.is_none();
        }
        if is_over {
            return Ok(());
        }
    }
    Err(format!("keys are still there {EXPIRY:?} after their deadlines"))
}

/// Whether every member takes writes, and shows what was written to any.
async fn serves(cluster: &Cluster, clients: &Clients, members: &BTreeSet<u64>) -> bool {
    for id in members {
        for key in KEYS {
            if !clients.read(CLIENTS, cluster, *id, key).await {
                return false;
            }
        }
        if !clients.write(CLIENTS, cluster, *id, KEYS[0]).await {
            return false;
        }
    }
    true
}

/// Whether all members hold the same state, and go by the membership that the leader goes by: a node
/// that learned it from a snapshot has it from nowhere else.
fn is_equal(cluster: &Cluster, members: &BTreeSet<u64>, voters: &Voters) -> Result<bool, String> {
    let mut states = BTreeSet::new();
    for id in members {
        let Some(node) = cluster.get(*id) else { return Ok(false) };
        if node.replica.members() != (voters.clone(), members.clone()) {
            return Ok(false);
        }
        states.insert(invariants::digest(&node.engine)?);
    }
    Ok(states.len() == 1)
}
