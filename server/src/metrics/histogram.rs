//! A histogram of durations that many threads record into without a lock.
//!
//! Log-linear buckets: each power of two of nanoseconds is cut into 32 equal parts, so a reading is
//! at most 1/32 too high. Durations are counted up to one minute, longer ones as one minute. The
//! 8 KiB of buckets are allocated at the first record.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Parts of each power of two, as a power of two.
const PART_BITS: u32 = 5;
const PARTS: u64 = 1 << PART_BITS;
/// Longest duration told apart, in nanoseconds.
const NANOS_MAX: u64 = 60_000_000_000;
const BUCKETS: usize = bucket_of(NANOS_MAX) + 1;

/// Counts of durations, in nanoseconds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: OnceLock<Box<[AtomicU64]>>,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, nanos: u64, times: u64) {
        let buckets =
            self.buckets.get_or_init(|| (0..BUCKETS).map(|_| AtomicU64::new(0)).collect());
        buckets[bucket_of(nanos.min(NANOS_MAX))].fetch_add(times, Ordering::Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts().map(|(_, count)| count).sum()
    }

    /// The duration that `percent` of all do not exceed, in nanoseconds; 0 when there is none.
    pub fn percentile(&self, percent: f64) -> u64 {
        let counts: Vec<(u64, u64)> = self.counts().collect();
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let rank = ((percent / 100.0 * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = counts.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        reached.map_or(0, |(upper, _)| *upper)
    }

    /// How many durations are at most 1024, 2048, 4096... nanoseconds, with these bounds as whole
    /// microseconds; from the first bound that has any to the one that has all.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let counts: Vec<(u64, u64)> = self.counts().collect();
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let mut levels = Vec::new();
        let mut bound = 1024;
        while total > 0 && levels.last().is_none_or(|(_, count)| *count < total) {
            let below = counts.iter().filter(|(upper, _)| *upper <= bound);
            let count: u64 = below.map(|(_, count)| count).sum();
            if count > 0 {
                levels.push((bound / 1000, count));
            }
            bound *= 2;
        }
        levels
    }

    /// Forgets all durations.
    pub fn reset(&self) {
        for bucket in self.buckets.get().into_iter().flatten() {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    /// Upper bounds and counts of the buckets that have any, ascending.
    fn counts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let buckets = self.buckets.get().into_iter().flatten().enumerate();
        let counts = buckets.map(|(n, count)| (upper_bound(n), count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0)
    }
}

/// The bucket of a duration: its power of two, then its five bits below the highest one.
const fn bucket_of(nanos: u64) -> usize {
    if nanos < PARTS {
        return nanos as usize;
    }
    let power = 63 - nanos.leading_zeros();
    let shift = power - PART_BITS;
    ((shift as u64 + 1) * PARTS + (nanos >> shift) - PARTS) as usize
}

/// The longest duration of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let (shift, part) = (bucket / PARTS - 1, bucket % PARTS);
    ((PARTS + part + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_a_bucket_at_most_a_part_higher() {
        for nanos in (0..4096).chain((12..36).flat_map(|p| [(1u64 << p) - 1, 1 << p, (1 << p) + 7]))
        {
            let upper = upper_bound(bucket_of(nanos));
            assert!(nanos <= upper && upper - nanos <= nanos / PARTS, "{nanos} in {upper}");
        }
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(upper_bound(bucket)), bucket);
        }
    }

    #[test]
    fn percentiles_and_levels() {
        let histogram = Histogram::default();
        assert_eq!((histogram.percentile(50.0), histogram.cumulative()), (0, vec![]));
        for micros in 1..=100 {
            histogram.record(micros * 1000, 1);
        }
        let median = histogram.percentile(50.0);
        assert!((50_000..52_000).contains(&median), "{median}");
        assert!(histogram.percentile(100.0) >= 100_000);
        let levels = histogram.cumulative();
        assert_eq!(levels[0].0, 1);
        assert_eq!(levels.last().unwrap(), &(131, 100));
        histogram.record(u64::MAX, 1);
        assert!(histogram.percentile(100.0) >= NANOS_MAX);
        histogram.reset();
        assert_eq!(histogram.count(), 0);
    }
}
