//! The command line: options with their bounds, and what each subcommand prints.
//!
//! Exit codes: 0 done, 1 nothing succeeded (`load`) or not as it should be (others, with `--check`
//! where they have it), 2 not run.

mod compare;
mod endure;
mod large;
mod load;
mod overload;

use crate::error::Failure;
use crate::peers::Servers;
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Longest run, in seconds.
const DURATION_MAX_S: f64 = 3_600.0;
/// Rates of an open loop, in requests per second.
const RATE_RANGE: std::ops::RangeInclusive<f64> = 0.01..=10_000_000.0;

/// Load generator for servers that speak the Redis protocol, and comparison of Kvorum with them.
#[derive(Parser)]
#[command(name = "kvorum-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send one workload and print throughput and latencies.
    Load(load::LoadArgs),
    /// Start Kvorum and its peers on this machine, measure them in turn, print the ratios.
    Peers(compare::PeersArgs),
    /// As `peers`, with exactly the loads that the goals are about; about ten minutes.
    Goals(compare::GoalsArgs),
    /// As `peers`, with every combination of the loads given.
    Matrix(compare::MatrixArgs),
    /// Run one peer for minutes at a share of its maximum; watch latency, memory and disk use.
    Soak(endure::SoakArgs),
    /// Let a node join a filled cluster under load; how long it takes, and what clients feel.
    Join(large::JoinArgs),
    /// Hold one node with small caches to a large key space: rates, memory, lookups, restarts.
    Large(large::LargeArgs),
    /// Attack nodes beside a well-behaved load and fill their disks: memory, latency, answers.
    Overload(overload::OverloadArgs),
    /// Hand over and kill leaders under load: how long clients wait, and whether a write is lost.
    Failover(endure::FailoverArgs),
}

/// Where servers come from and where they run.
#[derive(Args)]
struct ServerArgs {
    /// First of the fifteen ports used; Kvorum also uses four that are 10000 above.
    #[arg(long, default_value_t = 22_000, value_parser = clap::value_parser!(u16).range(1_024..=55_000))]
    base_port: u16,
    /// Where the temporary data directory is made; must be on a real disk.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Kvorum's binary [default: `cargo build --release -p kvorum` makes it].
    #[arg(long, value_name = "FILE")]
    kvorum_bin: Option<PathBuf>,
    /// A setting for Kvorum; without any it runs with its defaults.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Redis's binary.
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    redis_bin: PathBuf,
    /// etcd's binary.
    #[arg(long, value_name = "FILE", default_value = "etcd")]
    etcd_bin: PathBuf,
}

impl ServerArgs {
    fn servers(self) -> Servers {
        Servers {
            base_port: self.base_port,
            directory: self.dir,
            kvorum: self.kvorum_bin,
            kvorum_settings: self.settings,
            redis: self.redis_bin,
            etcd: self.etcd_bin,
        }
    }
}

/// Runs the subcommand.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Load(args) => load::run(&args),
        Command::Peers(args) => compare::run_peers(args),
        Command::Goals(args) => compare::run_goals(args),
        Command::Matrix(args) => compare::run_matrix(args),
        Command::Soak(args) => endure::run_soak(args),
        Command::Join(args) => large::run_join(args),
        Command::Large(args) => large::run_large(args),
        Command::Overload(args) => overload::run(args),
        Command::Failover(args) => endure::run_failover(args),
    }
}

/// Runs `work` until it ends or somebody interrupts it.
///
/// Whichever way this ends, the future of the work is dropped and stops its servers.
fn until_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            result = work => result,
            result = interrupted() => {
                result?;
                Err(Failure::new("interrupted; the servers are stopped"))
            }
        }
    })
}

/// Returns on SIGINT, SIGTERM or SIGHUP.
async fn interrupted() -> std::io::Result<()> {
    let (mut int, mut term, mut hup) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    );
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
    Ok(())
}

fn to_json(report: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(report).map_err(|error| Failure::new(error.to_string()))
}

fn write_json(path: &Path, report: &impl serde::Serialize) -> Result<(), Failure> {
    write_file(path, &(to_json(report)? + "\n"))
}

/// Writes a file and the folders above it.
fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    let named = |error| Failure::new(format!("{}: {error}", path.display()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(named)?;
    }
    std::fs::write(path, text).map_err(named)
}

/// Writes the result beside each other as `PATH.json` and `PATH.html`, and says so.
fn write_result(
    path: &Path,
    report: &impl serde::Serialize,
    page: &crate::chart::Page,
) -> Result<(), Failure> {
    let (json, html) = (path.with_extension("json"), path.with_extension("html"));
    write_json(&json, report)?;
    write_file(&html, &page.to_string())?;
    println!("\nwritten to {} and {}", json.display(), html.display());
    Ok(())
}

/// A time in seconds, with a fraction if need be.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.0..=DURATION_MAX_S).contains(&seconds) {
        return Err(format!("must be from 0 to {DURATION_MAX_S} seconds"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Requests per second.
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !RATE_RANGE.contains(&rate) {
        return Err(format!("must be from {} to {}", RATE_RANGE.start(), RATE_RANGE.end()));
    }
    Ok(rate)
}
