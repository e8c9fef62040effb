//! `peers`, `goals` and `matrix`: comparisons, which differ in their loads.

use super::{ServerArgs, seconds, until_interrupted, write_result};
use crate::error::Failure;
use crate::goals;
use crate::keys::{Distribution, KEYS_MAX};
use crate::peers::{self, Matrix, Options};
use crate::point::{Asked, Dataset, Point};
use crate::target::Peer;
use crate::workload::{VALUE_BYTES_MAX, Verb};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Time before counting begins, and with `--quick`.
const WARMUP: Duration = Duration::from_millis(500);
const WARMUP_QUICK: Duration = Duration::from_millis(300);
/// How long the peers of `goals` are watched at rest, and with `--quick`.
const IDLE: Duration = Duration::from_secs(10);
const IDLE_QUICK: Duration = Duration::from_secs(5);

/// Where the result goes.
#[derive(Args)]
struct OutputArgs {
    /// Where the result is written, as JSON and, beside it with the ending `.html`, as a page.
    #[arg(long, value_name = "FILE", default_value = "target/bench-peers.json")]
    json: PathBuf,
    /// Exit with 1 when a goal is missed or something could not be measured.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
pub(super) struct PeersArgs {
    /// Who is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::ALL)]
    peers: Vec<Peer>,
    /// Loads: workload, connections, pipeline; then `follower` or `readonly`, `zipf`, `r20000` (rate).
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
    #[command(flatten)]
    servers: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args)]
pub(super) struct GoalsArgs {
    /// Three rounds of a second instead of five of three: two or three minutes, and less certain.
    #[arg(long)]
    quick: bool,
    /// How often each point is measured [default: 5, or 3 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Length of each measurement [default: 3, or 1 with --quick].
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    #[command(flatten)]
    servers: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args)]
pub(super) struct MatrixArgs {
    /// Who is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::ALL)]
    peers: Vec<Peer>,
    /// Requests.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "set,get,mix,incr,mset")]
    workloads: Vec<Verb>,
    /// Connections, each 1 to 10000.
    #[arg(long, value_delimiter = ',', default_value = "1,50,256,1000", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: Vec<u16>,
    /// Requests in a round, each 1 to 1024.
    #[arg(long, value_delimiter = ',', default_value = "1,16", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pipelines: Vec<u16>,
    /// How keys are drawn.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "uniform")]
    distributions: Vec<Distribution>,
    /// Who gets the reads of `--workloads get`.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "leader")]
    asked: Vec<Asked>,
    /// Requests per second of open loops, each 1 to 10000000; closed loops without.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rates: Vec<u32>,
    /// Sizes of the key space; fresh servers for each.
    #[arg(long, value_delimiter = ',', default_value = "100000", value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    keys: Vec<u64>,
    /// Sizes of values; fresh servers for each.
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_value = "16,100,1024,65536", value_parser = clap::value_parser!(u64).range(0..=VALUE_BYTES_MAX as u64))]
    value_bytes: Vec<u64>,
    /// Most bytes of keys and values: a key space that would take more is made smaller, and named.
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 20, value_parser = clap::value_parser!(u64).range(1_000..))]
    data_bytes_max: u64,
    /// How often each point is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of each measurement, at most 3600.
    #[arg(short, long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    duration: Duration,
    #[command(flatten)]
    servers: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Measures the points given.
pub(super) fn run_peers(args: PeersArgs) -> Result<ExitCode, Failure> {
    let dataset = Dataset { keys: args.keys, value_bytes: args.value_bytes as usize };
    let options = Options {
        peers: args.peers,
        points: args.points,
        datasets: vec![dataset],
        goals: false,
        rounds: args.rounds as usize,
        duration: args.duration,
        warmup: WARMUP,
        idle: Duration::ZERO,
        servers: args.servers.servers(),
        not_measured: Vec::new(),
    };
    run(&options, &args.output)
}

