//! `overload`: hostile clients beside well-behaved ones, and disks that fill up.

use super::{ServerArgs, seconds, to_json, until_interrupted, write_file};
use crate::error::Failure;
use crate::keys::KEYS_MAX;
use crate::overload::{self, DURATION_MIN};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args)]
pub(super) struct OverloadArgs {
    /// Only scenarios whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Keys that the nodes hold.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    keys: u64,
    /// Requests per second of the well-behaved clients.
    #[arg(long, value_name = "PER-SECOND", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Length of each of the two measurements of a scenario, at least 3; the attack begins one second
    /// inside the second of them.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = window)]
    duration: Duration,
    /// Attacks one Redis that persists nothing in the place of Kvorum, to learn what these attacks cost
    /// by the cores they share alone; scenarios of three nodes and of full disks are left out.
    #[arg(long)]
    redis: bool,
    #[command(flatten)]
    servers: ServerArgs,
    /// Where the result is written as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/bench-overload.json")]
    json: PathBuf,
}

/// A window in which an attack has a time before, during and after.
fn window(text: &str) -> Result<Duration, String> {
    let duration = seconds(text)?;
    match duration >= DURATION_MIN {
        true => Ok(duration),
        false => Err(format!("must be at least {} seconds", DURATION_MIN.as_secs())),
    }
}

/// Exits with 1 when a bound is missed or an answer is wrong.
pub(super) fn run(args: OverloadArgs) -> Result<ExitCode, Failure> {
    let options = overload::Options {
        only: args.only,
        keys: args.keys,
        rate: args.rate,
        duration: args.duration,
        redis: args.redis,
        servers: args.servers.servers(),
    };
    let report = until_interrupted(overload::run(&options))?;
    print!("{report}");
    write_file(&args.json, &(to_json(&report)? + "\n"))?;
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
