//! The command: one run and its table, or the count of writes lost by kills and power cuts.
//!
//! Exits with 1 when anything is wrong; then the data is kept, and its place and the seed printed.

use clap::{Parser, Subcommand};
use kvorum_chaos::kills::{self, Counts};
use kvorum_chaos::run::{self, Plan};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Parser)]
#[command(about = "Process chaos for Kvorum, and checkers of what its clients saw")]
struct Arguments {
    /// Which faults, in which order; by default from the clock.
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// How long faults go on.
    #[arg(long, default_value_t = 4.0, global = true)]
    minutes: f64,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=7))]
    nodes: u8,
    /// Only what needs no root and no C compiler.
    #[arg(long)]
    shallow: bool,
    #[command(subcommand)]
    command: Option<Kind>,
}

#[derive(Subcommand)]
enum Kind {
    /// Counts acknowledged writes lost by kill -9 and power cuts.
    Kills {
        #[arg(long, default_value_t = 300)]
        single: u64,
        #[arg(long, default_value_t = 50)]
        all: u64,
        #[arg(long, default_value_t = 100)]
        power_single: u64,
        #[arg(long, default_value_t = 30)]
        power_all: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    let seed = arguments.seed.unwrap_or(now % 1_000_000);
    let root = tempfile::Builder::new().prefix("kvorum-chaos-").tempdir();
    let root = match root {
        Ok(root) => root,
        Err(error) => {
            eprintln!("no directory for the data: {error}");
            return ExitCode::FAILURE;
        }
    };
    let lasts = Duration::from_secs_f64(arguments.minutes.max(0.0) * 60.0);
    let good = match arguments.command {
        None => {
            let plan = Plan {
                seed,
                nodes: usize::from(arguments.nodes),
                lasts,
                faults_max: None,
                deep: !arguments.shallow,
                sets: 2,
                pause: Duration::from_millis(2),
                operations_min: (arguments.minutes * 2000.0) as u64,
            };
            let report = run::run(plan, root.path());
            match &report {
                Ok(report) => println!("{report}"),
                Err(error) => println!("the cluster did not start: {error}"),
            }
            report.is_ok_and(|report| report.is_good())
        }
        Some(Kind::Kills { single, all, power_single, power_all }) => {
            let counts = Counts { single, all, power_single, power_all };
            report_kills(kills::run(counts, seed, lasts, root.path()))
        }
    };
    if good {
        return ExitCode::SUCCESS;
    }
    println!("FAILED, seed {seed}; the data is in {}", root.keep().display());
    ExitCode::FAILURE
}

fn report_kills(outcome: Result<kills::Outcome, String>) -> bool {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            println!("{error}");
            return false;
        }
    };
    let [single, all, power_single, power_all] = outcome.done;
    println!(
        "| kill -9 of one (leaders among all single faults) | {single} ({}) |",
        outcome.leaders
    );
    println!("| kill -9 of all | {all} |");
    println!("| power cut of one | {power_single} |");
    println!("| power cut of all | {power_all} |");
    println!("| acknowledged writes | {} |", outcome.acked);
    println!("| lost or wrong, on any node | {} |", outcome.faults.len());
    if outcome.is_cut_short {
        println!("| the time was over before all were done | |");
    }
    outcome.faults.iter().take(20).for_each(|fault| println!("{fault}"));
    outcome.faults.is_empty()
}
