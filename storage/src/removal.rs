//! Gives the room of large removed files back bit by bit.
//!
//! A compaction replaces many tables of 64 MiB at once. Where the file system tells the disk what
//! became free (`discard`), each of them keeps all other requests waiting, those of the log
//! included: 70 ms were measured. So what is removed comes here first, and a thread of the engine
//! shortens it by a megabyte at a time, each synced, because file systems join what is freed between
//! two syncs. RocksDB's `DeleteScheduler` does the same.
//!
//! Invariant: a file is shortened only when the name here is its last. Tables have another until
//! fjall removes it, which it does when no list that may count names the table, and nobody reads it
//! any more. Segments of the log come with a name that a restart takes for nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Its folder, in that of the engine.
const FOLDER: &str = "removed";
/// What is cut off at once, in bytes.
const STEP_BYTES: u64 = 1 << 20;

/// The folder of what is to be removed.
#[derive(Clone, Debug)]
pub struct Removed(PathBuf);

impl Removed {
    /// The one of the disk engine in `dir`, which makes it and removes what is in it.
    pub fn of_engine(dir: &Path) -> Self {
        Self(dir.join(FOLDER))
    }

    /// Makes the folder.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.0)
    }

    /// Gives a file a name here, too. Without one (not every file system can) it is removed at once
    /// when its own name is.
    pub(crate) fn link(&self, file: &Path) {
        let _ = self.name_of(file).and_then(|name| fs::hard_link(file, name));
    }

    /// Removes the name of a file that nobody uses; what is in it later, if that is possible.
    ///
    /// # Errors
    ///
    /// When it cannot be removed at all.
    pub(crate) fn take(&self, file: &Path) -> io::Result<()> {
        let moved = self.name_of(file).and_then(|name| fs::rename(file, name));
        moved.or_else(|_| fs::remove_file(file))
    }

    /// A name that no other file can have.
    fn name_of(&self, file: &Path) -> io::Result<PathBuf> {
        Ok(self.0.join(fs::metadata(file)?.ino().to_string()))
    }

    /// The files whose last names are here.
    pub(crate) fn waiting(&self) -> io::Result<Vec<Waiting>> {
        let mut waiting = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let of = entry.metadata()?;
            if of.nlink() == 1 {
                waiting.push(Waiting { path: entry.path(), bytes: of.len() });
            }
        }
        Ok(waiting)
    }
}

/// A file that is to be removed.
pub(crate) struct Waiting {
    path: PathBuf,
    /// Its length.
    pub(crate) bytes: u64,
}

impl Waiting {
    /// Cuts the file off piece by piece, then removes it. After each piece `goes_on` is asked; what is
    /// left when it says no is for later.
    pub(crate) fn remove(&self, goes_on: &mut dyn FnMut() -> bool) -> io::Result<()> {
        let file = File::options().write(true).open(&self.path)?;
        let mut bytes = self.bytes;
        while bytes > STEP_BYTES {
            bytes = (bytes - 1) / STEP_BYTES * STEP_BYTES;
            file.set_len(bytes)?;
            file.sync_data()?;
            if !goes_on() {
                return Ok(());
            }
        }
        fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn table(dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, vec![b'x'; 3 * STEP_BYTES as usize + 1]).unwrap();
        path
    }

    #[test]
    fn a_table_is_touched_only_when_its_own_name_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let removed = Removed::of_engine(dir.path());
        removed.create().unwrap();
        let table = table(dir.path(), "7");
        removed.link(&table);
        removed.link(&table);
        assert!(removed.waiting().unwrap().is_empty());
        fs::remove_file(&table).unwrap();
        let [waiting] = &removed.waiting().unwrap()[..] else { panic!("one file waits") };
        let steps = Cell::new(0);
        waiting
            .remove(&mut || {
                steps.set(steps.get() + 1);
                let left = fs::metadata(&waiting.path).unwrap().len();
                assert_eq!(left, (4 - steps.get()) * STEP_BYTES);
                true
            })
            .unwrap();
        assert_eq!(steps.get(), 3);
        assert_eq!(fs::read_dir(&removed.0).unwrap().count(), 0);
    }

    #[test]
    fn what_is_left_by_a_stop_is_for_later() {
        let dir = tempfile::tempdir().unwrap();
        let removed = Removed::of_engine(dir.path());
        removed.create().unwrap();
        removed.link(&table(dir.path(), "7"));
        fs::remove_file(dir.path().join("7")).unwrap();
        removed.waiting().unwrap()[0].remove(&mut || false).unwrap();
        let waiting = removed.waiting().unwrap();
        assert_eq!(waiting[0].bytes, 3 * STEP_BYTES);
        waiting[0].remove(&mut || true).unwrap();
        assert!(removed.waiting().unwrap().is_empty());
    }

    #[test]
    fn without_the_folder_a_file_is_removed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let removed = Removed::of_engine(dir.path());
        for waiting in [0, 1] {
            let table = table(dir.path(), "7");
            removed.take(&table).unwrap();
            assert!(!table.exists());
            assert_eq!(removed.waiting().unwrap_or_default().len(), waiting);
            removed.create().unwrap();
        }
    }
}
