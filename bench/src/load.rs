//! Runs one workload against one server or cluster and counts what comes back.
//!
//! Each thread has its own single-threaded runtime and its own share of the connections; threads
//! meet only when all are connected and when all are done. Rounds begin until the window ends; then
//! their replies are awaited, for at most `drain`, so that a stall at the end is seen and not cut
//! off.
//!
//! Invariant: a run ends by itself: after warm-up, duration and drain, whatever the server does.
//!
//! Without a rate this is a closed loop: a connection that waits sends nothing, so a stalled server
//! is asked less, and percentiles show what these connections saw. With a rate it is an open loop:
//! requests are due at fixed times and their latency counts from then (see [`crate::pacing`]), so
//! percentiles show what clients that keep arriving would see.

use crate::connection::Connection;
use crate::control::SlotOwners;
use crate::error::Failure;
use crate::etcd::{self, EtcdConnection};
use crate::pacing::{Pacer, Turns};
use crate::process::{Disk, Sample, Usage, Watch};
use crate::stats::Tally;
use crate::workload::{OwnedSlots, RoundEncoder, Verb, Workload, value_pool};
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// Longest that replies are awaited after the window, unless a plan says otherwise.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// Connections and requests per round while the key space is filled.
const PRELOAD_CONNECTIONS: usize = 16;
const PRELOAD_PIPELINE: usize = 128;
/// Longest that filling the key space may take.
const PRELOAD_MAX: Duration = Duration::from_secs(3_600);

/// Runs up to this long are shown in short slices, longer ones in long slices.
const SHORT_RUN: Duration = Duration::from_secs(60);
const SLICE_OF_SHORT_RUN: Duration = Duration::from_millis(100);
const SLICE_OF_LONG_RUN: Duration = Duration::from_secs(1);

/// How servers are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// The protocol of Redis.
    Resp,
    /// etcd's gRPC API.
    Etcd,
}

/// Everything that determines a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    /// What the servers speak.
    pub(crate) protocol: Protocol,
    /// `host:port` of the server, or of any nodes of the cluster; at least one.
    pub(crate) addresses: Vec<String>,
    /// The requests.
    pub(crate) workload: Workload,
    /// Connections over all threads, at least one.
    pub(crate) connections: usize,
    /// Requests in a round, at least one.
    pub(crate) pipeline: usize,
    /// Threads, at most one per connection.
    pub(crate) threads: usize,
    /// Whether connections begin with `HELLO 3`.
    pub(crate) resp3: bool,
    /// Whether the owners of slots are asked for and redirects followed.
    pub(crate) cluster: bool,
    /// Whether connections begin with `READONLY`.
    pub(crate) readonly: bool,
    /// Replicas that a `WAIT` behind each round must name.
    pub(crate) wait: Option<u32>,
    /// Sent with AUTH.
    #[serde(skip)]
    pub(crate) password: Option<String>,
    /// Time before counting begins.
    pub(crate) warmup: Duration,
    /// Length of the window in which rounds begin.
    pub(crate) duration: Duration,
    /// Longest that replies are awaited after the window.
    pub(crate) drain: Duration,
    /// Requests after which the window ends early.
    pub(crate) requests: Option<u64>,
    /// Requests that are due in each second over all connections; a closed loop when `None`.
    pub(crate) rate: Option<f64>,
    /// Start of all random sequences.
    pub(crate) seed: u64,
    /// Ends the window early.
    #[serde(skip)]
    pub(crate) stop: Stop,
}

impl Plan {
    /// Length of the slices of time whose latencies are told apart.
    fn slice(&self) -> Duration {
        if self.duration <= SHORT_RUN { SLICE_OF_SHORT_RUN } else { SLICE_OF_LONG_RUN }
    }
}

/// Ends the window of a run from another thread; the same for all clones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<OnceLock<Instant>>);

impl Stop {
    /// Ends it now, unless that was done before.
    pub(crate) fn now(&self) {
        // Of two that stop it, the first counts.
        self.0.get_or_init(Instant::now);
    }

