//! The two background threads: one loads sealed overlays into tables, one frees what nobody holds.

use super::generation::Tables;
use super::overlay::Overlay;
use super::retry::Retry;
use super::shared::{Retired, Shared, Step};
use super::view::Version;
use crate::error::StorageError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often the reaper looks whether the last reader of something is gone.
const REAPER_POLL: Duration = Duration::from_millis(20);
/// How often the disk is asked whether it has room again.
const SPACE_POLL: Duration = Duration::from_millis(100);

/// Loads one sealed overlay after the other, until the engine stops or fails.
pub(super) fn run_flusher(shared: &Shared) {
    super::priority::yield_to_requests();
    while let Some((version, sealed)) = next_sealed(shared) {
        let started = Instant::now();
        let loaded = catch_unwind(AssertUnwindSafe(|| load(shared, &version, &sealed)));
        let panicked = |_| Err(StorageError::Corrupt("the flush thread panicked".to_owned()));
        match loaded.unwrap_or_else(panicked) {
            Ok(true) => show(shared, &version, &sealed, started.elapsed()),
            Ok(false) => {}
            // The failure of a generation that does not count any more is none.
            Err(_) if version.tables.generation.is_replaced() => {}
            Err(error) => return shared.fail(&error),
        }
    }
}

/// Waits for a sealed overlay; None when the engine stops.
fn next_sealed(shared: &Shared) -> Option<(Arc<Version>, Arc<Overlay>)> {
    let mut progress = shared.progress.lock();
    loop {
        if progress.stopping {
            return None;
        }
        let version = shared.version.load_full();
        if let Some(sealed) = version.sealed.clone() {
            return Some((version, sealed));
        }
        drop(version);
        shared.changed.wait(&mut progress);
    }
}

/// Loads the newest version of every row and the log index; false when it is not wanted any more.
fn load(shared: &Shared, version: &Version, sealed: &Overlay) -> Result<bool, StorageError> {
    let generation = &version.tables.generation;
    let wanted = || !generation.is_replaced() && !shared.progress.lock().stopping;
    shared.reached(Step::FlushStarts)?;
    let mut retry = Retry::new(shared.options.space.as_ref());
    let is_loaded = loop {
        wait_for_space(shared, sealed.bytes(), &wanted);
        shared.options.before_durable.call()?;
        generation.wait_for_level_0(&wanted)?;
        let changes = sealed.changes(&[], None, u64::MAX);
        let end = std::iter::once_with(|| shared.reached(Step::FlushWritten));
        let changes = changes.chain(end.filter_map(Result::err).map(Err));
        match generation.load(changes, Some(sealed.last()), &wanted) {
            // Somebody else took the room meanwhile.
            Err(StorageError::NoRoom(_)) if wanted() => rest(retry.failed(), &wanted),
            loaded => break loaded?,
        }
    };
    shared.reached(Step::FlushLoaded)?;
    Ok(is_loaded)
}

/// Waits for `pause`, or until it is not `wanted` any more.
fn rest(pause: Duration, wanted: &dyn Fn() -> bool) {
    let until = Instant::now() + pause;
    while Instant::now() < until && wanted() {
        std::thread::sleep(SPACE_POLL);
    }
}

/// Waits until the disk has room for a load of `bytes`, or until it is not `wanted` any more.
fn wait_for_space(shared: &Shared, bytes: u64, wanted: &dyn Fn() -> bool) {
    let Some(space) = &shared.options.space else { return };
    while !space.has_for(bytes) && wanted() {
        std::thread::sleep(SPACE_POLL);
    }
}

/// Makes the tables take the place of the overlay, unless a new generation took over meanwhile.
fn show(shared: &Shared, loaded: &Version, sealed: &Arc<Overlay>, took: Duration) {
    let generation = &loaded.tables.generation;
    // Before the lock, which commits take: this may wait for a compaction and its fsyncs.
    let tables = Tables::now(generation.clone());
    let mut progress = shared.progress.lock();
    let current = shared.version.load_full();
    if !Arc::ptr_eq(generation, &current.tables.generation) {
        return;
    }
    let next = Version { active: current.active.clone(), sealed: None, tables };
    shared.version.store(Arc::new(next.clone()));
    shared.durable.store(sealed.last(), Release);
    progress.flushes += 1;
    progress.last_flush = took;
    if next.active.is_full() {
        shared.seal(&progress, &next);
    }
    shared.changed.notify_all();
    drop(progress);
    shared.retire(Retired::Overlay(sealed.clone()));
    shared.retire(Retired::Tables(current.tables.clone()));
}

/// Drops retired things once it is their only holder.
pub(super) fn run_reaper(retired: &Receiver<Retired>) {
    super::priority::yield_to_requests();
    let mut held = Vec::new();
    loop {
        match retired.recv_timeout(if held.is_empty() { Duration::MAX } else { REAPER_POLL }) {
            Ok(Retired::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(thing) => held.push(thing),
            Err(RecvTimeoutError::Timeout) => held.retain(|thing| match thing {
                Retired::Overlay(overlay) => Arc::strong_count(overlay) > 1,
                Retired::Tables(tables) => tables.is_held_elsewhere(),
                Retired::Generation(generation) => Arc::strong_count(generation) > 1,
                Retired::Stop => false,
            }),
        }
    }
}