/// Measures what the goals are about.
pub(super) fn run_goals(args: GoalsArgs) -> Result<ExitCode, Failure> {
    let pick = |full, quick| if args.quick { quick } else { full };
    let options = Options {
        peers: Peer::ALL.into(),
        points: goals::POINTS.into(),
        datasets: vec![goals::DATASET],
        goals: true,
        rounds: args.rounds.unwrap_or(if args.quick { 3 } else { 5 }) as usize,
        duration: args.duration.unwrap_or(pick(Duration::from_secs(3), Duration::from_secs(1))),
        warmup: pick(WARMUP, WARMUP_QUICK),
        idle: pick(IDLE, IDLE_QUICK),
        servers: args.servers.servers(),
        not_measured: Vec::new(),
    };
    run(&options, &args.output)
}

/// Measures every combination of the loads given.
pub(super) fn run_matrix(args: MatrixArgs) -> Result<ExitCode, Failure> {
    let (datasets, not_measured) = datasets(&args);
    let matrix = Matrix {
        verbs: args.workloads,
        connections: args.connections.into_iter().map(usize::from).collect(),
        pipelines: args.pipelines.into_iter().map(usize::from).collect(),
        distributions: args.distributions,
        asked: args.asked,
        rates: args.rates,
    };
    let options = Options {
        peers: args.peers,
        points: matrix.points(),
        datasets,
        goals: false,
        rounds: args.rounds as usize,
        duration: args.duration,
        warmup: WARMUP,
        idle: Duration::ZERO,
        servers: args.servers.servers(),
        not_measured,
    };
    run(&options, &args.output)
}

/// The data asked for, within the bound; and what was cut.
fn datasets(args: &MatrixArgs) -> (Vec<Dataset>, Vec<String>) {
    let (mut datasets, mut cut) = (Vec::new(), Vec::new());
    for &wanted in &args.keys {
        for &value_bytes in &args.value_bytes {
            let keys = wanted.min(args.data_bytes_max / (value_bytes + 16)).max(1);
            if keys < wanted {
                cut.push(format!(
                    "{wanted} keys of {value_bytes} bytes: {keys} instead, see --data-bytes-max"
                ));
            }
            let dataset = Dataset { keys, value_bytes: value_bytes as usize };
            if !datasets.contains(&dataset) {
                datasets.push(dataset);
            }
        }
    }
    (datasets, cut)
}

fn run(options: &Options, output: &OutputArgs) -> Result<ExitCode, Failure> {
    options.check().map_err(Failure::new)?;
    let comparison = until_interrupted(peers::compare(options))?;
    print!("{comparison}");
    write_result(Path::new(&output.json), &comparison, &comparison.page())?;
    let passed = !output.check || comparison.as_expected();
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn the_default_comparison_is_the_whole_one() {
        let cli = Cli::try_parse_from(["kvorum-bench", "peers"]).unwrap();
        let Command::Peers(args) = cli.command else { panic!("the line says peers") };
        assert_eq!((args.peers.len(), args.points.len(), args.rounds), (6, 5, 3));
        assert!(Cli::try_parse_from(["kvorum-bench", "peers", "--points", "set-c0-p1"]).is_err());
        assert!(Cli::try_parse_from(["kvorum-bench", "goals", "--quick", "--rounds", "2"]).is_ok());
    }

    #[test]
    fn data_that_is_too_much_is_cut_and_named() {
        let line = ["kvorum-bench", "matrix", "--keys", "1000,100000", "--value-bytes", "84,9984"];
        let cli = Cli::try_parse_from(line.into_iter().chain(["--data-bytes-max", "10000000"]));
        let Command::Matrix(args) = cli.unwrap().command else { panic!("the line says matrix") };
        let (datasets, cut) = datasets(&args);
        let keys: Vec<u64> = datasets.iter().map(|dataset| dataset.keys).collect();
        assert_eq!((keys, cut.len()), (vec![1_000, 1_000, 100_000], 1));
    }
}
