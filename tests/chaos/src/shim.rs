//! The two small C programs of the harness, built when a run begins, and the control file through
//! which one node's disk and clock are disturbed.
//!
//! Counters in that file are increased by the disturbed process itself: they tell effects.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What was built.
pub struct Tools {
    /// The library to preload.
    pub shim: PathBuf,
    /// The program that takes the power from a file system.
    pub cut: PathBuf,
}

impl Tools {
    /// Builds both below `root`; none where there is no C compiler.
    pub fn build(root: &Path) -> Option<Self> {
        let tools = Tools { shim: root.join("shim.so"), cut: root.join("cut") };
        let sources = [("shim.c", include_str!("shim.c")), ("cut.c", include_str!("cut.c"))];
        for (name, source) in sources {
            std::fs::write(root.join(name), source).ok()?;
        }
        let cc = |args: &[&str], from: &str, to: &Path| {
            let built =
                Command::new("cc").args(args).arg(root.join(from)).arg("-o").arg(to).status();
            built.is_ok_and(|status| status.success())
        };
        let built = cc(&["-O1", "-shared", "-fPIC"], "shim.c", &tools.shim)
            && cc(&["-O1"], "cut.c", &tools.cut);
        built.then_some(tools)
    }
}

/// The control file of one node.
pub struct Control {
    file: File,
    /// Where it is.
    pub path: PathBuf,
}

/// Effects that a disturbed process counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub failed_syncs: u64,
    pub stalled_syncs: u64,
    pub shifted_clock_readings: u64,
}

const WORDS: u64 = 6;
const CLOCK: u64 = 0;
const SYNC_ERROR: u64 = 1;
const STALL: u64 = 2;

impl Control {
    /// A control file that disturbs nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.set_len(WORDS * 8)?;
        Ok(Control { file, path })
    }

    /// Moves the node's wall clock by this much.
    pub fn clock(&self, offset_ns: i64) {
        self.put(CLOCK, offset_ns);
    }

    /// Lets every fsync fail with this errno; 0: no more.
    pub fn sync_error(&self, errno: i32) {
        self.put(SYNC_ERROR, i64::from(errno));
    }

    /// Lets every fsync take this much longer.
    pub fn stall(&self, milliseconds: i64) {
        self.put(STALL, milliseconds);
    }

    /// Ends all disturbances.
    pub fn calm(&self) {
        (CLOCK..=STALL).for_each(|word| self.put(word, 0));
    }

    /// What took effect so far.
    pub fn effects(&self) -> Effects {
        Effects {
            failed_syncs: self.get(3),
            stalled_syncs: self.get(4),
            shifted_clock_readings: self.get(5),
        }
    }

    fn put(&self, word: u64, value: i64) {
        self.file.write_all_at(&value.to_ne_bytes(), word * 8).expect("the control file is ours");
    }

    fn get(&self, word: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, word * 8).expect("the control file is ours");
        u64::from_ne_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_process_counts_what_was_done_to_it() {
        let root = tempfile::tempdir().unwrap();
        let Some(tools) = Tools::build(root.path()) else { return };
        let control = Control::create(root.path().join("control")).unwrap();
        let run = |command: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", command]).current_dir(root.path());
            shell.env("LD_PRELOAD", &tools.shim).env("CHAOS_CONTROL", &control.path);
            shell.output().unwrap()
        };
        let seconds = |output: std::process::Output| -> i64 {
            String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
        };
        let before = seconds(run("date +%s"));
        assert_eq!(control.effects(), Effects::default());
        control.clock(-100_000_000_000_000);
        let shifted = seconds(run("date +%s"));
        assert!(shifted < before - 99_000, "{shifted} after {before}");
        assert!(control.effects().shifted_clock_readings > 0);
        control.calm();
        control.sync_error(5);
        let failed = run("dd if=/dev/zero of=some bs=1 count=1 conv=fdatasync");
        assert!(!failed.status.success() && control.effects().failed_syncs > 0);
    }
}
