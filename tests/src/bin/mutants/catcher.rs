//! Runs one test, on a mutant or without one, and says what came of it.
//!
//! The test runs in a process group of its own and below a temporary directory of its own: nodes that
//! it leaves behind are ended with it, and data that a failing test keeps for a reader is removed.

use crate::programs::Programs;
use crate::table::{Catcher, Suite};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use storage::mutants::{Mutant, VARIABLE};

/// How long a test may take. What tests wait for is bounded below this.
const TEST_WAIT: Duration = Duration::from_secs(150);

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// Its first words.
    Failed(String),
    /// It did not end in time.
    Endless,
    /// It did not try anything: why.
    Broken(String),
}

/// Runs a test on a mutant.
pub(crate) fn run(programs: &Programs, catcher: Catcher, mutant: Option<Mutant>) -> Verdict {
    match run_below(programs, catcher, mutant) {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Broken(error.to_string()),
    }
}

fn run_below(
    programs: &Programs,
    catcher: Catcher,
    mutant: Option<Mutant>,
) -> std::io::Result<Verdict> {
    let dir = tempfile::Builder::new().prefix("kvorum-mutant-").tempdir()?;
    let output = dir.path().join("output");
    let file = File::create(&output)?;
    let mut command = command(programs, catcher)?;
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KVORUM_") {
            command.env_remove(name);
        }
    }
    command.envs(programs.kvorum.iter().map(|path| (kvorum_tests::node::BINARY_VARIABLE, path)));
    command.env("TMPDIR", dir.path()).env("KVORUM_FAULT_SEED", "1").env("RUST_BACKTRACE", "0");
    command.envs(mutant.map(|mutant| (VARIABLE, mutant.name())));
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
    let mut child = command.spawn()?;
    let status = wait(&mut child)?;
    end_group(&child);
    let said = read(&output)?;
    Ok(match status {
        Some(status) => judge(catcher.suite, status, &said),
        None => Verdict::Endless,
    })
}

fn command(programs: &Programs, catcher: Catcher) -> std::io::Result<Command> {
    let program = programs.of.get(&catcher.suite).ok_or_else(|| {
        std::io::Error::other(format!("nothing was built for {}", catcher.suite.name()))
    })?;
    let mut command = Command::new(program);
    command.args(catcher.test.split(' '));
    if !matches!(catcher.suite, Suite::Sim | Suite::Chaos) {
        command.arg("--exact");
    }
    Ok(command)
}

fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    while begun.elapsed() < TEST_WAIT {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}

/// Ends what is left of a test: itself, and nodes that it had no chance to end.
fn end_group(child: &Child) {
    let group = format!("-{}", child.id());
    let kill = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    // There may be nothing left.
    drop(kill);
}

fn read(output: &Path) -> std::io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(output)?).into_owned())
}

fn judge(suite: Suite, status: ExitStatus, said: &str) -> Verdict {
    let failed = Verdict::Failed(first_words(suite, said));
    if let Some(signal) = status.signal() {
        return Verdict::Failed(format!("ended by signal {signal}"));
    }
    match suite {
        Suite::Sim if status.success() => Verdict::Passed,
        Suite::Sim if said.contains("seeds violate an invariant") => failed,
        Suite::Sim => Verdict::Broken(format!("the simulation ended with {status}")),
        Suite::Chaos if said.contains("it needs root") => {
            Verdict::Broken("chaos needs root".into())
        }
        Suite::Chaos if status.success() => Verdict::Passed,
        Suite::Chaos if said.contains("FAILED, seed") => failed,
        Suite::Chaos => Verdict::Broken(format!("chaos ended with {status}")),
        _ if said.contains("running 0 tests") => Verdict::Broken("there is no such test".into()),
        _ if status.success() => Verdict::Passed,
        _ if said.contains("test result: FAILED") => failed,
        _ => Verdict::Failed(format!("ended with {status}")),
    }
}

/// What the first failure says: the lines below the first panic, the simulation's first violation, or
/// the line below the table of chaos.
fn first_words(suite: Suite, said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_over = |line: &str| {
        ["note: ", "----", "failures:", "test "].iter().any(|end| line.starts_with(end))
    };
    let words: Vec<&str> = match suite {
        Suite::Chaos => lines.filter(|line| !line.starts_with('|')).take(1).collect(),
        Suite::Sim => lines.filter(|line| line.starts_with("seed ")).take(1).collect(),
        _ => {
            let below = lines.skip_while(|line| !line.contains("panicked at")).skip(1);
            below.take_while(|line| !is_over(line)).take(4).collect()
        }
    };
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_tell_failures_from_tests_that_are_not_there() {
        let status = |code: i32| ExitStatus::from_raw(code << 8);
        let failed = "running 1 test\n\nthread 'a' panicked at tests/a.rs:1:2:\nlost: [\n  3\n]\ntest result: FAILED.";
        for (suite, status, said, expected) in [
            (Suite::Cluster, status(101), failed, Verdict::Failed("lost: [ 3 ]".into())),
            (Suite::Cluster, status(0), "running 1 test\nok", Verdict::Passed),
            (
                Suite::Cluster,
                status(0),
                "running 0 tests",
                Verdict::Broken("there is no such test".into()),
            ),
            (
                Suite::Storage,
                ExitStatus::from_raw(6),
                "",
                Verdict::Failed("ended by signal 6".into()),
            ),
            (
                Suite::Sim,
                status(1),
                "3 seeds\nseed 7: lost\nFAILED: 1 seeds violate an invariant",
                Verdict::Failed("seed 7: lost".into()),
            ),
            (
                Suite::Sim,
                status(1),
                "FAILED: kill never took effect",
                Verdict::Broken("the simulation ended with exit status: 1".into()),
            ),
            (
                Suite::Chaos,
                status(1),
                "| a | b |\nlost x\nFAILED, seed 1",
                Verdict::Failed("lost x".into()),
            ),
            (
                Suite::Chaos,
                status(1),
                "it needs root\nFAILED, seed 1",
                Verdict::Broken("chaos needs root".into()),
            ),
            (
                Suite::Chaos,
                status(2),
                "usage",
                Verdict::Broken("chaos ended with exit status: 2".into()),
            ),
        ] {
            assert_eq!(judge(suite, status, said), expected, "{said}");
        }
    }
}
