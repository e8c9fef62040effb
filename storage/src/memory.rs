//! The model engine: a sorted map in memory behind the same trait as the production engine.
//!
//! It is what the LSM engine is compared with, and what simulations and golden scripts run on.
//! Nothing in it survives the process: a node that uses it replays its whole log at every start, so
//! its log is never purged (`durable_index` stays 0).

use crate::dropped::Dropped;
use crate::error::StorageError;
use crate::merge::{Changes, merge};
use crate::meta;
use crate::snapshot::{SnapshotSink, SnapshotSource, decode_chunk, encode_chunk};
use crate::txn::{Engine, EngineStats, ReadTxn, Row, Rows, WriteTxn};
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

#[derive(Clone, Default)]
struct State {
    rows: BTreeMap<Bytes, Bytes>,
    log_index: u64,
}

/// The engine; clones share one state.
#[derive(Clone, Default)]
pub struct MemoryEngine {
    state: Arc<RwLock<Arc<State>>>,
}

impl MemoryEngine {
    /// An empty state at log index 0.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Engine for MemoryEngine {
    fn read(&self) -> Box<dyn ReadTxn + Send + Sync> {
        Box::new(MemoryRead { state: self.state.read().clone() })
    }

    fn write(&self, log_index: u64) -> Box<dyn WriteTxn + '_> {
        let base = self.state.read().clone();
        assert!(log_index > base.log_index, "log indexes of batches only grow");
        Box::new(MemoryWrite { engine: self, base, changes: BTreeMap::new(), log_index })
    }

    fn has_room(&self) -> bool {
        true
    }

    fn wait_for_room(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn durable_index(&self) -> u64 {
        0
    }

    fn flush(&self) -> Result<u64, StorageError> {
        Ok(0)
    }

    fn export(&self) -> Result<Box<dyn SnapshotSource>, StorageError> {
        let view = MemoryRead { state: self.state.read().clone() };
        Ok(Box::new(MemorySource { view, after: None }))
    }

    fn import(&self) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(Box::new(MemorySink { engine: self.clone(), rows: BTreeMap::new() }))
    }

    fn stats(&self) -> EngineStats {
        let state = self.state.read().clone();
        let bytes = state.rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        EngineStats {
            engine: "memory",
            overlay_bytes: bytes as u64,
            overlay_rows: state.rows.len() as u64,
            ..EngineStats::default()
        }
    }
}

struct MemoryRead {
    state: Arc<State>,
}

impl ReadTxn for MemoryRead {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.state.rows.get(key).cloned())
    }

    fn rows<'a>(&'a self, start: &[u8], end: &[u8]) -> Rows<'a> {
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let rows = self.state.rows.range::<[u8], _>(bounds);
        Box::new(rows.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }

    fn log_index(&self) -> u64 {
        self.state.log_index
    }
}

struct MemoryWrite<'a> {
    engine: &'a MemoryEngine,
    base: Arc<State>,
    changes: BTreeMap<Bytes, Option<Bytes>>,
    log_index: u64,
}

impl ReadTxn for MemoryWrite<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => Ok(self.base.rows.get(key).cloned()),
        }
    }

    fn rows<'a>(&'a self, start: &[u8], end: &[u8]) -> Rows<'a> {
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let changes = self.changes.range::<[u8], _>(bounds);
        let changes: Changes<'a> =
            Box::new(changes.map(|(key, value)| Ok((key.clone(), value.clone()))));
        let base = self.base.rows.range::<[u8], _>(bounds);
        let base: Changes<'a> =
            Box::new(base.map(|(key, value)| Ok((key.clone(), Some(value.clone())))));
        merge(vec![changes, base])
    }

    fn log_index(&self) -> u64 {
        self.log_index
    }
}

impl WriteTxn for MemoryWrite<'_> {
    fn put(&mut self, key: &[u8], value: Bytes) {
        self.changes.insert(Bytes::copy_from_slice(key), Some(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.changes.insert(Bytes::copy_from_slice(key), None);
    }

    fn commit(self: Box<Self>) {
        let Self { engine, base, changes, log_index } = *self;
        drop(base);
        let mut shared = engine.state.write();
        let drops = changes.keys().any(|key| meta::drops_a_keyspace(key));
        let state = Arc::make_mut(&mut shared);
        for (key, change) in changes {
            match change {
                Some(value) => state.rows.insert(key, value),
                None => state.rows.remove(&key),
            };
        }
        state.log_index = log_index;
        if drops {
            remove_dropped(&mut shared);
        }
    }
}

/// Removes the rows of flushed keyspaces. Readers of older states keep theirs.
fn remove_dropped(shared: &mut Arc<State>) {
    let view = MemoryRead { state: shared.clone() };
    let dropped = Dropped::load(&view).expect("bookkeeping in memory is readable");
    drop(view);
    Arc::make_mut(shared).rows.retain(|key, _| !dropped.has(key));
}

struct MemorySource {
    view: MemoryRead,
    after: Option<Bytes>,
}

impl SnapshotSource for MemorySource {
    fn view(&self) -> &dyn ReadTxn {
        &self.view
    }

    fn next_chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        let start = match &self.after {
            Some(key) => Bound::Excluded(key.clone()),
            None => Bound::Unbounded,
        };
        let mut last = None;
        let mut rows = self.view.state.rows.range((start, Bound::Unbounded)).map(|(key, value)| {
            last = Some(key.clone());
            Ok((key.clone(), value.clone()))
        });
        let chunk = encode_chunk(&mut rows, bytes_max)?;
        drop(rows);
        self.after = last.or(self.after.take());
        Ok(chunk)
    }
}

struct MemorySink {
    engine: MemoryEngine,
    rows: BTreeMap<Bytes, Bytes>,
}

impl SnapshotSink for MemorySink {
    fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        let rows: Vec<Row> = decode_chunk(chunk)?;
        for (key, value) in rows {
            if self.rows.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(StorageError::Snapshot("rows are out of order".to_owned()));
            }
            self.rows.insert(key, value);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, log_index: u64) -> Result<(), StorageError> {
        *self.engine.state.write() = Arc::new(State { rows: self.rows, log_index });
        Ok(())
    }
}
