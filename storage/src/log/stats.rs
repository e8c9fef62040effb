//! What a running log measures about itself.

use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Highest latency the histogram tells apart, in microseconds; longer ones count as this.
const LATENCY_MAX_US: u64 = 60_000_000;
/// Highest number of entries per sync that the histogram tells apart.
const GROUP_MAX: u64 = 10_000_000;

/// Spread of a measured quantity since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Number of measurements.
    pub count: u64,
    /// Their mean.
    pub mean: u64,
    /// Half of the measurements are at most this.
    pub p50: u64,
    /// 99 % of the measurements are at most this.
    pub p99: u64,
    /// The largest measurement.
    pub max: u64,
}

/// A moment's view of a log. Counters start at zero when the log is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Segments in use, without those prepared ahead.
    pub segments: usize,
    /// Bytes of records in those segments, headers included.
    pub bytes: u64,
    /// Number of `fdatasync` calls on segments in use.
    pub fsync_count: u64,
    /// Latency of those calls, in microseconds.
    pub fsync_us: Spread,
    /// How many of them took longer than `LogOptions::slow_sync`.
    pub slow_syncs: u64,
    /// Entries made durable per `fdatasync`, of those that covered any.
    pub entries_per_sync: Spread,
    /// Bytes written as records.
    pub appended_bytes: u64,
    /// Operations waiting for the writer.
    pub queued: usize,
    /// Memory that the tail caches of all shards take.
    pub cache_bytes: usize,
    /// Entries read from files because the tail cache no longer held them.
    pub cache_misses: u64,
}

/// The writer's side of the measurements.
pub(super) struct Meter {
    inner: Mutex<Inner>,
}

struct Inner {
    fsync_us: Histogram<u64>,
    entries_per_sync: Histogram<u64>,
    stats: LogStats,
}

impl Meter {
    pub(super) fn new() -> Meter {
        let histogram = |max| {
            Histogram::new_with_max(max, 2).expect("the bound and precision are constants in range")
        };
        Meter {
            inner: Mutex::new(Inner {
                fsync_us: histogram(LATENCY_MAX_US),
                entries_per_sync: histogram(GROUP_MAX),
                stats: LogStats::default(),
            }),
        }
    }

    pub(super) fn synced(&self, took: Duration, entries: u64, slow: bool) {
        let mut inner = self.inner.lock();
        inner.fsync_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if entries > 0 {
            inner.entries_per_sync.saturating_record(entries);
        }
        inner.stats.fsync_count += 1;
        inner.stats.slow_syncs += u64::from(slow);
    }

    pub(super) fn written(&self, bytes: u64) {
        self.inner.lock().stats.appended_bytes += bytes;
    }

    pub(super) fn missed(&self, entries: usize) {
        self.inner.lock().stats.cache_misses += entries as u64;
    }

    pub(super) fn extent(&self, segments: usize, bytes: u64) {
        let mut inner = self.inner.lock();
        inner.stats.segments = segments;
        inner.stats.bytes = bytes;
    }

    pub(super) fn read(&self) -> LogStats {
        let inner = self.inner.lock();
        LogStats {
            fsync_us: spread(&inner.fsync_us),
            entries_per_sync: spread(&inner.entries_per_sync),
            ..inner.stats
        }
    }
}

fn spread(histogram: &Histogram<u64>) -> Spread {
    Spread {
        count: histogram.len(),
        mean: histogram.mean().round() as u64,
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        max: histogram.max(),
    }
}
