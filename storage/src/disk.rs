//! The production engine: an LSM store whose memtable and journal are ours.
//!
//! The Raft log is the journal, an overlay is the memtable, fjall holds the tables. A batch goes into
//! the active overlay and is visible at once. A full overlay is sealed; a background thread loads it
//! into the tables as one sorted, atomic, fsynced load that carries its log index with it, while the
//! next overlay fills. A restart forgets the overlays: it opens at the log index of the tables, and
//! the log is replayed from there. Reads look at the overlays first, then at the tables.
//!
//! | file | |
//! |---|---|
//! | `overlay` | the memtable: versions of rows, and who reads them |
//! | `rows` | rows in memory: found by hash, walked in order |
//! | `filter` | which keys an overlay cannot have |
//! | `generation` | the tables of one state, and fjall's traps |
//! | `table_writes` | the door to them: one load, one compaction, and what a full disk leaves |
//! | `compaction`, `writeback` | the threads beside them |
//! | `pace` | how fast batches may come so that no flush waits for a compaction |
//! | `remover` | the thread that gives the room of removed tables back bit by bit |
//! | `retry`, `failure` | what follows a full disk, and any other failure |
//! | `view` | a consistent read across overlays and tables |
//! | `write` | a batch before it is committed |
//! | `ahead` | the threads that look up for it |
//! | `shared` | seals, waits, failures: every change of the current version |
//! | `flush` | the background threads |
//! | `reclaim` | removal of what was flushed by FLUSHALL and FLUSHDB |
//! | `transfer` | export and installation of a whole state |
//! | `current` | which generation counts |
//! | `stored` | the state of a stopped node, for offline checks |
//!
//! After a failed write to disk the engine stays readable, refuses to flush and says why. It does not
//! retry, as what an fsync that failed left behind is unknown; but a load or a compaction that met
//! a full disk is given up, with all that it wrote, and begun anew.

mod ahead;
mod compaction;
mod current;
mod failure;
mod filter;
mod flush;
mod generation;
mod overlay;
mod pace;
mod priority;
mod reclaim;
mod remover;
mod retry;
mod rows;
mod shared;
mod stored;
mod sync;
mod table_writes;
mod transfer;
mod view;
mod write;
mod writeback;

use self::current::Current;
use self::generation::Generation;
use self::remover::Remover;
use self::shared::{Retired, Shared};
pub use self::stored::StoredState;
use self::view::View;
use crate::error::StorageError;
use crate::removal::Removed;
use crate::snapshot::{SnapshotSink, SnapshotSource};
use crate::space::Space;
use crate::txn::{Engine, EngineStats, ReadTxn, WriteTxn};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::*;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fs, io};

/// Where and how large.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// The engine's own folder; made when missing.
    pub dir: PathBuf,
    /// Memory of one overlay, in bytes, at least 1; there are two. A batch may exceed it.
    pub overlay_bytes_max: u64,
    /// Memory of the cache of table blocks, in bytes.
    pub cache_bytes: u64,
    /// Whether tables are loaded and compacted; false for offline checks.
    pub writes_tables: bool,
    /// Called before anything becomes durable in the state.
    pub before_durable: BeforeDurable,
    /// Asked before an overlay is moved into tables, which waits until there is room for it, and by
    /// compactions; None: they are always begun.
    pub space: Option<Arc<Space>>,
}

/// What must be on disk before the state is: the log, which then never lags behind the state with
/// other entries at the indexes that the state has applied.
#[derive(Clone, Default)]
pub struct BeforeDurable(pub Option<Arc<dyn Fn() -> io::Result<()> + Send + Sync>>);

impl BeforeDurable {
    fn call(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |before| before())
    }
}

impl std::fmt::Debug for BeforeDurable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeforeDurable")
    }
}

impl DiskOptions {
    /// The defaults: overlays of 64 MiB, a cache of 64 MiB.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let (overlay_bytes_max, cache_bytes) = (64 << 20, 64 << 20);
        Self {
            dir: dir.into(),
            overlay_bytes_max,
            cache_bytes,
            writes_tables: true,
            before_durable: BeforeDurable::default(),
            space: None,
        }
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.overlay_bytes_max == 0 || !self.writes_tables {
            let text = "overlay_bytes_max is at least 1, and an engine writes tables";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text).into());
        }
        Ok(())
    }
}

/// The engine. Dropping it stops its threads and forgets what was not flushed. Read txns and exports
/// may outlive it, but the folder can be opened again only when they are gone, too.
pub struct DiskEngine {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    remover: Option<Remover>,
}

