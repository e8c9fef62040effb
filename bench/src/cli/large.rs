//! `join` and `large`: what is only seen when there is far more data than memory for it.

use super::{ServerArgs, seconds, until_interrupted, write_result};
use crate::error::Failure;
use crate::join;
use crate::keys::KEYS_MAX;
use crate::large::{self, FIRST_ABSENT_KEY};
use crate::point::{Dataset, Point};
use crate::target::Peer;
use crate::workload::{VALUE_BYTES_MAX, Verb};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args)]
pub(super) struct JoinArgs {
    /// What the new node joins: kvorum-1 or kvorum-3.
    #[arg(long, value_enum, default_value = "kvorum-3")]
    peer: Peer,
    /// Size of the key space; every key is written once first.
    #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    keys: u64,
    /// Size of each value.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=VALUE_BYTES_MAX as u64))]
    value_bytes: u64,
    /// Connections.
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Requests that are due together on a connection.
    #[arg(short = 'P', long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pipeline: u16,
    /// Rate of SETs in percent of the maximum that is measured first.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    share: u8,
    /// SETs per second, instead of a share of the maximum.
    #[arg(long, value_name = "PER-SECOND", conflicts_with = "share", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// How long the maximum is measured.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    maximum: Duration,
    /// Time at the rate before counting begins.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    warmup: Duration,
    /// How long the load runs alone.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    before: Duration,
    /// Longest that the join may take.
    #[arg(long, value_name = "SECONDS", default_value = "900", value_parser = seconds)]
    timeout: Duration,
    /// Keys that the new node is asked for in the end.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    samples: u32,
    #[command(flatten)]
    servers: ServerArgs,
    /// Where the result is written, as JSON and, beside it with the ending `.html`, as a page.
    #[arg(long, value_name = "FILE", default_value = "target/bench-join.json")]
    json: PathBuf,
    /// Exit with 1 when a bound is missed.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
pub(super) struct LargeArgs {
    /// Size of the key space; every key is written once first.
    #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..=FIRST_ABSENT_KEY))]
    keys: u64,
    /// Size of each value.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=VALUE_BYTES_MAX as u64))]
    value_bytes: u64,
    /// How often each load and each restart is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Length of each load.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    duration: Duration,
    /// Time before counting begins.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    warmup: Duration,
    #[command(flatten)]
    servers: ServerArgs,
    /// Where the result is written, as JSON and, beside it with the ending `.html`, as a page.
    #[arg(long, value_name = "FILE", default_value = "target/bench-large.json")]
    json: PathBuf,
    /// Exit with 1 when a bound is missed.
    #[arg(long)]
    check: bool,
}

/// Lets a node join under load.
pub(super) fn run_join(args: JoinArgs) -> Result<ExitCode, Failure> {
    let point = Point::new(Verb::Set, args.connections.into(), args.pipeline.into());
    let options = join::Options {
        peer: args.peer,
        point: Point { rate: args.rate, ..point },
        dataset: Dataset { keys: args.keys, value_bytes: args.value_bytes as usize },
        share: f64::from(args.share) / 100.0,
        maximum: args.maximum,
        warmup: args.warmup,
        before: args.before,
        longest: args.timeout,
        samples: args.samples,
        servers: args.servers.servers(),
    };
    options.check().map_err(Failure::new)?;
    let join = until_interrupted(join::run(&options))?;
    print!("{join}");
    write_result(&args.json, &join, &join.page())?;
    Ok(if !args.check || join.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Holds one node to a large key space.
pub(super) fn run_large(args: LargeArgs) -> Result<ExitCode, Failure> {
    let options = large::Options {
        dataset: Dataset { keys: args.keys, value_bytes: args.value_bytes as usize },
        rounds: args.rounds as usize,
        duration: args.duration,
        warmup: args.warmup,
        servers: args.servers.servers(),
    };
    options.check().map_err(Failure::new)?;
    let large = until_interrupted(large::run(&options))?;
    print!("{large}");
    write_result(&args.json, &large, &large.page())?;
    Ok(if !args.check || large.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
