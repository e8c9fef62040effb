//! Inputs that nobody would send, for whatever reads what comes from outside or from the disk.
//!
//! Each target makes its inputs from a seed, a number for each, and panics with what makes the input
//! again. No instrumentation steers them: the inputs are made to look like the real thing instead. The
//! targets in `protocol/fuzz` are steered, and need another compiler.

mod apply;
mod texts;

use crate::random::Random;
use std::time::{Duration, Instant};

/// Something that reads inputs.
pub struct Target {
    pub name: &'static str,
    /// Makes the input of this seed and lets it be read; returns how many executions that was.
    run: fn(&mut Random) -> u64,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "apply", run: apply::on_two_engines },
    Target { name: "entries", run: apply::entries },
    Target { name: "requests", run: texts::requests },
    Target { name: "inline", run: texts::inline },
    Target { name: "replies", run: texts::replies },
    Target { name: "snapshot chunks", run: texts::snapshot_chunks },
    Target { name: "log segments", run: texts::log_segments },
    Target { name: "configuration", run: texts::configuration },
];

/// Runs a target for this long at most, and so many inputs at most, beginning with the input of
/// `seed`; returns the number of executions.
///
/// # Panics
/// An input was not read as it should be. The seed of it is printed.
pub fn run(target: &Target, seed: u64, inputs_max: u64, time_max: Duration) -> u64 {
    let begun = Instant::now();
    let mut executions = 0;
    for seed in seed..seed.saturating_add(inputs_max) {
        if begun.elapsed() >= time_max {
            break;
        }
        let shown = ShowSeed { target: target.name, seed };
        executions += (target.run)(&mut Random::new(seed));
        drop(shown);
    }
    executions
}

/// Prints the seed of the input when reading it panics.
struct ShowSeed {
    target: &'static str,
    seed: u64,
}

impl Drop for ShowSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}, --seed {}", self.target, self.seed);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo run --release -p kvorum-tests --bin fuzz` runs them for longer.
    #[test]
    fn no_target_fails_soon() {
        for target in TARGETS {
            let executions = run(target, 1, 200, Duration::from_secs(1));
            println!("{}: {executions} executions", target.name);
            assert!(executions > 0);
        }
    }
}
