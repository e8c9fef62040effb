//! Counts and latencies of one run, and the small statistics over several runs.
//!
//! Every successful reply is one record of an HDR histogram, reads and writes apart. What was not a
//! success is counted by what it was and never enters a histogram or the throughput.
//!
//! Beside the histograms of the whole window there is a coarser one for each slice of its time, so
//! that a stall is seen where it happened.
//!
//! Units: latencies are recorded in nanoseconds and reported in microseconds.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longest latency that is recorded exactly; longer ones count as this one.
const LATENCY_MAX: Duration = Duration::from_secs(600);
/// Significant digits of a latency over the whole window, and of one in the series of slices.
const DIGITS: u8 = 3;
const DIGITS_OF_SLICE: u8 = 2;
/// Where the curve of percentiles is read, as parts of all replies.
const CURVE: [f64; 15] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 1.0];
/// Kinds of error replies that are told apart; further kinds share one line.
const ERROR_KINDS_MAX: usize = 16;
/// Longest error text that is kept as the example of its kind, in bytes.
const ERROR_TEXT_BYTES_MAX: usize = 200;

/// Reads and writes are told apart, because each slows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Answered with a value or null.
    Read,
    /// Acknowledged change.
    Write,
}

/// How often one kind of error was seen, with one example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ErrorKind {
    /// Replies of this kind.
    pub(crate) count: u64,
    /// The text of the first.
    pub(crate) example: String,
}

/// What the connections of one thread counted inside the measured window.
pub(crate) struct Tally {
    reads: Histogram<u64>,
    writes: Histogram<u64>,
    origin: Instant,
    last_success: Instant,
    /// Replies from here on do not count for the throughput.
    end: Option<Instant>,
    /// Successes that came after `end`.
    late: u64,
    /// Longest time without any success, on any connection of the thread.
    pub(crate) longest_gap: Duration,
    /// Latencies in microseconds of what succeeded in each slice of the window.
    slices: Vec<Histogram<u32>>,
    /// Length of a slice.
    slice: Duration,
    /// How late this generator began rounds of an open loop for reasons of its own.
    lag: Histogram<u64>,
    /// Reads that found no value: successes, unless the keys were filled, when they are errors too.
    pub(crate) misses: u64,
    /// `MOVED` and `REDIRECT` replies.
    pub(crate) redirects: u64,
    /// Error replies and replies of a wrong type, by their first word.
    pub(crate) errors: BTreeMap<String, ErrorKind>,
    /// Writes whose WAIT named too few replicas.
    pub(crate) wait_failed: u64,
    /// Requests that were sent and whose connection ended, or the run, before their reply.
    pub(crate) unanswered: u64,
    /// Connections that broke or could not be made again.
    pub(crate) connection_errors: u64,
}

impl Tally {
    /// An empty tally for a window that begins at `origin` and is cut into slices.
    pub(crate) fn new(origin: Instant, slice: Duration) -> Self {
        assert!(slice > Duration::ZERO);
        Self {
            reads: new_histogram(),
            writes: new_histogram(),
            origin,
            last_success: origin,
            end: None,
            late: 0,
            longest_gap: Duration::ZERO,
            slices: Vec::new(),
            slice,
            lag: new_histogram(),
            misses: 0,
            redirects: 0,
            errors: BTreeMap::new(),
            wait_failed: 0,
            unanswered: 0,
            connection_errors: 0,
        }
    }

    /// The same tally for a window that ends at `end`.
    pub(crate) fn until(self, end: Instant) -> Self {
        Self { end: Some(end), ..self }
    }

