//! The batch of one log index: kept apart until it is committed, so that dropping it leaves nothing.

use super::generation::is_storage_key;
use super::shared::Shared;
use super::view::View;
use crate::error::StorageError;
use crate::merge::{Changes, merge};
use crate::txn::{ReadTxn, Rows, WriteTxn};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering::*;

/// The right to change the state, which one at a time has.
pub(super) struct WriteTurn<'a>(&'a Shared);

impl<'a> WriteTurn<'a> {
    /// Takes the turn; None while somebody has it.
    pub(super) fn take(shared: &'a Shared) -> Option<Self> {
        (!shared.writing.swap(true, AcqRel)).then_some(Self(shared))
    }
}

impl Drop for WriteTurn<'_> {
    fn drop(&mut self) {
        self.0.writing.store(false, Release);
    }
}

/// A batch that is being put together.
pub(super) struct Batch<'a> {
    turn: WriteTurn<'a>,
    view: View,
    changes: BTreeMap<Bytes, Option<Bytes>>,
    log_index: u64,
}

impl<'a> Batch<'a> {
    /// Starts the batch of `log_index`.
    pub(super) fn start(shared: &'a Shared, log_index: u64) -> Self {
        let turn = WriteTurn::take(shared);
        assert!(turn.is_some(), "there is one writer at a time");
        let turn = turn.expect("checked above");
        let view = View::latest(shared.version.load_full());
        assert!(log_index > view.log_index(), "log indexes of batches only grow");
        Self { turn, view, changes: BTreeMap::new(), log_index }
    }
}

impl ReadTxn for Batch<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.view.get(key),
        }
    }

    fn rows<'a>(&'a self, start: &[u8], end: &[u8]) -> Rows<'a> {
        if start >= end {
            return Box::new(std::iter::empty());
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let own = self.changes.range::<[u8], _>(bounds);
        let own: Changes<'a> = Box::new(own.map(|(key, value)| Ok((key.clone(), value.clone()))));
        let mut sources = vec![own];
        sources.extend(self.view.changes(start, end));
        merge(sources)
    }

    fn log_index(&self) -> u64 {
        self.log_index
    }
}

impl WriteTxn for Batch<'_> {
    fn put(&mut self, key: Bytes, value: Bytes) {
        assert!(is_storage_key(&key), "storage keys are 1 to 65535 bytes, of a shard below 0xFFFF");
        self.changes.insert(key, Some(value));
    }

    fn delete(&mut self, key: Bytes) {
        assert!(is_storage_key(&key), "storage keys are 1 to 65535 bytes, of a shard below 0xFFFF");
        self.changes.insert(key, None);
    }

    fn commit(self: Box<Self>) {
        let Self { turn, view, changes, log_index } = *self;
        drop(view);
        turn.0.commit(log_index, changes);
    }
}
