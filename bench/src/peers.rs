//! Runs Kvorum and its peers side by side and measures them in turn.
//!
//! All peers of a dataset run for the whole comparison of it, idle unless it is their turn. In each
//! round every point visits every peer, in an order that is shuffled for each point and round from a
//! fixed seed, so that no peer always follows the one that leaves the disk busiest. Before a turn,
//! the others are given time to come to rest.
//!
//! Invariant: when the future of [`compare`] ends or is dropped, no process is left and the
//! temporary directory is gone.

use crate::comparison::{Comparison, Findings, Idle, Measurement};
use crate::error::Failure;
use crate::goals;
use crate::keys::{Distribution, Random};
use crate::load::{self, DRAIN, Plan, Protocol, Stop};
use crate::machine::{self, Binaries, Machine};
use crate::point::{Asked, Case, Dataset, Point};
use crate::process::{Disk, Sample, Usage, Watch, Watched};
use crate::stats::Class;
use crate::target::{Leader, Peer, Running, Site};
use crate::workload::{Presence, Verb};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Time for a peer to come to rest before the next one is measured.
const SETTLE: Duration = Duration::from_millis(300);
/// Longest that is waited for the other peers to come to rest, time between two looks, and the CPU
/// that all of them may use meanwhile: heartbeats, and a tick of the clock or two.
const REST_MAX: Duration = Duration::from_secs(3);
const REST_LOOK: Duration = Duration::from_millis(250);
const REST_CPU_MAX: Duration = Duration::from_millis(30);
/// Time for all peers to come to rest before they are measured idle.
const SETTLE_BEFORE_IDLE: Duration = Duration::from_secs(3);
/// Most bytes of requests that the connections of one case may hold at once.
const CASE_BYTES_MAX: usize = 256 << 20;

/// Where servers come from and where they run.
#[derive(Clone)]
pub(crate) struct Servers {
    /// First port.
    pub(crate) base_port: u16,
    /// Where the temporary directory is made.
    pub(crate) directory: PathBuf,
    /// Kvorum's binary; built when `None`.
    pub(crate) kvorum: Option<PathBuf>,
    /// `name=value` settings for Kvorum.
    pub(crate) kvorum_settings: Vec<String>,
    /// Redis's binary.
    pub(crate) redis: PathBuf,
    /// etcd's binary.
    pub(crate) etcd: PathBuf,
}

/// The directory and the binaries of a run, and the peers that can take part.
pub(crate) struct Stage {
    /// Removed when dropped.
    directory: TempDir,
    /// For [`Running::start`].
    pub(crate) site: Site,
    /// The peers wanted whose binaries exist.
    pub(crate) peers: Vec<Peer>,
    /// The others, and why they take no part.
    pub(crate) missing: Vec<String>,
    /// For the report.
    pub(crate) machine: Machine,
}

impl Servers {
    /// Finds or builds the binaries of `peers` and makes the temporary directory.
    ///
    /// Errors: Kvorum cannot be built, or the directory cannot be made.
    pub(crate) fn stage(&self, peers: &[Peer]) -> Result<Stage, Failure> {
        let mut missing = Vec::new();
        let mut usable = |peer: &Peer| {
            let binary = match peer {
                peer if peer.is_kvorum() => return true,
                peer if peer.is_redis() => &self.redis,
                _ => &self.etcd,
            };
            let installed = is_installed(binary);
            if !installed {
                missing.push(format!("{peer}: {} is not installed", binary.display()));
            }
            installed
        };
        let peers: Vec<Peer> = peers.iter().copied().filter(|peer| usable(peer)).collect();
        for line in &missing {
            eprintln!("! not measured: {line}");
        }
        let directory =
            tempfile::Builder::new().prefix("kvorum-bench-").tempdir_in(&self.directory)?;
        let kvorum = match &self.kvorum {
            _ if !peers.iter().any(|peer| peer.is_kvorum()) => None,
            Some(binary) => Some(binary.clone()),
            None => Some(machine::build_kvorum()?),
        };
        let of =
            |wanted: fn(&Peer) -> bool, binary| peers.iter().any(wanted).then_some::<&Path>(binary);
        let binaries = Binaries {
            kvorum: kvorum.as_deref(),
            redis: of(|peer| peer.is_redis(), &self.redis),
            etcd: of(|peer| *peer == Peer::EtcdThree, &self.etcd),
        };
        let machine = Machine::describe(directory.path(), binaries);
        for warning in machine.warnings() {
            eprintln!("! {warning}");
        }
        let site = Site {
            kvorum: kvorum.unwrap_or_default(),
            redis: self.redis.clone(),
            etcd: self.etcd.clone(),
            kvorum_settings: self.kvorum_settings.clone(),
            data: directory.path().to_owned(),
            base_port: self.base_port,
        };
        Ok(Stage { directory, site, peers, missing, machine })
    }
}

