//! Runs Kvorum and its peers side by side and measures them in turn.
//!
//! All peers run for the whole comparison, idle unless it is their turn. In each round every point
//! visits every peer, and the order of peers is rotated from point to point and from round to
//! round, so that no peer always follows the one that leaves the disk busiest.
//!
//! Invariant: when the future of [`compare`] ends or is dropped, no process is left and the
//! temporary directory is gone.

use crate::comparison::{Comparison, Measurement, Point};
use crate::error::Failure;
use crate::keys::Distribution;
use crate::load::{self, DRAIN, Plan};
use crate::machine::{self, Machine};
use crate::target::{Leader, Peer, Running, Site};
use crate::workload::{Verb, Workload};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::oneshot;

/// Time for a peer to come to rest before the next one is measured.
const SETTLE: Duration = Duration::from_millis(300);
/// Time before counting begins.
const WARMUP: Duration = Duration::from_millis(500);

/// What is compared, and how.
pub(crate) struct Options {
    /// Peers wanted; those of Redis are left out where it is not installed.
    pub(crate) peers: Vec<Peer>,
    /// Loads.
    pub(crate) points: Vec<Point>,
    /// How often each is measured.
    pub(crate) rounds: usize,
    /// Length of each measurement.
    pub(crate) duration: Duration,
    /// Size of the key space.
    pub(crate) keys: u64,
    /// Size of values in bytes.
    pub(crate) value_bytes: usize,
    /// First port.
    pub(crate) base_port: u16,
    /// Where the temporary directory is made.
    pub(crate) directory: PathBuf,
    /// Kvorum's binary; built when `None`.
    pub(crate) kvorum: Option<PathBuf>,
    /// Redis's binary.
    pub(crate) redis: PathBuf,
}

impl Options {
    /// Checks bounds that involve several options.
    pub(crate) fn check(&self) -> Result<(), String> {
        let check = |point: &Point| workload(self, point.verb).check(point.pipeline);
        self.points.iter().try_for_each(check)
    }
}

/// Starts the peers, measures them, and stops them.
///
/// Errors: a peer cannot be started or filled. What goes wrong later is part of the result.
pub(crate) async fn compare(options: &Options) -> Result<Comparison, Failure> {
    let mut peers = options.peers.clone();
    if !is_installed(&options.redis) {
        eprintln!("{} is not installed: Kvorum is measured alone", options.redis.display());
        peers.retain(|peer| peer.is_kvorum());
    }
    let directory =
        tempfile::Builder::new().prefix("kvorum-bench-").tempdir_in(&options.directory)?;
    let kvorum = match &options.kvorum {
        _ if !peers.iter().any(|peer| peer.is_kvorum()) => None,
        Some(binary) => Some(binary.clone()),
        None => Some(machine::build_kvorum()?),
    };
    let redis = peers.iter().any(|peer| !peer.is_kvorum()).then_some(options.redis.as_path());
    let machine = Machine::describe(directory.path(), kvorum.as_deref(), redis);
    for warning in machine.warnings() {
        eprintln!("! {warning}");
    }
    let site = Site {
        kvorum: kvorum.unwrap_or_default(),
        redis: options.redis.clone(),
        data: directory.path().to_owned(),
        base_port: options.base_port,
    };
    let mut running = Vec::new();
    for peer in peers {
        eprintln!("starting {peer}");
        let mut started = Running::start(peer, &site).await?;
        let plan = plan(options, peer, &started.leader().await?, None);
        in_thread(move || load::preload(&plan))
            .await?
            .map_err(|failure| Failure::new(format!("{peer}: {failure}")))?;
        running.push(started);
    }
    let (measurements, trouble) = measure_all(options, &mut running).await;
    Ok(Comparison::new(
        machine,
        options.duration.as_secs_f64(),
        &options.points,
        measurements,
        trouble,
    ))
}

/// All rounds; a measurement that fails becomes a line of trouble.
async fn measure_all(
    options: &Options,
    running: &mut [Running],
) -> (Vec<Measurement>, Vec<String>) {
    let (mut measurements, mut trouble) = (Vec::new(), Vec::new());
    let peers = running.len();
    for round in 0..options.rounds {
        for (turn, &point) in options.points.iter().enumerate() {
            for offset in 0..peers {
                let target = &mut running[(offset + turn + round) % peers];
                if !point.applies_to(target.peer) {
                    continue;
                }
                tokio::time::sleep(SETTLE).await;
                match measure(options, target, point, round).await {
                    Ok(measurement) => {
                        eprintln!(
                            "round {} of {}: {point:12} {:12} {:>9.0}/s",
                            round + 1,
                            options.rounds,
                            target.peer,
                            measurement.operations_per_second
                        );
                        measurements.push(measurement);
                    }
                    Err(failure) => {
                        let line =
                            format!("round {}: {point} {}: {failure}", round + 1, target.peer);
                        eprintln!("! {line}");
                        trouble.push(line);
                    }
                }
            }
        }
    }
    (measurements, trouble)
}

/// One run of one peer at one point, against the node that leads now.
async fn measure(
    options: &Options,
    target: &mut Running,
    point: Point,
    round: usize,
) -> Result<Measurement, Failure> {
    let leader = target.leader().await?;
    let mut plan = plan(options, target.peer, &leader, Some(point));
    plan.seed = 1 + round as u64;
    let outcome = in_thread(move || load::run(&plan, &leader.processes)).await??;
    let tally = &outcome.tally;
    Ok(Measurement {
        peer: target.peer,
        point,
        round,
        operations_per_second: outcome.operations_per_second(),
        latency: tally.latency_of_all(),
        longest_gap_ms: tally.longest_gap.as_secs_f64() * 1e3,
        failures: tally.failures(),
        usage: outcome.usage,
    })
}

/// The plan of a point; without one, what the key space is filled with.
fn plan(options: &Options, peer: Peer, leader: &Leader, point: Option<Point>) -> Plan {
    let point = point.unwrap_or(Point { verb: Verb::Set, connections: 1, pipeline: 1 });
    Plan {
        addresses: vec![leader.address.clone()],
        workload: workload(options, point.verb),
        connections: point.connections,
        pipeline: point.pipeline,
        threads: 1,
        resp3: false,
        cluster: false,
        readonly: false,
        wait: peer.wait(),
        password: None,
        warmup: WARMUP,
        duration: options.duration,
        drain: DRAIN,
        requests: None,
        rate: None,
        seed: 1,
    }
}

fn workload(options: &Options, verb: Verb) -> Workload {
    Workload {
        verb,
        read_percent: 50,
        mset_keys: 10,
        keys: options.keys,
        distribution: Distribution::Uniform,
        value_bytes: options.value_bytes,
    }
}

/// Runs blocking work on a thread of its own, which does not hold up an interrupt.
async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // Nobody listens any more only when the comparison was interrupted.
        drop(sender.send(work()));
    });
    receiver.await.map_err(|_| Failure::new("a thread of the load generator failed"))
}

fn is_installed(binary: &PathBuf) -> bool {
    let quiet = || Stdio::null();
    let status = Command::new(binary).arg("--version").stdout(quiet()).stderr(quiet()).status();
    status.is_ok_and(|status| status.success())
}
