//! What the engine's threads share, and every change of the current version.
//!
//! Versions are replaced under the lock of `progress` only: by the writer (seals the active overlay),
//! by `flush` (the same), by the flush thread (an overlay is in tables) and by an installation.
//! Batches are committed under it too, so that an overlay is never sealed in the middle of one.
//! Readers take no lock.

use super::DiskOptions;
use super::ahead::Lookups;
use super::failure::Failure;
use super::generation::{Generation, Tables};
use super::overlay::{NewVersion, Overlay};
use super::view::Version;
use crate::error::StorageError;
use crate::meta;
use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// The longest rest after one batch.
const REST_MAX: Duration = Duration::from_millis(500);

/// The shortest rest: what short batches should rest adds up to it. Who sleeps for less than a millisecond may sleep for
/// one, many times longer than asked. How much longer a rest took is made good up to as much.
const REST_MIN: Duration = Duration::from_millis(5);

/// Progress of the background work.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The engine is being closed.
    pub(super) stopping: bool,
    /// Up to this log index, keyspaces were flushed whose rows may still be there.
    pub(super) flushed_upto: Option<u64>,
    /// Overlays moved into tables.
    pub(super) flushes: u64,
    /// How long the last of these took.
    pub(super) last_flush: Duration,
    /// Until when the writer should wait with its next batch.
    rests_until: Option<Instant>,
    /// How often it was told to.
    pub(super) rests: u64,
}

/// Something that is dropped by the reaper thread once nobody else holds it, because that takes long.
pub(super) enum Retired {
    Overlay(Arc<Overlay>),
    /// Files that a compaction replaced are removed with the last holder.
    Tables(Tables),
    Generation(Arc<Generation>),
    /// Ends the thread.
    Stop,
}

/// Moments at which tests copy the folder or let the disk fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An overlay is sealed, nothing of it is on disk.
    FlushStarts,
    /// Its rows are written, and do not count yet.
    FlushWritten,
    /// It is in tables, but no reader sees them.
    FlushLoaded,
    /// A part of a received state is in the new generation.
    ImportPart,
    /// All of it is, with its log index.
    ImportLoaded,
    /// The new CURRENT lies beside the old one.
    ImportPrepared,
    /// The new CURRENT counts.
    ImportSwitched,
    /// A flushed keyspace has rows in tables.
    ReclaimStarts,
    /// Tables that held nothing else are gone.
    ReclaimDropped,
    /// And so is the rest.
    ReclaimCompacted,
}

#[cfg(test)]
pub(super) type Hook = Arc<dyn Fn(Step) -> Result<(), StorageError> + Send + Sync>;

/// The engine without its threads.
pub(super) struct Shared {
    pub(super) options: DiskOptions,
    pub(super) version: ArcSwap<Version>,
    pub(super) progress: Mutex<Progress>,
    /// Progress was made, or the engine failed or stops.
    pub(super) changed: Condvar,
    pub(super) durable: AtomicU64,
    pub(super) writing: AtomicBool,
    pub(super) stalls: AtomicU64,
    pub(super) next_generation: AtomicU64,
    pub(super) retired: Sender<Retired>,
    pub(super) lookups: Arc<Lookups>,
    failure: Failure,
    #[cfg(test)]
    pub(super) hook: Mutex<Option<Hook>>,
    /// Keeps other processes out.
    _lock: File,
}

impl Shared {
    pub(super) fn new(
        options: DiskOptions,
        lock: File,
        (generation, number): (Generation, u64),
        durable: u64,
        retired: Sender<Retired>,
    ) -> Self {
        let tables = Tables::now(Arc::new(generation));
        let version = Version::of_tables(tables, durable, options.overlay_bytes_max);
        Self {
            options,
            version: ArcSwap::from_pointee(version),
            // Rows that a stop has left.
            progress: Mutex::new(Progress { flushed_upto: Some(0), ..Progress::default() }),
            changed: Condvar::new(),
            durable: AtomicU64::new(durable),
            writing: AtomicBool::new(false),
            stalls: AtomicU64::new(0),
            next_generation: AtomicU64::new(number + 1),
            retired,
            lookups: Arc::default(),
            failure: Failure::default(),
            #[cfg(test)]
            hook: Mutex::new(None),
            _lock: lock,
        }
    }