impl Stage {
    /// A place for the servers of one dataset, apart from those before.
    fn site_for(&self, position: usize) -> Site {
        Site { data: self.directory.path().join(position.to_string()), ..self.site.clone() }
    }
}

/// What is compared, and how.
pub(crate) struct Options {
    /// Peers wanted; those that are not installed are named in the result.
    pub(crate) peers: Vec<Peer>,
    /// Loads.
    pub(crate) points: Vec<Point>,
    /// The data; each set gets fresh servers.
    pub(crate) datasets: Vec<Dataset>,
    /// Whether peers are measured only where a goal needs them, and all goals are shown.
    pub(crate) goals: bool,
    /// How often each case is measured.
    pub(crate) rounds: usize,
    /// Length of each measurement.
    pub(crate) duration: Duration,
    /// Time before counting begins.
    pub(crate) warmup: Duration,
    /// How long the peers are watched at rest; not at all when zero.
    pub(crate) idle: Duration,
    /// Where they run.
    pub(crate) servers: Servers,
    /// What the caller has left out, and why.
    pub(crate) not_measured: Vec<String>,
}

impl Options {
    fn cases(&self) -> Vec<Case> {
        let with = |&dataset: &Dataset| {
            self.points.iter().map(move |&point| Case { dataset, point }).collect::<Vec<_>>()
        };
        self.datasets.iter().flat_map(with).collect()
    }

    /// Checks bounds that involve several options.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.cases().iter().try_for_each(|case| case.workload().check(case.point.pipeline))
    }

    fn wants(&self, peer: Peer, point: Point) -> bool {
        point.applies_to(peer) && (!self.goals || goals::need(peer, point))
    }

    /// About how long it will take, without starting and filling the servers.
    pub(crate) fn estimate(&self) -> Duration {
        let runs: usize = self
            .cases()
            .iter()
            .map(|case| self.peers.iter().filter(|&&peer| self.wants(peer, case.point)).count())
            .sum();
        (self.duration + self.warmup + SETTLE) * (runs * self.rounds) as u32
    }
}

/// Starts the peers, measures them, and stops them.
///
/// Errors: a peer cannot be started or filled. What goes wrong later is part of the result.
pub(crate) async fn compare(options: &Options) -> Result<Comparison, Failure> {
    let stage = options.servers.stage(&options.peers)?;
    let mut findings = Findings::default();
    findings.not_measured.extend(options.not_measured.iter().chain(&stage.missing).cloned());
    eprintln!("about {} s of measurements", options.estimate().as_secs());
    for (position, &dataset) in options.datasets.iter().enumerate() {
        let site = stage.site_for(position);
        std::fs::create_dir(&site.data)?;
        let mut running = Vec::new();
        for &peer in &stage.peers {
            running.push(start_and_fill(peer, &site, dataset).await?);
        }
        if position == 0 && !options.idle.is_zero() {
            findings.idle = watch_idle(options.idle, &mut running).await?;
        }
        measure_all(options, dataset, &mut running, &mut findings).await;
        drop(running);
        std::fs::remove_dir_all(&site.data)?;
    }
    Ok(Comparison::new(
        stage.machine,
        options.duration.as_secs_f64(),
        options.rounds,
        &options.cases(),
        options.goals,
        findings,
    ))
}

/// Starts `peer` and writes every key of `dataset` once.
///
/// Errors: it cannot be started, or a write fails.
pub(crate) async fn start_and_fill(
    peer: Peer,
    site: &Site,
    dataset: Dataset,
) -> Result<Running, Failure> {
    eprintln!("starting {peer}");
    let mut started = Running::start(peer, site).await?;
    fill(&mut started, dataset).await?;
    Ok(started)
}

/// Writes every key of `dataset` once and says how long that took.
///
/// Errors: a write fails.
pub(crate) async fn fill(running: &mut Running, dataset: Dataset) -> Result<Duration, Failure> {
    let peer = running.peer;
    let case = Case { dataset, point: Point::new(Verb::Set, 1, 1) };
    let plan = plan(peer, &running.leader().await?, case, Duration::ZERO, Duration::ZERO);
    let began = Instant::now();
    in_thread(move || load::preload(&plan))
        .await?
        .map_err(|failure| Failure::new(format!("{peer}: {failure}")))?;
    let took = began.elapsed();
    eprintln!("filled {peer}: {dataset} in {:.1} s", took.as_secs_f64());
    Ok(took)
}

