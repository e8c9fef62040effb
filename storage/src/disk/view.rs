//! Consistent reads: what the engine consists of at a moment, and a look at it at one log index.
//!
//! A version never changes except that rows of newer log indexes appear in its active overlay. So a
//! reader that keeps its version keeps its state, while flushes and installations go on.

use super::ahead::{Expected, Lookups};
use super::generation::{Generation, RESERVED, Tables};
use super::overlay::Overlay;
use super::rows::KeyHash;
use crate::error::StorageError;
use crate::key::StorageKey;
use crate::merge::{Changes, merge};
use crate::txn::{LOOKUPS_EXPECTED_MAX, ReadTxn, Rows};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// The sources of rows, newest first.
#[derive(Clone)]
pub(super) struct Version {
    /// Takes the batches.
    pub(super) active: Arc<Overlay>,
    /// Is being loaded into the tables.
    pub(super) sealed: Option<Arc<Overlay>>,
    /// Everything older.
    pub(super) tables: Tables,
}

impl Version {
    /// The tables at `log_index` and nothing above them.
    pub(super) fn of_tables(tables: Tables, log_index: u64, overlay_bytes_max: u64) -> Self {
        Self {
            active: Arc::new(Overlay::above(log_index, overlay_bytes_max)),
            sealed: None,
            tables,
        }
    }

    /// This version with an empty overlay on top of the active one.
    pub(super) fn sealed(&self) -> Self {
        assert!(self.sealed.is_none(), "there are two overlays at most");
        Self {
            active: Arc::new(self.active.next()),
            sealed: Some(self.active.clone()),
            tables: self.tables.clone(),
        }
    }
}

/// What the tables alone show: the state after the log index that they complete.
pub(super) struct TablesView {
    tables: Tables,
    log_index: u64,
}

impl TablesView {
    /// The tables of a generation as they are now.
    pub(super) fn now(generation: Arc<Generation>) -> Result<Self, StorageError> {
        let tables = Tables::now(generation);
        let log_index = tables.durable()?;
        Ok(Self { tables, log_index })
    }
}

impl ReadTxn for TablesView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.tables.get(key)
    }

    fn rows<'a>(&'a self, start: &[u8], end: &[u8]) -> Rows<'a> {
        merge(vec![self.tables.changes(start, end)])
    }

    fn log_index(&self) -> u64 {
        self.log_index
    }
}

/// The state after one log index.
pub(super) struct View {
    version: Arc<Version>,
    log_index: u64,
}

impl View {
    /// The state after the last batch committed to `version`.
    pub(super) fn latest(version: Arc<Version>) -> Self {
        let log_index = version.active.enter();
        Self { version, log_index }
    }

    /// The sources of rows with `start <= key < end`, newest first.
    pub(super) fn changes<'a>(&'a self, start: &[u8], end: &[u8]) -> Vec<Changes<'a>> {
        let end = end.min(RESERVED);
        if start >= end {
            return Vec::new();
        }
        let Version { active, sealed, tables } = &*self.version;
        let mut sources = vec![active.changes(start, Some(end), self.log_index)];
        sources
            .extend(sealed.iter().map(|sealed| sealed.changes(start, Some(end), self.log_index)));
        sources.push(tables.changes(start, end));
        sources
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.version.active.leave();
    }
}

impl View {
    /// [`WriteTxn::expect_all`] for a batch that reads through this view.
    ///
    /// [`WriteTxn::expect_all`]: crate::txn::WriteTxn::expect_all
    pub(super) fn expect_all(
        &self,
        count: usize,
        keys: &mut dyn Iterator<Item = StorageKey>,
        lookups: &Arc<Lookups>,
    ) -> Expected {
        let Version { active, sealed, tables } = &*self.version;
        lookups.expect(count, keys, tables, |key| {
            let hash = KeyHash::of(key);
            let mut overlays = sealed.iter().chain([active]);
            overlays.any(|overlay| overlay.look(key, hash, self.log_index, &mut |_| ()))
        })
    }

    /// [`ReadTxn::get`] for who knows the hash of the key, and may have expected it.
    pub(super) fn get_hashed(
        &self,
        key: &[u8],
        hash: KeyHash,
        expected: Option<&Expected>,
    ) -> Result<Option<Bytes>, StorageError> {
        let Version { active, sealed, tables } = &*self.version;
        if let Some(change) = active.get(key, hash, self.log_index) {
            return Ok(change);
        }
        let sealed = sealed.as_ref();
        if let Some(change) = sealed.and_then(|sealed| sealed.get(key, hash, self.log_index)) {
            return Ok(change);
        }
        if key >= RESERVED {
            return Ok(None);
        }
        get_from(tables, key, expected)
    }

    /// [`ReadTxn::look`] for who knows the hash of the key, and may have expected it.
    pub(super) fn look_hashed(
        &self,
        key: &[u8],
        hash: KeyHash,
        expected: Option<&Expected>,
        show: &mut dyn FnMut(&[u8]),
    ) -> Result<(), StorageError> {
        let Version { active, sealed, tables } = &*self.version;
        let overlays = [Some(active), sealed.as_ref()];
        if overlays
            .into_iter()
            .flatten()
            .any(|overlay| overlay.look(key, hash, self.log_index, show))
        {
            return Ok(());
        }
        if key < RESERVED
            && let Some(value) = get_from(tables, key, expected)?
        {
            show(&value);
        }
        Ok(())
    }
}

fn get_from(
    tables: &Tables,
    key: &[u8],
    expected: Option<&Expected>,
) -> Result<Option<Bytes>, StorageError> {
    match expected {
        Some(expected) => expected.get(key, tables),
        None => tables.get(key),
    }
}

impl ReadTxn for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.get_hashed(key, KeyHash::of(key), None)
    }

    fn look(&self, key: &[u8], show: &mut dyn FnMut(&[u8])) -> Result<(), StorageError> {
        self.look_hashed(key, KeyHash::of(key), None, show)
    }

    fn expect(&self, keys: &[StorageKey]) {
        let hashes: SmallVec<[KeyHash; LOOKUPS_EXPECTED_MAX]> =
            keys.iter().map(|key| KeyHash::of(key)).collect();
        self.version.active.expect(&hashes);
    }

    fn rows<'a>(&'a self, start: &[u8], end: &[u8]) -> Rows<'a> {
        merge(self.changes(start, end))
    }

    fn log_index(&self) -> u64 {
        self.log_index
    }
}
