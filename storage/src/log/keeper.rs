//! Prepares the next segment ahead of need and puts away purged ones, on a thread of its own, so
//! that the writer never waits for a file to be filled with zeros.
//!
//! A segment must be written through once before use: an fdatasync that overwrites written blocks
//! commits no file system journal. Retired segments are kept as spares, up to a number that the
//! owner sets, and are not cleared: their records do not pass the checksum under another segment
//! number. Retirement goes oldest first and each step is synced, so that after a crash the segments
//! that remain are still numbered without a gap.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::disk::{BLOCK_BYTES, Disk, DiskFile};
use super::names;

/// Retired segments kept for reuse, at least; those found when the log is opened are kept until the
/// owner says how many.
const SPARES_MIN: usize = 2;
/// Pause between two attempts to prepare a segment on a full disk.
const FULL_POLL: Duration = Duration::from_millis(200);
/// Bytes written per call while filling a new segment with zeros.
const FILL_BYTES: usize = 1 << 20;
/// Bytes filled between two syncs, so that the log's own syncs never wait for a whole segment.
const FILL_SYNC_BYTES: u64 = 8 << 20;

pub(super) struct Keeper {
    disk: Arc<dyn Disk>,
    /// Length of new segments, in bytes.
    segment_bytes: u64,
    /// Whether a thread runs it; else whoever waits for it does its work.
    has_thread: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: Option<u32>,
    prepared: Option<(u32, io::Result<Arc<dyn DiskFile>>)>,
    /// Segments to put away, oldest first; true: of the usual length.
    retired: VecDeque<(u32, bool)>,
    /// Why putting away failed. Nothing is put away after that.
    retire_error: Option<io::Error>,
    spares: Vec<u64>,
    spares_max: usize,
    /// Number for the next spare's name.
    next_number: u64,
    /// The log is being closed: a full disk is not waited for any more.
    closing: bool,
    stop: bool,
}

impl Keeper {
    /// `spares`: numbers of the spare files that exist, each of `segment_bytes`.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        spares: Vec<u64>,
        has_thread: bool,
    ) -> Keeper {
        let next_number = spares.iter().max().map_or(0, |max| max.wrapping_add(1));
        let spares_max = spares.len().max(SPARES_MIN);
        let state = State { spares, spares_max, next_number, ..State::default() };
        Keeper {
            disk,
            segment_bytes,
            has_thread,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Asks for this segment to be prepared.
    pub(super) fn request(&self, seq: u32) {
        let mut state = self.state.lock();
        if state.prepared.is_none() {
            state.wanted = Some(seq);
            self.changed.notify_all();
        }
    }

    /// The file for this segment, waiting until it is prepared. A failure in the background is tried
    /// once more before it counts; while the disk is full it is tried until there is room, because
    /// nothing is half done then.
    pub(super) fn take(&self, seq: u32) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let mut attempts = 0;
        loop {
            if let Some(error) = state.retire_error.take() {
                return Err(error);
            }
            match state.prepared.take() {
                Some((prepared, Ok(file))) if prepared == seq => return Ok(file),
                Some((_, Err(error))) if is_full(&error) && !state.closing => {
                    let _ = self.changed.wait_for(&mut state, FULL_POLL);
                }
                Some((_, Err(error))) if attempts > 0 => return Err(error),
                _ => {}
            }
            if state.stop {
                return Err(io::Error::other("the log is closed"));
            }
            if state.wanted.is_none() {
                attempts += 1;
                state.wanted = Some(seq);
                self.changed.notify_all();
            }
            if self.has_thread {
                self.changed.wait(&mut state);
            } else {
                drop(state);
                self.step();
                state = self.state.lock();
            }
        }
    }

    /// Keeps spares of up to so many bytes, but at least a few.
    pub(super) fn recycle(&self, bytes_max: u64) {
        let count = usize::try_from(bytes_max / self.segment_bytes).unwrap_or(usize::MAX);
        let mut state = self.state.lock();
        state.spares_max = count.max(SPARES_MIN);
        if state.has_surplus() {
            self.changed.notify_all();
        }
    }

    /// Hands over a segment that no record needs any more. `reusable`: it has the usual length.
    pub(super) fn retire(&self, seq: u32, reusable: bool) {
        self.state.lock().retired.push_back((seq, reusable));
        self.changed.notify_all();
    }

    /// Ends a wait for room on a full disk: the log is being closed.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    /// Ends `run` after what it is doing.
    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    /// The thread's loop.
    pub(super) fn run(&self) {
        loop {
            while self.step() {}
            let mut state = self.state.lock();
            if state.stop {
                return;
            }
            if state.wanted.is_none() && state.retired.is_empty() && !state.has_surplus() {
                self.changed.wait(&mut state);
            }
        }
    }

    /// Does one thing that waits to be done; false: nothing does.
    pub(super) fn step(&self) -> bool {
        let mut state = self.state.lock();
        if state.stop {
            return false;
        } else if let Some(seq) = state.wanted {
            let spare = state.spares.pop();
            let number = state.next_number;
            state.next_number = number.wrapping_add(1);
            drop(state);
            let file = self.prepare(seq, spare, number);
            state = self.state.lock();
            state.wanted = None;
            state.prepared = Some((seq, file));
            self.changed.notify_all();
        } else if let Some((seq, reusable)) = state.retired.pop_front() {
            let number = state.next_number;
            state.next_number = number.wrapping_add(1);
            let keep = reusable && state.spares.len() < state.spares_max;
            drop(state);
            let result = put_away(&*self.disk, seq, number, keep);
            state = self.state.lock();
            match result {
                Ok(()) if keep => state.spares.push(number),
                Ok(()) => {}
                Err(error) => {
                    state.retired.clear();
                    state.retire_error = Some(error);
                }
            }
        } else if state.has_surplus()
            && let Some(number) = state.spares.pop()
        {
            drop(state);
            // What cannot be removed is a spare again after a restart.
            let _ = self.disk.discard(&names::spare(number));
        } else {
            return false;
        }
        true
    }

    fn prepare(&self, seq: u32, spare: Option<u64>, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        let name = names::segment(seq);
        if let Some(spare) = spare {
            self.disk.rename(&names::spare(spare), &name)?;
            self.disk.sync_dir()?;
            return self.disk.open(&name);
        }
        create_filled(&*self.disk, &names::unfinished(number), &name, self.segment_bytes, &[])
    }
}

