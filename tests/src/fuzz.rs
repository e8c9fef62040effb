//! Inputs that nobody would send, for whatever reads what comes from outside or from the disk.
//!
//! Each target makes its inputs from a seed, a number for each, and panics when one is not read as it
//! should be. No instrumentation steers them: the inputs are made to look like the real thing
//! instead. The targets in `protocol/fuzz` are steered, and need another compiler.
//!
//! An execution is one input: bytes that are read, a request that is answered, a command that is
//! applied. Many inputs are read more than once, whole and in pieces or by two engines; the table
//! counts these readings apart. Invariant: an input depends on its seed alone, so that the seed
//! repeats it. A seed may make several inputs.

mod apply;
mod log;
mod memory_disk;
mod session;
mod settings;
mod snapshot;
mod texts;

use crate::random::Random;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Seeds of failures that are printed for each target; all are counted.
const FAILURES_SHOWN: usize = 20;

/// Something that reads inputs.
pub struct Target {
    pub name: &'static str,
    /// Makes the inputs of a seed and lets them be read.
    run: fn(&mut Random) -> Done,
}

/// What was done with the inputs of a seed.
#[derive(Clone, Copy, Debug)]
struct Done {
    /// Inputs, no two of them the same by intention.
    executions: u64,
    /// How often they were read, all together.
    readings: u64,
}

impl Done {
    /// One input, read so many times.
    fn one(readings: u64) -> Done {
        Done { executions: 1, readings }
    }
}

/// The target that reads requests as a connection does.
pub const SCANNER: &str = "requests";

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: SCANNER, run: texts::requests },
    Target { name: "inline", run: texts::inline },
    Target { name: "replies", run: texts::replies },
    Target {
        name: "peer frames",
        run: |random| Done::one(kvorum::fuzzing::peer_frame(&mut || random.number())),
    },
    Target {
        name: "peer messages",
        run: |random| Done::one(kvorum::fuzzing::peer_message(&mut || random.number())),
    },
    Target { name: "entries", run: apply::entries },
    Target { name: "snapshot chunks", run: snapshot::chunks },
    Target { name: "log segments", run: log::segments },
    Target { name: "configuration", run: settings::configuration },
    Target { name: "apply", run: apply::on_two_engines },
    Target { name: "session commands", run: session::requests },
];

/// How long a target runs: until the first of these bounds.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first inputs are those of this seed, the next those of the next number.
    pub seed: u64,
    /// Seeds at most.
    pub seeds: u64,
    /// Executions, at least.
    pub executions: u64,
    /// A target begins no seed after so long.
    pub time_max: Duration,
    /// Threads that share the seeds; at least 1.
    pub threads: usize,
}

/// What came of a target: a line of the table.
#[derive(Debug)]
pub struct Row {
    pub name: String,
    /// Inputs.
    pub executions: u64,
    /// How often these were read.
    pub readings: u64,
    pub time: Duration,
    /// Seeds with inputs that were not read as they should be.
    pub failures: u64,
}

impl Row {
    /// The head of the table that rows are lines of.
    pub const HEAD: &str = "| target | executions | readings | seconds | executions per second | failures |\n\
                            |---|---:|---:|---:|---:|---:|";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { name, executions, readings, time, failures } = self;
        let seconds = time.as_secs_f64();
        let rate = *executions as f64 / seconds.max(1e-9);
        write!(f, "| {name} | {executions} | {readings} | {seconds:.1} | {rate:.0} | {failures} |")
    }
}

/// Runs a target. Seeds of inputs that fail are printed, and others go on.
pub fn run(target: &Target, plan: &Plan) -> Row {
    let work = Work {
        begun: Instant::now(),
        seeds: AtomicU64::new(0),
        executions: AtomicU64::new(0),
        readings: AtomicU64::new(0),
        failures: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            scope.spawn(|| work.take_part(target, plan));
        }
    });
    let failures = *work.failures.lock().expect("no input is read under the lock");
    Row {
        name: target.name.to_owned(),
        executions: work.executions.into_inner(),
        readings: work.readings.into_inner(),
        time: work.begun.elapsed(),
        failures,
    }
}

/// What the threads of a target share.
struct Work {
    begun: Instant,
    /// Seeds that were begun.
    seeds: AtomicU64,
    executions: AtomicU64,
    readings: AtomicU64,
    failures: Mutex<u64>,
}

impl Work {
    fn take_part(&self, target: &Target, plan: &Plan) {
        while self.executions.load(Ordering::Relaxed) < plan.executions
            && self.begun.elapsed() < plan.time_max
        {
            let number = self.seeds.fetch_add(1, Ordering::Relaxed);
            if number >= plan.seeds {
                return;
            }
            let seed = plan.seed.wrapping_add(number);
            let read = || (target.run)(&mut Random::new(seed));
            let done = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
                let mut failures = self.failures.lock().expect("nothing panics under the lock");
                *failures += 1;
                if *failures <= FAILURES_SHOWN as u64 {
                    eprintln!("FAILED: --target '{}' --seed {seed} --seeds 1", target.name);
                }
                Done::one(1)
            });
            self.executions.fetch_add(done.executions, Ordering::Relaxed);
            self.readings.fetch_add(done.readings, Ordering::Relaxed);
        }
    }
}

/// Spoils bytes in one to three places.
fn spoil(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0..3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 if at < bytes.len() => bytes[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            4 => bytes.truncate(at),
            _ => bytes.insert(at, random.number() as u8),
        }
    }
}

/// A directory that is gone when it is dropped; in memory where the system has such.
fn temporary_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    dir.expect("a temporary directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(executions: u64, threads: usize) -> Plan {
        let time_max = Duration::from_secs(60);
        Plan { seed: 1, seeds: u64::MAX, executions, time_max, threads }
    }

    /// Executions of each target here, whatever the machine.
    const EXECUTIONS_MIN: u64 = 300;

    /// `cargo fuzz-all` runs them for longer.
    #[test]
    fn no_target_fails_soon() {
        for target in TARGETS {
            let row = run(target, &plan(EXECUTIONS_MIN, 1));
            println!("{row}");
            assert!(row.executions >= EXECUTIONS_MIN && row.failures == 0, "{row}");
        }
    }

    #[test]
    fn a_failing_input_is_counted_and_others_go_on() {
        fn fails_now_and_then(random: &mut Random) -> Done {
            assert!(random.percent(75), "on purpose");
            Done::one(1)
        }
        let target = Target { name: "failing", run: fails_now_and_then };
        let row = run(&target, &plan(100, 2));
        assert!(row.executions >= 100, "{row}");
        assert!((1..100).contains(&row.failures), "{row}");
    }

    #[test]
    fn a_bound_ends_a_run() {
        let target = Target { name: "counting", run: |_| Done { executions: 3, readings: 5 } };
        let row = run(&target, &Plan { seeds: 7, ..plan(1_000, 2) });
        assert_eq!((row.executions, row.readings), (21, 35));
        let row = run(&target, &plan(10, 1));
        assert_eq!(row.executions, 12);
        let row = run(&target, &Plan { time_max: Duration::ZERO, ..plan(10, 1) });
        assert_eq!(row.executions, 0);
    }
}
