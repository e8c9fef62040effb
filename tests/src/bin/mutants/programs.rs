//! The programs that catchers are in, built before anything is tried.
//!
//! The server's binary and the unit tests of storage and server are built with the feature `mutants`,
//! all else without. The binary is copied, and the sound one put back where cargo leaves it.

use serde_json::Value;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where they are.
pub(crate) struct Programs {
    pub(crate) kvorum: PathBuf,
    pub(crate) storage_units: PathBuf,
    pub(crate) server_units: PathBuf,
    pub(crate) cluster: PathBuf,
    pub(crate) fault: PathBuf,
    pub(crate) chaos: PathBuf,
}

impl Programs {
    /// Builds all of them.
    ///
    /// # Errors
    /// Cargo fails, which it has said, or a binary cannot be copied.
    pub(crate) fn build() -> Result<Self, String> {
        let units =
            cargo("test --no-run --lib -p kvorum-storage -p kvorum --features kvorum/mutants")?;
        let mutable = cargo("build -p kvorum --bin kvorum --features kvorum/mutants")?;
        let kvorum = set_aside(&find(&mutable, "kvorum")?)?;
        cargo("build -p kvorum --bin kvorum")?;
        let suites = cargo("test --no-run -p kvorum-tests --test cluster --test fault")?;
        let chaos = cargo("build -p kvorum-chaos --bin kvorum-chaos")?;
        Ok(Programs {
            kvorum,
            storage_units: find(&units, "storage")?,
            server_units: find(&units, "kvorum")?,
            cluster: find(&suites, "cluster")?,
            fault: find(&suites, "fault")?,
            chaos: find(&chaos, "kvorum-chaos")?,
        })
    }
}

/// Runs cargo; returns the names and paths of the executables it made or found fresh.
fn cargo(words: &str) -> Result<Vec<(String, PathBuf)>, String> {
    super::say(&format!("cargo {words}"));
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
        .args(words.split(' '))
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
    let copy = target.join("mutants").join("kvorum");
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
