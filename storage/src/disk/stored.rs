//! The state of a stopped node, read without an engine: for offline checks.
//!
//! Nothing of ours is created, changed or removed here, and no table is compacted. Opening fjall
//! itself may still drop files that an interrupted load left and no version of the tables names.

use super::current::{self, Current};
use super::generation::Generation;
use super::view::TablesView;
use super::{DiskOptions, StorageError};
use crate::txn::{ReadTxn, Rows};
use bytes::Bytes;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// What is durable in an engine's folder. Keeps the folder locked while it lives.
pub struct StoredState {
    view: TablesView,
    _lock: File,
}

impl StoredState {
    /// Opens the state in `dir`; None when nothing was ever stored there.
    ///
    /// # Errors
    /// As [`super::DiskEngine::open`].
    pub fn open(dir: &Path) -> Result<Option<Self>, StorageError> {
        if !dir.try_exists()? {
            return Ok(None);
        }
        let lock = current::lock(dir)?;
        let number = match current::read(dir)? {
            Some(Current::Ready(number)) => number,
            Some(Current::Creating) => return Ok(None),
            None if current::generations(dir)?.is_empty() => return Ok(None),
            None => {
                return Err(StorageError::Corrupt(format!(
                    "{}: CURRENT is missing",
                    dir.display()
                )));
            }
        };
        let options = DiskOptions { writes_tables: false, ..DiskOptions::new(dir) };
        let path = current::generation_dir(dir, number);
        let (generation, _) = Generation::open(path, &options)?;
        let view = TablesView::now(Arc::new(generation))?;
        Ok(Some(Self { view, _lock: lock }))
    }
}

impl ReadTxn for StoredState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.view.get(key)
    }

    fn rows<'a>(&'a self, start: &[u8], end: &[u8]) -> Rows<'a> {
        self.view.rows(start, end)
    }

    fn log_index(&self) -> u64 {
        self.view.log_index()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskEngine;
    use crate::txn::Engine;

    #[test]
    fn what_was_flushed_is_read_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        assert!(StoredState::open(&dir.path().join("missing")).unwrap().is_none());
        let state = dir.path().join("state");
        let engine = DiskEngine::open(DiskOptions::new(&state)).unwrap();
        for log_index in 1..=3 {
            let mut txn = engine.write(log_index);
            txn.put(format!("{log_index}").as_bytes(), Bytes::from_static(b"v"));
            txn.commit();
        }
        assert!(StoredState::open(&state).is_err(), "the engine holds the lock");
        engine.flush().unwrap();
        drop(engine);
        let stored = StoredState::open(&state).unwrap().unwrap();
        assert_eq!(stored.log_index(), 3);
        assert_eq!(stored.get(b"2").unwrap().as_deref(), Some(&b"v"[..]));
        assert_eq!(stored.rows(b"", b"9").count(), 3);
    }
}