    /// Records `count` replies that arrived at `now`, each `latency` after its request was sent.
    pub(crate) fn record(&mut self, class: Class, latency: Duration, count: u64, now: Instant) {
        if count == 0 {
            return;
        }
        let nanoseconds = latency.min(LATENCY_MAX).as_nanos() as u64;
        let histogram = match class {
            Class::Read => &mut self.reads,
            Class::Write => &mut self.writes,
        };
        histogram.saturating_record_n(nanoseconds, count);
        if self.end.is_some_and(|end| now >= end) {
            self.late += count;
        }
        self.longest_gap = self.longest_gap.max(now.saturating_duration_since(self.last_success));
        self.last_success = self.last_success.max(now);
        let since_origin = now.saturating_duration_since(self.origin);
        let slice = (since_origin.as_nanos() / self.slice.as_nanos()) as usize;
        if self.slices.len() <= slice {
            self.slices.resize_with(slice + 1, new_histogram_of_slice);
        }
        self.slices[slice].saturating_record_n(nanoseconds / 1_000, count as u32);
    }

    /// Records by how much a round was begun too late although its connection was free.
    pub(crate) fn record_lag(&mut self, lag: Duration) {
        self.lag.saturating_record(lag.min(LATENCY_MAX).as_nanos() as u64);
    }

    /// Ends the counting at `now`, for a window that ended at `window_end`: a silence at the end is
    /// a gap too, as long as there was something to answer.
    pub(crate) fn close(&mut self, now: Instant, window_end: Instant) {
        let expected_until = if self.unanswered > 0 { now } else { now.min(window_end) };
        let silence = expected_until.saturating_duration_since(self.last_success);
        self.longest_gap = self.longest_gap.max(silence);
    }

    /// Counts one error reply under its first word.
    pub(crate) fn record_error(&mut self, text: &str) {
        let word = text.split_whitespace().next().unwrap_or("empty");
        let full = self.errors.len() >= ERROR_KINDS_MAX && !self.errors.contains_key(word);
        let kind = if full { "(other)" } else { word };
        let entry = self.errors.entry(kind.to_owned()).or_insert_with(|| ErrorKind {
            count: 0,
            example: text.chars().take(ERROR_TEXT_BYTES_MAX).collect(),
        });
        entry.count += 1;
    }

    /// Adds what another thread counted in the same window.
    ///
    /// A gap is seen by one thread only, so with several threads the longest one is an upper bound.
    pub(crate) fn merge(&mut self, other: &Tally) {
        self.reads.add(&other.reads).expect("all histograms have the same bounds");
        self.writes.add(&other.writes).expect("all histograms have the same bounds");
        self.late += other.late;
        self.last_success = self.last_success.max(other.last_success);
        self.longest_gap = self.longest_gap.max(other.longest_gap);
        if self.slices.len() < other.slices.len() {
            self.slices.resize_with(other.slices.len(), new_histogram_of_slice);
        }
        for (mine, theirs) in self.slices.iter_mut().zip(&other.slices) {
            mine.add(theirs).expect("all histograms have the same bounds");
        }
        self.lag.add(&other.lag).expect("all histograms have the same bounds");
        self.misses += other.misses;
        self.redirects += other.redirects;
        for (kind, theirs) in &other.errors {
            self.errors
                .entry(kind.clone())
                .and_modify(|mine| mine.count += theirs.count)
                .or_insert_with(|| theirs.clone());
        }
        self.wait_failed += other.wait_failed;
        self.unanswered += other.unanswered;
        self.connection_errors += other.connection_errors;
    }

    /// Successful operations.
    pub(crate) fn operations(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    /// Successes whose reply came inside the window: those that throughput is made of.
    pub(crate) fn operations_in_window(&self) -> u64 {
        self.operations() - self.late
    }

    /// Replies and requests that were no success.
    pub(crate) fn failures(&self) -> u64 {
        let errors: u64 = self.errors.values().map(|kind| kind.count).sum();
        errors + self.redirects + self.wait_failed + self.unanswered
    }

    /// From the begin of the window to the last success.
    pub(crate) fn elapsed(&self) -> Duration {
        self.last_success - self.origin
    }

    /// Latencies of one class; `None` when it has no record.
    pub(crate) fn latency(&self, class: Class) -> Option<Latency> {
        Latency::of(match class {
            Class::Read => &self.reads,
            Class::Write => &self.writes,
        })
    }

    /// Latencies of reads and writes together; `None` when there was no success.
    pub(crate) fn latency_of_all(&self) -> Option<Latency> {
        let mut all = self.reads.clone();
        all.add(&self.writes).expect("all histograms have the same bounds");
        Latency::of(&all)
    }

    /// How late this generator was by itself; `None` in a closed loop.
    pub(crate) fn lag(&self) -> Option<Latency> {
        Latency::of(&self.lag)
    }

    /// The window in slices, from its begin to the last success.
    pub(crate) fn series(&self) -> Series {
        Series {
            slice_s: self.slice.as_secs_f64(),
            slices: self.slices.iter().map(Slice::of).collect(),
        }
    }
}

fn new_histogram_of_slice() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LATENCY_MAX.as_micros() as u64, DIGITS_OF_SLICE)
        .expect("the bounds are constants that the histogram accepts")
}