impl State {
    fn has_surplus(&self) -> bool {
        self.spares.len() > self.spares_max
    }
}

/// Makes the spare `number` of a segment, or removes it. No crash brings its name back when what was in
/// it may be gone.
pub(super) fn put_away(disk: &dyn Disk, seq: u32, number: u64, keep: bool) -> io::Result<()> {
    let name = if keep { names::spare(number) } else { names::unfinished(number) };
    disk.rename(&names::segment(seq), &name)?;
    disk.sync_dir()?;
    if keep { Ok(()) } else { disk.discard(&name) }
}

/// Whether an error says that there is no room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Creates a file of zeros that begins with `start`, and gives it its name once it is durable.
pub(super) fn create_filled(
    disk: &dyn Disk,
    unfinished: &str,
    name: &str,
    bytes: u64,
    start: &[u8],
) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(unfinished)?;
    if let Err(error) = fill(&*file, bytes) {
        drop(file);
        // It holds room that a full disk needs; opening the log removes it, too.
        let _ = disk.remove(unfinished);
        return Err(error);
    }
    if !start.is_empty() {
        file.write_all_at(start, 0)?;
        file.sync_data()?;
    }
    disk.rename(unfinished, name)?;
    disk.sync_dir()?;
    Ok(file)
}

/// Writes a file full of zeros, in whole blocks from aligned memory.
fn fill(file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; FILL_BYTES + BLOCK_BYTES];
    let aligned = zeros.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
    let zeros = &zeros[aligned..aligned + FILL_BYTES];
    let mut filled = 0;
    while filled < bytes {
        let left = usize::try_from(bytes - filled).unwrap_or(usize::MAX);
        let piece = &zeros[..left.min(FILL_BYTES)];
        file.write_all_at(piece, filled)?;
        filled += piece.len() as u64;
        if filled.is_multiple_of(FILL_SYNC_BYTES) {
            file.sync_data()?;
        }
    }
    file.sync_data()
}
