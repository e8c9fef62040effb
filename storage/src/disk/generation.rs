//! One generation of the tables: a folder with an fjall database that holds one keyspace.
//!
//! Rules that this file alone keeps, because fjall loses data otherwise:
//! - Rows enter by sorted ingestion only. An ingestion is fsynced and atomic when it returns, but it
//!   is not journaled: inserts would be ordered wrongly after a crash, and `clear()` would be
//!   replayed over tables that were loaded after it.
//! - A new state is a new database in a new folder, never a second keyspace of the same database:
//!   fjall reuses ids of deleted keyspaces after a restart, and its bookkeeping of them is ordered by
//!   numbers that may go back.
//! - fjall syncs the folder of its keyspaces before it makes any, and never again: their names are
//!   made durable here.
//! - The log index up to which the tables are complete is a row of the same ingestion, at a key that
//!   no shard uses, so that data and log index cannot come apart.
//!
//! fjall writes the list of tables, with its fsyncs, under the lock that its lookups take for a moment:
//! they would wait for the disk at the end of each load and compaction. [`Tables`] looks keys up
//! without that lock; walks over ranges take it once each.

use super::DiskOptions;
use super::compaction::{Compact, Compactor};
use super::pace::Pace;
use super::priority::yield_to_requests;
use super::reclaim::RowFilter;
use super::sync::sync_dir;
use super::table_writes::{TABLES_DIR, TableWrites, is_list_whole};
use super::writeback::Writeback;
use crate::error::StorageError;
use crate::limits::STORAGE_KEY_BYTES_MAX;
use crate::merge::{Change, Changes};
use crate::removal::Removed;
use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, PinningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};
use lsm_tree::AbstractTree;
use lsm_tree::compaction::filter::Factory;
use lsm_tree::table::filter::standard_bloom::Builder as FilterBuilder;
use parking_lot::Mutex;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// First storage key that is not a shard's: shard ids stay below 0xFFFF.
pub(super) const RESERVED: &[u8] = &[0xFF, 0xFF];
/// Key of the row that holds the durable log index, `u64` little endian.
const DURABLE_KEY: &[u8] = b"\xFF\xFFdurable";

const KEYSPACE: &str = "rows";
/// Where fjall keeps a folder for each keyspace.
pub(super) const KEYSPACES_DIR: &str = "keyspaces";
/// Overlapping loads that may wait in level 0; each costs every read a look.
pub(super) const LEVEL_0_RUNS_MAX: usize = 12;
/// Waiting loads from which on a compaction is urgent.
const LEVEL_0_RUNS_URGENT: usize = 10;
/// Waiting loads that are merged together. All tables of the next level are written anew for them, and
/// that level is so many tables long: with six in place of fjall's four, compactions write a
/// seventh less. With eight it is a quarter, but lookups, which visit each, became the limit of writes.
pub(super) const LEVEL_0_RUNS_MERGED: u8 = 6;
/// Keys and values of one block of a table, in bytes. With what fjall adds to them a block in memory is
/// just below 4 KiB, which the allocator hands out as such; fjall's 4,096 make it take 5 KiB.
const BLOCK_ROWS_BYTES: u32 = 3_800;
/// How often a full level 0 is looked at.
const LEVEL_0_POLL: Duration = Duration::from_millis(2);
/// Rows between two looks at whether a load is still wanted.
const ROWS_BETWEEN_CHECKS: usize = 1024;
/// Table files held open. fjall's own bound, 900, leaves too little of the usual 1024 for clients.
const OPEN_FILES_MAX: usize = 256;

/// Whether `key` may be a row of a shard.
pub(super) fn is_storage_key(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= STORAGE_KEY_BYTES_MAX && key < RESERVED
}

/// A folder that is removed at the end when it was told to be.
struct Folder {
    path: PathBuf,
    delete: AtomicBool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.delete.load(Acquire) {
            // What is left here is removed when the engine is opened again.
            let _ = remove(&self.path);
        }
    }
}

/// Removes a generation that nobody uses; what is in its tables later.
pub(super) fn remove(dir: &Path) -> std::io::Result<()> {
    let removed = removed_beside(dir);
    for keyspace in fs::read_dir(dir.join(KEYSPACES_DIR)).into_iter().flatten() {
        for table in fs::read_dir(keyspace?.path().join(TABLES_DIR)).into_iter().flatten() {
            removed.take(&table?.path())?;
        }
    }
    fs::remove_dir_all(dir)
}

