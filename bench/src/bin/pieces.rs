//! Runs pieces for a number of rounds, and counts their instructions with valgrind.
//!
//! Time is noisy on shared machines, instructions are not: run with the same binary, a piece takes
//! the same number within a fraction of a percent. So what must not creep up is counted. Each piece
//! runs twice under callgrind, with few and with more rounds; the difference is the rounds alone,
//! without start and preparation. They are held against the counts in `bench/callgrind.json`, which
//! names the compiler and the processor it was made with.
//!
//! Exit codes: 0 done, 1 a count has grown beyond the tolerance, 2 not run.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks on its terminal"
)]

use clap::{Parser, Subcommand};
use kvorum_bench::pieces::{PIECES, Piece, UNITS, find};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Rounds of the two runs of each piece.
const ROUNDS: [u64; 2] = [50, 250];

/// The counts that are kept with the source.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/callgrind.json");

/// Counts, and what they depend on beside the source; empty texts where that is not known.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts {
    /// What `rustc --version` says.
    compiler: String,
    /// Its model name: libraries choose their code by what it can do.
    processor: String,
    /// Of each unit of the pieces.
    instructions: BTreeMap<String, f64>,
}

/// The pieces of Kvorum by themselves.
#[derive(Parser)]
#[command(name = "kvorum-pieces", version)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print the names of all pieces.
    List,
    /// Run one piece for a number of rounds of 64 units, and print nothing.
    Run {
        /// Its name.
        piece: String,
        /// How many rounds.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
        rounds: u64,
    },
    /// Count the instructions of each unit with `valgrind --tool=callgrind`.
    Callgrind {
        /// Pieces; all whose work is the same in each run when none is named.
        pieces: Vec<String>,
        /// Write the counts to this file as JSON, with the compiler and the processor.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Compare with the counts in this file, and exit with 1 where one has grown.
        #[arg(long, value_name = "FILE", default_value = BASELINE)]
        against: PathBuf,
        /// Growth that is no growth, in percent.
        #[arg(long, default_value_t = 3.0, value_parser = percent)]
        tolerance: f64,
    },
}

fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(code) => code,
        Err(text) => {
            eprintln!("kvorum-pieces: {text}");
            ExitCode::from(2)
        }
    }
}

