//! One node with small caches and far more keys than they hold: rates, memory, lookups, restarts.
//!
//! The node is filled; then come rounds. In each it takes SETs of random keys, then GETs of a hot set,
//! of keys that do not exist, and of random keys; it is stopped cleanly, and right then the tables
//! that it left are read without it ([`bare`]). It is started again, and once more after `kill -9` in
//! the middle of SETs, each time timed from starting the process to the first right answer to GET.
//!
//! Memory is what is resident, against the limits that INFO names: both overlays, the block cache,
//! the tail of the log, and what stays in memory beside the cache whatever is set.
//!
//! Not measured: cold files. The page cache of the system is as warm as the load left it, for the
//! node and for the reader of its tables alike.

use crate::bound::Bound;
use crate::control;
use crate::error::Failure;
use crate::load::{self, Outcome, Plan};
use crate::machine::Machine;
use crate::peers::{Servers, Stage, fill, in_thread, plan};
use crate::point::{Case, Dataset, Point};
use crate::process::{Disk, Sample, Watch};
use crate::stats::Spread;
use crate::steady::rest;
use crate::target::{Peer, Running};
use crate::workload::{Presence, Verb, Workload};
use serde::Serialize;
use std::time::{Duration, Instant};

mod bare;
mod report;
mod restart;

/// Connections and requests in a round of every load.
const CONNECTIONS: usize = 50;
const PIPELINE: usize = 16;
/// Keys of the hot set, all of which the caches hold.
const HOT_KEYS: u64 = 10_000;
/// Number of the first key that is never written; key spaces stay below it.
pub(crate) const FIRST_ABSENT_KEY: u64 = 500_000_000;
/// Settings whose caches take 256 MB together, both overlays counted; `--set` may say otherwise.
const SETTINGS: [&str; 3] = ["cache-bytes=128mb", "overlay-bytes=32mb", "log-cache-bytes=64mb"];
/// Filters and indexes of the first levels stay in memory beside the cache: at most so many bytes.
const PINNED_BYTES: u64 = 60 << 20;

/// What is run.
pub(crate) struct Options {
    /// The data.
    pub(crate) dataset: Dataset,
    /// How often each load and each restart is measured.
    pub(crate) rounds: usize,
    /// Length of each load.
    pub(crate) duration: Duration,
    /// Time before counting begins.
    pub(crate) warmup: Duration,
    /// Where it runs.
    pub(crate) servers: Servers,
}

impl Options {
    /// Checks bounds that involve several options.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.dataset.keys > FIRST_ABSENT_KEY {
            return Err(format!("at most {FIRST_ABSENT_KEY} keys: those behind must not exist"));
        }
        if self.duration.is_zero() {
            return Err("a load of no length measures nothing".to_owned());
        }
        case(self.dataset, Verb::Set).workload().check(PIPELINE)
    }
}

/// One of the loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    GetRandom,
    GetHot,
    GetAbsent,
    SetRandom,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::GetRandom => "GET, random keys",
            Kind::GetHot => "GET, hot keys",
            Kind::GetAbsent => "GET, no such key",
            Kind::SetRandom => "SET, random keys",
        }
    }

    fn verb(self) -> Verb {
        if self == Kind::SetRandom { Verb::Set } else { Verb::Get }
    }

    fn workload(self, dataset: Dataset) -> Workload {
        let all = case(dataset, self.verb()).workload();
        match self {
            Kind::SetRandom => all,
            Kind::GetRandom => Workload { presence: Presence::Filled, ..all },
            Kind::GetHot => {
                Workload { keys: HOT_KEYS.min(all.keys), presence: Presence::Filled, ..all }
            }
            Kind::GetAbsent => {
                Workload { first_key: FIRST_ABSENT_KEY, presence: Presence::Absent, ..all }
            }
        }
    }
}

/// One run of one load.
#[derive(Clone, Debug, Serialize)]
struct Round {
    kind: Kind,
    operations_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// CPU of the server for each operation, in microseconds.
    server_cpu_us: f64,
    /// Shares of a core.
    server_cpu_percent: f64,
    client_cpu_percent: f64,
    failures: u64,
}

