//! A small ext4 of its own for one node, in a file behind a loop device: its power can be cut (what
//! was not synced is really gone: a canary that is written before every cut tells), and it can be
//! full.
//!
//! Needs root and loop devices; [`Disk::create`] says so by returning none. A [`Broom`] unmounts it
//! when the run is ended from outside.

use crate::broom::Broom;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Size of the file system.
const IMAGE_BYTES: u64 = 640 << 20;

/// What a canary holds.
const CANARY: &[u8] = b"sings until the power is cut";

/// Ends those who have files open below `$0`, and unmounts it.
const SWEEP: &str = "mountpoint -q \"$0\" || exit; for process in /proc/[0-9]*; do \
    ls -l $process/fd | grep -qF \" -> $0/\" && kill -9 ${process#/proc/}; done; \
    umount -l \"$0\"";

/// One node's file system.
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
    mounted: bool,
    // Dropped after everything else: then nothing is left to be done.
    _broom: Broom,
}

impl Disk {
    /// Makes `image` and mounts it at `mount`, if that is possible here.
    pub fn create(image: PathBuf, mount: &Path) -> Option<Self> {
        File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES)).ok()?;
        let made = run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        let broom = Broom::start(SWEEP, [mount]).ok()?;
        let mut disk = Disk { image, mount: mount.to_owned(), mounted: false, _broom: broom };
        (made && disk.mount()).then_some(disk)
    }

    /// Mounts it; the journal is replayed.
    pub fn mount(&mut self) -> bool {
        self.mounted = run(Command::new("mount")
            .args(["-o", "loop"])
            .args([self.image.as_os_str(), self.mount.as_os_str()]));
        self.mounted
    }

    /// Takes its power, just after a canary was written to it and not synced; the processes that use
    /// it see EIO from now on.
    pub fn cut(&self, tool: &Path) -> bool {
        let is_written = fs::write(self.canary(), CANARY).is_ok();
        run(Command::new(tool).arg(&self.mount)) && is_written
    }

    /// After a cut, and the end of those who used it: mounts what was synced. Whether the canary is
    /// gone, and with it what else was not synced.
    ///
    /// # Panics
    /// It cannot be mounted: the harness, not the node, is at fault.
    pub fn restore(&mut self) -> bool {
        self.unmount();
        assert!(self.mount(), "{} cannot be mounted again", self.image.display());
        // Its name may have been synced along with something else; what it sang was not.
        let is_gone = fs::read(self.canary()).map_or(true, |left| left.is_empty());
        let _ = fs::remove_file(self.canary());
        is_gone
    }

    /// Writes a file until there is no more room; true when it was full.
    pub fn fill(&self) -> bool {
        let Ok(mut file) = File::create(self.filling()) else { return true };
        let block = vec![1u8; 64 << 10];
        for size in [block.len(), 4096, 1] {
            while file.write_all(&block[..size]).is_ok() {}
        }
        // Blocks are only allocated when they are written.
        file.sync_all().is_err() || file.write_all(&block).is_err()
    }

    /// Gives the room back.
    pub fn make_room(&self) {
        // There may be no such file. If there was, no later power cut may bring it back.
        let _ = fs::remove_file(self.filling());
        let _ = File::open(&self.mount).and_then(|dir| dir.sync_all());
    }

    fn canary(&self) -> PathBuf {
        self.mount.join("canary")
    }

    fn filling(&self) -> PathBuf {
        self.mount.join("filling")
    }

    fn unmount(&mut self) {
        for _ in 0..100 {
            if !self.mounted {
                return;
            }
            self.mounted = !run(Command::new("umount").arg(&self.mount));
            if self.mounted {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn run(command: &mut Command) -> bool {
    let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::{Control, Tools};

    #[test]
    fn a_cut_loses_what_was_not_synced_and_only_that() {
        let root = tempfile::tempdir().unwrap();
        let mount = root.path().join("mount");
        fs::create_dir(&mount).unwrap();
        let (Some(tools), Some(mut disk)) =
            (Tools::build(root.path()), Disk::create(root.path().join("image"), &mount))
        else {
            // Not possible here; runs say so, too.
            return;
        };
        let mut synced = File::create(mount.join("synced")).unwrap();
        synced.write_all(b"stays").unwrap();
        synced.sync_all().unwrap();
        File::open(&mount).unwrap().sync_all().unwrap();
        let mut open = File::create(mount.join("open")).unwrap();
        open.write_all(b"goes").unwrap();
        // As the log is written: whole blocks past the page cache, over blocks that were synced.
        let control = Control::create(root.path().join("control")).unwrap();
        let overwrite = |name: &str, then: &str| {
            fs::write(mount.join(name), [b'a'; 4096]).unwrap();
            File::open(mount.join(name)).unwrap().sync_all().unwrap();
            let mut dd = Command::new("dd");
            dd.args(["if=/dev/zero", "bs=4096", "count=1", "oflag=direct", then]);
            dd.arg(format!("of={}", mount.join(name).display())).stderr(Stdio::null());
            dd.env("LD_PRELOAD", &tools.shim).env("CHAOS_CONTROL", &control.path);
            assert!(dd.status().unwrap().success());
        };
        overwrite("direct", "conv=notrunc");
        overwrite("direct-synced", "conv=notrunc,fdatasync");
        assert!(disk.cut(&tools.cut));
        assert!(open.sync_all().is_err() || open.write_all(b"x").is_err());
        drop((synced, open));
        assert!(disk.restore(), "the canary is gone");
        assert_eq!(fs::read(mount.join("synced")).unwrap(), b"stays");
        let left = fs::read(mount.join("open")).unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(fs::read(mount.join("direct")).unwrap(), [b'a'; 4096]);
        assert_eq!(fs::read(mount.join("direct-synced")).unwrap(), [0; 4096]);
        // A cut that lost nothing does not pass for one.
        fs::write(mount.join("canary"), CANARY).unwrap();
        File::open(mount.join("canary")).unwrap().sync_all().unwrap();
        File::open(&mount).unwrap().sync_all().unwrap();
        assert!(!disk.restore());
    }
}