/// A run over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Series {
    /// Length of a slice in seconds.
    pub(crate) slice_s: f64,
    /// One after another, without holes; the last may be cut short.
    pub(crate) slices: Vec<Slice>,
}

/// What succeeded in one slice of time; latencies in microseconds, 0 when nothing did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Slice {
    /// Successes.
    pub(crate) operations: u64,
    /// Half of the replies were faster.
    pub(crate) p50_us: f64,
    /// 99 % of the replies were at most this slow.
    pub(crate) p99_us: f64,
    /// The slowest.
    pub(crate) max_us: f64,
}

impl Slice {
    fn of(histogram: &Histogram<u32>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64;
        Self {
            operations: histogram.len(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: histogram.max() as f64,
        }
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, DIGITS)
        .expect("the bounds are constants that the histogram accepts")
}

/// Percentiles of the time from sending a request to reading its reply, in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// Replies recorded.
    pub(crate) count: u64,
    /// Arithmetic mean.
    pub(crate) mean_us: f64,
    /// Half of the replies were faster.
    pub(crate) p50_us: f64,
    /// 90 % of the replies were at most this slow.
    pub(crate) p90_us: f64,
    /// 99 %.
    pub(crate) p99_us: f64,
    /// 99.9 %.
    pub(crate) p999_us: f64,
    /// 99.99 %.
    pub(crate) p9999_us: f64,
    /// The slowest.
    pub(crate) max_us: f64,
    /// `[part of all replies, latency that this part did not exceed]`, for the plot.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            mean_us: histogram.mean() / 1_000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: histogram.max() as f64 / 1_000.0,
            curve: CURVE.iter().map(|&quantile| (quantile, at(quantile))).collect(),
        })
    }
}

