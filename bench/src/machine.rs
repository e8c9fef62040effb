//! Where and when a comparison was made: what a reader needs to judge its figures.

use crate::error::Failure;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine, the versions and the date; empty texts where something is not known.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// UTC, as `2026-11-30T12:00:00Z`.
    pub(crate) date: String,
    /// Model name of the processor.
    pub(crate) processor: String,
    /// Cores this process may use.
    pub(crate) cores: usize,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
    /// Version of the Linux kernel.
    pub(crate) kernel: String,
    /// Type of the file system that holds the data.
    pub(crate) filesystem: String,
    /// Load averages before the start; above a tenth of the cores the figures are disturbed.
    pub(crate) load_average: String,
    /// What `kvorum --version` says.
    pub(crate) kvorum: String,
    /// What `redis-server --version` says.
    pub(crate) redis: String,
    /// What `etcd --version` says.
    pub(crate) etcd: String,
    /// The command line of this run.
    pub(crate) command: String,
    /// The commit that is checked out in the current directory.
    pub(crate) commit: String,
    /// Whether files of that commit are changed there; `None` when git does not say.
    pub(crate) changed: Option<bool>,
}

/// The servers that take part; `None` for those that do not.
#[derive(Clone, Copy, Default)]
pub(crate) struct Binaries<'a> {
    /// Kvorum's binary.
    pub(crate) kvorum: Option<&'a Path>,
    /// Redis's binary.
    pub(crate) redis: Option<&'a Path>,
    /// etcd's binary.
    pub(crate) etcd: Option<&'a Path>,
}

impl Machine {
    /// Looks around; `data` is the directory of the data.
    pub(crate) fn describe(data: &Path, binaries: Binaries<'_>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let version = |binary: Option<&Path>| {
            binary.map(|binary| first_line(binary, &["--version"])).unwrap_or_default()
        };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            date: utc(since_epoch.as_secs()),
            processor: value_of(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: value_of(&read("/proc/meminfo"), "MemTotal")
                .trim_end_matches(" kB")
                .parse::<u64>()
                .unwrap_or_default()
                * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: filesystem_of(&read("/proc/mounts"), data),
            load_average: read("/proc/loadavg").trim().to_owned(),
            kvorum: version(binaries.kvorum),
            redis: version(binaries.redis),
            etcd: version(binaries.etcd),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            commit: first_line(Path::new("git"), &["rev-parse", "--short", "HEAD"]),
            changed: is_changed(Path::new(".")),
        }
    }

    /// Two lines: where and when, and which versions.
    pub(crate) fn heading(&self) -> String {
        let versions = [&self.kvorum, &self.redis, &self.etcd];
        let versions: Vec<&str> =
            versions.into_iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let changes = match self.changed {
            Some(false) => "",
            Some(true) => ", with changes that are not committed",
            None => ", perhaps with changes that are not committed",
        };
        format!(
            "{}: {} x {}, {} MiB, Linux {}, {}\n{} (commit {}{changes})",
            self.date,
            self.cores,
            self.processor,
            self.memory_bytes >> 20,
            self.kernel,
            self.filesystem,
            versions.join("; "),
            self.commit
        )
    }

    /// Reasons to doubt the figures.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if matches!(self.filesystem.as_str(), "tmpfs" | "ramfs") {
            warnings.push(format!(
                "the data is on {}, where fsync costs nothing: use --dir for a real disk",
                self.filesystem
            ));
        }
        let busy: f64 = self
            .load_average
            .split(' ')
            .next()
            .and_then(|average| average.parse().ok())
            .unwrap_or_default();
        if busy > self.cores as f64 * 0.1 {
            warnings.push(format!("the machine is not idle: load average {busy}"));
        }
        warnings
    }
}

