//! The one door through which tables are loaded and compacted, so that a full disk is survived.
//!
//! What runs out of room is given up as a whole: the list of tables is what it was, and what was
//! written for nothing is removed, for the room is needed and fjall would leave it until the next
//! start. [`StorageError::NoRoom`] says that all this is certain: it can be tried again. Every other
//! failure is the engine's end, as it is unknown what it left.
//!
//! fjall counts its tables, and does not tell who got which number. Here at most one load and one
//! compaction write at a time, and nobody while leftovers are looked for. Only compactions take
//! tables out of the list, which older readers may still read. Therefore,
//! - of the numbers given since a compaction began that failed, those that are not in the list are
//!   leftovers: nothing was taken out of it meanwhile;
//! - of those given since a load began that failed, the tables that compactions made meanwhile are
//!   none. They are remembered when they are made, since the next compaction may take them out.

use super::failure::Failure;
use crate::error::StorageError;
use crate::removal::Removed;
use lsm_tree::{AbstractTree, AnyTree, Table, TableId};
use parking_lot::{Mutex, RwLock};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where fjall keeps the tables, within the folder of a keyspace.
pub(super) const TABLES_DIR: &str = "tables";
/// The file in that folder that says which list of tables counts: its number, as `u64` little endian,
/// and the XXH3 of its file, as `u128`.
const CURRENT_LIST: &str = "current";

/// Whether the list of tables that counts, in the folder of a keyspace, is the one that was written
/// last. fjall keeps its checksum, and does not compare it: a damaged number could name an older one.
pub(super) fn is_list_whole(dir: &Path) -> std::io::Result<bool> {
    let named = fs::read(dir.join(CURRENT_LIST))?;
    let Some((number, rest)) = named.split_first_chunk() else { return Ok(false) };
    let list = fs::read(dir.join(format!("v{}", u64::from_le_bytes(*number))))?;
    let checksum = rest.first_chunk().map(|bytes| u128::from_le_bytes(*bytes));
    Ok(checksum == Some(xxhash_rust::xxh3::xxh3_128(&list)))
}

/// Who writes tables.
pub(super) struct TableWrites {
    tree: AnyTree,
    /// The folder of the keyspace.
    dir: PathBuf,
    removed: Removed,
    loading: Mutex<()>,
    compacting: Mutex<()>,
    /// Shared by those who write tables; whoever looks for leftovers has it alone.
    writing: RwLock<()>,
    /// Tables made by compactions since the last load began.
    compacted: Mutex<HashSet<TableId>>,
    /// After any other failure nothing may be written: the next list of tables could go over one
    /// that counts already.
    failure: Failure,
}

impl TableWrites {
    /// The writes to the tables of `tree`, in the folder `dir` of its keyspace. What compactions
    /// replace comes to `removed`, too.
    pub(super) fn new(tree: AnyTree, dir: PathBuf, removed: Removed) -> Self {
        let (loading, compacting) = (Mutex::default(), Mutex::default());
        let (writing, compacted) = (RwLock::default(), Mutex::default());
        let failure = Failure::default();
        Self { tree, dir, removed, loading, compacting, writing, compacted, failure }
    }

    /// Runs a load, one at a time.
    pub(super) fn load<T>(
        &self,
        load: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let _only = self.loading.lock();
        self.write(|first| {
            self.compacted.lock().retain(|table| *table >= first);
            load()
        })
    }

    /// Runs a compaction, one at a time.
    pub(super) fn compact<T>(
        &self,
        compact: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let _only = self.compacting.lock();
        self.write(|first| {
            // fjall removes no table that is held.
            let before = self.tree.current_version();
            let done = compact();
            // Only a load can have come between, and that takes nothing out.
            let after = self.tree.current_version();
            let known: HashSet<TableId> = after.iter_tables().map(Table::id).collect();
            self.compacted.lock().extend(known.iter().filter(|table| **table >= first));
            for table in before.iter_tables().map(Table::id).filter(|table| !known.contains(table))
            {
                self.removed.link(&self.dir.join(TABLES_DIR).join(table.to_string()));
            }
            done
        })
    }

    fn write<T>(
        &self,
        write: impl FnOnce(TableId) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let shared = self.writing.read();
        self.failure.check()?;
        let first = self.tree.next_table_id();
        let result = write(first);
        drop(shared);
        result.map_err(|error| {
            let error = if error.is_full_disk() { self.give_up(first, error) } else { error };
            if !matches!(error, StorageError::NoRoom(_)) {
                self.failure.set(&error);
            }
            error
        })
    }

    /// Removes what a write has left that began with the table `first`, if it certainly changed
    /// nothing; returns what to say of it.
    fn give_up(&self, first: TableId, error: StorageError) -> StorageError {
        let _alone = self.writing.write();
        let removed = self.is_list_as_known().and_then(|is_known| {
            if is_known {
                self.remove_leftovers(first)?;
            }
            Ok(is_known)
        });
        match removed {
            Ok(true) => StorageError::NoRoom(error.to_string()),
            // A new list may or may not count after a restart.
            Ok(false) => error,
            Err(error) => error.into(),
        }
    }

    /// Whether the list of tables on the disk is the one that is used.
    fn is_list_as_known(&self) -> std::io::Result<bool> {
        let list = fs::read(self.dir.join(CURRENT_LIST))?;
        let number = list.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        Ok(number == Some(self.tree.current_version().id()))
    }

    fn remove_leftovers(&self, first: TableId) -> std::io::Result<()> {
        let tables = self.tree.current_version();
        let mut known: HashSet<TableId> = tables.iter_tables().map(Table::id).collect();
        known.extend(self.compacted.lock().iter());
        for entry in fs::read_dir(self.dir.join(TABLES_DIR))? {
            let entry = entry?;
            let table = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if table.is_some_and(|table: TableId| table >= first && !known.contains(&table)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}
