//! The node's clock: the only place that asks the operating system for the time.
//!
//! Two readings: the date (`unix_*`), which may jump, for what is shown or stamped; and a time
//! that never goes back (`monotonic_us`), for durations. Nothing of the replicated state machine
//! may use either.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time that tests can replace.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970.
    fn unix_us(&self) -> u64;

    /// Microseconds since some moment before the first call; never goes back.
    fn monotonic_us(&self) -> u64;

    /// Milliseconds since 1970.
    fn unix_ms(&self) -> u64 {
        self.unix_us() / 1000
    }
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_us(&self) -> u64 {
        // A date before 1970 counts as 1970: it is shown, never relied upon.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
    }

    fn monotonic_us(&self) -> u64 {
        monotonic_ns() / 1000
    }
}

/// Milliseconds since 1970, by the operating system.
pub fn unix_ms() -> u64 {
    SystemClock.unix_ms()
}

/// Nanoseconds since the first call in this process; never goes back. For measuring durations.
pub fn monotonic_ns() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

/// A clock that moves when it is told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_us: AtomicU64,
}

impl ManualClock {
    /// Stands at `unix_us`.
    pub fn new(unix_us: u64) -> Self {
        Self { now_us: AtomicU64::new(unix_us) }
    }

    /// Moves on by `micros`.
    pub fn advance_us(&self, micros: u64) {
        self.now_us.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_us(&self) -> u64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> u64 {
        self.now_us.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_runs_forward() {
        let (first, second) = (SystemClock.monotonic_us(), SystemClock.monotonic_us());
        assert!(first <= second);
        assert!(unix_ms() > 1_600_000_000_000, "after 2020");
    }

    #[test]
    fn a_manual_clock_moves_on_demand() {
        let clock = ManualClock::new(1_000_000);
        clock.advance_us(2500);
        assert_eq!((clock.unix_ms(), clock.monotonic_us()), (1002, 1_002_500));
    }
}
