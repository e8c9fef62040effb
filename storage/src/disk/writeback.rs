//! Sends tables to the disk while they are written, rather than all at once at their end.
//!
//! fjall fsyncs a table of up to 64 MiB when it is whole. The kernel has kept most of it in memory
//! until then, so that the disk gets it in one burst, and every fsync of the Raft log in that time waits
//! behind it. A thread looks here for tables that grow and syncs what they have, a megabyte or so at
//! a time; the log waits for no more than that. RocksDB's `bytes_per_sync` is the same idea.
//!
//! Nothing counts on it: whether a table is durable is known from fjall's own fsync, whose error is
//! told to fjall whatever was synced before.

use super::sync::write_back;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks while tables grow: at 100 MB/s, a megabyte.
const GROWING_POLL: Duration = Duration::from_millis(10);
/// Time between two looks while none does, and nobody said that one will.
const RESTING_POLL: Duration = Duration::from_millis(250);
/// A table that has not grown for so long is taken for whole, or given up.
const WHOLE_AFTER: Duration = Duration::from_secs(1);

/// Tells the number that the next table will get; all before it are given.
pub(super) type NextTable = Box<dyn Fn() -> u64 + Send>;

/// The thread. It ends with this.
pub(super) struct Writeback {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writeback {
    /// Watches `dir`, whose tables are named by their numbers.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(dir: PathBuf, next_table: NextTable) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread =
            std::thread::Builder::new().name("state-writeback".to_owned()).spawn(move || {
                super::priority::yield_to_requests();
                let mut growing = Growing::new(dir, next_table);
                while !stop.load(Acquire) {
                    growing.look();
                    let idle = growing.tables.is_empty();
                    std::thread::park_timeout(if idle { RESTING_POLL } else { GROWING_POLL });
                }
            })?;
        Ok(Self { stopping, thread: Some(thread) })
    }

    /// Says that a table is about to be written. Compactions follow loads, while their tables are
    /// still looked at.
    pub(super) fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        self.stopping.store(true, Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The tables that may still grow.
struct Growing {
    dir: PathBuf,
    next_table: NextTable,
    /// First number that was not looked at.
    unseen: u64,
    tables: Vec<Table>,
}

struct Table {
    path: PathBuf,
    /// None until it was found: a number is given before its table is made.
    file: Option<File>,
    /// How much of it was sent to the disk.
    synced: u64,
    grew: Instant,
}

impl Growing {
    fn new(dir: PathBuf, next_table: NextTable) -> Self {
        let unseen = next_table();
        Self { dir, next_table, unseen, tables: Vec::new() }
    }

    /// Sends to the disk what tables got since the last look.
    fn look(&mut self) {
        let next = (self.next_table)();
        let new = self.unseen..next;
        self.tables.extend(new.map(|number| Table::new(self.dir.join(number.to_string()))));
        self.unseen = next;
        self.tables.retain_mut(Table::look);
    }
}

impl Table {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, synced: 0, grew: Instant::now() }
    }

    /// Sends what is new to the disk; returns whether more may come.
    fn look(&mut self) -> bool {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let length = self.file.as_ref().map_or(Ok(0), |file| file.metadata().map(|of| of.len()));
        match (&self.file, length) {
            (Some(file), Ok(length)) if length > self.synced => {
                self.synced = length;
                self.grew = Instant::now();
                write_back(file).is_ok()
            }
            (_, Ok(_)) => self.grew.elapsed() < WHOLE_AFTER,
            (_, Err(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::AtomicU64;

    fn growing(dir: &std::path::Path) -> (Growing, Arc<AtomicU64>) {
        let next = Arc::new(AtomicU64::new(4));
        let told = next.clone();
        (Growing::new(dir.to_owned(), Box::new(move || told.load(Acquire))), next)
    }

    fn synced(growing: &Growing) -> Vec<u64> {
        growing.tables.iter().map(|table| table.synced).collect()
    }

    #[test]
    fn tables_are_followed_from_their_number_until_they_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let table = |number: u64, bytes: usize| {
            fs::write(dir.path().join(number.to_string()), vec![b'x'; bytes]).unwrap();
        };
        table(3, 100);
        let (mut growing, next) = growing(dir.path());
        growing.look();
        assert!(growing.tables.is_empty(), "one from before is none of its business");
        next.store(6, Release);
        growing.look();
        assert_eq!(synced(&growing), [0, 0], "numbers are given before tables are made");
        table(5, 1000);
        growing.look();
        assert_eq!(synced(&growing), [0, 1000]);
        table(4, 10);
        table(5, 3000);
        growing.look();
        growing.look();
        assert_eq!(synced(&growing), [10, 3000]);
        growing.tables[0].grew = Instant::now().checked_sub(WHOLE_AFTER).unwrap();
        growing.look();
        assert_eq!(synced(&growing), [3000]);
        fs::remove_file(dir.path().join("5")).unwrap();
        growing.tables[0].grew = Instant::now().checked_sub(WHOLE_AFTER).unwrap();
        growing.look();
        assert!(growing.tables.is_empty(), "removed files are let go");
    }

    #[test]
    fn the_thread_follows_tables_and_ends_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        let next: NextTable = Box::new(move || count.fetch_add(1, AcqRel).min(1));
        fs::write(dir.path().join("0"), b"x").unwrap();
        let writeback = Writeback::start(dir.path().to_owned(), next).unwrap();
        while asked.load(Acquire) < 3 {
            writeback.wake();
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(writeback);
        let at_end = asked.load(Acquire);
        std::thread::sleep(RESTING_POLL + GROWING_POLL);
        assert_eq!(asked.load(Acquire), at_end);
    }
}
