//! Hostile clients beside well-behaved ones, and disks that fill up.
//!
//! One node, and then three, get a fixed modest rate from well-behaved clients: first alone, then
//! beside each attack, in turn, so that both figures are from the same minute. Judged are the memory
//! of every node (highest against before, with a bound for each attack), what the attackers and
//! the well-behaved clients were answered, and the p99.
//!
//! An attack begins one second inside the window that is measured, so that its first moment counts as
//! well as what it does for long. What it holds back (a stopped follower) it lets go at
//! [`RELEASE_PART`] of the window, so that catching up counts, too. A p99 over seconds hides a single
//! stall of some milliseconds: the slowest reply is shown beside it, without a bound.
//!
//! The p99 may double. Attackers, nodes and load share the cores of this machine, and a disk of its
//! own has waves, so a p99 that is less than [`TOLERANCE`] above the one alone is no miss either, but
//! it is named as such and counted apart. Bounds of memory have no tolerance.

mod attack;
mod disk_full;
mod report;
mod victim;

use crate::error::Failure;
use crate::load::{self, Plan};
use crate::peers::{Servers, in_thread, plan, start_and_fill};
use crate::point::{Case, Dataset, Point};
use crate::process::{Disk, Sample, Watch};
use crate::stats::{Class, Latency, Tally};
use crate::steady::rest;
use crate::target::{Leader, Peer, Running};
use crate::workload::Verb;
use attack::Attack;
pub(crate) use report::{Line, Report};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use victim::Victim;

/// What a p99 beside an attack may exceed the p99 alone by, although it more than doubled.
pub(crate) const TOLERANCE: Duration = Duration::from_millis(10);
/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// Connections of the well-behaved clients.
const CONNECTIONS: usize = 20;
/// Time before counting begins.
const WARMUP: Duration = Duration::from_millis(500);
/// Time inside the window before the attack.
const CALM: Duration = Duration::from_secs(1);
/// Part of the window after which an attack lets go what it holds back.
const RELEASE_PART: f64 = 0.6;
/// Shortest window in which there is a time before, during and after.
pub(crate) const DURATION_MIN: Duration = Duration::from_secs(3);
/// Keys of the load where the attack removes all others: few enough that the load has written most of
/// them again in half a second, and its GETs find what its SETs wrote.
const OWN_KEYS: u64 = 500;
const MB: u64 = 1 << 20;

/// One attack on a peer.
struct Scenario {
    name: &'static str,
    peer: Peer,
    attack: Attack,
    /// Memory that a node may have beyond what it had before, in bytes.
    growth_max: u64,
    /// The same for each key that it holds, on top.
    growth_max_per_key: u64,
    /// The server asks for a password meanwhile.
    with_password: bool,
    /// The load keeps to [`OWN_KEYS`].
    own_keys: bool,
}

const fn one(name: &'static str, attack: Attack, growth_max_mb: u64) -> Scenario {
    let growth_max = growth_max_mb * MB;
    Scenario {
        name,
        peer: Peer::KvorumOne,
        attack,
        growth_max,
        growth_max_per_key: 0,
        with_password: false,
        own_keys: false,
    }
}

const fn three(name: &'static str, attack: Attack, growth_max_mb: u64) -> Scenario {
    Scenario { peer: Peer::KvorumThree, ..one(name, attack, growth_max_mb) }
}

/// Of a reply with every name, a node holds the list of names and what is encoded of it.
const NAME_GROWTH_MAX: u64 = 200;

/// What is bounded by which setting is in `server/docs/operations.md`. A node's own share in each bound
/// is the growth of its overlays, log cache and block cache under the load: up to 450 MB.
const SCENARIOS: &[Scenario] = &[
    one("idle-1000", attack::idle_crowd, 450 + 64),
    one("idle-10000", attack::ten_thousand, 450 + 128),
    one("leaving-crowd", attack::leaving_crowd, 450 + 128),
    one("connect-flood", attack::connect_and_close, 450 + 64),
    Scenario {
        with_password: true,
        // A stranger has ten arguments of 16 KB at most.
        ..one("strangers", attack::strangers, 450 + 1_000 / 4)
    },
    Scenario { with_password: true, ..one("password-guesses", attack::guesses, 450 + 64) },
    Scenario { with_password: true, ..one("deaf-strangers", attack::deaf_strangers, 450 + 64) },
    one("half-requests", attack::half_requests, 450 + 64),
    one("deaf-readers", attack::deaf_readers, 450 + 400),
    one("endless-pipelines", attack::endless_pipelines, 450 + 64),
    one("long-blocks", attack::long_blocks, 450 + 64),
    one("many-keys", attack::many_keys, 450 + 256),
    one("deaf-monitor", attack::deaf_monitor, 450 + 128),
    one("questions", attack::questions, 450 + 256),
    one("keys-and-scan", attack::walks, 450 + 128),
    Scenario {
        growth_max_per_key: NAME_GROWTH_MAX,
        ..one("keys-star", attack::keys_of_everything, 450 + 64)
    },
    // maxmemory-clients (2 GB), and the copies of one write on its way: request, operation, entry,
    // log record, row.
    one("values-512mb", attack::longest_values, 450 + 2_048 + 6 * 512),
    Scenario { own_keys: true, ..one("flushall", attack::flush_all, 450 + 256) },
    three("three: idle-1000", attack::idle_crowd, 450 + 64),
    three("three: deaf-readers", attack::deaf_readers, 450 + 400),
    three("three: endless-pipelines", attack::endless_pipelines, 450 + 64),
    three("three: stopped-follower", attack::stopped_follower, 450 + 64),
    three("three: slow-follower", attack::slow_follower, 450 + 64),
    Scenario {
        growth_max_per_key: NAME_GROWTH_MAX,
        ..three("three: keys-star", attack::keys_of_everything, 450 + 64)
    },
    Scenario { own_keys: true, ..three("three: flushall", attack::flush_all, 450 + 256) },
];