impl Round {
    fn of(kind: Kind, outcome: &Outcome) -> Result<Self, Failure> {
        let tally = &outcome.tally;
        let nothing = || {
            let failed = format!("{} failures {:?}", tally.failures(), tally.errors);
            Failure::new(format!("{}: nothing succeeded, {failed}", kind.name()))
        };
        let latency = tally.latency_of_all().ok_or_else(nothing)?;
        let of = |name: &str| outcome.usage.iter().find(|usage| usage.name == name);
        Ok(Self {
            kind,
            operations_per_second: outcome.operations_per_second(),
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
            server_cpu_us: of("server").map_or(0.0, |usage| usage.cpu_us_per_operation),
            server_cpu_percent: of("server").map_or(0.0, |usage| usage.cpu_percent),
            client_cpu_percent: of("client").map_or(0.0, |usage| usage.cpu_percent),
            failures: tally.failures(),
        })
    }
}

/// The limits of a node's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Limits {
    /// Of one overlay; there are two.
    overlay: u64,
    log_cache: u64,
    block_cache: u64,
    /// Beside the caches, whatever is set.
    pinned: u64,
}

impl Limits {
    fn parse(info: &str) -> Option<Self> {
        let of = |name: &str| control::field(info, name)?.parse().ok();
        Some(Self {
            overlay: of("mem_overlay_limit")?,
            log_cache: of("mem_log_cache_limit")?,
            block_cache: of("mem_block_cache_limit")?,
            pinned: PINNED_BYTES,
        })
    }

    fn sum(self) -> u64 {
        2 * self.overlay + self.log_cache + self.block_cache + self.pinned
    }
}

/// What a run found.
#[derive(Serialize)]
pub(crate) struct Large {
    machine: Machine,
    dataset: Dataset,
    settings: Vec<String>,
    limits: Limits,
    fill_s: f64,
    /// Most resident memory at the end of the fill, of SETs and of GETs, in bytes.
    resident_bytes: [u64; 3],
    /// On disk at the end of the fill, in bytes.
    disk_bytes: u64,
    rounds: Vec<Round>,
    bare: Vec<bare::Round>,
    /// Time of each clean stop, in seconds.
    stops_s: Vec<f64>,
    /// From starting the process to the first right answer, in seconds.
    after_stop_s: Vec<f64>,
    after_kill_s: Vec<f64>,
    bounds: Vec<Bound>,
}

/// Fills one node, loads it, reads its tables without it and restarts it.
///
/// Errors: the node cannot be started, ends, or cannot be filled.
pub(crate) async fn run(options: &Options) -> Result<Large, Failure> {
    let mut servers = options.servers.clone();
    servers.kvorum_settings.splice(0..0, SETTINGS.map(str::to_owned));
    let stage = servers.stage(&[Peer::KvorumOne])?;
    let mut running = Running::start(Peer::KvorumOne, &stage.site).await?;
    let limits = limits(&running).await?;
    let fill_s = fill(&mut running, options.dataset).await?.as_secs_f64();
    let mut resident_bytes = [resident(&running), 0, 0];
    let disk = Disk::of(running.directory());
    rest(disk).await;
    let disk_bytes = crate::soak::disk_bytes(running.directory());
    restart::write_witness(&running).await?;
    let (mut rounds, mut bare) = (Vec::new(), Vec::new());
    let (mut stops_s, mut after_stop_s, mut after_kill_s) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        for kind in [Kind::SetRandom, Kind::GetHot, Kind::GetAbsent, Kind::GetRandom] {
            rounds.push(measure(options, &mut running, kind, round).await?);
            let moment = &mut resident_bytes[if kind == Kind::SetRandom { 1 } else { 2 }];
            *moment = resident(&running).max(*moment);
        }
        stops_s.push(running.stop(0, restart::STOP_MAX).await?.as_secs_f64());
        bare.push(read_bare(options, &running, limits, round).await?);
        after_stop_s.push(restart::start(&mut running).await?);
        restart::kill_under_load(options, &mut running, round).await?;
        after_kill_s.push(restart::start(&mut running).await?);
    }
    let settings = stage.site.kvorum_settings.clone();
    let Stage { machine, .. } = stage;
    let mut large = Large {
        machine,
        dataset: options.dataset,
        settings,
        limits,
        fill_s,
        resident_bytes,
        disk_bytes,
        rounds,
        bare,
        stops_s,
        after_stop_s,
        after_kill_s,
        bounds: Vec::new(),
    };
    large.bounds = large.judge();
    Ok(large)
}

fn resident(running: &Running) -> u64 {
    Sample::take(running.watched(0, "server").pid).resident_bytes()
}

