//! Golden scripts: plain text requests with recorded replies, held against a server byte by byte.
//!
//! A script (`tests/scripts/<group>/<verb>.resp`) is recorded from a real `redis-server` and then
//! run on every target that must answer alike. This module knows no command: what it compares is
//! what went over the wire. Its client is its own (see [`wire`]), so that no library can smooth a
//! reply over before it is compared.
//!
//! # The format
//!
//! ```text
//! # A comment begins with "# ".
//! @redis-only reason            header: restricts the file, or the case it follows
//! @kvorum-only reason
//! @leader-only reason           header: not for a node that follows
//! @redis-args --cluster-enabled yes     header: extra arguments of the redis-server to record from
//!
//! == A case: begins with FLUSHALL and without any connection
//! > SET k "a\x00b"              arguments as in redis-cli; "x"*70000 repeats
//! +OK                           the reply, one line per RESP element, nested ones indented
//! a> GET k                      another connection, opened at first use
//! $3 "a\x00b"
//! ```
//!
//! After `> ` a word that begins with `!` tells the harness what to do:
//!
//! | form | meaning |
//! |---|---|
//! | `!raw [replies] "bytes"...` | send these bytes, read that many replies (1) |
//! | `!send ARGS` | send, read nothing (the next `!read` does) |
//! | `!read` | read one reply |
//! | `!close` | the server must close the connection: `closed` |
//! | `!silent` | the server must stay silent for 60 ms: `silent` |
//! | `!hangup` | close the connection from this side |
//! | `!sleep MS` | wait |
//! | `!resp3` | HELLO 3, reply not compared |
//! | `!sorted ARGS` | the elements of the reply are sorted before they are compared |
//! | `!sorted-pairs ARGS` | the same, key and value staying together |
//! | `!lines ARGS` | a bulk string is shown line by line |
//! | `!scan-all [OPTIONS]` | SCAN to cursor 0; the sorted set of keys is compared |
//! | `!times N ARGS` | N requests, `{i}` = 0..N-1 in the arguments; all replies must be equal |
//! | `!let NAME ARGS` | keeps the reply (integer or string) for `{NAME}` in later arguments |
//!
//! `{now_ms}`, `{now_s}`, also with an offset as in `{now_s+100}`, are this machine's clock.
//!
//! In expected lines these stand for what varies: `<int>`, `<int 90..100>`, `<float>`, `<id>` (40
//! hexadecimal digits), `<any>` (any text); as a whole line `<bulk>` (any string that is not null)
//! and `<reply>` (one element of any shape); `...` as a line is any number of elements at its
//! depth. Recording keeps an expected line that still matches.

pub mod pattern;
pub mod render;
pub mod run;
pub mod script;
pub mod wire;
pub mod words;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use script::Script;

/// What kind of server a script runs on: some scripts are for one of them only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Redis,
    Kvorum,
}

/// How a script is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Compare; the script's file is not touched.
    Check(Target),
    /// Run on a real redis-server and write differing replies into the script.
    Record,
}

impl Mode {
    fn target(self) -> Target {
        match self {
            Mode::Check(target) => target,
            Mode::Record => Target::Redis,
        }
    }
}

/// Why a script did not pass: every place where the server and the script differ.
#[derive(Debug)]
pub struct Mismatch {
    pub path: PathBuf,
    pub problems: Vec<Problem>,
}

/// One place in a script where it and the server differ, or where the script itself is wrong.
#[derive(Debug)]
pub struct Problem {
    /// Line in the script, from 1.
    pub line: usize,
    /// What was asked, and what was expected and received where that applies.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> Self {
        Problem { line, message: message.into() }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{}:{}: {}", self.path.display(), problem.line, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mismatch {}

/// What became of the scripts of one [`run_all`].
#[derive(Debug, Default)]
pub struct Summary {
    pub passed: usize,
    /// Scripts for another target.
    pub skipped: usize,
    pub failed: Vec<Mismatch>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mismatch in &self.failed {
            write!(f, "{mismatch}")?;
        }
        let failed = self.failed.len();
        write!(f, "{} scripts passed, {failed} failed, {} skipped", self.passed, self.skipped)
    }
}

/// Runs one script against the server at `addr` (`host:port`).
///
/// # Errors
/// All differences, or the first thing that made the run impossible (unreadable file, no server,
/// no reply within [`wire::READ_TIMEOUT`]).
pub fn run_script(path: &Path, addr: &str, mode: Mode) -> Result<(), Mismatch> {
    let script = load(path)?;
    let outcome = run::run(&script, addr, mode.target());
    let path = path.to_path_buf();
    if mode == Mode::Record {
        let text = outcome.recorded(&script);
        if text != script.text() {
            fs::write(&path, text).map_err(|error| one_problem(&path, 1, error.to_string()))?;
        }
        return match outcome.impossible() {
            problems if problems.is_empty() => Ok(()),
            problems => Err(Mismatch { path, problems }),
        };
    }
    match outcome.problems() {
        problems if problems.is_empty() => Ok(()),
        problems => Err(Mismatch { path, problems }),
    }
}

/// Runs every script whose path below the directory of scripts contains `filter` and that `wanted`
/// accepts, in order of path.
pub fn run_all(addr: &str, mode: Mode, filter: &str, wanted: impl Fn(&Script) -> bool) -> Summary {
    let mut summary = Summary::default();
    let dir = scripts_dir();
    let named = |path: &PathBuf| {
        path.strip_prefix(&dir).is_ok_and(|path| path.to_string_lossy().contains(filter))
    };
    for path in script_paths(&dir).into_iter().filter(named) {
        match load(&path) {
            Err(mismatch) => summary.failed.push(mismatch),
            Ok(script) if !wanted(&script) => {}
            Ok(script) if !script.is_for(mode.target()) => summary.skipped += 1,
            Ok(_) => match run_script(&path, addr, mode) {
                Ok(()) => summary.passed += 1,
                Err(mismatch) => summary.failed.push(mismatch),
            },
        }
    }
    summary
}

/// The directory of the scripts in this repository.
pub fn scripts_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

/// All scripts below `dir`, sorted by path.
pub fn script_paths(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "resp") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Reads and parses a script.
///
/// # Errors
/// An unreadable file, or a line that is not of the format.
pub fn load(path: &Path) -> Result<Script, Mismatch> {
    let text = fs::read_to_string(path).map_err(|e| one_problem(path, 1, e.to_string()))?;
    Script::parse(&text).map_err(|problem| one_problem(path, problem.line, problem.message))
}

fn one_problem(path: &Path, line: usize, message: String) -> Mismatch {
    Mismatch { path: path.to_path_buf(), problems: vec![Problem { line, message }] }
}

#[cfg(test)]
mod tests;
