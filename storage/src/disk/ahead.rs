//! Lookups of a batch beside the thread that applies it.
//!
//! With more keys than overlays hold, nearly every write looks for the record that it replaces in tables.
//! That takes ten times as long as all else that it does, and one thread applies all writes. So a long
//! batch says beforehand what it will look up. Other threads look up what no overlay has, from the last
//! key to the first, while the writer goes from the first to the last. What nobody has begun it looks
//! up itself, and also what somebody has begun and not finished: it never waits.
//!
//! Invariant: what was found is true for this batch, which reads the same tables at the same moment. What is
//! above them, its own changes and the overlays, it looks at first.

use super::generation::Tables;
use crate::error::StorageError;
use crate::key::StorageKey;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;
use std::time::Instant;

/// Keys for which other threads are worth waking.
const KEYS_MIN: usize = 32;
/// Keys of a batch that others may look up.
const KEYS_MAX: usize = 16_384;
/// Time that one of them takes at least where they are, in nanoseconds: more than filters need that say that it
/// is new.
const KEY_NANOS_MIN: u64 = 3_000;
/// One batch counts for so much of what is known of the time that a key takes.
const LEARNED: u64 = 8;
/// Threads that look up for others, at most.
const THREADS_MAX: usize = 3;
/// Bytes of values that are kept for one batch, about; what is looked up thereafter the writer looks up itself.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// Bytes of a value up to which it is copied. A longer one keeps the block that it was read with.
const COPY_BYTES_MAX: usize = 512;
/// Expected keys among which the next one is looked for: of those between, the batch had changes already.
const NEXT_MAX: usize = 32;

/// How many threads look up for the one that applies: half of the processors, one of them its own.
pub(super) fn threads() -> usize {
    let processors = available_parallelism().map_or(1, |processors| processors.get());
    (processors / 2).min(THREADS_MAX)
}

/// A key that a batch will look up in tables.
struct Slot {
    key: StorageKey,
    /// Somebody looks it up, or has.
    is_begun: AtomicBool,
    found: OnceLock<Option<Bytes>>,
}

/// The keys of one batch that no overlay has, in the order in which it will ask for them.
struct Keys {
    tables: Tables,
    slots: Box<[Slot]>,
    /// Before this one is what no other thread has taken yet.
    rest: AtomicUsize,
    /// Bytes of what was found.
    kept: AtomicUsize,
    /// The batch wants no more.
    is_over: AtomicBool,
}

impl Keys {
    fn new(tables: Tables, keys: impl Iterator<Item = StorageKey>) -> Self {
        let slot = |key| Slot { key, is_begun: AtomicBool::new(false), found: OnceLock::new() };
        let slots: Box<[Slot]> = keys.map(slot).take(KEYS_MAX).collect();
        let (rest, kept) = (AtomicUsize::new(slots.len()), AtomicUsize::new(0));
        Self { tables, slots, rest, kept, is_over: AtomicBool::new(false) }
    }

    /// Looks up for the writer until it meets it.
    fn look_up(&self) {
        while !self.is_over.load(Relaxed) && self.kept.load(Relaxed) < KEPT_BYTES_MAX {
            let taken = self.rest.fetch_update(AcqRel, Acquire, |rest| rest.checked_sub(1));
            let Ok(before) = taken else { return };
            let slot = &self.slots[before - 1];
            if slot.is_begun.swap(true, AcqRel) {
                return;
            }
            // After an error the writer looks itself, and meets the same.
            let Ok(found) = self.tables.get(&slot.key) else { return };
            let found = found.map(|value| match value.len() {
                ..=COPY_BYTES_MAX => Bytes::copy_from_slice(&value),
                _ => value,
            });
            self.kept.fetch_add(found.as_ref().map_or(0, Bytes::len), Relaxed);
            let is_new = slot.found.set(found).is_ok();
            debug_assert!(is_new, "who begins is alone");
        }
    }
}

/// What the threads share that look up.
#[derive(Default)]
pub(super) struct Lookups {
    /// Time that a key of a long batch took of late, in nanoseconds; that of a batch that found most of its
    /// keys above the tables counts as none.
    key_nanos: AtomicU64,
    /// Keys that were found when the writer came.
    found: AtomicU64,
    board: Mutex<Board>,
    changed: Condvar,
}

#[derive(Default)]
struct Board {
    /// Of the batch that is being put together.
    keys: Option<Arc<Keys>>,
    /// Counts the batches.
    number: u64,
    is_closed: bool,
}

impl Lookups {
    /// What a thread does that looks up for the writer.
    pub(super) fn run(&self) {
        let mut seen = 0;
        loop {
            let keys = {
                let mut board = self.board.lock();
                while !board.is_closed && (board.number == seen || board.keys.is_none()) {
                    self.changed.wait(&mut board);
                }
                if board.is_closed {
                    return;
                }
                seen = board.number;
                board.keys.clone()
            };
            keys.iter().for_each(|keys| keys.look_up());
        }
    }

    /// Ends these threads.
    pub(super) fn close(&self) {
        let mut board = self.board.lock();
        board.is_closed = true;
        board.keys = None;
        self.changed.notify_all();
    }