/// What to run.
pub(crate) struct Options {
    /// Only scenarios whose name contains this.
    pub(crate) only: Option<String>,
    /// Keys that the nodes hold.
    pub(crate) keys: u64,
    /// Requests per second of the well-behaved clients.
    pub(crate) rate: u32,
    /// How long each of the two measurements of a scenario lasts, at least [`DURATION_MIN`].
    pub(crate) duration: Duration,
    /// Redis is attacked in the place of one Kvorum node, and nothing else.
    pub(crate) redis: bool,
    /// Where the servers come from and run.
    pub(crate) servers: Servers,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Who is attacked in a scenario.
    fn attacked(&self, scenario: &Scenario) -> Peer {
        match scenario.peer {
            Peer::KvorumOne if self.redis => Peer::RedisMemory,
            peer => peer,
        }
    }
}

/// Runs all scenarios that are wanted.
///
/// Errors: servers cannot be started or filled; what goes wrong later is in the report.
pub(crate) async fn run(options: &Options) -> Result<Report, Failure> {
    raise_descriptors();
    let peers: &[Peer] = match options.redis {
        true => &[Peer::RedisMemory],
        false => &[Peer::KvorumOne, Peer::KvorumThree],
    };
    let stage = options.servers.stage(peers)?;
    let mut lines = Vec::new();
    for &peer in &stage.peers {
        let wanted: Vec<&Scenario> = SCENARIOS
            .iter()
            .filter(|scenario| options.attacked(scenario) == peer && options.wants(scenario.name))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let dataset = Dataset { keys: options.keys, value_bytes: 100 };
        let mut running = start_and_fill(peer, &stage.site, dataset).await?;
        for scenario in wanted {
            let line = measure(options, scenario, &mut running, dataset).await;
            let line = line.unwrap_or_else(|failure| Line::broken(scenario.name, &failure));
            eprintln!("{line}");
            lines.push(line);
        }
    }
    if options.redis {
        return Ok(Report { machine: stage.machine, lines });
    }
    let mut site = stage.site.clone();
    site.base_port += 20;
    for line in disk_full::run(&site, &|name| options.wants(name)).await? {
        eprintln!("{line}");
        lines.push(line);
    }
    Ok(Report { machine: stage.machine, lines })
}

/// For the crowd on this side; nodes raise their own.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("! the limit of descriptors stays as it is: {error}");
    }
}

async fn measure(
    options: &Options,
    scenario: &Scenario,
    running: &mut Running,
    dataset: Dataset,
) -> Result<Line, Failure> {
    let leader = running.leader().await?;
    let keys = if scenario.own_keys { OWN_KEYS.min(dataset.keys) } else { dataset.keys };
    let point = Point::new(Verb::Mix, CONNECTIONS, 1);
    let case = Case { dataset: Dataset { keys, ..dataset }, point };
    let mut plan = plan(running.peer, &leader, case, WARMUP, options.duration);
    plan.rate = Some(f64::from(options.rate));
    let alone = under_load(plan.clone()).await?;
    if scenario.with_password {
        victim::set_password(&leader.address, true).map_err(Failure::new)?;
        plan.password = Some(victim::PASSWORD.to_owned());
    }
    let pids: Vec<u32> = leader.processes.iter().map(|process| process.pid).collect();
    let before = resident(&pids);
    let over = Arc::new(AtomicBool::new(false));
    let highest = watch_memory(pids, over.clone());
    let (beside, attacked) = load_and_attack(options, scenario, &leader, plan).await;
    over.store(true, Relaxed);
    if scenario.with_password {
        victim::set_password(&leader.address, false).map_err(Failure::new)?;
    }
    // What an attack has left to flushes and compactions is not the next one's.
    rest(Disk::of(running.directory())).await;
    let beside = beside?;
    let mut wrong: Vec<String> = attacked.err().into_iter().collect();
    if beside.failures > 0 {
        wrong.push(format!("{} requests of others failed: {}", beside.failures, beside.kinds));
    }
    if let Err(failure) = running.leader().await {
        wrong.push(failure.to_string());
    }
    let growth_max = scenario.growth_max + scenario.growth_max_per_key * options.keys;
    let memory = (before, highest.load(Relaxed), before + growth_max);
    let note = beside.note();
    let line = Line::judge(scenario.name, (alone.latency, beside.latency), memory, wrong);
    Ok(line.with_lag(beside.lag).with_note(note))
}