    /// When a window ends that was to end at `planned`.
    pub(crate) fn end(&self, planned: Instant) -> Instant {
        self.0.get().map_or(planned, |&stopped| stopped.min(planned))
    }
}

/// When requests are sent and when their replies count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The first requests are sent, the warm-up begins.
    pub(crate) origin: Instant,
    /// Warm-up ends, counting begins.
    pub(crate) start: Instant,
    /// No round begins after this, and none is due.
    pub(crate) end: Instant,
    /// Replies that have not arrived by now are counted as unanswered.
    pub(crate) hard_end: Instant,
}

/// What the connections of one thread share.
pub(crate) struct Shared {
    /// See [`Window`].
    pub(crate) window: Window,
    /// Requests that may still begin inside the window; `None` for no limit.
    pub(crate) requests_left: Cell<Option<u64>>,
    /// The counts of this thread.
    pub(crate) tally: RefCell<Tally>,
    /// See [`Plan::stop`].
    pub(crate) stop: Stop,
}

impl Shared {
    /// No round begins after this.
    pub(crate) fn end(&self) -> Instant {
        self.stop.end(self.window.end)
    }

    /// The number of requests in a round that begins at `began`, at most `pipeline`.
    pub(crate) fn take(&self, pipeline: usize, began: Instant) -> usize {
        match self.requests_left.get() {
            Some(left) if began >= self.window.start => {
                let count = left.min(pipeline as u64);
                self.requests_left.set(Some(left - count));
                count as usize
            }
            _ => pipeline,
        }
    }
}

/// What a run found.
pub(crate) struct Outcome {
    /// Counts and latencies.
    pub(crate) tally: Tally,
    /// What the watched processes and this one (`client`, last) used inside the window.
    pub(crate) usage: Vec<Usage>,
    /// Bytes that the watched disk got inside the window, from anybody.
    pub(crate) disk_written_bytes: Option<u64>,
    /// Length of the window, or until the last of a number of requests.
    pub(crate) window: Duration,
}

impl Outcome {
    /// Successful operations per second: replies that came inside the window, over its length.
    pub(crate) fn operations_per_second(&self) -> f64 {
        let seconds = self.window.as_secs_f64();
        if seconds > 0.0 { self.tally.operations_in_window() as f64 / seconds } else { 0.0 }
    }
}

/// Runs `plan` and blocks until it is done; what is `watch`ed is sampled around the window.
///
/// Errors: no connection, or CLUSTER SLOTS not answered, at the start. Later trouble is counted.
pub(crate) fn run(plan: &Plan, watch: &Watch) -> Result<Outcome, Failure> {
    run_with_keys(plan, watch, false)
}

/// Writes every key of the workload's key space once.
///
/// Errors: as [`run`], and when any write failed.
pub(crate) fn preload(plan: &Plan) -> Result<(), Failure> {
    if plan.protocol == Protocol::Etcd {
        return etcd::preload(plan, &value_pool(&plan.workload, plan.seed));
    }
    let keys = plan.workload.keys;
    let fill = Plan {
        workload: Workload { verb: Verb::Set, ..plan.workload.clone() },
        connections: PRELOAD_CONNECTIONS,
        pipeline: PRELOAD_PIPELINE.min(1 + (1 << 20) / (plan.workload.value_bytes + 1)),
        threads: 1,
        readonly: false,
        warmup: Duration::ZERO,
        duration: PRELOAD_MAX,
        requests: Some(keys),
        rate: None,
        ..plan.clone()
    };
    let outcome = run_with_keys(&fill, &Watch::default(), true)?;
    let (written, failed) = (outcome.tally.operations(), outcome.tally.failures());
    if written < keys || failed > 0 {
        return Err(Failure::new(format!(
            "filling the key space: {written} of {keys} keys written, {failed} failures {:?}",
            outcome.tally.errors
        )));
    }
    Ok(())
}

