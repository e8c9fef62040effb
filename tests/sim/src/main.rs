//! `cargo sim --seeds A..B`: runs these seeds and prints what was simulated and what was violated.
//!
//! The output depends on the seeds alone, not on threads or, unless `--minutes` or `--until-violated`
//! ends it, the speed of the machine; progress goes to stderr. The exit code is 1 if anything was
//! violated or differed, or if the runs did not try what they were asked to; see `summary`.

use kvorum_sim::run::{Report, run};
use kvorum_sim::summary::Summary;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const HELP: &str = "\
cargo sim --seeds A..B [--seconds N] [--replay-every N] [--threads N] [--minutes N] [--until-violated]
  --seeds A..B      seeds to run (0..100)
  --seconds N       simulated seconds with faults in a run (60)
  --replay-every N  runs each Nth seed twice, and the first, and compares the two (100)
  --threads N       runs at the same time (as many as there are processors)
  --minutes N       begins no run after so many minutes, and fails if seeds are left (1440)
  --until-violated  begins no run after a violation
KVORUM_SIM_TRACE=1 prints every event of a run.";

struct Options {
    seeds: Range<u64>,
    harmed: Duration,
    replay_every: u64,
    threads: usize,
    begin_until: Instant,
    until_violated: bool,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Ok(Some(options)) => simulate(&options),
        Ok(None) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let harmed = Duration::from_secs(60);
    let mut options = Options {
        seeds: 0..100,
        harmed,
        replay_every: 100,
        threads,
        begin_until: end(1440),
        until_violated: false,
    };
    while let Some(argument) = arguments.next() {
        if argument == "--help" {
            return Ok(None);
        }
        if argument == "--until-violated" {
            options.until_violated = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{argument} needs a number"));
        match argument.as_str() {
            "--seeds" => options.seeds = range(&value)?,
            "--seconds" => options.harmed = Duration::from_secs(number()?),
            "--replay-every" => options.replay_every = number()?.max(1),
            "--minutes" => options.begin_until = end(number()?),
            "--threads" => options.threads = number()?.clamp(1, 256) as usize,
            _ => return Err(format!("unknown: {argument}")),
        }
    }
    Ok(Some(options))
}

fn end(minutes: u64) -> Instant {
    Instant::now() + Duration::from_secs(60) * u32::try_from(minutes.min(525_600)).unwrap_or(1)
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parsed =
        text.split_once("..").and_then(|(from, upto)| Some(from.parse().ok()?..upto.parse().ok()?));
    parsed.ok_or_else(|| format!("{text} is not of the form A..B"))
}

/// What came of one seed; the second run, if there was one.
type Outcome = (Report, Option<Report>);

fn simulate(options: &Options) -> ExitCode {
    let next = AtomicU64::new(options.seeds.start);
    let outcomes: Mutex<BTreeMap<u64, Outcome>> = Mutex::default();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| work(options, &next, &ended, &outcomes));
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    print(options, &outcomes)
}

fn work(
    options: &Options,
    next: &AtomicU64,
    ended: &AtomicBool,
    outcomes: &Mutex<BTreeMap<u64, Outcome>>,
) {
    while !ended.load(Ordering::Relaxed) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= options.seeds.end || Instant::now() >= options.begin_until {
            return;
        }
        let run = || {
            let run = AssertUnwindSafe(|| run(seed, options.harmed));
            catch_unwind(run).unwrap_or_else(|_| panicked(seed))
        };
        let report = run();
        let is_first_of_many = seed == options.seeds.start && seed + 1 < options.seeds.end;
        let again = (is_first_of_many || seed.is_multiple_of(options.replay_every)).then(run);
        if let Some(violation) = &report.violation {
            eprintln!("seed {seed}: {violation}");
            ended.fetch_or(options.until_violated, Ordering::Relaxed);
        }
        let mut outcomes = outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        outcomes.insert(seed, (report, again));
        if outcomes.len().is_multiple_of(100) {
            eprintln!("{} seeds", outcomes.len());
        }
    }
}

/// The report of a seed whose run itself panicked, which has printed why.
fn panicked(seed: u64) -> Report {
    let violation = Some("a panic, printed above".to_owned());
    Report { seed, violation, ..Report::default() }
}

fn print(options: &Options, outcomes: &BTreeMap<u64, Outcome>) -> ExitCode {
    let mut summary = Summary::default();
    for (seed, (report, again)) in outcomes {
        if let Some(violation) = &report.violation {
            let (nodes, trace) = (report.nodes, report.trace);
            println!("seed {seed}, {nodes} nodes, trace {trace:016x}: {violation}");
            println!("  again: {}", replay(*seed, options.harmed));
        }
        if let Some(again) = again.as_ref().filter(|again| *again != report) {
            let (one, two) = (report.trace, again.trace);
            println!("seed {seed}: two runs differ, {one:016x} and {two:016x}");
        }
        summary.add(report, again.as_ref());
    }
    print!("{summary}");
    let asked = options.seeds.end.saturating_sub(options.seeds.start);
    let failures = summary.failures(asked);
    failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64, harmed: Duration) -> String {
    format!("cargo sim --seeds {seed}..{} --seconds {}", seed + 1, harmed.as_secs())
}