fn removed_beside(generation: &Path) -> Removed {
    Removed::of_engine(generation.parent().unwrap_or(generation))
}

/// Which instants are read.
#[derive(Default)]
struct Instants {
    held: Vec<Weak<u64>>,
    /// What nobody reads any more was let go up to here.
    forgotten: u64,
}

/// The tables. Dropping the last handle closes them, which waits for a running compaction.
pub(super) struct Generation {
    // Order matters: the threads that know the tables end first, and the folder goes after the
    // database in it is closed.
    compactor: Option<Compactor>,
    writeback: Option<Writeback>,
    writes: Arc<TableWrites>,
    rows: Keyspace,
    database: Database,
    replaced: AtomicBool,
    /// The instants of all [`Tables`], while they are held.
    instants: Mutex<Instants>,
    /// What compactions leave out.
    pub(super) filter: RowFilter,
    /// How fast batches may come.
    pub(super) pace: Arc<Pace>,
    folder: Folder,
}

impl Generation {
    /// Makes an empty generation, whose folder is deleted on drop until [`Self::keep`].
    pub(super) fn create(path: PathBuf, options: &DiskOptions) -> Result<Self, StorageError> {
        fs::create_dir(&path)?;
        let folder = Folder { path, delete: AtomicBool::new(true) };
        let filter = RowFilter::new(options.space.clone());
        let database = open_database(&folder.path, options, &filter)?;
        let rows = database.keyspace(KEYSPACE, table_options)?;
        sync_dir(&folder.path.join(KEYSPACES_DIR))?;
        Self::start((database, rows), filter, folder, options)
    }

    /// Opens an existing generation; returns it with its durable log index.
    pub(super) fn open(path: PathBuf, options: &DiskOptions) -> Result<(Self, u64), StorageError> {
        let damaged = |what: &str| StorageError::Corrupt(format!("{}: {what}", path.display()));
        if !path.join("version").is_file() || !path.join(KEYSPACES_DIR).is_dir() {
            return Err(damaged("the tables are missing"));
        }
        for entry in fs::read_dir(path.join(KEYSPACES_DIR))? {
            // fjall ends the process when it meets such an entry.
            if entry?.file_name().to_str().is_none_or(|name| name.parse::<u64>().is_err()) {
                return Err(damaged("unknown entry among the tables"));
            }
        }
        // fjall keeps its own bookkeeping in a folder of the same kind.
        for entry in fs::read_dir(path.join(KEYSPACES_DIR))? {
            if !is_list_whole(&entry?.path())? {
                return Err(damaged("the list of tables is not the one that was written"));
            }
        }
        let filter = RowFilter::new(options.space.clone());
        let database = open_database(&path, options, &filter)?;
        if !database.keyspace_exists(KEYSPACE) {
            return Err(damaged("the table of rows is missing"));
        }
        let rows = database.keyspace(KEYSPACE, table_options)?;
        let durable = database.snapshot().get(&rows, DURABLE_KEY)?;
        let durable = durable.ok_or_else(|| damaged("the durable log index is missing"))?;
        let durable =
            durable[..].try_into().map_err(|_| damaged("unreadable durable log index"))?;
        let folder = Folder { path, delete: AtomicBool::new(false) };
        let generation = Self::start((database, rows), filter, folder, options)?;
        Ok((generation, u64::from_le_bytes(durable)))
    }

    /// Starts the threads, unless nothing is to be written.
    fn start(
        (database, rows): (Database, Keyspace),
        filter: RowFilter,
        folder: Folder,
        options: &DiskOptions,
    ) -> Result<Self, StorageError> {
        let dir = rows.path().to_owned();
        let removed = removed_beside(&folder.path);
        let writes = Arc::new(TableWrites::new(rows.tree.clone(), dir.clone(), removed));
        let pace = Arc::new(Pace::default());
        let (mut compactor, mut writeback) = (None, None);
        if options.writes_tables {
            let tree = rows.tree.clone();
            let next_table = Box::new(move || tree.next_table_id());
            writeback = Some(Writeback::start(dir.join(TABLES_DIR), next_table)?);
            let compact = compact_once(&database, &rows, writes.clone(), pace.clone());
            compactor = Some(Compactor::start(compact, options.space.clone())?);
        }
        let (replaced, instants) = (AtomicBool::new(false), Mutex::default());
        Ok(Self {
            compactor,
            writeback,
            writes,
            rows,
            database,
            replaced,
            instants,
            filter,
            pace,
            folder,
        })
    }

