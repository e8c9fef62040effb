//! `soak` and `failover`: what averages over seconds do not show.

use super::{ServerArgs, rate, seconds, until_interrupted, write_result};
use crate::error::Failure;
use crate::failover::{self, Kind};
use crate::keys::{Distribution, KEYS_MAX};
use crate::point::{Dataset, Point};
use crate::soak;
use crate::target::Peer;
use crate::workload::{VALUE_BYTES_MAX, Verb};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Longest run, in minutes.
const MINUTES_MAX: u32 = 24 * 60;

#[derive(Args)]
pub(super) struct SoakArgs {
    /// Who is measured.
    #[arg(long, value_enum, default_value = "kvorum-3")]
    peer: Peer,
    /// What to send.
    #[arg(long, value_enum, default_value = "set")]
    workload: Verb,
    /// Connections.
    #[arg(short, long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Requests that are due together on a connection.
    #[arg(short = 'P', long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pipeline: u16,
    /// Size of the key space; every key is written once first.
    #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    keys: u64,
    /// Size of each value.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=VALUE_BYTES_MAX as u64))]
    value_bytes: u64,
    /// How keys are drawn.
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: Distribution,
    /// Rate in percent of the maximum that is measured first.
    #[arg(long, value_name = "PERCENT", default_value_t = 70, value_parser = clap::value_parser!(u8).range(1..=100))]
    share: u8,
    /// Requests per second, instead of a share of the maximum.
    #[arg(long, value_name = "PER-SECOND", conflicts_with = "share", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// How long the maximum is measured: long enough that it is sustained. What a store takes in the first
    /// minute after a rest, its compactions repay later.
    #[arg(long, value_name = "SECONDS", default_value = "180", value_parser = seconds)]
    maximum: Duration,
    /// Time at the rate before counting begins.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    warmup: Duration,
    /// Length of the run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(MINUTES_MAX)))]
    minutes: u32,
    #[command(flatten)]
    servers: ServerArgs,
    /// Where the result is written, as JSON and, beside it with the ending `.html`, as a page.
    #[arg(long, value_name = "FILE", default_value = "target/bench-soak.json")]
    json: PathBuf,
    /// Exit with 1 when a bound is missed.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
pub(super) struct FailoverArgs {
    /// What happens to the leader.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "transfer,kill")]
    kinds: Vec<Kind>,
    /// How often each happens.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Writers, each with a connection of its own.
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    writers: u16,
    /// Writes per second of all writers.
    #[arg(long, value_name = "PER-SECOND", default_value = "5000", value_parser = rate)]
    rate: f64,
    #[command(flatten)]
    servers: ServerArgs,
    /// Where the result is written, as JSON and, beside it with the ending `.html`, as a page.
    #[arg(long, value_name = "FILE", default_value = "target/bench-failover.json")]
    json: PathBuf,
    /// Exit with 1 also when a bound of the gaps is missed; a write that is missing, or a transfer that
    /// moves nothing, does that in any case.
    #[arg(long)]
    check: bool,
}

/// Runs one peer for a long time.
pub(super) fn run_soak(args: SoakArgs) -> Result<ExitCode, Failure> {
    let point = Point::new(args.workload, args.connections.into(), args.pipeline.into());
    let options = soak::Options {
        peer: args.peer,
        point: Point { distribution: args.distribution, rate: args.rate, ..point },
        dataset: Dataset { keys: args.keys, value_bytes: args.value_bytes as usize },
        share: f64::from(args.share) / 100.0,
        maximum: args.maximum,
        warmup: args.warmup,
        duration: Duration::from_secs(u64::from(args.minutes) * 60),
        servers: args.servers.servers(),
    };
    options.check().map_err(Failure::new)?;
    let soak = until_interrupted(soak::run(&options))?;
    print!("{soak}");
    write_result(&args.json, &soak, &soak.page())?;
    Ok(if !args.check || soak.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Changes leaders under load.
pub(super) fn run_failover(args: FailoverArgs) -> Result<ExitCode, Failure> {
    let options = failover::Options {
        kinds: args.kinds,
        rounds: args.rounds as usize,
        writers: args.writers.into(),
        rate: args.rate,
        servers: args.servers.servers(),
    };
    let failover = until_interrupted(failover::run(&options))?;
    print!("{failover}");
    write_result(&args.json, &failover, &failover.page())?;
    let good = if args.check { failover.holds() } else { failover.is_sound() };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