async fn limits(running: &Running) -> Result<Limits, Failure> {
    let address = running.addresses().remove(0);
    let reply = control::ask(&address, None, &[b"INFO", b"memory"]).await?;
    let info = control::text(&reply).unwrap_or_default();
    Limits::parse(&info).ok_or_else(|| Failure::new("INFO names no limits of memory"))
}

fn case(dataset: Dataset, verb: Verb) -> Case {
    Case { dataset, point: Point::new(verb, CONNECTIONS, PIPELINE) }
}

/// The plan of a load on the node as it runs now.
async fn plan_of(
    options: &Options,
    running: &mut Running,
    kind: Kind,
    seed: u64,
) -> Result<Plan, Failure> {
    let leader = running.leader().await?;
    let case = case(options.dataset, kind.verb());
    let plan = plan(Peer::KvorumOne, &leader, case, options.warmup, options.duration);
    Ok(Plan { workload: kind.workload(options.dataset), seed, ..plan })
}

async fn measure(
    options: &Options,
    running: &mut Running,
    kind: Kind,
    round: usize,
) -> Result<Round, Failure> {
    rest(Disk::of(running.directory())).await;
    let plan = plan_of(options, running, kind, 1 + round as u64).await?;
    let watch = Watch { processes: running.leader().await?.processes, disk: None };
    let outcome = in_thread(move || load::run(&plan, &watch)).await??;
    let measured = Round::of(kind, &outcome)?;
    let (name, rate) = (kind.name(), measured.operations_per_second);
    eprintln!("round {} of {}: {name:18} {rate:>9.0}/s", round + 1, options.rounds);
    Ok(measured)
}

/// Reads the tables that the stopped node left.
async fn read_bare(
    options: &Options,
    running: &Running,
    limits: Limits,
    round: usize,
) -> Result<bare::Round, Failure> {
    let read = bare::Reading {
        state: running.directory().join("state"),
        keys: options.dataset.keys,
        cache_bytes: limits.block_cache,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        seed: 1 + round as u64,
        warmup: options.warmup,
        duration: options.duration,
    };
    let bare = in_thread(move || bare::read(&read)).await??;
    let (round, rate) = (round + 1, bare.gets_per_second);
    eprintln!("round {round} of {}: {:18} {rate:>9.0}/s", options.rounds, "tables alone");
    Ok(bare)
}

impl Large {
    /// The median of a figure over the rounds of a load; 0 without any.
    fn median(&self, kind: Kind, figure: fn(&Round) -> f64) -> f64 {
        self.spread(kind, figure).map_or(0.0, |spread| spread.median)
    }

    fn spread(&self, kind: Kind, figure: fn(&Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter(|round| round.kind == kind).map(figure))
    }

    /// CPU for looking a random key up, without what a GET of a hot key costs: microseconds.
    fn lookup_cpu_us(&self) -> f64 {
        let cpu = |kind| self.median(kind, |round| round.server_cpu_us);
        cpu(Kind::GetRandom) - cpu(Kind::GetHot)
    }

    fn failures(&self) -> u64 {
        self.rounds.iter().map(|round| round.failures).sum()
    }

    /// Whether every bound holds.
    pub(crate) fn holds(&self) -> bool {
        self.bounds.iter().all(Bound::holds)
    }
}

/// Seconds since `began`.
fn seconds_since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_info_and_both_overlays_count() {
        let info = "mem_overlay:1\r\nmem_overlay_limit:10\r\nmem_log_cache_limit:20\r\n\
                    mem_block_cache_limit:300\r\n";
        let limits = Limits::parse(info).unwrap();
        assert_eq!(limits.sum(), 2 * 10 + 20 + 300 + PINNED_BYTES);
        assert_eq!(Limits::parse("mem_overlay_limit:10\r\n"), None);
    }

    #[test]
    fn keys_that_must_not_exist_are_behind_the_key_space() {
        let dataset = Dataset { keys: 1_000_000, value_bytes: 100 };
        let absent = Kind::GetAbsent.workload(dataset);
        assert!(absent.first_key >= dataset.keys && absent.presence == Presence::Absent);
        assert_eq!(absent.check(PIPELINE), Ok(()));
        assert_eq!(Kind::GetHot.workload(dataset).keys, HOT_KEYS);
        let small = Dataset { keys: 10, ..dataset };
        assert_eq!(Kind::GetHot.workload(small).keys, 10);
        assert_eq!(Kind::GetRandom.workload(dataset).presence, Presence::Filled);
    }
}