    /// Leaves the folder in place when this is dropped.
    pub(super) fn keep(&self) {
        self.folder.delete.store(false, Release);
    }

    /// Says that another generation took over: loads stop, and the folder goes with the last handle.
    pub(super) fn replace(&self) {
        self.replaced.store(true, Release);
        self.folder.delete.store(true, Release);
    }

    /// Whether another generation took over.
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Acquire)
    }

    /// A consistent view of everything loaded so far, with what tells that it is still used.
    fn snapshot(&self) -> (Snapshot, Arc<u64>) {
        // None may be taken unseen while lists are forgotten.
        let mut instants = self.instants.lock();
        let view = self.database.snapshot();
        let instant = Arc::new(view.seqno());
        instants.held.push(Arc::downgrade(&instant));
        (view, instant)
    }

    /// Lets the lists of tables go that nobody reads, and with them the tables that they alone name.
    /// fjall does so only at the end of compactions, and with what it knew when rows came last.
    pub(super) fn forget_unread(&self) {
        let mut instants = self.instants.lock();
        instants.held.retain(|instant| instant.strong_count() > 0);
        let oldest = instants.held.iter().filter_map(Weak::upgrade).map(|instant| *instant).min();
        if let Some(oldest) = oldest.filter(|oldest| *oldest > instants.forgotten) {
            let mut lists = self.rows.tree.get_version_history_lock();
            // What remains after an error goes another time.
            if lists.maintenance(self.rows.path(), oldest).is_ok() {
                instants.forgotten = oldest;
            }
        }
    }

    /// Number of the list of tables that counts now.
    fn list(&self) -> u64 {
        self.rows.tree.current_version().id()
    }

    /// Space of the tables, in bytes.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.rows.disk_space()
    }

    /// Looks keys up in the tables there are now, as they were at `instant`, which a snapshot holds.
    ///
    /// fjall's own lookup asks for the list of tables each time, under a lock that is held while a
    /// new list is fsynced. Here the list is asked for once. Only tables are looked at: that is all
    /// there is, because rows enter by ingestion only.
    fn lookup(&self, instant: u64) -> Arc<Lookup> {
        let tables = self.rows.tree.current_version();
        Arc::new(move |key| {
            let hash = FilterBuilder::get_hash(key);
            let runs = tables.iter_levels().flat_map(|level| level.iter());
            for table in runs.filter_map(|run| run.get_for_key(key)) {
                let found = table.get(key, instant, hash).map_err(fjall::Error::from)?;
                if let Some(found) = found {
                    return Ok((!found.is_tombstone()).then(|| Bytes::from(found.value)));
                }
            }
            Ok(None)
        })
    }

    /// The rows with `start <= key < end` in a view of this generation.
    pub(super) fn changes(&self, view: &Snapshot, start: &[u8], end: &[u8]) -> Changes<'static> {
        let rows = view.range::<&[u8], _>(&self.rows, start..end);
        Box::new(rows.map(|row| {
            let (key, value) = row.into_inner()?;
            Ok((Bytes::from(key), Some(Bytes::from(value))))
        }))
    }

    /// Loads changes that ascend strictly, and with them the log index that they complete. All of it
    /// is durable and visible to later snapshots on return, or (after an error, or when `wanted`
    /// turned false, which returns false) nothing is. After `NoRoom` it can be tried again.
    pub(super) fn load(
        &self,
        changes: impl Iterator<Item = Result<Change, StorageError>>,
        durable: Option<u64>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<bool, StorageError> {
        let is_loaded = self.writes.load(|| self.ingest(changes, durable, wanted))?;
        self.look_at_level_0();
        self.compactor.iter().for_each(Compactor::wake);
        Ok(is_loaded)
    }

    fn ingest(
        &self,
        changes: impl Iterator<Item = Result<Change, StorageError>>,
        durable: Option<u64>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<bool, StorageError> {
        let mut load = self.rows.start_ingestion()?;
        self.writeback.iter().for_each(Writeback::wake);
        for (count, change) in changes.enumerate() {
            if count % ROWS_BETWEEN_CHECKS == 0 && !wanted() {
                return Ok(false);
            }
            match change? {
                (key, Some(value)) => load.write(key, value)?,
                (key, None) => load.write_tombstone(key)?,
            }
        }
        if let Some(log_index) = durable {
            load.write(DURABLE_KEY, log_index.to_le_bytes())?;
        }
        if !wanted() {
            return Ok(false);
        }
        load.finish()?;
        Ok(true)
    }

    /// Loads in level 0 that overlap each other.
    pub(super) fn level_0_runs(&self) -> usize {
        self.rows.tree.l0_run_count()
    }

    /// Says whether compactions are urgent; returns the loads that wait in level 0.
    fn look_at_level_0(&self) -> usize {
        let runs = self.level_0_runs();
        self.pace.see(runs);
        self.filter.urgency.set(runs >= LEVEL_0_RUNS_URGENT);
        runs
    }

    /// Waits until level 0 can take another load, or until it is not `wanted` any more.
    pub(super) fn wait_for_level_0(&self, wanted: &dyn Fn() -> bool) -> Result<(), StorageError> {
        loop {
            self.compactor.as_ref().map_or(Ok(()), Compactor::check)?;
            if self.look_at_level_0() < LEVEL_0_RUNS_MAX || !wanted() {
                return Ok(());
            }
            // One compaction for each load may not have emptied it.
            self.compactor.iter().filter(|idle| idle.is_idle()).for_each(Compactor::wake);
            std::thread::sleep(LEVEL_0_POLL);
        }
    }

    /// Drops the tables all of whose rows have `start <= key < end`. Waits for compactions that run.
    pub(super) fn drop_tables_within(&self, start: &[u8], end: &[u8]) -> Result<(), StorageError> {
        self.writes
            .compact(|| Ok(self.rows.tree.drop_range(start..end).map_err(fjall::Error::from)?))
    }

    /// Compacts all tables into the last level. Waits for compactions that run; others, and loads
    /// that find level 0 full, wait for this one.
    pub(super) fn compact_all(&self) -> Result<(), StorageError> {
        self.writes.compact(|| Ok(self.rows.major_compact()?))
    }
}

/// What the compactor does, again and again: one compaction of what fjall's strategy chooses.
fn compact_once(
    database: &Database,
    rows: &Keyspace,
    writes: Arc<TableWrites>,
    pace: Arc<Pace>,
) -> Compact {
    let (tree, strategy) = (rows.tree.clone(), rows.config.compaction_strategy.clone());
    let snapshots = database.supervisor.snapshot_tracker.clone();
    Box::new(move || {
        writes.compact(|| {
            let done = tree.compact(strategy.clone(), snapshots.get_seqno_safe_to_gc());
            Ok(done.map_err(fjall::Error::from)?)
        })?;
        pace.see(tree.l0_run_count());
        Ok(())
    })
}

/// How tables are laid out, from the creation of a generation on.
///
/// Nearly every write looks for the record that it replaces. As blocks like others, filters (10 bits a
/// key) and indexes (some 40 bytes a block of 4 KiB) would be evicted, and read back in whole for one
/// key. Those of the first levels stay in memory beside the cache, some 60 MiB at most; below them
/// fjall cuts filters and indexes into small blocks.
fn table_options() -> KeyspaceCreateOptions {
    let pinned = || PinningPolicy::new([true, true, true, false]);
    let strategy = Leveled::default().with_l0_threshold(LEVEL_0_RUNS_MERGED);
    KeyspaceCreateOptions::default()
        .compaction_strategy(Arc::new(strategy))
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_ROWS_BYTES))
        .filter_block_pinning_policy(pinned())
        .index_block_pinning_policy(pinned())
}

