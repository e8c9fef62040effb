//! Room on the disk that holds the data: measured now and then, judged against a reserve.
//!
//! Nothing here stops a write by itself. The node asks [`Space::room`] before it takes a client's
//! write, and the threads that need much room at once ask [`Space::has_for`] before they begin: a
//! write of the log that fails halfway ends the process, one of tables has to be made anew, and one
//! that has not begun can wait.
//!
//! The reserve is for what goes on when clients may write no more: overlays that are moved into
//! tables, the next file of the log, votes. It is also what another program can take while nobody
//! looks, so it is more than the sum of these.

use rustix::fs::statvfs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// How much room there is, judged against the reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Room {
    /// More than the reserve.
    #[default]
    Enough = 0,
    /// Less: nothing may be added to the data.
    Low = 1,
    /// Less than half of it: the log takes no entries of clients.
    Exhausted = 2,
}

impl Room {
    /// `ok`, `low` or `exhausted`.
    pub fn name(self) -> &'static str {
        match self {
            Room::Enough => "ok",
            Room::Low => "low",
            Room::Exhausted => "exhausted",
        }
    }

    fn from_byte(byte: u8) -> Room {
        match byte {
            0 => Room::Enough,
            1 => Room::Low,
            _ => Room::Exhausted,
        }
    }

    /// The room of `free_bytes` under a reserve of `min_bytes`, when there was `before` until now. A
    /// state is left for a better one only with an eighth of the reserve more than its bound, so
    /// that it does not flicker.
    fn judge(free_bytes: u64, min_bytes: u64, before: Room) -> Room {
        let slack = min_bytes / 8;
        let bound = |bytes: u64, left: bool| bytes + if left { slack } else { 0 };
        if free_bytes < bound(min_bytes / 2, before == Room::Exhausted) {
            Room::Exhausted
        } else if free_bytes < bound(min_bytes, before != Room::Enough) {
            Room::Low
        } else {
            Room::Enough
        }
    }
}

/// The file system that holds a directory, and the reserve on it.
#[derive(Debug)]
pub struct Space {
    dir: PathBuf,
    min_bytes: AtomicU64,
    free_bytes: AtomicU64,
    room: AtomicU8,
    /// How many [`Lack`]s there are.
    lacks: AtomicUsize,
}

/// Somebody could not write what has to be written: as long as this lives, the room is low at best.
#[derive(Debug)]
pub(crate) struct Lack(Arc<Space>);

impl Lack {
    pub(crate) fn of(space: &Arc<Space>) -> Self {
        space.lacks.fetch_add(1, Ordering::AcqRel);
        Self(space.clone())
    }
}

impl Drop for Lack {
    fn drop(&mut self) {
        self.0.lacks.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Space {
    /// Watches the file system of `dir`, which exists, with a reserve of `min_bytes`; 0: none, there
    /// is always room. Nothing is measured yet.
    pub fn new(dir: impl Into<PathBuf>, min_bytes: u64) -> Self {
        Space {
            dir: dir.into(),
            min_bytes: AtomicU64::new(min_bytes),
            free_bytes: AtomicU64::new(u64::MAX),
            room: AtomicU8::new(Room::Enough as u8),
            lacks: AtomicUsize::new(0),
        }
    }

    /// Sets the reserve, in bytes; it counts from the next measurement on.
    pub fn set_min_bytes(&self, bytes: u64) {
        self.min_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The room at the last measurement: one relaxed load.
    pub fn room(&self) -> Room {
        Room::from_byte(self.room.load(Ordering::Relaxed))
    }

    /// Free bytes at the last measurement.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Asks the file system, and returns the room before and now.
    ///
    /// # Errors
    /// The file system does not tell; the room stays as it was.
    pub fn measure(&self) -> io::Result<(Room, Room)> {
        let found = statvfs(&self.dir)?;
        let free_bytes = found.f_bavail.saturating_mul(found.f_frsize);
        let before = self.room();
        let mut now = Room::judge(free_bytes, self.min_bytes.load(Ordering::Relaxed), before);
        if self.lacks.load(Ordering::Acquire) > 0 {
            // A quota, names that are used up, or simply more than there is.
            now = now.max(Room::Low);
        }
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
        self.room.store(now as u8, Ordering::Relaxed);
        Ok((before, now))
    }

    /// Whether an eighth of the reserve was left at the last measurement.
    pub(crate) fn has_any(&self) -> bool {
        self.free_bytes() >= self.min_bytes.load(Ordering::Relaxed) / 8
    }

    /// Whether `bytes` can be written now and leave an eighth of the reserve. Yes where there is no
    /// reserve, or the file system does not tell: then the write itself will.
    pub fn has_for(&self, bytes: u64) -> bool {
        let min_bytes = self.min_bytes.load(Ordering::Relaxed);
        if min_bytes == 0 || self.measure().is_err() {
            return true;
        }
        self.free_bytes() >= bytes.saturating_add(min_bytes / 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_judged_against_the_reserve_and_does_not_flicker() {
        let judge = |free, before| Room::judge(free, 800, before);
        assert_eq!(judge(800, Room::Enough), Room::Enough);
        assert_eq!(judge(799, Room::Enough), Room::Low);
        assert_eq!(judge(850, Room::Low), Room::Low);
        assert_eq!(judge(900, Room::Low), Room::Enough);
        assert_eq!(judge(399, Room::Enough), Room::Exhausted);
        assert_eq!(judge(450, Room::Exhausted), Room::Exhausted);
        assert_eq!(judge(500, Room::Exhausted), Room::Low);
        assert_eq!(judge(2000, Room::Exhausted), Room::Enough);
        assert_eq!(Room::judge(0, 0, Room::Exhausted), Room::Enough, "no reserve");
        for room in [Room::Enough, Room::Low, Room::Exhausted] {
            assert_eq!(Room::from_byte(room as u8), room);
        }
    }

    #[test]
    fn whoever_could_not_write_keeps_the_room_low() {
        let dir = tempfile::tempdir().unwrap();
        let space = Arc::new(Space::new(dir.path(), 1));
        let (first, second) = (Lack::of(&space), Lack::of(&space));
        assert_eq!(space.measure().unwrap(), (Room::Enough, Room::Low));
        drop(first);
        assert_eq!(space.measure().unwrap(), (Room::Low, Room::Low));
        drop(second);
        assert_eq!(space.measure().unwrap(), (Room::Low, Room::Enough));
        assert!(space.has_any());
        space.set_min_bytes(u64::MAX);
        assert!(!space.has_any());
    }

    #[test]
    fn a_file_system_tells_how_much_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(dir.path(), 1);
        assert_eq!(space.measure().unwrap(), (Room::Enough, Room::Enough));
        assert!(space.free_bytes() > 0 && space.free_bytes() < u64::MAX);
        assert!(space.has_for(1));
        assert!(!space.has_for(u64::MAX));
        space.set_min_bytes(u64::MAX / 2);
        assert_eq!(space.measure().unwrap(), (Room::Enough, Room::Exhausted));
        assert!(!space.has_for(1));
        space.set_min_bytes(0);
        assert_eq!(space.measure().unwrap(), (Room::Exhausted, Room::Enough));
        assert!(space.has_for(u64::MAX));
        assert!(Space::new("/nowhere/at/all", 1).measure().is_err());
    }
}