/// Builds Kvorum in release mode with the cargo that is at hand, and finds the binary.
///
/// Errors: cargo cannot be run, or the build fails.
pub(crate) fn build_kvorum() -> Result<PathBuf, Failure> {
    let output = kvorum_verify::cargo()
        .args(["build", "--release", "-p", "kvorum", "--bin", "kvorum"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("cargo: {error}; use --kvorum-bin")))?;
    if !output.status.success() {
        return Err(Failure::new("cargo build --release -p kvorum failed"));
    }
    binary_in(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| Failure::new("cargo names no kvorum binary; use --kvorum-bin"))
}

/// The executable of the target `kvorum` in cargo's messages.
fn binary_in(messages: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == "kvorum";
        message["executable"].as_str().filter(|_| ours).map(PathBuf::from)
    })
}

/// Whether the work tree around `folder` differs from its commit; new files that git does not know are
/// no difference.
fn is_changed(folder: &Path) -> Option<bool> {
    let mut git = Command::new("git");
    git.current_dir(folder).args(["status", "--porcelain", "--untracked-files=no"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(!output.stdout.is_empty())
}

fn first_line(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

/// The text behind `name` and a colon, in a file of `name : value` lines.
fn value_of(text: &str, name: &str) -> String {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

/// The type of the mount with the longest path above `directory`.
fn filesystem_of(mounts: &str, directory: &Path) -> String {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(mount, _)| directory.starts_with(mount))
        .max_by_key(|(mount, _)| mount.len())
        .map(|(_, kind)| kind.to_owned())
        .unwrap_or_default()
}

/// Seconds since 1970 as a date (Hinnant's `civil_from_days`).
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months are counted from March, so that the leap day is the last of the year.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + carry;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_795_228_496), "2026-11-21T02:34:56Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
    }

    #[test]
    fn a_tree_that_is_not_its_commit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(is_changed(folder.path()), None, "no work tree");
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
            let mut git = Command::new("git");
            git.current_dir(folder.path()).args(identity).args(arguments);
            assert!(git.output().unwrap().status.success(), "{arguments:?}");
        };
        git(&["init"]);
        fs::write(folder.path().join("file"), "old").unwrap();
        git(&["add", "file"]);
        git(&["commit", "-m", "first"]);
        fs::write(folder.path().join("unknown"), "").unwrap();
        assert_eq!(is_changed(folder.path()), Some(false));
        fs::write(folder.path().join("file"), "newer").unwrap();
        assert_eq!(is_changed(folder.path()), Some(true));

        let mut machine = Machine::describe(Path::new("/"), Binaries::default());
        (machine.commit, machine.changed) = ("abc".to_owned(), Some(true));
        let heading = machine.heading();
        assert!(
            heading.ends_with("(commit abc, with changes that are not committed)"),
            "{heading}"
        );
        machine.changed = Some(false);
        assert!(machine.heading().ends_with("(commit abc)"));
    }

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\ntmpfs /tmpfoo xfs rw 0 0\n";
        assert_eq!(filesystem_of(mounts, Path::new("/tmp/x")), "tmpfs");
        assert_eq!(filesystem_of(mounts, Path::new("/var/x")), "ext4");
        assert_eq!(filesystem_of("", Path::new("/")), "");
    }

    #[test]
    fn the_binary_is_found_in_the_messages_of_cargo() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"x\"},\"executable\":\"/x\"}\n\
             {\"target\":{\"name\":\"kvorum\"},\"executable\":null}\n\
             {\"target\":{\"name\":\"kvorum\"},\"executable\":\"/t/kvorum\"}\n";
        assert_eq!(binary_in(messages), Some(PathBuf::from("/t/kvorum")));
        assert_eq!(binary_in("no json"), None);
    }

    #[test]
    fn a_memory_disk_and_a_busy_machine_are_reported() {
        let mut machine = Machine::describe(Path::new("/"), Binaries::default());
        machine.cores = 2;
        (machine.filesystem, machine.load_average) = ("tmpfs".to_owned(), "3.10 1 1".to_owned());
        assert_eq!(machine.warnings().len(), 2);
        (machine.filesystem, machine.load_average) = ("ext4".to_owned(), "0.10 1 1".to_owned());
        assert_eq!(machine.warnings(), Vec::<String>::new());
    }
}