/// The load, and the attack from [`CALM`] inside its window until its end; what the attacker says.
async fn load_and_attack(
    options: &Options,
    scenario: &Scenario,
    leader: &Leader,
    plan: Plan,
) -> (Result<Seen, Failure>, Result<(), String>) {
    let stop = Arc::new(AtomicBool::new(false));
    let load = async {
        let seen = under_load(plan).await;
        stop.store(true, Relaxed);
        seen
    };
    let attacked = async {
        let window = Instant::now() + WARMUP;
        tokio::time::sleep(WARMUP + CALM).await;
        let (attack, address) = (scenario.attack, leader.address.clone());
        let followers = leader.processes.iter().skip(1).map(|process| process.pid).collect();
        let release = window + options.duration.mul_f64(RELEASE_PART);
        let (keys, stop) = (options.keys, stop.clone());
        let with_password = scenario.with_password;
        let attack = in_thread(move || {
            attack(&Victim { address, followers, keys, release, stop: &stop, with_password })
        });
        attack.await.unwrap_or_else(|_| Err("the attacker panicked".to_owned()))
    };
    futures_util::future::join(load, attacked).await
}

/// What the well-behaved clients saw.
struct Seen {
    latency: Option<Latency>,
    failures: u64,
    /// How many failures there were of which kind.
    kinds: String,
    /// How late the load itself was: what the machine, and no server, owes.
    lag: Option<Latency>,
    /// GETs that found no key, and all GETs.
    reads: (u64, u64),
}

impl Seen {
    /// What a reader must know of the GETs: those without a key cost a server less.
    fn note(&self) -> String {
        match self.reads {
            (0, _) => String::new(),
            (empty, all) => format!("{empty} of {all} GETs found no key"),
        }
    }
}

async fn under_load(plan: Plan) -> Result<Seen, Failure> {
    let outcome = in_thread(move || load::run(&plan, &Watch::default())).await??;
    let tally = &outcome.tally;
    let (latency, failures) = (tally.latency_of_all(), tally.failures());
    let reads = tally.latency(Class::Read).map_or(0, |reads| reads.count);
    let reads = (tally.misses, reads);
    Ok(Seen { latency, failures, kinds: kinds(tally), lag: tally.lag(), reads })
}

/// The kinds of failures of a load: error replies by their first word, and those without a reply.
fn kinds(tally: &Tally) -> String {
    let replies = tally.errors.iter().map(|(word, kind)| (word.as_str(), kind.count));
    let others = [
        ("redirected", tally.redirects),
        ("not replicated", tally.wait_failed),
        ("without a reply", tally.unanswered),
        ("connections broken or not made", tally.connection_errors),
    ];
    let all = replies.chain(others).filter(|(_, count)| *count > 0);
    all.map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}

/// Most memory of one of the nodes.
fn resident(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| Sample::take(*pid).resident_bytes()).max().unwrap_or(0)
}

fn watch_memory(pids: Vec<u32>, over: Arc<AtomicBool>) -> Arc<AtomicU64> {
    let highest = Arc::new(AtomicU64::new(0));
    let shown = highest.clone();
    std::thread::spawn(move || {
        while !over.load(Relaxed) {
            shown.fetch_max(resident(&pids), Relaxed);
            std::thread::sleep(SAMPLE_EVERY);
        }
    });
    highest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_window_has_a_time_before_during_and_after() {
        let release = DURATION_MIN.mul_f64(RELEASE_PART);
        assert!(CALM < release && release + CALM <= DURATION_MIN);
    }

    #[test]
    fn gets_without_a_key_are_told() {
        let seen =
            |reads| Seen { latency: None, failures: 0, kinds: String::new(), lag: None, reads };
        assert_eq!(seen((0, 9)).note(), "");
        assert_eq!(seen((2, 9)).note(), "2 of 9 GETs found no key");
    }

    #[test]
    fn what_removes_all_keys_comes_last_of_a_peer() {
        for peer in [Peer::KvorumOne, Peer::KvorumThree] {
            let of_peer = SCENARIOS.iter().filter(|scenario| scenario.peer == peer);
            let positions: Vec<bool> = of_peer.map(|scenario| scenario.own_keys).collect();
            assert_eq!(positions.iter().position(|own| *own), Some(positions.len() - 1));
        }
    }

    #[test]
    fn every_failure_has_a_kind() {
        let mut tally = Tally::new(Instant::now(), Duration::from_secs(1));
        assert_eq!(kinds(&tally), "");
        tally.record_error("OVERLOADED try later");
        (tally.redirects, tally.unanswered, tally.connection_errors) = (2, 3, 1);
        let expected =
            "1 OVERLOADED, 2 redirected, 3 without a reply, 1 connections broken or not made";
        assert_eq!(kinds(&tally), expected);
    }
}