    /// Keys that other threads had found when the writer came, since the start.
    pub(super) fn found(&self) -> u64 {
        self.found.load(Relaxed)
    }

    /// Has `keys`, of which there are about `count`, looked up in `tables` but for those above them, if that
    /// should be worth it.
    pub(super) fn expect(
        self: &Arc<Self>,
        count: usize,
        keys: &mut dyn Iterator<Item = StorageKey>,
        tables: &Tables,
        is_above: impl Fn(&[u8]) -> bool,
    ) -> Expected {
        let begun = Instant::now();
        let mut shared = None;
        if count >= KEYS_MIN && self.key_nanos.load(Relaxed) >= KEY_NANOS_MIN {
            let keys = Keys::new(tables.clone(), keys.filter(|key| !is_above(key)));
            if keys.slots.len() >= KEYS_MIN {
                let keys = Arc::new(keys);
                shared = Some(keys.clone());
                let mut board = self.board.lock();
                board.keys = Some(keys);
                board.number += 1;
                self.changed.notify_all();
            }
        }
        let lookups = self.clone();
        Expected { lookups, shared, next: Cell::new(0), asked: Cell::new(0), begun, count }
    }

    /// Has the next long batch helped.
    #[cfg(test)]
    pub(super) fn help_next(&self) {
        self.key_nanos.store(u64::MAX / 2, Relaxed);
    }
}

/// What a batch expects to look up. Dropped with it.
pub(super) struct Expected {
    lookups: Arc<Lookups>,
    /// None: it is alone.
    shared: Option<Arc<Keys>>,
    /// The first slot that the writer has not gone past.
    next: Cell<usize>,
    /// Lookups in tables.
    asked: Cell<usize>,
    begun: Instant,
    count: usize,
}

