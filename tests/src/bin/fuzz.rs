//! Runs the fuzz targets, and prints a table of the executions that each had.
//!
//! ```text
//! cargo run --release -p kvorum-tests --bin fuzz -- --executions 1000000 --seed 1
//! ```
//!
//! `cargo fuzz-all` is this in full size. Exit code 1: an input was not read as it should be; the
//! arguments that read it again were printed.

use clap::Parser;
use kvorum_tests::differential::{self, Options, servers::Servers};
use kvorum_tests::fuzz::{Plan, Row, SCANNER, TARGETS, run};
use kvorum_tests::redis_server::DEFAULT_BINARY;
use std::ffi::OsString;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Inputs that nobody would send, for whatever reads what comes from outside")]
struct Arguments {
    /// Executions of each target; without this, each runs for a while.
    #[arg(long)]
    executions: Option<u64>,
    /// Executions of the target that reads requests; by default as many as of the others.
    #[arg(long)]
    scanner_executions: Option<u64>,
    /// How long a target runs at most; 30 where no number of executions is given.
    #[arg(long)]
    seconds: Option<u64>,
    /// Seeds of each target at most.
    #[arg(long, default_value_t = u64::MAX)]
    seeds: u64,
    /// The first inputs are those of this seed, the next those of the next number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this target.
    #[arg(long, value_parser = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>())]
    target: Option<String>,
    /// Threads; by default as many as there are cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Random commands whose replies are compared with those of redis-server, after the targets.
    #[arg(long, default_value_t = 0)]
    differential_commands: u64,
    /// The redis-server to compare with.
    #[arg(long, default_value = DEFAULT_BINARY)]
    redis_server: OsString,
}

/// Scripts with differences after which the comparison ends.
const DIFFERENCES_MAX: usize = 20;

/// Pairs of servers that are compared at once: while one waits, others work.
const PAIRS: usize = 3;

impl Arguments {
    fn plan(&self, target: &str) -> Plan {
        let executions = match target {
            SCANNER => self.scanner_executions.or(self.executions),
            _ => self.executions,
        };
        let seconds = self.seconds.unwrap_or(if executions.is_none() { 30 } else { u64::MAX });
        let cores = available_parallelism().map_or(1, usize::from);
        Plan {
            seed: self.seed,
            seeds: self.seeds,
            executions: executions.unwrap_or(u64::MAX),
            time_max: Duration::from_secs(seconds),
            threads: self.threads.unwrap_or(cores).max(1),
        }
    }
}

/// Compares random commands; the second part of what is returned says which departures were used.
fn compare(arguments: &Arguments) -> (Row, String) {
    let servers = Servers::start(PAIRS, &arguments.redis_server);
    let begun = Instant::now();
    let options = Options {
        seed: arguments.seed,
        commands: arguments.differential_commands,
        failures_max: DIFFERENCES_MAX,
        ..Options::default()
    };
    let report = differential::run(&servers.addresses(), &options);
    report.failures.iter().for_each(|failure| eprintln!("FAILED: {failure}\n"));
    let used = report.departures.iter().map(|(name, count)| format!("{name}: {count}"));
    let used: Vec<String> = used.collect();
    let row = Row {
        name: "replies as of redis-server".to_owned(),
        executions: report.compared,
        // Each server replies to each.
        readings: 2 * report.compared,
        time: begun.elapsed(),
        failures: report.failures.len() as u64,
    };
    (row, used.join(", "))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wanted = |name: &str| arguments.target.as_ref().is_none_or(|target| target == name);
    println!("{}", Row::HEAD);
    let mut failures = 0;
    for target in TARGETS.iter().filter(|target| wanted(target.name)) {
        let row = run(target, &arguments.plan(target.name));
        println!("{row}");
        failures += row.failures;
    }
    if arguments.differential_commands > 0 {
        let (row, departures) = compare(&arguments);
        println!("{row}\n\nDepartures that replies made use of: {departures}.");
        failures += row.failures;
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
