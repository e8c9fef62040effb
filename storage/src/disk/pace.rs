//! How fast batches may come so that flushes need not stop for compactions.
//!
//! Loads wait in level 0 until a compaction has merged all that were there when it began. Meanwhile only so many
//! more have room; then flushes wait, and soon the writer, for as long as the merge takes: seconds. So
//! from the moment on from which a merge is due, batches are given no more than their share of the
//! room that is left until it should be done. Where they come more slowly anyway, this changes nothing.

use super::generation::{LEVEL_0_RUNS_MAX, LEVEL_0_RUNS_MERGED};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

/// A merge is never taken to be nearer to its end than this part of the time that it should take in all, a
/// quarter: it may take longer than the last ones did.
const LEFT_PART_MIN: u32 = 4;

/// The longest that a merge is taken to need for each load: what takes longer was held up by something else,
/// such as a full disk.
const PER_LOAD_MAX: Duration = Duration::from_secs(3);

/// The longest that a load is made to take. Should that be too short, the writer waits for the merge.
const LOAD_TIME_MAX: Duration = Duration::from_secs(10);

/// What is known of merges of level 0.
#[derive(Default)]
struct Merges {
    /// Loads in level 0 when it was last looked at.
    runs: usize,
    /// Since when a merge is due.
    due: Option<Instant>,
    /// What merges take for each load, the wait for other compactions included; None: none was seen yet.
    per_load: Option<Duration>,
}

impl Merges {
    fn see(&mut self, runs: usize, now: Instant) {
        if runs < self.runs
            && let Some(due) = self.due.take()
        {
            let seen = now.duration_since(due) / (self.runs - runs) as u32;
            let seen = seen.min(PER_LOAD_MAX);
            self.per_load = Some(self.per_load.map_or(seen, |known| (3 * known + seen) / 4));
        }
        self.runs = runs;
        if runs >= usize::from(LEVEL_0_RUNS_MERGED) {
            self.due.get_or_insert(now);
        } else {
            self.due = None;
        }
    }

    /// The time that each further load should take; zero: any.
    fn load_time(&self, now: Instant) -> Duration {
        let (Some(due), Some(per_load)) = (self.due, self.per_load) else { return Duration::ZERO };
        let whole = per_load * self.runs as u32;
        let left = whole.saturating_sub(now.duration_since(due)).max(whole / LEFT_PART_MIN);
        // One more than level 0 takes: it fills in memory.
        let loads = (LEVEL_0_RUNS_MAX + 1).saturating_sub(self.runs).max(1);
        (left / loads as u32).min(LOAD_TIME_MAX)
    }
}

/// The pace of one generation.
#[derive(Default)]
pub(super) struct Pace {
    merges: Mutex<Merges>,
    load_ns: AtomicU64,
}

impl Pace {
    /// Takes notice of the loads that are in level 0 now.
    pub(super) fn see(&self, runs: usize) {
        let now = Instant::now();
        let mut merges = self.merges.lock();
        if merges.runs != runs {
            merges.see(runs, now);
            self.load_ns.store(merges.load_time(now).as_nanos() as u64, Relaxed);
        }
    }

    /// The time that `bytes` of a load of `load_bytes` should take.
    pub(super) fn time_for(&self, bytes: u64, load_bytes: u64) -> Duration {
        let load_ns = self.load_ns.load(Relaxed) as f64;
        Duration::from_nanos((load_ns * bytes as f64 / load_bytes.max(1) as f64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MERGED: usize = LEVEL_0_RUNS_MERGED as usize;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_a_merge_takes_is_shared_by_the_loads_that_have_room_meanwhile() {
        let (start, mut merges) = (Instant::now(), Merges::default());
        merges.see(MERGED, start);
        assert_eq!(merges.load_time(start), Duration::ZERO, "nothing is known yet");
        merges.see(MERGED + 2, start + seconds(5));
        merges.see(2, start + seconds(12));
        assert_eq!(merges.per_load, Some(seconds(2)));
        assert_eq!(merges.load_time(start + seconds(12)), Duration::ZERO, "no merge is due");
        merges.see(MERGED, start + seconds(20));
        let room = |runs: usize| (LEVEL_0_RUNS_MAX + 1 - runs) as u32;
        assert_eq!(merges.load_time(start + seconds(20)), seconds(12) / room(MERGED));
        merges.see(MERGED + 1, start + seconds(24));
        assert_eq!(merges.load_time(start + seconds(24)), seconds(10) / room(MERGED + 1));
        // It takes longer than expected.
        let late = merges.load_time(start + seconds(60));
        assert_eq!(late, seconds(14) / LEFT_PART_MIN / room(MERGED + 1));
        assert!(late > Duration::ZERO);
    }

    #[test]
    fn a_full_level_0_leaves_the_room_of_an_overlay() {
        let (start, mut merges) = (Instant::now(), Merges::default());
        merges.see(MERGED, start);
        merges.see(0, start + seconds(3));
        merges.see(LEVEL_0_RUNS_MAX, start + seconds(7));
        let half_a_second_each = seconds(LEVEL_0_RUNS_MAX as u64) / 2;
        assert_eq!(merges.load_time(start + seconds(7)), half_a_second_each);
        merges.see(LEVEL_0_RUNS_MAX + 3, start + seconds(8));
        assert!(merges.load_time(start + seconds(8)) > half_a_second_each);
    }

    #[test]
    fn a_merge_that_was_held_up_for_an_hour_slows_nobody_for_long() {
        let (start, mut merges) = (Instant::now(), Merges::default());
        merges.see(MERGED, start);
        merges.see(0, start + seconds(3600));
        assert_eq!(merges.per_load, Some(PER_LOAD_MAX));
        merges.see(LEVEL_0_RUNS_MAX, start + seconds(3601));
        assert_eq!(merges.load_time(start + seconds(3601)), LOAD_TIME_MAX);
    }

    #[test]
    fn bytes_get_their_share_of_a_load() {
        let pace = Pace::default();
        assert_eq!(pace.time_for(1 << 20, 64 << 20), Duration::ZERO);
        pace.load_ns.store(6_400_000, Relaxed);
        assert_eq!(pace.time_for(1 << 20, 64 << 20), Duration::from_micros(100));
        assert_eq!(pace.time_for(5, 0), Duration::from_millis(32), "a size of zero is none");
    }
}
