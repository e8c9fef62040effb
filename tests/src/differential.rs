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

mod compare;
pub mod departures;
mod generate;
mod pair;
mod shrink;

use crate::golden::words::quote;
use crate::random::Random;
use pair::Pair;
use std::fmt;
use std::time::{Duration, Instant};

pub use pair::Difference;

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
    /// Scripts whose replies differed.
    pub failures: Vec<Failure>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failures.iter().try_for_each(|failure| writeln!(f, "{failure}\n"))?;
        write!(f, "{} replies compared, {} differences", self.compared, self.failures.len())
    }
}

/// Random requests for commands on data, as scripts have them.
pub fn requests(random: &mut Random, len: usize) -> Vec<Vec<Vec<u8>>> {
    generate::requests(random, len)
}

/// Compares Kvorum with redis-server, both at `host:port`, both with nothing else to do.
///
/// # Panics
/// One of them cannot be reached.
pub fn run(kvorum: &str, redis: &str, options: &Options) -> Report {
    let mut pair = Pair::new(kvorum, redis);
    let mut report = Report::default();
    let begun = Instant::now();
    let mut seed = options.seed;
    while report.compared < options.commands
        && begun.elapsed() < options.time_max
        && report.failures.len() < options.failures_max
    {
        let steps = generate::script(&mut Random::new(seed), SCRIPT_STEPS, &options.filter);
        if let Some(found) = pair.run(&steps, &mut report.compared) {
            let (steps, difference) = shrink::shrink(&mut pair, steps, found);
            report.failures.push(Failure { seed, steps, difference });
        }
        seed += 1;
    }
    report
}
