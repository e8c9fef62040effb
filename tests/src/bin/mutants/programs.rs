//! The programs that catchers are in, built before anything is tried.
//!
//! The server's binary, the simulation and the unit tests of storage and server are built with the
//! feature `mutants`, all else without. The server's binary is copied, and the sound one put back where
//! cargo leaves it. The simulation is built as `cargo sim` builds it, beside it, and copied as well.

use crate::table::Suite;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Builds the simulation, with chance seeded throughout: see the alias `sim` in `.cargo/config.toml`.
const SIM: &str = "build --profile simulation -p kvorum-sim --features kvorum/mutants \
                   --config build.rustflags=['--cfg','tokio_unstable']";

/// Where they are.
pub(crate) struct Programs {
    /// The server with all mutants; None: no suite needs it.
    pub(crate) kvorum: Option<PathBuf>,
    /// What the tests of a suite are in.
    pub(crate) of: BTreeMap<Suite, PathBuf>,
}

impl Programs {
    /// Builds those of these suites.
    ///
    /// # Errors
    /// Cargo fails, which it has said, or a binary cannot be copied.
    pub(crate) fn build(suites: &BTreeSet<Suite>) -> Result<Self, String> {
        let mut programs = Programs { kvorum: None, of: BTreeMap::new() };
        let needs = |some: &[Suite]| some.iter().any(|suite| suites.contains(suite));
        let mut take = |suite, built: &[(String, PathBuf)], name| {
            find(built, name).map(|path| programs.of.insert(suite, path))
        };
        if needs(&[Suite::Storage]) {
            let units = cargo("test --no-run --lib -p kvorum-storage --features mutants")?;
            take(Suite::Storage, &units, "storage")?;
        }
        if needs(&[Suite::Server]) {
            let units = cargo("test --no-run --lib -p kvorum --features mutants")?;
            take(Suite::Server, &units, "kvorum")?;
        }
        if needs(&[Suite::Cluster, Suite::Fault]) {
            let suites = cargo("test --no-run -p kvorum-tests --test cluster --test fault")?;
            take(Suite::Cluster, &suites, "cluster")?;
            take(Suite::Fault, &suites, "fault")?;
        }
        if needs(&[Suite::Chaos]) {
            take(
                Suite::Chaos,
                &cargo("build -p kvorum-chaos --bin kvorum-chaos")?,
                "kvorum-chaos",
            )?;
        }
        if needs(&[Suite::Sim]) {
            let own = env::current_exe().map_err(|error| error.to_string())?;
            let target = own.ancestors().nth(2).unwrap_or(&own).join("sim");
            let built = cargo_with(SIM, &["--target-dir".into(), target.into()])?;
            programs.of.insert(Suite::Sim, set_aside(&find(&built, "kvorum-sim")?)?);
        }
        if needs(&[Suite::Cluster, Suite::Fault, Suite::Chaos]) {
            let mutable = cargo("build -p kvorum --bin kvorum --features kvorum/mutants")?;
            programs.kvorum = Some(set_aside(&find(&mutable, "kvorum")?)?);
            cargo("build -p kvorum --bin kvorum")?;
        }
        Ok(programs)
    }
}

/// Runs cargo; returns the names and paths of the executables it made or found fresh.
fn cargo(words: &str) -> Result<Vec<(String, PathBuf)>, String> {
    cargo_with(words, &[])
}

fn cargo_with(words: &str, more: &[OsString]) -> Result<Vec<(String, PathBuf)>, String> {
    super::say(&format!("cargo {words}"));
    let output = kvorum_verify::cargo()
        .args(words.split(' '))
        .args(more)
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo {words}: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo {words}: {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(executable).collect())
}

/// What a line of cargo's says was built: the target's name, and where it is.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let path = message.get("executable")?.as_str()?;
    Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(path)))
}

fn find(built: &[(String, PathBuf)], name: &str) -> Result<PathBuf, String> {
    let found = built.iter().find(|(target, _)| target == name);
    found.map(|(_, path)| path.clone()).ok_or_else(|| format!("cargo built no {name}"))
}

/// A copy in a folder of its own, beside that of the profile.
fn set_aside(path: &Path) -> Result<PathBuf, String> {
    let target = path.ancestors().nth(2).unwrap_or(path);
    let copy = target.join("mutants").join(path.file_name().unwrap_or_default());
    let copied = fs::create_dir_all(target.join("mutants")).and_then(|()| {
        // A process of an earlier run may still execute the file that is there.
        if copy.exists() { fs::remove_file(&copy) } else { Ok(()) }?;
        fs::copy(path, &copy)
    });
    copied.map(|_| copy).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_what_cargo_says() {
        let line =
            r#"{"reason":"compiler-artifact","target":{"name":"fault"},"executable":"/t/f-1"}"#;
        assert_eq!(executable(line), Some(("fault".to_owned(), PathBuf::from("/t/f-1"))));
        let library = r#"{"reason":"compiler-artifact","target":{"name":"x"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable("warning"), None);
    }
}
