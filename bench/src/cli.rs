//! The command line: options with their bounds, and what each subcommand prints.
//!
//! Exit codes: 0 done, 1 nothing succeeded (`load`) or a ratio too low (`peers --check`), 2 not run.

use crate::comparison::Point;
use crate::error::Failure;
use crate::keys::{Distribution, KEYS_MAX};
use crate::load::{self, Plan};
use crate::peers;
use crate::report::LoadReport;
use crate::target::Peer;
use crate::workload::{MSET_KEYS_MAX, VALUE_BYTES_MAX, Verb, Workload};
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Longest run, in seconds.
const DURATION_MAX_S: f64 = 3_600.0;
/// Length of a run when neither `--duration` nor `--requests` is given, in seconds.
const DURATION_DEFAULT_S: f64 = 10.0;
/// Most requests in a run.
const REQUESTS_MAX: u64 = 100_000_000_000;
/// Most connections.
const CONNECTIONS_MAX: i64 = 20_000;
/// Most requests in a round.
const PIPELINE_MAX: i64 = 4_096;

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
    Load(LoadArgs),
    /// Start Kvorum and its peers on this machine, measure them in turn, print the ratios.
    Peers(PeersArgs),
}

#[derive(Args)]
struct LoadArgs {
    /// Server; several, separated by commas, share the connections or (--cluster) are tried in turn.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6379", value_delimiter = ',')]
    address: Vec<String>,
    /// What to send.
    #[arg(long, value_enum, default_value = "set")]
    workload: Verb,
    /// Share of GET in `--workload mix`, in percent.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    read_percent: u8,
    /// Keys in each MSET.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=MSET_KEYS_MAX))]
    mset_keys: u64,
    /// Size of the key space.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    keys: u64,
    /// How keys are drawn.
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: Distribution,
    /// Size of each value.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=VALUE_BYTES_MAX as u64))]
    value_bytes: u64,
    /// Write every key once before the measurement.
    #[arg(long)]
    preload: bool,
    /// Connections.
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    connections: u32,
    /// Requests sent before their replies are awaited.
    #[arg(short = 'P', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=PIPELINE_MAX))]
    pipeline: u32,
    /// Threads of the generator; one is enough for a million replies per second.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Seconds to measure, at most 3600 [default: 10, or 3600 with --requests].
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Stop after this many requests.
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..=REQUESTS_MAX))]
    requests: Option<u64>,
    /// Seconds to run before counting begins.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// Send at this rate whatever the server does (open loop): requests per second over all
    /// connections; latencies count from when a request was due.
    #[arg(long, value_name = "PER-SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Send `WAIT N 1000` after each round; its writes count when N replicas have answered.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    wait: Option<u32>,
    /// Speak RESP3 (HELLO 3).
    #[arg(long)]
    resp3: bool,
    /// Ask for CLUSTER SLOTS, talk to the owners, follow MOVED and REDIRECT.
    #[arg(long)]
    cluster: bool,
    /// Send READONLY first: reads are answered by the node asked.
    #[arg(long)]
    readonly: bool,
    /// Password for AUTH.
    #[arg(long, env = "KVORUM_BENCH_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Seed of keys and values.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the result to this file as JSON (`-`: to the terminal, instead of the table).
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct PeersArgs {
    /// Who is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::ALL)]
    peers: Vec<Peer>,
    /// Loads: workload, connections, pipeline.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "set-c50-p1,set-c50-p16,get-c50-p1,get-c50-p16,set-c1-p1"
    )]
    points: Vec<Point>,
    /// How often each point is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of each measurement, at most 3600.
    #[arg(short, long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    duration: Duration,
    /// Size of the key space; every key is written once before the first round.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    keys: u64,
    /// Size of each value.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=VALUE_BYTES_MAX as u64))]
    value_bytes: u64,
    /// First of the nine ports used; Kvorum also uses four that are 10000 above.
    #[arg(long, default_value_t = 22_000, value_parser = clap::value_parser!(u16).range(1_024..=55_000))]
    base_port: u16,
    /// Where the temporary data directory is made; must be on a real disk.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Kvorum's binary [default: `cargo build --release -p kvorum` makes it].
    #[arg(long, value_name = "FILE")]
    kvorum_bin: Option<PathBuf>,
    /// Redis's binary; without it Kvorum is measured alone.
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    redis_bin: PathBuf,
    /// Where the result is written.
    #[arg(long, value_name = "FILE", default_value = "target/bench-peers.json")]
    json: PathBuf,
    /// Exit with 1 when a ratio is lower than expected or something could not be measured.
    #[arg(long)]
    check: bool,
}