/// The middle of several rounds, with their extremes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The middle value, or the mean of the two middle ones.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// `None` when there are no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SLICE: Duration = Duration::from_secs(1);

    #[test]
    fn percentiles_count_every_reply() {
        let origin = Instant::now();
        let mut tally = Tally::new(origin, SLICE);
        tally.record(Class::Read, MS, 99, origin + MS);
        tally.record(Class::Write, 50 * MS, 1, origin + 51 * MS);
        let all = tally.latency_of_all().unwrap();
        assert_eq!((all.count, tally.operations()), (100, 100));
        assert!((all.p50_us - 1_000.0).abs() < 2.0, "{all:?}");
        assert!((all.p99_us - 1_000.0).abs() < 2.0, "{all:?}");
        assert!((all.p999_us - 50_000.0).abs() < 100.0, "{all:?}");
        assert_eq!(tally.latency(Class::Read).unwrap().count, 99);
        assert_eq!(tally.latency(Class::Write).unwrap().count, 1);
        assert_eq!((tally.longest_gap, tally.elapsed()), (50 * MS, 51 * MS));
    }

    #[test]
    fn replies_behind_the_window_do_not_count_for_the_throughput() {
        let origin = Instant::now();
        let mut tally = Tally::new(origin, SLICE).until(origin + 10 * MS);
        tally.record(Class::Write, MS, 5, origin + 9 * MS);
        tally.record(Class::Write, MS, 7, origin + 10 * MS);
        let mut other = Tally::new(origin, SLICE).until(origin + 10 * MS);
        other.record(Class::Read, MS, 2, origin + 11 * MS);
        tally.merge(&other);
        assert_eq!((tally.operations(), tally.operations_in_window()), (14, 5));
    }

    #[test]
    fn each_slice_has_its_own_percentiles() {
        let origin = Instant::now();
        let mut tally = Tally::new(origin, SLICE);
        tally.record(Class::Read, MS, 100, origin + 10 * MS);
        tally.record(Class::Write, 300 * MS, 100, origin + 2_100 * MS);
        let slices = tally.series().slices;
        assert_eq!(slices.len(), 3);
        assert!((slices[0].p50_us - 1_000.0).abs() < 10.0, "{slices:?}");
        assert_eq!(slices[1].operations, 0, "{slices:?}");
        assert!((slices[2].p99_us - 300_000.0).abs() < 3_000.0, "{slices:?}");
    }

    #[test]
    fn the_curve_ends_at_the_slowest_and_never_falls() {
        let origin = Instant::now();
        let mut tally = Tally::new(origin, SLICE);
        for ms in 1..=1_000 {
            tally.record(Class::Read, ms * MS, 1, origin + ms * MS);
        }
        let latency = tally.latency_of_all().unwrap();
        assert!(latency.curve.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1));
        assert_eq!(latency.curve.last().unwrap().1, latency.max_us);
        let p90 = latency.curve.iter().find(|(part, _)| *part == 0.9).unwrap().1;
        assert!((p90 / 900_000.0 - 1.0).abs() < 0.001, "{p90}");
    }

    #[test]
    fn a_silence_at_the_end_is_a_gap_while_something_was_due() {
        let origin = Instant::now();
        let gap = |unanswered, now_ms: u32| {
            let mut tally = Tally::new(origin, SLICE);
            tally.record(Class::Read, MS, 1, origin + 10 * MS);
            tally.unanswered = unanswered;
            tally.close(origin + now_ms * MS, origin + 100 * MS);
            tally.longest_gap
        };
        assert_eq!(gap(0, 50), 40 * MS, "the run ended before its window");
        assert_eq!(gap(0, 500), 90 * MS);
        assert_eq!(gap(1, 500), 490 * MS);
    }

    #[test]
    fn failures_are_no_operations() {
        let mut tally = Tally::new(Instant::now(), SLICE);
        tally.record_error("ERR first example");
        tally.record_error("ERR second");
        tally.record_error("");
        tally.redirects = 2;
        tally.wait_failed = 3;
        tally.unanswered = 4;
        assert_eq!((tally.operations(), tally.failures()), (0, 12));
        assert_eq!(tally.errors["ERR"].count, 2);
        assert_eq!(tally.errors["ERR"].example, "ERR first example");
        assert_eq!(tally.latency_of_all(), None);
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut tally = Tally::new(Instant::now(), SLICE);
        for kind in 0..100 {
            tally.record_error(&format!("E{kind} text"));
        }
        assert_eq!(tally.errors.len(), ERROR_KINDS_MAX + 1);
        assert_eq!(tally.failures(), 100);
    }

    #[test]
    fn threads_add_up() {
        let origin = Instant::now();
        let (mut one, mut two) = (Tally::new(origin, SLICE), Tally::new(origin, SLICE));
        one.record(Class::Read, MS, 10, origin + MS);
        two.record(Class::Read, MS, 5, origin + 1_500 * MS);
        two.record_error("ERR x");
        one.merge(&two);
        assert_eq!(one.operations(), 15);
        let counts: Vec<u64> = one.series().slices.iter().map(|slice| slice.operations).collect();
        assert_eq!(counts, [10, 5]);
        assert_eq!(one.errors["ERR"].count, 1);
        assert_eq!(one.elapsed(), 1_500 * MS);
    }

    #[test]
    fn medians() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(spread(&[9.0, 1.0, 4.0]), Some(Spread { median: 4.0, min: 1.0, max: 9.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
    }
}
