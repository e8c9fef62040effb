//! `load`: one workload against servers that already run.

use super::{DURATION_MAX_S, rate, seconds, to_json, write_json};
use crate::error::Failure;
use crate::keys::{Distribution, KEYS_MAX};
use crate::load::{self, Plan, Protocol, Stop};
use crate::process::Watch;
use crate::report::LoadReport;
use crate::workload::{MSET_KEYS_MAX, Presence, VALUE_BYTES_MAX, Verb, Workload};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Length of a run when neither `--duration` nor `--requests` is given, in seconds.
const DURATION_DEFAULT_S: f64 = 10.0;
/// Most requests in a run.
const REQUESTS_MAX: u64 = 100_000_000_000;
/// Most connections.
const CONNECTIONS_MAX: i64 = 20_000;
/// Most requests in a round.
const PIPELINE_MAX: i64 = 4_096;

#[derive(Args)]
pub(super) struct LoadArgs {
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

impl LoadArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        let plan = Plan {
            protocol: Protocol::Resp,
            addresses: self.address.clone(),
            workload: Workload {
                verb: self.workload,
                read_percent: self.read_percent,
                mset_keys: self.mset_keys,
                keys: self.keys,
                first_key: 0,
                presence: if self.preload { Presence::Filled } else { Presence::Unknown },
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
            stop: Stop::default(),
        };
        plan.workload.check(plan.pipeline).map_err(Failure::new)?;
        if plan.wait.is_some() && plan.workload.reads() {
            return Err(Failure::new("--wait is for workloads that only write"));
        }
        Ok(plan)
    }
}

/// Runs the subcommand.
pub(super) fn run(args: &LoadArgs) -> Result<ExitCode, Failure> {
    let plan = args.plan()?;
    if args.preload {
        load::preload(&plan)?;
    }
    let outcome = load::run(&plan, &Watch::default())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parse(line: &str) -> Result<Plan, String> {
        let words = ["kvorum-bench", "load"].into_iter().chain(line.split_whitespace());
        let cli = crate::cli::Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let crate::cli::Command::Load(args) = cli.command else { panic!("the line says load") };
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
    fn wait_is_for_writes() {
        assert_eq!(parse("--wait 1").unwrap().wait, Some(1));
        assert!(parse("--wait 1 --workload mix").is_err());
    }

    #[test]
    fn threads_do_not_outnumber_connections() {
        assert_eq!(parse("-c 3 --threads 8").unwrap().threads, 3);
    }
}