/// fjall answers some kinds of damage with a panic; here it becomes an error.
fn open_database(
    path: &std::path::Path,
    options: &DiskOptions,
    filter: &RowFilter,
) -> Result<Database, StorageError> {
    let filter: Arc<dyn Factory> = Arc::new(filter.clone());
    let builder = Database::builder(path)
        .cache_size(options.cache_bytes)
        // Nothing is left for them: see `compaction`.
        .worker_threads_unchecked(0)
        .max_cached_files(Some(OPEN_FILES_MAX))
        .with_compaction_filter_factories(Arc::new(move |_| Some(filter.clone())))
        .manual_journal_persist(true);
    // Threads inherit the priority of the one that starts them, and fjall starts its own here.
    let opened = std::thread::scope(|scope| {
        let open = || {
            yield_to_requests();
            builder.open()
        };
        std::thread::Builder::new()
            .name("state-open".to_owned())
            .spawn_scoped(scope, open)
            .map(std::thread::ScopedJoinHandle::join)
    });
    let panicked = |_| StorageError::Corrupt(format!("{}: unreadable", path.display()));
    Ok(opened?.map_err(panicked)??)
}

/// Finds the value of a key.
type Lookup = dyn Fn(&[u8]) -> Result<Option<Bytes>, StorageError> + Send + Sync;

