//! The command: one run and its table, or the count of writes lost by kills and power cuts.
//!
//! Exits with 1 when anything is wrong; then the data is kept, and its place and the seed printed.

use clap::{Parser, Subcommand};
use kvorum_chaos::faults::Fault;
use kvorum_chaos::kills::{self, Counts};
use kvorum_chaos::report::Quota;
use kvorum_chaos::run::{self, Plan};
use kvorum_tests::node::BINARY_VARIABLE;
use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Parser)]
#[command(
    about = "Process chaos for Kvorum, and checkers of what its clients saw",
    after_help = "The proof: --each 20 --operations 1000000 --nodes 3,5 --minutes 90\n\n\
        As root, with a C compiler, ip, nsenter, tc and nft, all classes of faults are there; the \
        table says\nwhether nodes had networks of their own, and names what had no effect. \
        KVORUM_BINARY names a server to test."
)]
struct Arguments {
    /// Which faults, in which order; by default from the clock.
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// How long faults go on; with --each, how long at most.
    #[arg(long, default_value_t = 4.0, global = true)]
    minutes: f64,
    /// Nodes of the cluster; several numbers: a cluster of each size after the other, one table.
    #[arg(long, default_value = "3", value_delimiter = ',',
        value_parser = clap::value_parser!(u8).range(3..=7))]
    nodes: Vec<u8>,
    /// Go on until every class of faults was in effect so often; fail if time is over before, or if
    /// a class is not possible here (unless there is --shallow, or --only).
    #[arg(long, default_value_t = 0)]
    each: u64,
    /// So many operations must have a known outcome, with --each 30 % of them inside fault windows;
    /// by default 2000 a minute, with --each none.
    #[arg(long)]
    operations: Option<u64>,
    /// Only faults of these classes, as `--only Grow,RemoveLive`; the table of a run names them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Fault>,
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
    // Kept unless all is good, also by a panic.
    let root = tempfile::Builder::new().prefix("kvorum-chaos-").disable_cleanup(true).tempdir();
    let mut root = match root {
        Ok(root) => root,
        Err(error) => {
            eprintln!("no directory for the data: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "{}; the data is in {}",
        again(arguments.seed.is_none().then_some(seed)),
        root.path().display()
    );
    let lasts = Duration::from_secs_f64(arguments.minutes.max(0.0) * 60.0);
    let sizes: Vec<usize> = arguments.nodes.iter().map(|nodes| usize::from(*nodes)).collect();
    let good = match arguments.command {
        None => {
            let report = run::series(&plan(&arguments, seed, lasts), &sizes, root.path());
            match &report {
                Ok(report) => println!("{report}"),
                Err(error) => println!("there was no run: {error}"),
            }
            report.is_ok_and(|report| report.is_good())
        }
        Some(Kind::Kills { single, all, power_single, power_all }) => {
            let counts = Counts { single, all, power_single, power_all };
            report_kills(kills::run(counts, seed, lasts, root.path()))
        }
    };
    if good {
        root.disable_cleanup(false);
        return ExitCode::SUCCESS;
    }
    println!("FAILED, seed {seed}; the data is in {}", root.path().display());
    ExitCode::FAILURE
}

/// The command that begins this run again; `seed`: the one that the clock chose.
fn again(seed: Option<u64>) -> String {
    let mut words: Vec<String> = env::var(BINARY_VARIABLE)
        .map(|binary| format!("{BINARY_VARIABLE}={binary}"))
        .into_iter()
        .chain(env::args())
        .collect();
    words.extend(seed.map(|seed| format!("--seed {seed}")));
    words.join(" ")
}

fn plan(arguments: &Arguments, seed: u64, lasts: Duration) -> Plan {
    let by_time = if arguments.each > 0 { 0 } else { (arguments.minutes * 2000.0) as u64 };
    let operations = arguments.operations.unwrap_or(by_time);
    let all_classes = arguments.each > 0 && !arguments.shallow && arguments.only.is_empty();
    let rest_ms = match (arguments.shallow, arguments.each) {
        (true, _) => (500, 1500),
        (false, 0) => (1200, 3500),
        // Many shorter faults rather than fewer long ones.
        (false, _) => (600, 2000),
    };
    Plan {
        seed,
        nodes: 3,
        lasts,
        faults_max: None,
        quota: Quota { each: arguments.each, operations, all_classes },
        before: BTreeMap::new(),
        only: arguments.only.clone(),
        deep: !arguments.shallow,
        sets: 2,
        // A run with a quota lasts long: what its clients did has to fit into memory.
        pause: Duration::from_millis(if arguments.each > 0 { 8 } else { 2 }),
        rest_ms,
    }
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
    outcome.is_good()
}