    /// Adds a batch and shows it; seals the overlay when it is full and the one before it is gone.
    pub(super) fn commit(&self, log_index: u64, changes: impl Iterator<Item = NewVersion>) {
        let mut progress = self.progress.lock();
        let version = self.version.load();
        let mut drops = false;
        let changes = changes.inspect(|change| drops |= meta::drops_a_keyspace(&change.key));
        let before = version.active.bytes();
        version.active.commit(log_index, changes);
        let added = version.active.bytes().saturating_sub(before);
        let load_bytes = self.options.overlay_bytes_max;
        let takes = version.tables.generation.pace.time_for(added, load_bytes);
        if !takes.is_zero() {
            let now = Instant::now();
            let from = progress
                .rests_until
                .map_or(now, |until| until.max(now.checked_sub(REST_MIN).unwrap_or(now)));
            progress.rests_until = Some(from + takes.min(REST_MAX));
        }
        if drops {
            progress.flushed_upto = Some(log_index);
            self.changed.notify_all();
        }
        if version.active.is_full() && version.sealed.is_none() {
            self.seal(&progress, &version);
        }
    }

    /// Puts an empty overlay on top of the active one, which the flush thread then loads.
    pub(super) fn seal(&self, _locked: &MutexGuard<'_, Progress>, version: &Version) {
        self.version.store(Arc::new(version.sealed()));
        self.changed.notify_all();
    }

    /// How long the writer had better wait before its next batch.
    pub(super) fn rest(&self) -> Duration {
        let mut progress = self.progress.lock();
        let Some(until) = progress.rests_until else { return Duration::ZERO };
        let now = Instant::now();
        let rest = until.saturating_duration_since(now);
        if rest >= REST_MIN {
            progress.rests += 1;
            return rest;
        }
        if now.saturating_duration_since(until) > REST_MIN {
            progress.rests_until = None;
        }
        Duration::ZERO
    }

    /// Whether a batch can be taken.
    pub(super) fn has_room(&self) -> bool {
        let version = self.version.load();
        self.failure.is_none() && !(version.sealed.is_some() && version.active.is_full())
    }

    /// Blocks until there is room or never will be.
    pub(super) fn wait_for_room(&self) -> Result<(), StorageError> {
        if self.has_room() {
            return Ok(());
        }
        self.stalls.fetch_add(1, Relaxed);
        let mut progress = self.progress.lock();
        loop {
            self.check()?;
            if self.has_room() {
                return Ok(());
            }
            self.changed.wait(&mut progress);
        }
    }

    /// Moves everything committed so far into tables, unless the engine is being closed.
    pub(super) fn flush(&self) -> Result<u64, StorageError> {
        let mut progress = self.progress.lock();
        let asked = self.version.load_full();
        let target = asked.active.last();
        loop {
            self.check()?;
            let version = self.version.load_full();
            let durable = self.durable.load(Acquire);
            let is_replaced = !Arc::ptr_eq(&version.tables.generation, &asked.tables.generation);
            if durable >= target || is_replaced || progress.stopping {
                return Ok(durable);
            }
            if version.sealed.is_none() {
                self.seal(&progress, &version);
            }
            drop(version);
            self.changed.wait(&mut progress);
        }
    }

    /// Remembers the first failure and wakes everybody who waits.
    pub(super) fn fail(&self, error: &StorageError) {
        self.failure.set(error);
        drop(self.progress.lock());
        self.changed.notify_all();
    }

    /// The failure that stopped the engine, if one did.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        self.failure.check()
    }

    /// Leaves a thing to the reaper.
    pub(super) fn retire(&self, thing: Retired) {
        // Without a reaper (the engine is closed) it is dropped here.
        let _ = self.retired.send(thing);
    }

    /// A moment that tests can stop at.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests hook in here"))]
    pub(super) fn reached(&self, step: Step) -> Result<(), StorageError> {
        #[cfg(test)]
        {
            let hook = self.hook.lock().clone();
            if let Some(hook) = hook {
                return hook(step);
            }
        }
        let _ = step;
        Ok(())
    }
}