impl DiskEngine {
    /// Opens the state in `options.dir`, or makes an empty one at log index 0 in an empty folder.
    ///
    /// # Errors
    /// `Corrupt` when the folder holds something else than what this version writes, `Io` with
    /// `WouldBlock` when another process (or engine) has it open.
    pub fn open(options: DiskOptions) -> Result<Self, StorageError> {
        options.check()?;
        fs::create_dir_all(&options.dir)?;
        let lock = current::lock(&options.dir)?;
        Removed::of_engine(&options.dir).create()?;
        let (generation, number, durable) = open_generation(&options)?;
        // No crash may make CURRENT name one that is removed here.
        sync::sync_dir(&options.dir)?;
        remove_generations(&options.dir, Some(number))?;
        let (retired, to_reap) = mpsc::channel();
        let shared = Shared::new(options, lock, (generation, number), durable, retired);
        let mut engine = Self { shared: Arc::new(shared), threads: Vec::new(), remover: None };
        let shared = engine.shared.clone();
        engine.spawn("state-flush", move || flush::run_flusher(&shared))?;
        let shared = engine.shared.clone();
        engine.spawn("state-reclaim", move || reclaim::run_reclaimer(&shared))?;
        for _ in 0..ahead::threads() {
            let shared = engine.shared.clone();
            engine.spawn("state-lookups", move || shared.lookups.run())?;
        }
        engine.spawn("state-reaper", move || flush::run_reaper(&to_reap))?;
        engine.remover = Some(Remover::start(engine.shared.clone())?);
        Ok(engine)
    }

    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), StorageError> {
        let builder = std::thread::Builder::new().name(name.to_owned());
        self.threads.push(builder.spawn(work)?);
        Ok(())
    }
}

impl Drop for DiskEngine {
    fn drop(&mut self) {
        self.shared.progress.lock().stopping = true;
        self.shared.changed.notify_all();
        self.shared.lookups.close();
        self.shared.retire(Retired::Stop);
        self.remover = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Engine for DiskEngine {
    fn read(&self) -> Box<dyn ReadTxn + Send + Sync> {
        Box::new(View::latest(self.shared.version.load_full()))
    }

    fn write(&self, log_index: u64) -> Box<dyn WriteTxn + '_> {
        Box::new(write::Batch::start(&self.shared, log_index))
    }

    fn has_room(&self) -> bool {
        self.shared.has_room()
    }

    fn wait_for_room(&self) -> Result<(), StorageError> {
        self.shared.wait_for_room()
    }

    fn rest(&self) -> Duration {
        self.shared.rest()
    }

    fn durable_index(&self) -> u64 {
        self.shared.durable.load(Acquire)
    }

    fn flush(&self) -> Result<u64, StorageError> {
        self.shared.flush()
    }

    fn export(&self) -> Result<Box<dyn SnapshotSource>, StorageError> {
        Ok(Box::new(transfer::Export::of(View::latest(self.shared.version.load_full()))?))
    }

    fn import(&self) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(Box::new(transfer::Import::start(self.shared.clone())?))
    }

    fn stats(&self) -> EngineStats {
        let version = self.shared.version.load_full();
        let overlays = || version.sealed.iter().chain([&version.active]);
        let progress = self.shared.progress.lock();
        EngineStats {
            engine: "disk",
            overlay_bytes: overlays().map(|overlay| overlay.bytes()).sum(),
            overlay_rows: overlays().map(|overlay| overlay.rows()).sum(),
            disk_bytes: version.tables.generation.disk_bytes(),
            cache_bytes_max: self.shared.options.cache_bytes,
            flushes: progress.flushes,
            last_flush_ms: progress.last_flush.as_millis() as u64,
            stalls: self.shared.stalls.load(Relaxed),
            rests: progress.rests,
            lookups_ahead: self.shared.lookups.found(),
            level_0_runs: version.tables.generation.level_0_runs(),
        }
    }
}

/// Opens or makes the generation that counts; returns it with its number and durable log index.
fn open_generation(options: &DiskOptions) -> Result<(Generation, u64, u64), StorageError> {
    let dir = &options.dir;
    match current::read(dir)? {
        Some(Current::Ready(number)) => {
            let (generation, durable) =
                Generation::open(current::generation_dir(dir, number), options)?;
            Ok((generation, number, durable))
        }
        Some(Current::Creating) => first_generation(options),
        None if current::generations(dir)?.is_empty() => {
            current::prepare(dir, Current::Creating)?;
            current::switch(dir)?;
            first_generation(options)
        }
        None => Err(StorageError::Corrupt(format!("{}: CURRENT is missing", dir.display()))),
    }
}

fn first_generation(options: &DiskOptions) -> Result<(Generation, u64, u64), StorageError> {
    let dir = &options.dir;
    remove_generations(dir, None)?;
    // The folder itself may be new, too.
    sync::sync_dir(&fs::canonicalize(dir)?.join(".."))?;
    let generation = Generation::create(current::generation_dir(dir, 1), options)?;
    generation.load(std::iter::empty(), Some(0), &|| true)?;
    sync::sync_dir(dir)?;
    current::prepare(dir, Current::Ready(1))?;
    generation.keep();
    current::switch(dir)?;
    Ok((generation, 1, 0))
}

/// Removes what interrupted installations left.
fn remove_generations(dir: &Path, but: Option<u64>) -> Result<(), StorageError> {
    for number in current::generations(dir)? {
        if Some(number) != but {
            generation::remove(&current::generation_dir(dir, number))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
