//! `cargo verify`: the one gate of the repository, here and in CI.
//!
//! `cargo verify` runs every step, `cargo verify tidy fmt` only those named. It writes nothing but
//! build products, except with `--fix`, which formats. The steps of cargo are cargo's; `tidy` is
//! the rules of this repository that no tool knows. This program uses the standard library alone,
//! so that it builds in a second.

mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo verify [--fix] [STEP...]     all steps when none is named
  tidy      rules of this repository: layers, forbidden words, headers, lengths, scripts, map, mutants
  fmt       formatting; --fix formats instead of checking
  clippy    lints, warnings are errors
  doc       the documentation builds without a warning
  deny      licences and advisories, when cargo-deny is installed
  test      all tests";

/// A step: its name, and what it runs.
struct Step {
    name: &'static str,
    run: fn(&Path, bool) -> Result<(), String>,
}

const STEPS: &[Step] = &[
    Step { name: "tidy", run: |root, _| tidy::run(root) },
    Step { name: "fmt", run: fmt },
    Step { name: "clippy", run: clippy },
    Step { name: "doc", run: doc },
    Step { name: "deny", run: deny },
    Step { name: "test", run: test },
];

fn main() -> ExitCode {
    let mut fix = false;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--" => {}
            "--fix" => fix = true,
            "--help" | "-h" | "help" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            name => match STEPS.iter().find(|step| step.name == name) {
                Some(step) => wanted.push(step),
                None => {
                    eprintln!("cargo verify: no step '{name}'\n{HELP}");
                    return ExitCode::from(2);
                }
            },
        }
    }
    if wanted.is_empty() {
        wanted = STEPS.iter().collect();
    }
    let root = root();
    let mut failed = Vec::new();
    for step in wanted {
        eprintln!("verify: {}", step.name);
        if let Err(why) = (step.run)(&root, fix) {
            eprintln!("{why}");
            failed.push(step.name);
        }
    }
    if failed.is_empty() {
        eprintln!("verify: all good");
        return ExitCode::SUCCESS;
    }
    eprintln!("verify: failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// The workspace root: two folders above this package.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

fn fmt(root: &Path, fix: bool) -> Result<(), String> {
    let check: &[&str] = if fix { &[] } else { &["--check"] };
    cargo(root, &[&["fmt", "--all"], check].concat(), &[])
}

fn clippy(root: &Path, _fix: bool) -> Result<(), String> {
    cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])
}

fn doc(root: &Path, _fix: bool) -> Result<(), String> {
    let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    // The documentation is for who works on the source, so links may go to private items.
    let flags = "-D warnings -A rustdoc::private-intra-doc-links";
    cargo(root, &arguments, &[("RUSTDOCFLAGS", flags)])
}

fn deny(root: &Path, _fix: bool) -> Result<(), String> {
    let installed = Command::new("cargo").args(["deny", "--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        eprintln!("verify: cargo-deny is not installed, licences were not checked");
        return Ok(());
    }
    cargo(root, &["deny", "check", "--config", ".deny.toml"], &[])
}

fn test(root: &Path, _fix: bool) -> Result<(), String> {
    cargo(root, &["test", "--workspace"], &[])
}

fn cargo(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let line = format!("cargo {}", arguments.join(" "));
    let status = kvorum_verify::cargo()
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root)
        .status()
        .map_err(|error| format!("{line}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}")) }
}