impl Expected {
    /// The value of `key` in `tables`, which are those that were named at first.
    pub(super) fn get(&self, key: &[u8], tables: &Tables) -> Result<Option<Bytes>, StorageError> {
        self.asked.update(|asked| asked + 1);
        let Some(keys) = &self.shared else { return tables.get(key) };
        debug_assert!(keys.tables.is_same(tables), "a batch reads one moment");
        let next = self.next.get();
        let mut near = keys.slots[next..].iter().take(NEXT_MAX);
        let Some(skipped) = near.position(|slot| slot.key[..] == *key) else {
            return tables.get(key);
        };
        // Not past it: it may be asked for again.
        self.next.set(next + skipped);
        let slot = &keys.slots[next + skipped];
        if slot.is_begun.swap(true, AcqRel)
            && let Some(found) = slot.found.get()
        {
            self.lookups.found.fetch_add(1, Relaxed);
            return Ok(found.clone());
        }
        tables.get(key)
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if let Some(keys) = &self.shared {
            keys.is_over.store(true, Relaxed);
            // Or files that a compaction has replaced would stay.
            self.lookups.board.lock().keys = None;
        }
        if self.count >= KEYS_MIN {
            let in_tables = self.asked.get() >= self.count / 2;
            let took = if in_tables { self.begun.elapsed().as_nanos() as u64 } else { 0 };
            let took = took / self.count as u64;
            let known = self.lookups.key_nanos.load(Relaxed);
            self.lookups.key_nanos.store(known - known / LEARNED + took / LEARNED, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::DiskOptions;
    use super::super::generation::Generation;
    use super::*;

    fn key(number: usize) -> StorageKey {
        StorageKey::from(format!("key{number:05}").as_bytes())
    }

    fn value(number: usize) -> Option<Bytes> {
        (!number.is_multiple_of(3)).then(|| Bytes::from(format!("value {number}")))
    }

    const KEYS: usize = 1000;

    /// Tables with two of three keys.
    fn tables(dir: &std::path::Path) -> Tables {
        let generation = Generation::create(dir.join("state.g1"), &DiskOptions::new(dir)).unwrap();
        let row = |number| Some(Ok((Bytes::copy_from_slice(&key(number)), Some(value(number)?))));
        generation.load((0..KEYS).filter_map(row), Some(1), &|| true).unwrap();
        Tables::now(Arc::new(generation))
    }

    fn expect(lookups: &Arc<Lookups>, tables: &Tables) -> Expected {
        lookups.key_nanos.store(KEY_NANOS_MIN, Relaxed);
        lookups.expect(KEYS, &mut (0..KEYS).map(key), tables, |above| above == &key(7)[..])
    }

    #[test]
    fn everything_is_found_however_far_others_are() {
        let dir = tempfile::tempdir().unwrap();
        let tables = tables(dir.path());
        for helped in [0, 1, 400, KEYS - 1] {
            let lookups = Arc::new(Lookups::default());
            let expected = expect(&lookups, &tables);
            let keys = expected.shared.as_ref().unwrap();
            assert_eq!(keys.slots.len(), KEYS - 1, "but the one above");
            for slot in &keys.slots[keys.slots.len() - helped..] {
                slot.is_begun.store(true, Relaxed);
            }
            // One of them is never finished.
            for slot in keys.slots.iter().rev().take(helped).skip(1) {
                slot.found.set(tables.get(&slot.key).unwrap()).unwrap();
            }
            for number in (0..KEYS).flat_map(|number| [number, number]) {
                assert_eq!(expected.get(&key(number), &tables).unwrap(), value(number), "{number}");
            }
            assert_eq!(
                lookups.found(),
                2 * helped.saturating_sub(1) as u64,
                "each is asked for twice"
            );
        }
    }

    #[test]
    fn others_look_up_from_the_last_to_the_one_that_the_writer_has_begun() {
        let dir = tempfile::tempdir().unwrap();
        let tables = tables(dir.path());
        let lookups = Arc::new(Lookups::default());
        let expected = expect(&lookups, &tables);
        for number in 0..100 {
            assert_eq!(expected.get(&key(number), &tables).unwrap(), value(number));
        }
        let keys = expected.shared.clone().unwrap();
        keys.look_up();
        let found = |slot: &Slot| slot.found.get().cloned();
        assert!(keys.slots[..99].iter().all(|slot| found(slot).is_none()));
        for (slot, number) in keys.slots[99..].iter().zip(100..) {
            assert_eq!(found(slot), Some(value(number)), "{number}");
        }
        // Keys out of their order, and others, are still found.
        for number in [990, 995, 3, 100, 999, 7] {
            assert_eq!(expected.get(&key(number), &tables).unwrap(), value(number));
        }
        assert_eq!(expected.get(b"other", &tables).unwrap(), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let generation =
            Generation::create(dir.path().join("state.g1"), &DiskOptions::new(dir.path()));
        let generation = generation.unwrap();
        let long = Bytes::from(vec![b'x'; KEPT_BYTES_MAX / 20]);
        let row = |number| Ok((Bytes::copy_from_slice(&key(number)), Some(long.clone())));
        generation.load((0..KEYS_MIN).map(row), Some(1), &|| true).unwrap();
        let tables = Tables::now(Arc::new(generation));
        let keys = Keys::new(tables.clone(), (0..KEYS_MIN).map(key));
        keys.look_up();
        let found = keys.slots.iter().filter(|slot| slot.found.get().is_some()).count();
        assert_eq!(found, 21);
        drop(keys);
        let keys = Keys::new(tables, (0..KEYS_MIN).map(key));
        keys.kept.store(KEPT_BYTES_MAX, Relaxed);
        keys.look_up();
        assert!(keys.slots.iter().all(|slot| !slot.is_begun.load(Relaxed)));
    }

    #[test]
    fn nobody_is_asked_for_little_or_for_what_is_fast() {
        let dir = tempfile::tempdir().unwrap();
        let tables = tables(dir.path());
        let lookups = Arc::new(Lookups::default());
        let shared = |count: usize, nanos| {
            lookups.key_nanos.store(nanos, Relaxed);
            let keys = &mut (0..count).map(key);
            lookups.expect(count, keys, &tables, |_| false).shared.is_some()
        };
        assert!(!shared(KEYS_MIN - 1, u64::MAX / 2) && !shared(KEYS, KEY_NANOS_MIN - 1));
        assert!(shared(KEYS_MIN, KEY_NANOS_MIN));
        lookups.key_nanos.store(u64::MAX / 2, Relaxed);
        let all_above = lookups.expect(KEYS, &mut (0..KEYS).map(key), &tables, |_| true);
        assert!(all_above.shared.is_none());
    }

    #[test]
    fn the_time_of_a_key_is_learned_from_long_batches_that_look_into_tables() {
        let dir = tempfile::tempdir().unwrap();
        let tables = tables(dir.path());
        let lookups = Arc::new(Lookups::default());
        let learned = |count: usize, in_tables: usize| {
            lookups.key_nanos.store(0, Relaxed);
            for _ in 0..20 {
                let slow = lookups.expect(count, &mut std::iter::empty(), &tables, |_| false);
                (0..in_tables).for_each(|number| drop(slow.get(&key(number), &tables).unwrap()));
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            lookups.key_nanos.load(Relaxed)
        };
        assert!(learned(KEYS_MIN, KEYS_MIN / 2) >= KEY_NANOS_MIN);
        assert_eq!(learned(KEYS_MIN, KEYS_MIN / 2 - 1), 0);
        assert_eq!(learned(KEYS_MIN - 1, KEYS_MIN - 1), 0);
    }

    #[test]
    fn a_batch_that_ends_takes_its_tables_from_the_board() {
        let dir = tempfile::tempdir().unwrap();
        let tables = tables(dir.path());
        let lookups = Arc::new(Lookups::default());
        let expected = expect(&lookups, &tables);
        let keys = expected.shared.clone().unwrap();
        assert!(lookups.board.lock().keys.is_some());
        drop(expected);
        assert!(lookups.board.lock().keys.is_none());
        keys.look_up();
        assert!(keys.slots.iter().all(|slot| slot.found.get().is_none()), "it is over");
        drop(keys);
        assert!(!tables.is_held_elsewhere());
    }
}
