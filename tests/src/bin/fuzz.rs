//! Runs the fuzz targets, each for a while, and prints how many executions each had.
//!
//! ```text
//! cargo run --release -p kvorum-tests --bin fuzz -- --seconds 60 --seed 1
//! ```
//!
//! `--target NAME` runs one only; with `--inputs 1` and the seed that a failure printed, its input again.

use kvorum_tests::fuzz::{TARGETS, run};
use std::time::Duration;

fn main() {
    let (mut seed, mut seconds, mut inputs, mut only) = (1, 30, u64::MAX, String::new());
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().unwrap_or_default();
        let number = || value.parse().unwrap_or_else(|_| panic!("{name} takes a number"));
        match name.as_str() {
            "--seed" => seed = number(),
            "--seconds" => seconds = number(),
            "--inputs" => inputs = number(),
            "--target" => only = value,
            _ => panic!("{name} is no option; see the head of this program"),
        }
    }
    for target in TARGETS.iter().filter(|target| only.is_empty() || target.name == only) {
        let executions = run(target, seed, inputs, Duration::from_secs(seconds));
        println!("{}: {executions} executions", target.name);
    }
}
