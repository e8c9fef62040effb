//! The date as one node sees it: the simulated time, and an error of its own that may jump.

use crate::trace::Trace;
use kvorum::clock::Clock;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::Instant;

/// The date at which every simulation begins, in microseconds since 1970.
const BEGIN_US: i64 = 1_700_000_000_000_000;

/// A node's date.
pub struct SkewedClock {
    begun: Instant,
    error_us: AtomicI64,
    ahead_us: AtomicI64,
    trace: Trace,
}

impl SkewedClock {
    /// A date without an error, so far.
    pub fn new(begun: Instant, trace: Trace) -> SkewedClock {
        SkewedClock { begun, error_us: AtomicI64::default(), ahead_us: AtomicI64::default(), trace }
    }

    /// Moves the date on, which is no error where it is done to all nodes.
    pub fn advance(&self, by_us: i64) {
        self.ahead_us.fetch_add(by_us, Ordering::Relaxed);
    }

    /// Sets the error.
    pub fn skew(&self, error_us: i64) {
        self.error_us.store(error_us, Ordering::Relaxed);
    }
}

impl Clock for SkewedClock {
    fn unix_us(&self) -> u64 {
        let error = self.error_us.load(Ordering::Relaxed);
        if error != 0 {
            self.trace.note("wrong date", error);
        }
        let ahead = self.ahead_us.load(Ordering::Relaxed);
        (BEGIN_US + self.begun.elapsed().as_micros() as i64 + ahead + error) as u64
    }

    fn monotonic_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }
}
