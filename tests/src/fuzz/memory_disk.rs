//! A disk in memory for logs that are opened often: files are shared until somebody writes to them.
//!
//! It loses nothing, fails never, and lets anybody in; disks that forget in a crash are those of the
//! simulator and of the log's own tests.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use storage::log::{Disk, DiskFile};

/// The content of files, by name.
pub(super) type Files = BTreeMap<String, Arc<Vec<u8>>>;

/// A disk; clones share it.
#[derive(Clone, Default)]
pub(super) struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<String, MemoryFile>>>,
}

impl MemoryDisk {
    /// A disk with these files.
    pub(super) fn with(files: &Files) -> MemoryDisk {
        let disk = MemoryDisk::default();
        let files = files.iter().map(|(name, content)| {
            (name.clone(), MemoryFile(Arc::new(Mutex::new(Arc::clone(content)))))
        });
        disk.names().extend(files);
        disk
    }

    /// What it holds.
    pub(super) fn files(&self) -> Files {
        let names = self.names();
        names.iter().map(|(name, file)| (name.clone(), Arc::clone(&file.content()))).collect()
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, MemoryFile>> {
        self.files.lock().expect("nothing panics under the lock")
    }
}

impl Disk for MemoryDisk {
    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        Ok(Some(Box::new(())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names().keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.names().get(name) {
            Some(file) => Ok(Arc::new(file.clone())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = MemoryFile::default();
        self.names().insert(name.to_owned(), file.clone());
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names();
        let file = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.names().remove(name);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct MemoryFile(Arc<Mutex<Arc<Vec<u8>>>>);

impl MemoryFile {
    fn content(&self) -> MutexGuard<'_, Arc<Vec<u8>>> {
        self.0.lock().expect("nothing panics under the lock")
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content();
        let from = content.get(offset as usize..).unwrap_or_default();
        let len = from.len().min(buffer.len());
        buffer[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut content, offset) = (self.content(), offset as usize);
        let content = Arc::make_mut(&mut content);
        if content.len() < offset + bytes.len() {
            content.resize(offset + bytes.len(), 0);
        }
        content[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
