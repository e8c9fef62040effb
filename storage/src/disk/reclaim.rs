//! Removes the rows of flushed keyspaces from the tables, without writing anything for each of them.
//!
//! In three ways, the cheapest first. Tables that hold nothing else are dropped whole. Compactions
//! leave such rows out ([`RowFilter`]). And when what remains is small, it is compacted at once, so
//! that the space comes back though nobody writes any more.
//!
//! Invariant: a keyspace counts as flushed here only when the tables themselves say so. A restart goes
//! back to what the tables hold, and an entry between there and the flush may still need these rows.
//! Readers of older states keep theirs: a view of fjall's holds the tables that it began with.

use super::generation::{Generation, Tables};
use super::priority::{Standing, Urgency};
use super::retry::Retry;
use super::shared::{Progress, Retired, Shared, Step};
use super::view::{TablesView, Version};
use crate::dropped::Dropped;
use crate::error::StorageError;
use crate::space::Space;
use crate::txn::ReadTxn;
use arc_swap::ArcSwap;
use lsm_tree::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};
use parking_lot::MutexGuard;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

/// Time between a flush and its rows' removal: flushes that follow each other are one.
const PAUSE: Duration = Duration::from_secs(1);
/// Tables that are compacted for what is left, at most, in bytes; beyond it the space comes back
/// with the compactions that writes cause.
const COMPACTED_BYTES_MAX: u64 = 512 << 20;

/// What every row passes on its way through a compaction.
#[derive(Clone)]
pub(super) struct RowFilter {
    /// The flushed keyspaces, which are left out; none until the tables were asked.
    dropped: Arc<AssertUnwindSafe<ArcSwap<Dropped>>>,
    space: Option<Arc<Space>>,
    /// Whether compactions are urgent, those that run included.
    pub(super) urgency: Urgency,
}

impl RowFilter {
    /// One that leaves nothing out. Compactions end when `space` is exhausted, and leave the
    /// processors to others unless they are urgent.
    pub(super) fn new(space: Option<Arc<Space>>) -> Self {
        Self { dropped: Arc::default(), space, urgency: Urgency::default() }
    }

    /// Leaves these keyspaces out from the next compaction on.
    fn leave_out(&self, dropped: Arc<Dropped>) {
        self.dropped.store(dropped);
    }
}

impl Factory for RowFilter {
    fn name(&self) -> &str {
        "flushed keyspaces"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let (dropped, space) = (self.dropped.load_full(), self.space.clone());
        // Compactions make it on their own thread, and drop it there.
        Box::new(OneCompaction { dropped, space, standing: Standing::new(self.urgency.clone()) })
    }
}

struct OneCompaction {
    dropped: Arc<Dropped>,
    space: Option<Arc<Space>>,
    standing: Standing,
}

impl CompactionFilter for OneCompaction {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        self.standing.row();
        if self.space.as_ref().is_some_and(|space| !space.has_any()) {
            // What is left is not for compactions, which give back what they took when they fail.
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        // Older versions of such a row may come to light again; they are left out in their turn.
        Ok(if self.dropped.has(item.key()) { Verdict::Destroy } else { Verdict::Keep })
    }
}

/// Waits for flushes of keyspaces and removes their rows, until the engine stops or fails.
pub(super) fn run_reclaimer(shared: &Shared) {
    super::priority::yield_to_requests();
    let mut retry = Retry::new(shared.options.space.as_ref());
    let mut pause = PAUSE;
    while wait_for_flush(shared, pause) {
        let version = shared.version.load_full();
        let generation = version.tables.generation.clone();
        drop(version);
        let removed = catch_unwind(AssertUnwindSafe(|| reclaim(shared, &generation)));
        let panicked =
            |_| Err(StorageError::Corrupt("removing flushed keyspaces panicked".to_owned()));
        match removed.unwrap_or_else(panicked) {
            Ok(()) => {
                retry.reset();
                pause = PAUSE;
            }
            Err(_) if generation.is_replaced() => {}
            Err(StorageError::NoRoom(_)) => {
                pause = PAUSE + retry.failed();
                shared.progress.lock().flushed_upto.get_or_insert(0);
            }
            Err(error) => return shared.fail(&error),
        }
    }
}

/// Waits until a keyspace was flushed, and that is in the tables; false when the engine stops or can
/// write no more.
fn wait_for_flush(shared: &Shared, rest: Duration) -> bool {
    let mut progress = shared.progress.lock();
    while progress.flushed_upto.is_none() {
        if progress.stopping || shared.check().is_err() {
            return false;
        }
        shared.changed.wait(&mut progress);
    }
    pause(shared, &mut progress, rest);
    let upto = progress.flushed_upto.take();
    drop(progress);
    let is_durable = upto.is_some_and(|upto| shared.durable.load(Acquire) >= upto);
    let is_durable = is_durable || shared.flush().is_ok();
    is_durable && shared.check().is_ok() && !shared.progress.lock().stopping
}

fn pause(shared: &Shared, progress: &mut MutexGuard<'_, Progress>, rest: Duration) {
    let end = Instant::now() + rest;
    while !progress.stopping && !shared.changed.wait_until(progress, end).timed_out() {}
}

/// Removes what the tables of a generation hold of flushed keyspaces.
fn reclaim(shared: &Shared, generation: &Arc<Generation>) -> Result<(), StorageError> {
    let tables = TablesView::now(generation.clone())?;
    let dropped = Arc::new(Dropped::load(&tables)?);
    generation.filter.leave_out(dropped.clone());
    if !is_any_left(&tables, &dropped)? {
        return Ok(());
    }
    drop(tables);
    shared.reached(Step::ReclaimStarts)?;
    for (start, end) in dropped.ranges() {
        generation.drop_tables_within(&start, &end)?;
    }
    shared.reached(Step::ReclaimDropped)?;
    show_tables(shared, generation);
    let has_room = |bytes| shared.options.space.as_ref().is_none_or(|space| space.has_for(bytes));
    let bytes = generation.disk_bytes();
    if bytes <= COMPACTED_BYTES_MAX
        && has_room(bytes)
        && is_any_left(&TablesView::now(generation.clone())?, &dropped)?
    {
        generation.compact_all()?;
        shared.reached(Step::ReclaimCompacted)?;
        show_tables(shared, generation);
    }
    Ok(())
}

fn is_any_left(tables: &TablesView, dropped: &Dropped) -> Result<bool, StorageError> {
    for (start, end) in dropped.ranges() {
        if tables.rows(&start, &end).next().transpose()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lets readers from now on use the tables as they are now, so that replaced ones can go.
pub(super) fn show_tables(shared: &Shared, generation: &Arc<Generation>) {
    loop {
        let before = shared.version.load_full();
        if !Arc::ptr_eq(&before.tables.generation, generation) {
            return;
        }
        let tables = Tables::now(generation.clone());
        let progress = shared.progress.lock();
        let current = shared.version.load_full();
        // An overlay may have come into tables meanwhile: these then know more than ours.
        if !current.tables.is_same(&before.tables) {
            continue;
        }
        let (active, sealed) = (current.active.clone(), current.sealed.clone());
        shared.version.store(Arc::new(Version { active, sealed, tables }));
        drop(progress);
        shared.retire(Retired::Tables(current.tables.clone()));
        return;
    }
}