/// What every process uses while nobody asks anything.
async fn watch_idle(time: Duration, running: &mut [Running]) -> Result<Vec<Idle>, Failure> {
    tokio::time::sleep(SETTLE_BEFORE_IDLE).await;
    let mut watched: Vec<(Peer, Vec<Watched>)> = Vec::new();
    for target in running {
        watched.push((target.peer, target.leader().await?.processes));
    }
    let sample = |processes: &[Watched]| -> Vec<Sample> {
        processes.iter().map(|process| Sample::take(process.pid)).collect()
    };
    let before: Vec<_> = watched.iter().map(|(_, processes)| sample(processes)).collect();
    let began = Instant::now();
    tokio::time::sleep(time).await;
    let elapsed = began.elapsed();
    let usage = |processes: &[Watched], before: &[Sample]| -> Vec<Usage> {
        let pairs = processes.iter().zip(before).zip(sample(processes));
        let usage = |((process, before), after): ((&Watched, &Sample), Sample)| {
            Usage::between(&process.name, *before, after, 0, elapsed)
        };
        pairs.map(usage).collect()
    };
    let idle = watched
        .iter()
        .zip(&before)
        .map(|((peer, processes), before)| Idle { peer: *peer, usage: usage(processes, before) });
    Ok(idle.collect())
}

/// All rounds; a measurement that fails becomes a line of trouble.
async fn measure_all(
    options: &Options,
    dataset: Dataset,
    running: &mut [Running],
    findings: &mut Findings,
) {
    let peers = running.len();
    let cases = options.points.iter().map(|&point| Case { dataset, point });
    let (cases, too_large): (Vec<Case>, Vec<Case>) = cases.partition(|case| {
        let in_flight = case.point.connections * case.point.pipeline;
        case.point.verb == Verb::Get || in_flight * dataset.value_bytes <= CASE_BYTES_MAX
    });
    findings.not_measured.extend(too_large.iter().map(|case| {
        format!("{}, {dataset}: more than {CASE_BYTES_MAX} bytes at once", case.point)
    }));
    for round in 0..options.rounds {
        for (turn, &case) in cases.iter().enumerate() {
            for position in shuffled(peers, round * cases.len() + turn) {
                if !options.wants(running[position].peer, case.point) {
                    continue;
                }
                tokio::time::sleep(SETTLE).await;
                let pids = |(other, running): (usize, &Running)| {
                    if other == position { Vec::new() } else { running.pids() }
                };
                others_rest(&running.iter().enumerate().flat_map(pids).collect::<Vec<_>>()).await;
                let target = &mut running[position];
                match measure(options, target, case, round).await {
                    Ok(measurement) => {
                        eprintln!(
                            "round {} of {}: {:22} {:12} {:>9.0}/s",
                            round + 1,
                            options.rounds,
                            case.point,
                            target.peer,
                            measurement.operations_per_second
                        );
                        findings.measurements.push(measurement);
                    }
                    Err(failure) => {
                        let (round, peer) = (round + 1, target.peer);
                        let line = format!("round {round}: {} {peer}: {failure}", case.point);
                        eprintln!("! {line}");
                        findings.trouble.push(line);
                    }
                }
            }
        }
    }
}

/// The numbers below `count` in an order that depends on `seed` alone (Fisher and Yates).
fn shuffled(count: usize, seed: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = Random::new(seed as u64);
    for last in (1..count).rev() {
        order.swap(last, random.below(last as u64 + 1) as usize);
    }
    order
}

/// Waits until these processes use next to nothing, or [`REST_MAX`].
async fn others_rest(pids: &[u32]) {
    let cpu = || pids.iter().map(|&pid| Sample::take(pid).cpu()).sum::<Duration>();
    let (began, mut before) = (Instant::now(), cpu());
    while !pids.is_empty() && began.elapsed() < REST_MAX {
        tokio::time::sleep(REST_LOOK).await;
        let now = cpu();
        if now.saturating_sub(before) <= REST_CPU_MAX {
            return;
        }
        before = now;
    }
}

/// One run of one peer in one case, with the leader of now.
async fn measure(
    options: &Options,
    target: &mut Running,
    case: Case,
    round: usize,
) -> Result<Measurement, Failure> {
    let mut leader = target.leader().await?;
    let mut plan = plan(target.peer, &leader, case, options.warmup, options.duration);
    plan.seed = 1 + round as u64;
    plan.workload.presence = Presence::Filled;
    if case.point.asked != Asked::Leader
        && let Some(asked) = leader.processes.get_mut(1)
    {
        asked.name.push_str(" (asked)");
    }
    let watch = Watch { processes: leader.processes, disk: Disk::of(target.directory()) };
    let outcome = in_thread(move || load::run(&plan, &watch)).await??;
    let tally = &outcome.tally;
    if tally.operations() == 0 {
        // Rounds that began in the warm-up lasted beyond the window, or everything failed.
        return Err(Failure::new(format!(
            "nothing that began after the warm-up succeeded, {} failures {:?}; a longer --duration?",
            tally.failures(),
            tally.errors
        )));
    }
    Ok(Measurement {
        peer: target.peer,
        case,
        round,
        operations_per_second: outcome.operations_per_second(),
        latency: tally.latency_of_all(),
        latency_of_reads: tally.latency(Class::Read),
        series: tally.series(),
        longest_gap_ms: tally.longest_gap.as_secs_f64() * 1e3,
        lag_p99_us: tally.lag().map(|lag| lag.p99_us),
        failures: tally.failures(),
        usage: outcome.usage,
        disk_written_bytes: outcome.disk_written_bytes,
    })
}