fn act(action: Action) -> Result<ExitCode, String> {
    match action {
        Action::List => {
            for piece in &PIECES {
                println!("{:16} {}", piece.name, piece.unit);
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Run { piece, rounds } => {
            let piece = find(&piece).ok_or_else(|| format!("no piece {piece:?}, see `list`"))?;
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let mut round = (piece.prepare)(folder.path());
            (0..rounds).for_each(|_| round());
            Ok(ExitCode::SUCCESS)
        }
        Action::Callgrind { pieces, json, against, tolerance } => {
            let known = read_counts(&against)?;
            let counts = Counts {
                compiler: compiler(),
                processor: processor(),
                instructions: count_all(&pieces)?,
            };
            if let Some(path) = &json {
                let text = serde_json::to_string_pretty(&counts).map_err(|e| e.to_string())?;
                std::fs::write(path, text + "\n")
                    .map_err(|error| format!("{}: {error}", path.display()))?;
            }
            let grown = grown(&counts.instructions, &known.instructions, tolerance);
            for line in other_grounds(&counts, &known).iter().chain(&grown) {
                println!("! {line}");
            }
            Ok(if grown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or(String::new(), |(_, n)| n.trim().to_owned())
}

/// What is not the same as it was for the counts known, although the source may be.
fn other_grounds(now: &Counts, known: &Counts) -> Vec<String> {
    [("compiler", &now.compiler, &known.compiler), ("processor", &now.processor, &known.processor)]
        .into_iter()
        .filter(|(_, now, known)| now != known)
        .map(|(what, now, known)| {
            format!("another {what}: {now:?}, the counts known are of {known:?}")
        })
        .collect()
}

/// Instructions of each unit of the pieces named, printed as they come.
fn count_all(names: &[String]) -> Result<BTreeMap<String, f64>, String> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Err("valgrind is not installed: not counted (apt-get install valgrind)".to_owned());
    }
    let chosen: Vec<&Piece> = if names.is_empty() {
        PIECES.iter().filter(|piece| piece.steady).collect()
    } else {
        let by_name = |name: &String| find(name).ok_or_else(|| format!("no piece {name:?}"));
        names.iter().map(by_name).collect::<Result<_, _>>()?
    };
    println!("{:16} {:>12}", "piece", "instructions");
    let mut counts = BTreeMap::new();
    for piece in chosen {
        let few = count(piece, ROUNDS[0])?;
        let many = count(piece, ROUNDS[1])?;
        let rounds = ((ROUNDS[1] - ROUNDS[0]) * UNITS) as f64;
        let each = (many.saturating_sub(few)) as f64 / rounds;
        println!("{:16} {each:>12.1} per {}", piece.name, piece.unit);
        counts.insert(piece.name.to_owned(), (each * 10.0).round() / 10.0);
    }
    Ok(counts)
}

/// Instructions of this program running `piece` for `rounds`.
fn count(piece: &Piece, rounds: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["run", piece.name, "--rounds", &rounds.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    collected(&text).filter(|_| output.status.success()).ok_or_else(|| format!("valgrind: {text}"))
}

/// The number in `==PID== Collected : N`.
fn collected(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (_, count) = line.split_once("Collected :")?;
        count.trim().replace(',', "").parse().ok()
    })
}

fn read_counts(path: &Path) -> Result<Counts, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// What is above the known count by more than `tolerance` percent.
fn grown(
    counts: &BTreeMap<String, f64>,
    known: &BTreeMap<String, f64>,
    tolerance: f64,
) -> Vec<String> {
    let growth = |(name, &now): (&String, &f64)| {
        let before = *known.get(name)?;
        let percent = (now / before - 1.0) * 100.0;
        (percent > tolerance).then(|| format!("{name}: {before:.1} -> {now:.1}, +{percent:.1} %"))
    };
    counts.iter().filter_map(growth).collect()
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1_000.0).contains(&percent) { Ok(percent) } else { Err("0 to 1000".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_count_is_found_in_what_valgrind_says() {
        let text = "==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n";
        assert_eq!(collected(text), Some(1_234_567));
        assert_eq!(collected("==7== Collected : 1,234\n"), Some(1_234));
        assert_eq!(collected("valgrind: no\n"), None);
    }

    #[test]
    fn growth_beyond_the_tolerance_is_named() {
        let counts = |each: &[(&str, f64)]| {
            each.iter().map(|&(name, count)| (name.to_owned(), count)).collect::<BTreeMap<_, _>>()
        };
        let now = counts(&[("a", 104.0), ("b", 102.0), ("c", 50.0), ("new", 1.0)]);
        let known = counts(&[("a", 100.0), ("b", 100.0), ("c", 100.0)]);
        assert_eq!(grown(&now, &known, 3.0), ["a: 100.0 -> 104.0, +4.0 %"]);
        assert!(grown(&now, &BTreeMap::new(), 3.0).is_empty());
    }

    #[test]
    fn the_counts_kept_with_the_source_are_of_all_steady_pieces() {
        let known = read_counts(Path::new(BASELINE)).unwrap();
        assert!(!known.compiler.is_empty() && !known.processor.is_empty());
        let kept: BTreeSet<&str> = known.instructions.keys().map(String::as_str).collect();
        let steady = PIECES.iter().filter(|piece| piece.steady);
        assert_eq!(kept, steady.map(|piece| piece.name).collect::<BTreeSet<_>>());
        assert!(known.instructions.values().all(|count| *count > 0.0));
    }

    #[test]
    fn another_compiler_or_processor_is_named() {
        let counts = |compiler: &str, processor: &str| Counts {
            compiler: compiler.to_owned(),
            processor: processor.to_owned(),
            ..Counts::default()
        };
        assert!(other_grounds(&counts("a", "b"), &counts("a", "b")).is_empty());
        let lines = other_grounds(&counts("a", "b"), &counts("x", "b"));
        assert_eq!(lines, ["another compiler: \"a\", the counts known are of \"x\""]);
        assert_eq!(other_grounds(&counts("a", "b"), &counts("x", "y")).len(), 2);
    }

    #[test]
    fn what_is_not_a_piece_is_refused() {
        assert!(act(Action::Run { piece: "x".to_owned(), rounds: 1 }).is_err());
        assert!(percent("-1").is_err() && percent("3").is_ok());
    }
}
