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
//! any more. Files of the log come with names that a restart takes for nothing, or for spares
//! whose length is wrong.

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

    /// Gives a file a name here, too. Without one (not every file system can, and count names) it is
    /// removed at once when its own name is.
    pub(crate) fn link(&self, file: &Path) {
        let Ok(name) = self.name_of(file) else { return };
        let linked = fs::hard_link(file, &name).and_then(|()| fs::metadata(&name));
        if linked.is_ok_and(|of| of.nlink() < 2) {
            let _ = fs::remove_file(&name);
        }
    }

    /// Removes the name of a file that nobody uses; what is in it later, if that is possible. A file
    /// that has a name here keeps both: the folder that it is in is removed next.
    ///
    /// # Errors
    ///
    /// When it cannot be removed at all.
    pub(crate) fn take(&self, file: &Path) -> io::Result<()> {
        let moved = self.name_of(file).and_then(|name| fs::rename(file, name));
        moved.or_else(|_| fs::remove_file(file))
    }

    /// Removes all that waits at once, for its room is needed.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, or a file not be removed.
    pub fn empty(&self) -> io::Result<()> {
        self.waiting()?.iter().try_for_each(|file| fs::remove_file(&file.path))
    }

    /// A name that no other file of this folder's owner has.
    fn name_of(&self, file: &Path) -> io::Result<PathBuf> {
        Ok(self.0.join(fs::metadata(file)?.ino().to_string()))
    }

    /// The files whose last names are here; none where there is no folder.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub(crate) fn waiting(&self) -> io::Result<Vec<Waiting>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut waiting = Vec::new();
        for entry in entries {
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
    /// Cuts a piece off, or removes what is left; returns whether that was the end.
    ///
    /// # Errors
    ///
    /// When it cannot be removed at all.
    pub(crate) fn cut(&mut self) -> io::Result<bool> {
        if self.bytes > STEP_BYTES {
            let left = (self.bytes - 1) / STEP_BYTES * STEP_BYTES;
            let cut = File::options().write(true).open(&self.path).and_then(|file| {
                file.set_len(left)?;
                file.sync_data()
            });
            if cut.is_ok() {
                self.bytes = left;
                return Ok(false);
            }
        }
        fs::remove_file(&self.path)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let [waiting] = &mut removed.waiting().unwrap()[..] else { panic!("one file waits") };
        for left in [3, 2, 1] {
            assert!(!waiting.cut().unwrap());
            let length = fs::metadata(&waiting.path).unwrap().len();
            assert_eq!((length, waiting.bytes), (left * STEP_BYTES, length));
        }
        assert!(waiting.cut().unwrap());
        assert_eq!(fs::read_dir(&removed.0).unwrap().count(), 0);
    }

    #[test]
    fn what_waits_can_be_removed_at_once_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let removed = Removed::of_engine(dir.path());
        removed.empty().unwrap();
        removed.create().unwrap();
        let [used, unused] = ["7", "8"].map(|name| table(dir.path(), name));
        removed.link(&used);
        removed.take(&unused).unwrap();
        removed.empty().unwrap();
        assert!(used.exists());
        assert_eq!(fs::read_dir(&removed.0).unwrap().count(), 1);
    }

    #[test]
    fn without_the_folder_a_file_is_removed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let removed = Removed::of_engine(dir.path());
        for waiting in [0, 1] {
            let table = table(dir.path(), "7");
            removed.take(&table).unwrap();
            assert!(!table.exists());
            assert_eq!(removed.waiting().unwrap().len(), waiting);
            removed.create().unwrap();
        }
    }
}