fn run_with_keys(plan: &Plan, watch: &Watch, in_order: bool) -> Result<Outcome, Failure> {
    assert!(plan.threads >= 1 && plan.threads <= plan.connections && plan.pipeline >= 1);
    std::thread::scope(|scope| {
        let (ready_sender, ready) = mpsc::channel();
        let mut workers = Vec::new();
        for thread in 0..plan.threads {
            let (window_sender, window) = mpsc::channel();
            let ready_sender = ready_sender.clone();
            let handle =
                scope.spawn(move || worker(plan, thread, in_order, &ready_sender, &window));
            workers.push((window_sender, handle));
        }
        drop(ready_sender);
        for _ in 0..plan.threads {
            // A worker that ends early drops its sender; its message came before.
            ready.recv().unwrap_or_else(|_| Err(Failure::new("a load thread ended early")))?;
        }
        let origin = Instant::now();
        let start = origin + plan.warmup;
        let end = start + plan.duration;
        let window = Window { origin, start, end, hard_end: end + plan.drain };
        for (sender, _) in &workers {
            sender.send(window).map_err(|_| Failure::new("a load thread ended early"))?;
        }
        std::thread::sleep(plan.warmup);
        let sample = || -> Vec<(&str, Sample)> {
            let own = ("client", std::process::id());
            let all = watch.processes.iter().map(|process| (process.name.as_str(), process.pid));
            all.chain([own]).map(|(name, pid)| (name, Sample::take(pid))).collect()
        };
        let before = sample();
        let disk_before = watch.disk.map(Disk::written_bytes);
        let mut tally = Tally::new(start, plan.slice()).until(end);
        for (_, handle) in workers {
            tally.merge(&handle.join().map_err(|_| Failure::new("a load thread failed"))??);
        }
        let elapsed = start.elapsed();
        let operations = tally.operations();
        let usage = before
            .iter()
            .zip(sample())
            .map(|(&(name, before), (_, after))| {
                Usage::between(name, before, after, operations, elapsed)
            })
            .collect();
        let disk_after = watch.disk.map(Disk::written_bytes);
        let written = disk_after.zip(disk_before).map(|(after, before)| after - before);
        let window = length(plan, &tally, start, end);
        Ok(Outcome { tally, usage, disk_written_bytes: written, window })
    })
}

/// How long the window was: until it was stopped, or until the last of all requests was answered.
fn length(plan: &Plan, tally: &Tally, start: Instant, end: Instant) -> Duration {
    let answered = tally.operations() + tally.failures();
    match plan.requests {
        Some(all) if answered >= all => tally.elapsed(),
        _ => plan.stop.end(end).saturating_duration_since(start),
    }
}

/// A connection of either protocol.
enum Client {
    Resp(Box<Connection>),
    Etcd(Box<EtcdConnection>),
}

impl Client {
    async fn run(self, shared: &Shared, turns: Turns) {
        match self {
            Client::Resp(connection) => connection.run(shared, turns).await,
            Client::Etcd(connection) => connection.run(shared, turns).await,
        }
    }
}

/// One thread: connects, says so, and runs its connections in the window it is given.
fn worker(
    plan: &Plan,
    thread: usize,
    in_order: bool,
    ready: &mpsc::Sender<Result<(), Failure>>,
    window: &mpsc::Receiver<Window>,
) -> Result<Tally, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let connections = match connect_all(plan, thread, in_order).await {
            Ok(connections) => connections,
            Err(failure) => {
                let told = Failure::new(failure.to_string());
                // The other side has gone only when another thread failed first.
                drop(ready.send(Err(failure)));
                return Err(told);
            }
        };
        if ready.send(Ok(())).is_err() {
            return Err(Failure::new("another load thread failed"));
        }
        let window =
            window.recv().map_err(|_| Failure::new("another load thread failed to start"))?;
        let shared = Shared {
            window,
            requests_left: Cell::new(plan.requests.map(|all| share(all, thread, plan.threads))),
            tally: RefCell::new(Tally::new(window.start, plan.slice()).until(window.end)),
            stop: plan.stop.clone(),
        };
        drive_all(plan, thread, connections, shared).await
    })
}

