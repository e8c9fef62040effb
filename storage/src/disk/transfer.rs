//! A whole state leaves as chunks, or arrives as chunks and becomes the state.
//!
//! A received state is built in a generation of its own that nobody sees. The last steps, each of
//! which may be the last before a crash: the last rows and the log index are loaded (durable) by
//! `complete`; then, in `finish`, the new CURRENT is written beside the old one, renamed over it, and
//! the folder is synced. Only then does this process switch, too, and the old generation goes when its
//! last reader is gone. Whatever CURRENT does not name is removed when the engine is opened.

use super::current::{self, Current};
use super::generation::{Generation, RESERVED, Tables, is_storage_key};
use super::shared::{Retired, Shared, Step};
use super::sync::sync_dir;
use super::view::{Version, View};
use super::write::WriteTurn;
use crate::dropped::Dropped;
use crate::error::StorageError;
use crate::key::StorageKey;
use crate::snapshot::{SnapshotSink, SnapshotSource, decode_chunk, encode_chunk};
use crate::txn::{ReadTxn, Row};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;

/// Rows of a received state that are gathered before they are loaded, in bytes.
const PART_BYTES: usize = 32 << 20;

/// A state on its way out. It holds one view for its whole life; writers go on.
pub(super) struct Export {
    view: View,
    /// What is sent: everything but flushed keyspaces.
    kept: Vec<(StorageKey, StorageKey)>,
    /// Where the next chunk starts.
    start: Vec<u8>,
}

impl Export {
    pub(super) fn of(view: View) -> Result<Self, StorageError> {
        let kept = Dropped::load(&view)?.kept(&[], RESERVED);
        Ok(Self { view, kept, start: Vec::new() })
    }
}

impl SnapshotSource for Export {
    fn view(&self) -> &dyn ReadTxn {
        &self.view
    }

    fn next_chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        let mut last = None;
        let from = &self.start[..];
        let rest = self.kept.iter().filter(|(_, end)| **end > *from);
        let rows = rest.flat_map(|(start, end)| self.view.rows(from.max(start), end));
        let mut rows = rows.inspect(|row| {
            last = row.as_ref().ok().map(|(key, _)| key.clone());
        });
        let chunk = encode_chunk(&mut rows, bytes_max)?;
        drop(rows);
        if let Some(key) = last {
            // The smallest key after the last one that was sent.
            self.start.clear();
            self.start.extend_from_slice(&key);
            self.start.push(0);
        }
        Ok(chunk)
    }
}

/// A state on its way in.
pub(super) struct Import {
    shared: Arc<Shared>,
    generation: Arc<Generation>,
    number: u64,
    part: Vec<Row>,
    part_bytes: usize,
    last_key: Bytes,
    is_refused: bool,
    /// The log index with which everything was written.
    completed: Option<u64>,
}

impl Import {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self, StorageError> {
        shared.check()?;
        let number = shared.next_generation.fetch_add(1, Relaxed);
        let path = current::generation_dir(&shared.options.dir, number);
        let generation = Arc::new(Generation::create(path, &shared.options)?);
        let (part, part_bytes) = (Vec::new(), 0);
        let (last_key, is_refused, completed) = (Bytes::new(), false, None);
        Ok(Self { shared, generation, number, part, part_bytes, last_key, is_refused, completed })
    }

    fn take(&mut self, (key, value): Row) -> Result<(), StorageError> {
        if !is_storage_key(&key) {
            return Err(StorageError::Snapshot("a row is not one of a shard".to_owned()));
        }
        if key <= self.last_key {
            return Err(StorageError::Snapshot("rows are out of order".to_owned()));
        }
        self.last_key = key.clone();
        self.part_bytes += key.len() + value.len();
        self.part.push((key, value));
        Ok(())
    }

    /// Refuses what follows a failure, or the end of the state, which is at `log_index`.
    fn check(&self, log_index: Option<u64>) -> Result<(), StorageError> {
        if self.is_refused {
            return Err(StorageError::Snapshot("an earlier chunk was refused".to_owned()));
        }
        if self.completed.is_some() && self.completed != log_index {
            return Err(StorageError::Snapshot("the state is complete already".to_owned()));
        }
        Ok(())
    }

    fn load(&mut self, log_index: Option<u64>) -> Result<(), StorageError> {
        self.part_bytes = 0;
        let rows = std::mem::take(&mut self.part).into_iter();
        let rows = rows.map(|(key, value)| Ok((key, Some(value))));
        self.generation.wait_for_level_0(&|| true)?;
        self.generation.load(rows, log_index, &|| true)?;
        Ok(())
    }

    /// Makes CURRENT name the new generation.
    fn switch(&self) -> Result<(), StorageError> {
        let dir = &self.shared.options.dir;
        sync_dir(dir)?;
        current::prepare(dir, Current::Ready(self.number))?;
        self.shared.reached(Step::ImportPrepared)?;
        // From here on CURRENT may name the new generation whatever happens. After an error it is
        // unknown which one counts: nothing may be promised durable any more, and both folders stay.
        self.generation.keep();
        let switched =
            current::switch(dir).and_then(|()| self.shared.reached(Step::ImportSwitched));
        switched.inspect_err(|error| self.shared.fail(error))
    }

    /// Makes readers and the writer of this process see the new generation.
    fn show(&self, log_index: u64) {
        let shared = &self.shared;
        let progress = shared.progress.lock();
        let tables = Tables::now(self.generation.clone());
        let bytes_max = shared.options.overlay_bytes_max;
        let new = Version::of_tables(tables, log_index, bytes_max);
        let old = shared.version.swap(Arc::new(new));
        old.tables.generation.replace();
        shared.durable.store(log_index, Release);
        shared.changed.notify_all();
        drop(progress);
        for overlay in old.sealed.iter().chain([&old.active]) {
            shared.retire(Retired::Overlay(overlay.clone()));
        }
        shared.retire(Retired::Tables(old.tables.clone()));
        shared.retire(Retired::Generation(old.tables.generation.clone()));
    }
}

impl SnapshotSink for Import {
    fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        self.check(None)?;
        let taken = decode_chunk(chunk).and_then(|rows| {
            for row in rows {
                self.take(row)?;
            }
            if self.part_bytes >= PART_BYTES {
                self.load(None)?;
                self.shared.reached(Step::ImportPart)?;
            }
            Ok(())
        });
        self.is_refused = taken.is_err();
        taken
    }

    fn complete(&mut self, log_index: u64) -> Result<(), StorageError> {
        self.check(Some(log_index))?;
        if self.completed.is_none() {
            let loaded = self.load(Some(log_index));
            self.is_refused = loaded.is_err();
            loaded?;
            self.completed = Some(log_index);
            self.shared.reached(Step::ImportLoaded)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, log_index: u64) -> Result<(), StorageError> {
        self.complete(log_index)?;
        let shared = self.shared.clone();
        let busy = || StorageError::Snapshot("a batch is being written".to_owned());
        let _turn = WriteTurn::take(&shared).ok_or_else(busy)?;
        shared.check()?;
        shared.options.before_durable.call()?;
        self.switch()?;
        self.show(log_index);
        Ok(())
    }
}
