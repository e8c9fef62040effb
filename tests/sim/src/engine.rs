//! The state store of a simulated node: the memory engine, and what a restart finds of it.
//!
//! As with the engine of production, a flush first has the log synced and then makes the state
//! durable at once, and an installed snapshot is durable. The store of a node that crashed changes
//! nothing any more.

use crate::dice::Dice;
use crate::trace::Trace;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use storage::StorageError;
use storage::log::Driver;
use storage::memory::MemoryEngine;
use storage::snapshot::{SnapshotSink, SnapshotSource};
use storage::txn::{Engine, EngineStats, ReadTxn, WriteTxn};

/// Entries of a thousand that have to wait for room in the store.
const WITHOUT_ROOM_PER_MILLE: u64 = 20;

/// Bytes of a chunk when a state is copied.
const CHUNK_BYTES: usize = 1 << 20;

/// The log's driver, until the node crashes.
pub type SharedDriver = Arc<Mutex<Option<Driver>>>;

/// What a restart finds of a state; clones share it.
#[derive(Clone, Default)]
pub struct DurableState {
    state: Arc<Mutex<MemoryEngine>>,
}

/// One life's state store; clones share it.
#[derive(Clone)]
pub struct SimEngine {
    id: u64,
    memory: MemoryEngine,
    durable: DurableState,
    driver: SharedDriver,
    trace: Trace,
    dice: Dice,
}

fn copy(from: &MemoryEngine) -> Result<MemoryEngine, StorageError> {
    let to = MemoryEngine::new();
    let log_index = from.read().log_index();
    if log_index > 0 {
        let (mut source, mut sink) = (from.export()?, to.import()?);
        while let Some(chunk) = source.next_chunk(CHUNK_BYTES)? {
            sink.write_chunk(chunk)?;
        }
        sink.finish(log_index)?;
    }
    Ok(to)
}

impl SimEngine {
    /// The store as a restart finds it.
    ///
    /// # Errors
    /// The state cannot be copied.
    pub fn open(
        id: u64,
        durable: DurableState,
        driver: SharedDriver,
        trace: Trace,
        dice: Dice,
    ) -> Result<SimEngine, StorageError> {
        let memory = copy(&durable.state.lock())?;
        Ok(SimEngine { id, memory, durable, driver, trace, dice })
    }

    /// Makes the state durable as it is, unless the node has crashed.
    fn keep(&self) -> Result<u64, StorageError> {
        if self.driver.lock().is_none() {
            return Err(StorageError::Snapshot("the node crashed".to_owned()));
        }
        let kept = copy(&self.memory)?;
        let log_index = kept.read().log_index();
        *self.durable.state.lock() = kept;
        self.trace.note("state durable", format_args!("{} {log_index}", self.id));
        Ok(log_index)
    }
}

impl Engine for SimEngine {
    fn read(&self) -> Box<dyn ReadTxn + Send + Sync> {
        self.memory.read()
    }

    fn write(&self, log_index: u64) -> Box<dyn WriteTxn + '_> {
        self.trace.note("applied", format_args!("{} {log_index}", self.id));
        self.memory.write(log_index)
    }

    /// Now and then there is none: who applies has to wait until a worker has waited for it.
    fn has_room(&self) -> bool {
        !self.dice.chance(WITHOUT_ROOM_PER_MILLE)
    }

    fn wait_for_room(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn durable_index(&self) -> u64 {
        self.durable.state.lock().read().log_index()
    }

    fn flush(&self) -> Result<u64, StorageError> {
        if let Some(driver) = self.driver.lock().as_mut() {
            driver.turn();
            if let Some(error) = driver.failure() {
                return Err(StorageError::Snapshot(error.to_string()));
            }
        }
        self.keep()
    }

    fn export(&self) -> Result<Box<dyn SnapshotSource>, StorageError> {
        self.memory.export()
    }

    fn import(&self) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(Box::new(SimSink { engine: self.clone(), sink: self.memory.import()? }))
    }

    fn stats(&self) -> EngineStats {
        EngineStats { engine: "simulated", ..self.memory.stats() }
    }
}

struct SimSink {
    engine: SimEngine,
    sink: Box<dyn SnapshotSink>,
}

impl SnapshotSink for SimSink {
    fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        self.sink.write_chunk(chunk)
    }

    fn finish(self: Box<Self>, log_index: u64) -> Result<(), StorageError> {
        self.sink.finish(log_index)?;
        self.engine.keep()?;
        self.engine.trace.note("snapshot received", format_args!("{} {log_index}", self.engine.id));
        Ok(())
    }
}