/// A generation whose tables are read through one snapshot.
#[derive(Clone)]
pub(super) struct Tables {
    // Before the generation, whose folder goes with its last handle.
    lookup: Arc<Lookup>,
    view: Snapshot,
    /// Keeps the lists of tables that the view needs.
    _instant: Arc<u64>,
    /// Number of the list of tables that counted before this was taken.
    list: u64,
    pub(super) generation: Arc<Generation>,
}

impl Tables {
    /// The tables as they are now.
    pub(super) fn now(generation: Arc<Generation>) -> Self {
        // If it still counts later, the view needs no older one.
        let list = generation.list();
        let (view, instant) = generation.snapshot();
        let lookup = generation.lookup(*instant);
        Self { lookup, view, _instant: instant, list, generation }
    }

    /// Whether tables were replaced since.
    pub(super) fn is_outdated(&self) -> bool {
        self.list != self.generation.list()
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        (self.lookup)(key)
    }

    /// Whether dropping this handle would leave others.
    pub(super) fn is_held_elsewhere(&self) -> bool {
        Arc::strong_count(&self.lookup) > 1
    }

    /// Whether these are the same tables, seen at the same moment.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lookup, &other.lookup)
    }

    pub(super) fn changes(&self, start: &[u8], end: &[u8]) -> Changes<'static> {
        self.generation.changes(&self.view, start, end)
    }

    /// The log index that these tables complete.
    pub(super) fn durable(&self) -> Result<u64, StorageError> {
        let damaged = || StorageError::Corrupt("unreadable durable log index".to_owned());
        let durable = self.get(DURABLE_KEY)?.ok_or_else(damaged)?;
        Ok(u64::from_le_bytes(durable[..].try_into().map_err(|_| damaged())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Space;
    use std::sync::mpsc;

    #[test]
    fn lookups_do_not_wait_for_the_list_of_tables_to_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let options = DiskOptions::new(dir.path());
        let generation = Generation::create(dir.path().join("state.g1"), &options).unwrap();
        let row = || (Bytes::from_static(b"key"), Some(Bytes::from_static(b"value")));
        generation.load(std::iter::once(Ok(row())), Some(1), &|| true).unwrap();
        let tables = Tables::now(Arc::new(generation));
        let generation = tables.generation.clone();
        let _written = generation.rows.tree.get_version_history_lock();
        let (found, answer) = mpsc::channel();
        std::thread::spawn(move || found.send((tables.get(b"key"), tables.get(b"other"))));
        let (value, nothing) = answer.recv_timeout(Duration::from_secs(20)).expect("no wait");
        assert_eq!(value.unwrap(), row().1);
        assert_eq!(nothing.unwrap(), None);
    }

    const ROWS: usize = 5000;

    /// A generation with three loads of the same keys, which nothing compacts by itself.
    fn filled(dir: &std::path::Path, space: Option<Arc<Space>>) -> Generation {
        let options = DiskOptions { space, ..DiskOptions::new(dir) };
        let mut generation = Generation::create(dir.join("state.g1"), &options).unwrap();
        generation.compactor = None;
        for load in 1..=3 {
            assert!(generation.load(rows(load), Some(load), &|| true).unwrap());
        }
        generation
    }

    fn rows(load: u64) -> impl Iterator<Item = Result<Change, StorageError>> {
        (0..ROWS).map(move |row| {
            let value = load.to_be_bytes().repeat(20);
            Ok((Bytes::from(format!("key {row:05}")), Some(Bytes::from(value))))
        })
    }

    fn full() -> StorageError {
        std::io::Error::from(std::io::ErrorKind::StorageFull).into()
    }

    /// How many files of tables there are, and how many count.
    fn tables(generation: &Generation) -> (usize, usize) {
        let dir = generation.rows.path().join(TABLES_DIR);
        (fs::read_dir(dir).unwrap().count(), generation.rows.tree.table_count())
    }

    /// The load whose rows `tables` shows.
    fn shown(tables: &Tables) -> u64 {
        let value = |row: usize| tables.get(format!("key {row:05}").as_bytes()).unwrap().unwrap();
        let load = u64::from_be_bytes(*value(0).first_chunk().unwrap());
        assert!((0..ROWS).all(|row| value(row)[..] == load.to_be_bytes().repeat(20)[..]));
        assert_eq!(tables.durable().unwrap(), load);
        load
    }

    #[test]
    fn compactions_are_urgent_where_loads_soon_wait_also_after_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let generation = filled(dir.path(), None);
        let is_urgent = || generation.filter.urgency.is_urgent();
        assert!(!is_urgent());
        for load in 4..=LEVEL_0_RUNS_URGENT as u64 {
            assert!(generation.load(rows(load), Some(load), &|| true).unwrap());
        }
        assert!(is_urgent());
        // What a start begins with.
        generation.filter.urgency.set(false);
        generation.wait_for_level_0(&|| true).unwrap();
        assert!(is_urgent());
        generation.compact_all().unwrap();
        generation.wait_for_level_0(&|| true).unwrap();
        assert!(!is_urgent());
    }

    #[test]
    fn a_load_without_room_leaves_nothing_and_can_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let generation = Arc::new(filled(dir.path(), None));
        for _ in 0..2 {
            let cut_short = rows(4).take(ROWS - 1).chain([Err(full())]);
            let error = generation.load(cut_short, Some(4), &|| true).unwrap_err();
            assert!(matches!(error, StorageError::NoRoom(_)), "{error}");
            assert_eq!(tables(&generation), (3, 3));
            assert_eq!(shown(&Tables::now(generation.clone())), 3);
        }
        assert!(generation.load(rows(4), Some(4), &|| true).unwrap());
        assert_eq!(tables(&generation), (4, 4));
        assert_eq!(shown(&Tables::now(generation)), 4);
    }

    #[test]
    fn a_load_without_room_spares_what_compactions_made_and_replaced_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let generation = Arc::new(filled(dir.path(), None));
        let mut held = Vec::new();
        let cut_short = rows(4).chain(std::iter::once_with(|| {
            for _ in 0..2 {
                generation.compact_all().unwrap();
                held.push(Tables::now(generation.clone()));
            }
            Err(full())
        }));
        generation.load(cut_short, Some(4), &|| true).unwrap_err();
        assert_eq!(tables(&generation).1, 1);
        // The first of them has a table that is in no list any more.
        assert_eq!(held.iter().map(shown).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(tables(&generation).0, 5, "three loads and two compactions, which are held");
    }

    #[test]
    fn a_compaction_without_room_leaves_nothing_and_can_be_repeated() {
        let (dir, mib) = (tempfile::tempdir().unwrap(), 1 << 20);
        let space = Arc::new(Space::new(dir.path(), mib));
        let generation = Arc::new(filled(dir.path(), Some(space.clone())));
        space.set_min_bytes(u64::MAX);
        space.measure().unwrap();
        for _ in 0..2 {
            let error = generation.compact_all().unwrap_err();
            assert!(matches!(error, StorageError::NoRoom(_)), "{error}");
            assert_eq!(tables(&generation), (3, 3));
        }
        space.set_min_bytes(mib);
        space.measure().unwrap();
        generation.compact_all().unwrap();
        assert_eq!(tables(&generation).1, 1);
        assert_eq!(shown(&Tables::now(generation)), 3);
    }

    #[test]
    fn a_full_disk_while_the_list_of_tables_is_replaced_is_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let generation = filled(dir.path(), None);
        let list = generation.rows.path().join("current");
        let mut bytes = fs::read(&list).unwrap();
        bytes[0] += 1;
        fs::write(&list, bytes).unwrap();
        let cut_short = rows(4).chain([Err(full())]);
        let error = generation.load(cut_short, Some(4), &|| true).unwrap_err();
        assert!(matches!(error, StorageError::Io(_)), "{error}");
        assert_eq!(tables(&generation), (4, 3), "nothing is removed: the new list may name it");
        let error = generation.load(rows(4), Some(4), &|| true).unwrap_err().to_string();
        assert!(error.contains("failed earlier"), "{error}");
        assert!(generation.compact_all().is_err());
    }
}
