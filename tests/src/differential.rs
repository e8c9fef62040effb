//! Random commands, sent to Kvorum and to a real redis-server, whose replies must be the same.
//!
//! Requests are made from the command table, so that a new command takes part from its first day;
//! [`departures`] lists, with reasons, where replies may differ and what is not sent at all. A run is
//! a number of scripts; each begins with two fresh connections and an empty keyspace, and ends with
//! a look at all keys. The first difference of a script is shrunk to the few requests it needs.
//!
//! Invariants: a seed makes the same requests each time; no deadline falls inside a run, so that
//! clocks decide nothing. What this cannot see: anything about blocking, and order in time between
//! connections finer than one batch.

mod blocks;
mod compare;
pub mod departures;
mod generate;
mod pair;
mod rules;
pub mod servers;
mod shrink;

use crate::golden::words::quote;
use crate::random::Random;
use kvorum::commands::spec::CommandSpec;
use pair::Pair;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use pair::Difference;
pub use rules::RULE_WORDS;

/// How many connections a script uses.
const CONNECTIONS: usize = 2;

/// Requests of a script, without those that look at its result.
const SCRIPT_STEPS: usize = 200;

/// One request of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which connection sends it.
    pub connection: usize,
    /// The request.
    pub args: Vec<Vec<u8>>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.connection == 0 { ">" } else { "a>" })?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quote(arg)))
    }
}

/// What a run does.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first script is that of this seed, the next that of the next number.
    pub seed: u64,
    /// Requests to send, at least.
    pub commands: u64,
    /// Ends the run early.
    pub time_max: Duration,
    /// Ends the run after so many scripts that differ.
    pub failures_max: usize,
    /// Only commands whose name contains this text are made.
    pub filter: String,
}

impl Default for Options {
    fn default() -> Self {
        let filter = String::new();
        Options { seed: 1, commands: 10_000, time_max: Duration::MAX, failures_max: 1, filter }
    }
}

/// A script that two servers answer differently, as short as could be found.
#[derive(Debug)]
pub struct Failure {
    /// Makes the script again.
    pub seed: u64,
    /// Those requests of it that are needed.
    pub steps: Vec<Step>,
    /// What the last of them showed.
    pub difference: Difference,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        write!(f, "{}", self.difference)
    }
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests whose replies were compared.
    pub compared: u64,
    /// Replies that differed and may: how often, by the full name of the command and how it is
    /// compared.
    pub departures: BTreeMap<String, u64>,
    /// Scripts whose replies differed.
    pub failures: Vec<Failure>,
}

impl Report {
    fn add(&mut self, other: Report) {
        self.compared += other.compared;
        for (name, count) in other.departures {
            *self.departures.entry(name).or_default() += count;
        }
        self.failures.extend(other.failures);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failures.iter().try_for_each(|failure| writeln!(f, "{failure}\n"))?;
        write!(f, "{} replies compared, {} differences", self.compared, self.failures.len())?;
        let departures: u64 = self.departures.values().sum();
        write!(f, ", {departures} departures of {} kinds", self.departures.len())
    }
}

/// Random requests for commands that are `wanted`, much as scripts have them.
pub fn requests(
    random: &mut Random,
    len: usize,
    wanted: fn(&CommandSpec) -> bool,
) -> Vec<Vec<Vec<u8>>> {
    generate::requests(random, len, wanted)
}

/// A Kvorum and a redis-server to compare, both with nothing else to do.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// `host:port` of Kvorum.
    pub kvorum: String,
    /// `host:port` of redis-server.
    pub redis: String,
}

/// Compares Kvorum with redis-server; several pairs share the work, a thread each.
///
/// # Panics
/// One of them cannot be reached.
pub fn run(pairs: &[Addresses], options: &Options) -> Report {
    let work = Work {
        options,
        begun: Instant::now(),
        seed: AtomicU64::new(options.seed),
        report: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for Addresses { kvorum, redis } in pairs {
            scope.spawn(|| work.take_part(&mut Pair::new(kvorum, redis)));
        }
    });
    let mut report = work.report.into_inner().expect("nothing panics under the lock");
    report.failures.sort_by_key(|failure| failure.seed);
    report
}

/// What the pairs share.
struct Work<'a> {
    options: &'a Options,
    begun: Instant,
    /// That of the next script.
    seed: AtomicU64,
    report: Mutex<Report>,
}

impl Work<'_> {
    fn take_part(&self, pair: &mut Pair) {
        while self.goes_on() {
            let seed = self.seed.fetch_add(1, Ordering::Relaxed);
            let steps =
                generate::script(&mut Random::new(seed), SCRIPT_STEPS, &self.options.filter);
            let mut report = Report::default();
            if let Some(found) = pair.run(&steps, &mut report) {
                let (steps, difference) = shrink::shrink(pair, steps, found);
                report.failures.push(Failure { seed, steps, difference });
            }
            self.report.lock().expect("nothing panics under the lock").add(report);
        }
    }

    fn goes_on(&self) -> bool {
        let report = self.report.lock().expect("nothing panics under the lock");
        report.compared < self.options.commands
            && self.begun.elapsed() < self.options.time_max
            && report.failures.len() < self.options.failures_max
    }
}