impl LoadArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        let plan = Plan {
            addresses: self.address.clone(),
            workload: Workload {
                verb: self.workload,
                read_percent: self.read_percent,
                mset_keys: self.mset_keys,
                keys: self.keys,
                distribution: self.distribution,
                value_bytes: self.value_bytes as usize,
            },
            connections: self.connections as usize,
            pipeline: self.pipeline as usize,
            threads: self.threads.min(self.connections) as usize,
            resp3: self.resp3,
            cluster: self.cluster,
            readonly: self.readonly,
            wait: self.wait,
            password: self.password.clone(),
            warmup: self.warmup,
            duration: self.duration.unwrap_or(Duration::from_secs_f64(
                if self.requests.is_some() { DURATION_MAX_S } else { DURATION_DEFAULT_S },
            )),
            drain: load::DRAIN,
            requests: self.requests,
            rate: self.rate,
            seed: self.seed,
        };
        plan.workload.check(plan.pipeline).map_err(Failure::new)?;
        if plan.wait.is_some() && plan.workload.reads() {
            return Err(Failure::new("--wait is for workloads that only write"));
        }
        Ok(plan)
    }
}

/// Runs the subcommand.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Load(args) => run_load(&args),
        Command::Peers(args) => run_peers(args),
    }
}

fn run_peers(args: PeersArgs) -> Result<ExitCode, Failure> {
    let options = peers::Options {
        peers: args.peers,
        points: args.points,
        rounds: args.rounds as usize,
        duration: args.duration,
        keys: args.keys,
        value_bytes: args.value_bytes as usize,
        base_port: args.base_port,
        directory: args.dir,
        kvorum: args.kvorum_bin,
        redis: args.redis_bin,
    };
    options.check().map_err(Failure::new)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let comparison = runtime.block_on(async {
        // Whichever way this ends, the future of the comparison is dropped and stops its servers.
        tokio::select! {
            result = peers::compare(&options) => result,
            result = interrupted() => {
                result?;
                Err(Failure::new("interrupted; the servers are stopped"))
            }
        }
    })?;
    write_json(&args.json, &comparison)?;
    print!("{comparison}");
    println!("\nwritten to {}", args.json.display());
    let passed = !args.check || comparison.as_expected();
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn run_load(args: &LoadArgs) -> Result<ExitCode, Failure> {
    let plan = args.plan()?;
    if args.preload {
        load::preload(&plan)?;
    }
    let outcome = load::run(&plan, &[])?;
    let report = LoadReport::new(&plan, &outcome);
    match args.json.as_deref() {
        Some(path) if path == Path::new("-") => println!("{}", to_json(&report)?),
        Some(path) => {
            write_json(path, &report)?;
            print!("{report}");
        }
        None => print!("{report}"),
    }
    Ok(if outcome.tally.operations() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn to_json(report: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(report).map_err(|error| Failure::new(error.to_string()))
}

fn write_json(path: &Path, report: &impl serde::Serialize) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, to_json(report)? + "\n")
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        let words = ["kvorum-bench", "load"].into_iter().chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Load(args) = cli.command else { panic!("the line says load") };
        args.plan().map_err(|failure| failure.to_string())
    }

    #[test]
    fn every_run_is_bounded() {
        assert_eq!(parse("").unwrap().duration, Duration::from_secs(10));
        assert_eq!(parse("-n 5").unwrap().duration, Duration::from_secs(3_600));
        assert_eq!(parse("-n 5 -d 0.5").unwrap().duration, Duration::from_millis(500));
        for line in
            ["-d 3601", "-d -1", "-d NaN", "-n 0", "-c 0", "-c 20001", "-P 4097", "--keys 0"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--rate 0").is_err() && parse("--rate NaN").is_err());
        assert_eq!(parse("--rate 1000").unwrap().rate, Some(1_000.0));
        assert!(parse("--value-bytes 16777217").is_err());
        assert!(parse("--value-bytes 1048576 -P 100").is_err());
    }

    #[test]
    fn the_default_comparison_is_the_whole_one() {
        let cli = Cli::try_parse_from(["kvorum-bench", "peers"]).unwrap();
        let Command::Peers(args) = cli.command else { panic!("the line says peers") };
        assert_eq!((args.peers.len(), args.points.len(), args.rounds), (5, 5, 3));
        assert!(Cli::try_parse_from(["kvorum-bench", "peers", "--points", "set-c0-p1"]).is_err());
    }

    #[test]
    fn wait_is_for_writes() {
        assert_eq!(parse("--wait 1").unwrap().wait, Some(1));
        assert!(parse("--wait 1 --workload mix").is_err());
    }

    #[test]
    fn threads_do_not_outnumber_connections() {
        assert_eq!(parse("-c 3 --threads 8").unwrap().threads, 3);
    }
}