/// The plan of a case for a peer whose leader is known.
pub(crate) fn plan(
    peer: Peer,
    leader: &Leader,
    case: Case,
    warmup: Duration,
    duration: Duration,
) -> Plan {
    let point = case.point;
    let asked = match (point.asked, &leader.follower) {
        (Asked::Follower | Asked::Readonly, Some(follower)) => follower,
        _ => &leader.address,
    };
    Plan {
        protocol: if peer == Peer::EtcdThree { Protocol::Etcd } else { Protocol::Resp },
        addresses: vec![asked.clone()],
        workload: case.workload(),
        connections: point.connections,
        pipeline: point.pipeline,
        threads: 1,
        resp3: false,
        cluster: false,
        readonly: point.asked == Asked::Readonly,
        wait: peer.wait(),
        password: None,
        warmup,
        duration,
        drain: DRAIN,
        requests: None,
        rate: point.rate.map(f64::from),
        seed: 1,
        stop: Stop::default(),
    }
}

/// The points of a matrix: every combination that makes sense.
pub(crate) struct Matrix {
    /// Requests.
    pub(crate) verbs: Vec<Verb>,
    /// Connections.
    pub(crate) connections: Vec<usize>,
    /// Requests in a round.
    pub(crate) pipelines: Vec<usize>,
    /// How keys are drawn.
    pub(crate) distributions: Vec<Distribution>,
    /// Who is asked; others than the leader for GET alone.
    pub(crate) asked: Vec<Asked>,
    /// Rates of open loops; a closed loop when empty.
    pub(crate) rates: Vec<u32>,
}

impl Matrix {
    /// All combinations.
    pub(crate) fn points(&self) -> Vec<Point> {
        let rates: Vec<Option<u32>> = match self.rates.as_slice() {
            [] => vec![None],
            rates => rates.iter().copied().map(Some).collect(),
        };
        let mut points = Vec::new();
        for &verb in &self.verbs {
            for &connections in &self.connections {
                for &pipeline in &self.pipelines {
                    for &distribution in &self.distributions {
                        for &asked in &self.asked {
                            for &rate in &rates {
                                let point = Point::new(verb, connections, pipeline);
                                points.push(Point { asked, distribution, rate, ..point });
                            }
                        }
                    }
                }
            }
        }
        points.retain(|point| point.asked == Asked::Leader || point.reads_only());
        points
    }
}

/// Runs blocking work on a thread of its own, which does not hold up an interrupt.
pub(crate) async fn in_thread<T: Send + 'static>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_has_every_combination_that_makes_sense() {
        let matrix = Matrix {
            verbs: vec![Verb::Set, Verb::Get],
            connections: vec![1, 50],
            pipelines: vec![1],
            distributions: vec![Distribution::Uniform, Distribution::Zipfian],
            asked: vec![Asked::Leader, Asked::Readonly],
            rates: Vec::new(),
        };
        let points = matrix.points();
        assert_eq!(points.len(), 4 + 8, "SET goes to the leader alone");
        let open = Matrix { rates: vec![10, 20], ..matrix }.points();
        assert_eq!(open.len(), 2 * points.len());
        assert!(open.iter().all(|point| point.rate.is_some()));
    }

    #[test]
    fn the_order_of_peers_is_fixed_and_each_goes_before_and_behind_each_other() {
        let mut followed = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let order = shuffled(6, seed);
            assert_eq!(order, shuffled(6, seed));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
            followed.extend(order.windows(2).map(|pair| (pair[0], pair[1])));
        }
        assert_eq!(followed.len(), 6 * 5, "every peer follows every other at some time");
        assert_eq!(shuffled(0, 1), [0; 0]);
    }

    #[test]
    fn peers_that_are_not_installed_are_named() {
        let nowhere = PathBuf::from("/nowhere/at/all");
        let servers = Servers {
            base_port: 1,
            directory: std::env::temp_dir(),
            kvorum: Some(nowhere.clone()),
            kvorum_settings: Vec::new(),
            redis: nowhere.clone(),
            etcd: nowhere,
        };
        let stage = servers.stage(&Peer::ALL).unwrap();
        assert_eq!(stage.peers, [Peer::KvorumOne, Peer::KvorumThree]);
        assert_eq!(stage.missing.len(), 4);
        assert!(stage.missing[3].starts_with("etcd-3: "), "{:?}", stage.missing);
    }
}
