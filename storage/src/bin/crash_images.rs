//! `cargo crash-images`: the tests that crash, cut and damage the storage, with their full figures.
//!
//! ```text
//! cargo crash-images             built for release, as long as it takes
//! cargo crash-images --debug     the same in a debug build
//! ```
//!
//! The tests are those of the library; without this they run with the small figures that suit
//! `cargo test`. A figure that is in the environment already stays as it is. Each test says in rows of
//! a table what it opened; they are printed together at the end. Exit code 1: a test failed.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

/// How much is tried, unless the environment says otherwise.
const FIGURES: [(&str, &str); 3] = [
    ("KVORUM_LOG_CRASH_IMAGES", "20000"),
    ("KVORUM_INSTALL_CRASH_IMAGES", "2000"),
    ("KVORUM_DISK_DAMAGES", "1000"),
];
/// Which tests, by parts of their names.
const TESTS: [&str; 3] = ["tests::crash", "tests::install", "tests::rot"];
/// How the lines begin that are collected: rows, and what has to be known beside them.
const COLLECTED: [&str; 2] = ["| ", "note: "];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let release = match args.as_slice() {
        [] => true,
        [only] if only == "--debug" => false,
        _ => return say_why("usage: cargo crash-images [--debug]"),
    };
    match run(release) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => say_why("a test failed, see above"),
        Err(error) => say_why(&format!("cargo test: {error}")),
    }
}

fn say_why(why: &str) -> ExitCode {
    drop(writeln!(io::stderr(), "crash-images: {why}"));
    ExitCode::FAILURE
}

/// Runs the tests and prints the table; whether all of them passed.
fn run(release: bool) -> io::Result<bool> {
    let mut child = cargo_test(release).stdout(Stdio::piped()).spawn()?;
    let mut collected = Vec::new();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line?;
        match COLLECTED.iter().any(|beginning| line.starts_with(beginning)) {
            true => collected.push(line),
            false => writeln!(io::stdout(), "{line}")?,
        }
    }
    let passed = child.wait()?.success();
    io::stdout().write_all(table(collected).as_bytes())?;
    Ok(passed)
}

fn cargo_test(release: bool) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--package", "kvorum-storage", "--lib"]);
    command.args(release.then_some("--release"));
    command.arg("--").args(TESTS).arg("--show-output");
    let unset = FIGURES.iter().filter(|(name, _)| std::env::var_os(name).is_none());
    command.envs(unset.copied());
    command
}

/// The rows in one order, whichever test came first, and the notes behind them.
fn table(mut lines: Vec<String>) -> String {
    lines.sort_by_key(|line| (!line.starts_with("| "), line.clone()));
    let head = ["", "| what | images | distinct | outcome |", "|---|---|---|---|"];
    let lines = head.into_iter().chain(lines.iter().map(String::as_str));
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_sorted_before_notes() {
        let lines = ["note: n", "| b | 2 |", "| a | 1 |"].map(str::to_owned).to_vec();
        let expected = "\n| what | images | distinct | outcome |\n|---|---|---|---|\n\
                        | a | 1 |\n| b | 2 |\nnote: n\n";
        assert_eq!(table(lines), expected);
    }
}
