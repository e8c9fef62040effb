//! The few file operations the log needs, behind a trait, and the real ones.
//!
//! Tests put a disk underneath that forgets, tears and reorders what was not synced. The contract
//! is POSIX's weakest useful one: written bytes are durable once `sync_data` of the same file has
//! returned; names are durable once `sync_dir` has returned; a failed sync is never repeated.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::removal::Removed;

/// Name of the lock file inside a log directory. Its content has no meaning.
const LOCK_NAME: &str = "LOCK";

/// What a file system writes at once. A write that covers part of a block which is not in memory
/// reads it from the disk first.
pub(super) const BLOCK_BYTES: usize = 4096;

/// One flat directory.
pub trait Disk: Send + Sync {
    /// Takes the directory for this process until the returned guard is dropped; `None` if it is
    /// taken already.
    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates an empty file, replacing one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames, replacing the target.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Removes a file whose room nobody waits for. What was in it may be gone before its name is
    /// durably.
    fn discard(&self, name: &str) -> io::Result<()> {
        self.remove(name)
    }
    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One open file.
#[expect(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait DiskFile: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reads at most `buffer.len()` bytes; 0 means the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes, growing the file where needed.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes all bytes written so far durable, and the length.
    fn sync_data(&self) -> io::Result<()>;
}

/// Reads up to `len` bytes from `offset`; the result is shorter only at the end of the file.
pub(super) fn read_upto(file: &dyn DiskFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// The real directory.
pub(super) struct FsDisk {
    dir: PathBuf,
    removed: Option<Removed>,
    /// A reader locks in shared mode and creates nothing.
    read_only: bool,
}

impl FsDisk {
    /// Opens `dir`, creating it where it is missing. Discarded files go to `removed`.
    pub(super) fn create(dir: PathBuf, removed: Option<Removed>) -> io::Result<FsDisk> {
        if !dir.is_dir() {
            fs::create_dir_all(&dir)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(FsDisk { dir, removed, read_only: false })
    }

    /// Opens `dir`, which must exist, without ever writing to it.
    pub(super) fn read_only(dir: PathBuf) -> FsDisk {
        FsDisk { dir, removed: None, read_only: true }
    }

    fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(!self.read_only);
        options
    }
}

impl Disk for FsDisk {
    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let path = self.dir.join(LOCK_NAME);
        let opened = if self.read_only {
            self.options().open(path)
        } else {
            self.options().create(true).truncate(false).open(path)
        };
        let file = match opened {
            // A log that was never opened for writing cannot be in use.
            Err(error) if self.read_only && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(Box::new(())));
            }
            opened => opened?,
        };
        let taken = if self.read_only { file.try_lock_shared() } else { file.try_lock() };
        match taken {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            // Names of the log are ASCII; others are nothing of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.dir.join(name);
        let cached = self.options().open(&path)?;
        Ok(Arc::new(match self.read_only {
            true => FsFile { cached, direct: None },
            false => FsFile::new(cached, &path),
        }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.dir.join(name);
        let file = self.options().create(true).truncate(true).open(&path)?;
        Ok(Arc::new(FsFile::new(file, &path)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn discard(&self, name: &str) -> io::Result<()> {
        match &self.removed {
            Some(removed) => removed.take(&self.dir.join(name)),
            None => self.remove(name),
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

/// A file. Whole blocks pass the page cache by on their way to the disk, where that is possible:
/// nobody reads the log from there soon. Everything else goes through it; the kernel keeps both ways
/// in step.
struct FsFile {
    cached: File,
    /// None where the file system knows no such way, one in memory for example.
    direct: Option<File>,
}

impl FsFile {
    fn new(cached: File, path: &Path) -> FsFile {
        let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path);
        FsFile { cached, direct: direct.ok() }
    }
}

fn is_whole_blocks(bytes: &[u8], offset: u64) -> bool {
    bytes.len().is_multiple_of(BLOCK_BYTES)
        && offset.is_multiple_of(BLOCK_BYTES as u64)
        && bytes.as_ptr().align_offset(BLOCK_BYTES) == 0
}

impl DiskFile for FsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.cached.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.cached.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.direct {
            Some(direct) if is_whole_blocks(bytes, offset) => {
                match direct.write_all_at(bytes, offset) {
                    // A device of larger blocks. What was written is written again.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                        self.cached.write_all_at(bytes, offset)
                    }
                    written => written,
                }
            }
            _ => self.cached.write_all_at(bytes, offset),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.cached.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_whole_blocks_and_other_lengths() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FsDisk::create(dir.path().to_owned(), None).unwrap();
        let file = disk.create("f").unwrap();
        let bytes: Vec<u8> = (0..3 * BLOCK_BYTES).map(|at| at as u8).collect();
        let from = bytes.as_ptr().align_offset(BLOCK_BYTES);
        let whole = &bytes[from..from + BLOCK_BYTES];
        assert!(is_whole_blocks(whole, 0) && !is_whole_blocks(whole, 512));
        file.write_all_at(whole, 0).unwrap();
        file.write_all_at(&whole[..100], BLOCK_BYTES as u64).unwrap();
        file.write_all_at(whole, BLOCK_BYTES as u64).unwrap();
        file.write_all_at(&whole[..100], 100).unwrap();
        file.sync_data().unwrap();
        let read = read_upto(&*disk.open("f").unwrap(), 0, 3 * BLOCK_BYTES).unwrap();
        let expected = [&whole[..100], &whole[..100], &whole[200..], whole].concat();
        assert!(read == expected);
    }
}