/// Runs the connections to their end on this thread.
async fn drive_all(
    plan: &Plan,
    thread: usize,
    connections: Vec<Client>,
    shared: Shared,
) -> Result<Tally, Failure> {
    let shared = Rc::new(shared);
    let pacer = plan.rate.map(|_| Pacer::start()).transpose()?;
    let mut runs = Vec::new();
    for (position, connection) in connections.into_iter().enumerate() {
        let index = thread + position * plan.threads;
        let turns = Turns::new(plan, index, shared.window.origin, pacer.clone());
        let shared = Rc::clone(&shared);
        runs.push(tokio::task::spawn_local(async move { connection.run(&shared, turns).await }));
    }
    for run in runs {
        run.await.map_err(|error| Failure::new(format!("a connection's task failed: {error}")))?;
    }
    let shared =
        Rc::try_unwrap(shared).map_err(|_| Failure::new("a connection outlived its run"))?;
    let mut tally = shared.tally.into_inner();
    tally.close(Instant::now(), shared.stop.end(shared.window.end));
    Ok(tally)
}

/// Opens this thread's share of the connections, spread over the owners of slots.
async fn connect_all(plan: &Plan, thread: usize, in_order: bool) -> Result<Vec<Client>, Failure> {
    let targets = targets(plan).await?;
    if in_order && targets.len() > 1 {
        return Err(Failure::new("keys can be loaded in order only where one node owns all slots"));
    }
    let plan = Rc::new(plan.clone());
    let workload = Rc::new(plan.workload.clone());
    let pool = value_pool(&plan.workload, plan.seed);
    let sequence = in_order.then(|| Rc::new(Cell::new(0)));
    let mut connections = Vec::new();
    for index in (thread..plan.connections).step_by(plan.threads) {
        let (node, owned) = &targets[index % targets.len()];
        let seed = plan.seed.wrapping_mul(1_000_003).wrapping_add(index as u64);
        if plan.protocol == Protocol::Etcd {
            let open = EtcdConnection::open(Rc::clone(&plan), node.clone(), seed, Rc::clone(&pool));
            connections.push(Client::Etcd(Box::new(open.await?)));
            continue;
        }
        let mut encoder = RoundEncoder::new(
            Rc::clone(&workload),
            seed,
            Rc::clone(&pool),
            sequence.clone(),
            plan.wait,
        );
        encoder.restrict(owned.clone());
        let connection = Connection::open(Rc::clone(&plan), node.clone(), encoder)
            .await
            .map_err(|error| Failure::new(format!("cannot use {node}: {error}")))?;
        connections.push(Client::Resp(Box::new(connection)));
    }
    Ok(connections)
}

/// The nodes to talk to, each with the slots it owns where that is a choice.
async fn targets(plan: &Plan) -> Result<Vec<(String, Option<OwnedSlots>)>, Failure> {
    if !plan.cluster {
        return Ok(plan.addresses.iter().map(|address| (address.clone(), None)).collect());
    }
    let mut last_error = String::from("no address given");
    for address in &plan.addresses {
        match SlotOwners::fetch(address, plan.password.as_deref()).await {
            Ok(owners) => {
                let slots = |node: &String| owners.slots_of(node).map(Into::into);
                return Ok(owners.nodes.iter().map(|node| (node.clone(), slots(node))).collect());
            }
            Err(error) => last_error = format!("{address}: {error}"),
        }
    }
    Err(Failure::new(format!("no node tells the owners of slots: {last_error}")))
}

/// The part of `all` that falls to one of `parts`; the parts add up to `all`.
fn share(all: u64, part: usize, parts: usize) -> u64 {
    let (part, parts) = (part as u64, parts as u64);
    all / parts + u64::from(part < all % parts)
}

#[cfg(test)]
mod tests;
