//! The histograms that openraft fills, kept by hdrhistogram.
//!
//! openraft counts batches of its own whether anybody asks or not. The crate of this name, which it does
//! that with, computes tables for each of sixteen precisions when the first histogram is made: 25 MiB for as
//! long as the process runs, of which openraft uses 6 KiB. `[patch.crates-io]` in the workspace's
//! `Cargo.toml` puts this crate in its place. It has what the pinned version of openraft calls and nothing else.

use std::fmt;
use std::marker::PhantomData;

/// Values are kept to one decimal digit: 12 % at most from what was recorded.
const DIGITS: u8 = 1;
/// Larger values are recorded as this.
const VALUE_MAX: u64 = u64::MAX / 2;

/// How often which value was recorded. `T` is what openraft could say of a span of time, and does not.
#[derive(Clone, Debug)]
pub struct Histogram<T = ()> {
    values: hdrhistogram::Histogram<u64>,
    said: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// An empty one, of some 8 KiB.
    ///
    /// # Panics
    /// Never: the bounds are constants that hdrhistogram accepts.
    #[must_use]
    pub fn new() -> Self {
        let values = hdrhistogram::Histogram::new_with_bounds(1, VALUE_MAX, DIGITS);
        Self { values: values.expect("constant bounds"), said: PhantomData }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.values.saturating_record(value);
    }

    /// Counts a value so many times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        self.values.saturating_record_n(value, times);
    }

    /// Where the values lie; zeros where none was recorded.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        let at = |quantile| self.values.value_at_quantile(quantile);
        PercentileStats {
            samples: self.values.len(),
            p0_1: at(0.001),
            p1: at(0.01),
            p5: at(0.05),
            p10: at(0.1),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PartialEq for Histogram<T> {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl<T> Eq for Histogram<T> {}

/// The values that a part of all recorded ones does not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were recorded.
    pub samples: u64,
    /// Of one in a thousand.
    pub p0_1: u64,
    /// Of one in a hundred.
    pub p1: u64,
    /// Of one in twenty.
    pub p5: u64,
    /// Of one in ten.
    pub p10: u64,
    /// Of half of them.
    pub p50: u64,
    /// Of nine in ten.
    pub p90: u64,
    /// Of ninety-nine in a hundred.
    pub p99: u64,
    /// Of 999 in a thousand.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p50, p90, p99, p99_9, .. } = self;
        write!(f, "samples {samples}, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}")
    }
}

/// Several histograms as text, a line for each.
#[derive(Debug, Default)]
pub struct AsciiChart(Vec<(&'static str, Histogram)>);

impl AsciiChart {
    /// One without a line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a histogram's line.
    #[must_use]
    pub fn add(mut self, name: &'static str, histogram: Histogram) -> Self {
        self.0.push((name, histogram));
        self
    }

    /// What is shown.
    #[must_use]
    pub fn detailed(&self) -> &Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, histogram)| {
            writeln!(f, "{name}: {}", histogram.percentile_stats())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_digit() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p50, 0);
        (1..=1000).for_each(|value| histogram.record(value));
        histogram.record_n(u64::MAX, 1);
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 1001);
        for (found, value) in [(stats.p1, 10), (stats.p10, 100), (stats.p50, 501), (stats.p99, 991)]
        {
            assert!(found.abs_diff(value) * 8 <= value, "{found} for {value}");
        }
    }

    #[test]
    fn a_chart_has_a_line_for_each() {
        let mut histogram = Histogram::new();
        histogram.record(3);
        let chart = AsciiChart::new().add("one", histogram.clone()).add("two", histogram);
        let line = "samples 1, p50 3, p90 3, p99 3, p99.9 3";
        assert_eq!(chart.to_string(), format!("one: {line}\ntwo: {line}\n"));
    }
}
