//! The batch of one log index: kept apart until it is committed, so that dropping it leaves nothing.

use super::ahead::Expected;
use super::generation::is_storage_key;
use super::overlay::NewVersion;
use super::rows::{KeyHash, Rows};
use super::shared::Shared;
use super::view::View;
use crate::error::StorageError;
use crate::key::StorageKey;
use crate::merge::{Changes, merge};
use crate::txn::{self, ReadTxn, WriteTxn};
use bytes::Bytes;
use std::cell::RefCell;
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

/// A change of a row; None: removed. With the hash of its key, which the overlay wants again.
struct BatchChange {
    hash: KeyHash,
    value: Option<Bytes>,
}

/// A batch that is being put together.
pub(super) struct Batch<'a> {
    expected: Option<Expected>,
    turn: WriteTurn<'a>,
    view: View,
    changes: RefCell<Rows<BatchChange>>,
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
        let changes = RefCell::new(Rows::with_room_for(0));
        Self { expected: None, turn, view, changes, log_index }
    }
}

impl Batch<'_> {
    fn change(&mut self, key: &[u8], value: Option<Bytes>) {
        assert!(is_storage_key(key), "storage keys are 1 to 65535 bytes, of a shard below 0xFFFF");
        let hash = KeyHash::of(key);
        let changes = self.changes.get_mut();
        match changes.get_mut(key, hash) {
            Some(change) => change.value = value,
            None => changes.insert(StorageKey::from(key), hash, BatchChange { hash, value }),
        }
    }
}

impl ReadTxn for Batch<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let hash = KeyHash::of(key);
        match self.changes.borrow().get(key, hash) {
            Some(change) => Ok(change.value.clone()),
            None => self.view.get_hashed(key, hash, self.expected.as_ref()),
        }
    }

    fn look(&self, key: &[u8], show: &mut dyn FnMut(&[u8])) -> Result<(), StorageError> {
        let hash = KeyHash::of(key);
        match self.changes.borrow().get(key, hash) {
            Some(change) => change.value.iter().for_each(|value| show(value)),
            None => self.view.look_hashed(key, hash, self.expected.as_ref(), show)?,
        }
        Ok(())
    }

    fn expect(&self, keys: &[StorageKey]) {
        self.view.expect(keys);
    }

    fn rows<'a>(&'a self, start: &[u8], end: &[u8]) -> txn::Rows<'a> {
        if start >= end {
            return Box::new(std::iter::empty());
        }
        // Most batches are never walked: their order is made up when one is.
        let mut changes = self.changes.borrow_mut();
        changes.file();
        let own = changes.from(Bound::Included(start)).take_while(|(key, _)| *key < end);
        let own = own.map(|(key, change)| Ok((Bytes::copy_from_slice(key), change.value.clone())));
        let own: Vec<_> = own.collect();
        let mut sources: Vec<Changes<'a>> = vec![Box::new(own.into_iter())];
        sources.extend(self.view.changes(start, end));
        merge(sources)
    }

    fn log_index(&self) -> u64 {
        self.log_index
    }
}

impl WriteTxn for Batch<'_> {
    fn put(&mut self, key: &[u8], value: Bytes) {
        self.change(key, Some(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.change(key, None);
    }

    fn expect_all(&mut self, count: usize, keys: &mut dyn Iterator<Item = StorageKey>) {
        self.expected = Some(self.view.expect_all(count, keys, &self.turn.0.lookups));
    }

    fn commit(self: Box<Self>) {
        let Self { expected, turn, view, changes, log_index } = *self;
        drop(expected);
        drop(view);
        let changes = changes.into_inner().into_rows();
        let changes =
            changes.map(|(key, BatchChange { hash, value })| NewVersion { key, hash, value });
        turn.0.commit(log_index, changes);
    }
}
