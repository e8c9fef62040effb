//! The thread that compacts tables.
//!
//! fjall has such threads, too, but they end with their first error, and the database with them. This
//! one gives up a compaction for which the disk has no room, and tries again later. It begins none when
//! the room is exhausted, but does when it is low: what was deleted frees its room only so.

use super::failure::Failure;
use super::retry::Retry;
use crate::error::StorageError;
use crate::space::{Room, Space};
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Compactions that may be asked for; more than ever are behind.
const WANTED_MAX: usize = 1000;
/// How often an exhausted disk is looked at.
const EXHAUSTED_POLL: Duration = Duration::from_millis(200);

/// One look whether something is to be compacted, and if so, the compaction.
pub(super) type Compact = Box<dyn Fn() -> Result<(), StorageError> + Send>;

/// The thread. Dropping this waits for a compaction that runs.
pub(super) struct Compactor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    todo: Mutex<Todo>,
    changed: Condvar,
    failure: Failure,
}

#[derive(Default)]
struct Todo {
    wanted: usize,
    stopping: bool,
}

impl Compactor {
    /// Starts with one compaction, for what a stop has left.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(compact: Compact, space: Option<Arc<Space>>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.todo.lock().wanted = 1;
        let ours = shared.clone();
        let work = move || {
            super::priority::yield_to_requests();
            run(&ours, &compact, space.as_ref());
        };
        let thread = std::thread::Builder::new().name("state-compact".to_owned()).spawn(work)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks for one compaction more.
    pub(super) fn wake(&self) {
        let mut todo = self.shared.todo.lock();
        todo.wanted = WANTED_MAX.min(todo.wanted + 1);
        self.shared.changed.notify_all();
    }

    /// Whether all that were asked for are done.
    pub(super) fn is_idle(&self) -> bool {
        self.shared.todo.lock().wanted == 0
    }

    /// The failure that ended the thread, if one did.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        self.shared.failure.check()
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.shared.todo.lock().stopping = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, compact: &Compact, space: Option<&Arc<Space>>) {
    let mut retry = Retry::new(space);
    while next(shared) {
        if space.is_some_and(|space| space.room() == Room::Exhausted) {
            rest(shared, EXHAUSTED_POLL);
            continue;
        }
        let panicked = |_| Err(StorageError::Corrupt("the compaction panicked".to_owned()));
        match catch_unwind(AssertUnwindSafe(compact)).unwrap_or_else(panicked) {
            Ok(()) => {
                shared.todo.lock().wanted -= 1;
                retry.reset();
            }
            Err(StorageError::NoRoom(_)) => rest(shared, retry.failed()),
            Err(error) => return shared.failure.set(&error),
        }
    }
}

/// Waits until a compaction is wanted; false when there will be none.
fn next(shared: &Shared) -> bool {
    let mut todo = shared.todo.lock();
    while todo.wanted == 0 && !todo.stopping {
        shared.changed.wait(&mut todo);
    }
    !todo.stopping
}

/// Waits for `pause`, or for the end.
fn rest(shared: &Shared, pause: Duration) {
    let until = Instant::now() + pause;
    let mut todo = shared.todo.lock();
    while !todo.stopping && !shared.changed.wait_until(&mut todo, until).timed_out() {}
}

#[cfg(test)]
mod tests {
    use super::super::tests::eventually;
    use super::*;
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering::*};

    /// Starts a compactor whose compactions end as told, then well; returns it with their number.
    fn start(ends: Vec<StorageError>) -> (Compactor, Arc<AtomicUsize>) {
        let (ends, count) = (Mutex::new(ends), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        let compact = move || {
            counted.fetch_add(1, AcqRel);
            let mut ends = ends.lock();
            if ends.is_empty() { Ok(()) } else { Err(ends.remove(0)) }
        };
        (Compactor::start(Box::new(compact), None).unwrap(), count)
    }

    #[test]
    fn a_compaction_without_room_is_repeated() {
        let full = || StorageError::NoRoom("full".to_owned());
        let (compactor, count) = start(vec![full(), full()]);
        compactor.wake();
        eventually("the last compaction", || compactor.is_idle());
        assert_eq!(count.load(Acquire), 4, "two failed, two were asked for");
        compactor.check().unwrap();
    }

    #[test]
    fn any_other_failure_is_the_last() {
        let (compactor, count) = start(vec![io::Error::other("the disk broke").into()]);
        eventually("the failure", || compactor.check().is_err());
        assert!(compactor.check().unwrap_err().to_string().contains("the disk broke"));
        compactor.wake();
        assert_eq!((count.load(Acquire), compactor.is_idle()), (1, false));
    }

    #[test]
    fn a_panic_is_a_failure() {
        let compact = Box::new(|| panic!("on purpose"));
        let compactor = Compactor::start(compact, None).unwrap();
        eventually("the failure", || compactor.check().is_err());
    }

    #[test]
    fn none_is_begun_when_the_room_is_exhausted_and_a_stop_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        let space = Arc::new(Space::new(dir.path(), u64::MAX / 2));
        space.measure().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let compact = move || {
            counted.fetch_add(1, AcqRel);
            Ok(())
        };
        let compactor = Compactor::start(Box::new(compact.clone()), Some(space.clone())).unwrap();
        std::thread::sleep(2 * EXHAUSTED_POLL);
        drop(compactor);
        assert_eq!(count.load(Acquire), 0);
        space.set_min_bytes(space.free_bytes() / 4 * 5);
        space.measure().unwrap();
        assert_eq!(space.room(), Room::Low);
        let compactor = Compactor::start(Box::new(compact), Some(space)).unwrap();
        eventually("the last compaction", || compactor.is_idle());
        assert_eq!(count.load(Acquire), 1);
    }
}
