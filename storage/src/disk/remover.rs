//! The thread that gives the room of replaced tables back: it makes readers leave them, and then
//! removes them bit by bit, with the files that others leave to it (see [`crate::removal`]).

use super::reclaim::show_tables;
use super::shared::Shared;
use crate::removal::Removed;
use crate::space::Room;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pause after each piece, in times that it took: the disk is there for others.
const PAUSE_TIMES: u32 = 4;
/// The same when too much waits.
const PAUSE_TIMES_IN_A_HURRY: u32 = 1;
/// Bounds of that pause.
const PAUSE_RANGE: [Duration; 2] = [Duration::from_millis(4), Duration::from_millis(100)];
/// More than that is too much, in bytes.
const WAITING_BYTES_MAX: u64 = 1 << 30;
/// How often replaced tables are looked for.
const POLL: Duration = Duration::from_millis(500);

/// The thread. Dropping this ends it; what is left then is for the next start.
pub(super) struct Remover {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Remover {
    /// Removes what is left to the engine.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let work = move || {
            super::priority::yield_to_requests();
            run(&shared, &|rest| {
                std::thread::park_timeout(rest);
                !stop.load(Acquire)
            });
        };
        let thread = std::thread::Builder::new().name("state-remove".to_owned()).spawn(work)?;
        Ok(Self { stopping, thread: Some(thread) })
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.stopping.store(true, Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Goes on while `rest`, which waits for so long, says so.
fn run(shared: &Shared, rest: &dyn Fn(Duration) -> bool) {
    let removed = Removed::of_engine(&shared.options.dir);
    let (mut waiting, mut looked) = (Vec::new(), None);
    loop {
        if looked.is_none_or(|looked: Instant| looked.elapsed() >= POLL) {
            leave_replaced_tables(shared);
            // A folder that cannot be read may be readable next time; nothing depends on it.
            waiting = removed.waiting().unwrap_or_default();
            looked = Some(Instant::now());
        }
        let left: u64 = waiting.iter().map(|file| file.bytes).sum();
        let Some(file) = waiting.last_mut() else {
            if rest(POLL) {
                continue;
            }
            return;
        };
        let begun = Instant::now();
        if file.cut().unwrap_or(true) {
            waiting.pop();
        }
        if !rest(pause(shared, begun.elapsed(), left)) {
            return;
        }
    }
}

/// Makes readers use the tables that there are now, and removes those that nobody uses.
fn leave_replaced_tables(shared: &Shared) {
    let version = shared.version.load_full();
    let generation = version.tables.generation.clone();
    if version.tables.is_outdated() {
        show_tables(shared, &generation);
    }
    drop(version);
    generation.forget_unread();
}

/// The pause after a piece that took so long, while so many bytes wait.
fn pause(shared: &Shared, took: Duration, left: u64) -> Duration {
    let times = if left > WAITING_BYTES_MAX { PAUSE_TIMES_IN_A_HURRY } else { PAUSE_TIMES };
    let [shortest, longest] = PAUSE_RANGE;
    match &shared.options.space {
        // It is needed now.
        Some(space) if space.room() != Room::Enough => Duration::ZERO,
        _ => (took * times).clamp(shortest, longest),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::eventually;
    use super::super::{DiskEngine, DiskOptions};
    use crate::txn::Engine;
    use bytes::Bytes;
    use std::fs;
    use std::path::Path;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn load(engine: &DiskEngine, log_index: u64) {
        let mut txn = engine.write(log_index);
        for row in 0..2000 {
            txn.put(format!("key {row}").as_bytes(), Bytes::from(vec![b'x'; 100]));
        }
        txn.commit();
        engine.flush().unwrap();
    }

    #[test]
    fn replaced_tables_wait_for_their_readers_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let removed = dir.path().join("removed");
        let engine = DiskEngine::open(DiskOptions::new(dir.path())).unwrap();
        load(&engine, 1);
        let view = engine.read();
        (2..=4).for_each(|log_index| load(&engine, log_index));
        let generation = engine.shared.version.load().tables.generation.clone();
        generation.compact_all().unwrap();
        drop(generation);
        eventually("a replaced table", || !names(&removed).is_empty());
        let rows = view.rows(b"key", b"kez").collect::<Result<Vec<_>, _>>().unwrap();
        assert!(rows.len() == 2000 && rows.iter().all(|(_, value)| value[..] == [b'x'; 100]));
        drop(view);
        eventually("the end of all replaced tables", || names(&removed).is_empty());
    }

    #[test]
    fn what_a_stop_has_left_is_removed_after_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let removed = dir.path().join("removed");
        drop(DiskEngine::open(DiskOptions::new(dir.path())).unwrap());
        fs::write(removed.join("left"), vec![b'x'; 3 << 20]).unwrap();
        let generation = dir.path().join("state.g2/keyspaces/1/tables");
        fs::create_dir_all(&generation).unwrap();
        fs::write(generation.join("1"), b"of an installation that was cut off").unwrap();
        let _engine = DiskEngine::open(DiskOptions::new(dir.path())).unwrap();
        assert_eq!(names(&removed).len(), 2);
        eventually("the removal", || names(&removed).is_empty());
    }
}
