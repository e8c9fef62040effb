//! A long run as text and as charts, and whether it holds what is asked of one.

use super::{Soak, Watermark};
use crate::bound::Bound;
use crate::chart::{Axis, Chart, Line, Page, Scale};
use crate::comparison::{percentile_axis, percentile_line};
use crate::stats::{Slice, Spread};
use std::fmt;

/// Bounds of a run that is held for hours.
const LAST_OVER_FIRST_MIN: f64 = 0.9;
const P999_MAX_MS: f64 = 25.0;
const GAP_MAX_MS: f64 = 100.0;
const DISK_FACTOR_MAX: f64 = 3.0;
/// Kvorum's log is purged whole segments at a time, and keeps a few for reuse.
const LOG_OVER_LIMIT_MAX: f64 = 1.2;
/// A compaction that needs room for both sides of it is not one that falls behind.
const TABLES_GROWTH_MAX: f64 = 1.25;

/// Samples, one a second, in the parts of a run that are compared: a minute, or half of a shorter run.
const COMPARED_SAMPLES: usize = 60;

/// Means of the last minute over the first of something on the first node's disk.
fn growth(watermarks: &[Watermark], part: &str) -> Option<f64> {
    let sizes: Vec<u64> =
        watermarks.iter().filter_map(|mark| mark.parts.get(part).copied()).collect();
    let count = COMPARED_SAMPLES.min(sizes.len() / 2);
    let first: u64 = sizes.iter().take(count).sum();
    let last: u64 = sizes.iter().rev().take(count).sum();
    (first > 0).then(|| last as f64 / first as f64)
}

impl Soak {
    /// Each bound with its figure.
    fn bounds(&self) -> Vec<Bound> {
        let p999 = self.latency.as_ref().map(|latency| latency.p999_us / 1e3);
        let mut bounds = vec![
            Bound::at_least("last minute over first", self.last_over_first, LAST_OVER_FIRST_MIN),
            Bound::below("p99.9 in ms", p999, P999_MAX_MS),
            Bound::at_most("longest gap in ms", Some(self.longest_gap_ms), GAP_MAX_MS),
            Bound::below("disk over data, worst node", Some(self.disk_factor()), DISK_FACTOR_MAX),
        ];
        if let Some(limit) = self.log_limit_bytes {
            let logs = self.watermarks.iter().filter_map(|mark| mark.parts.get("log"));
            let most = logs.max().map(|&bytes| bytes as f64 / limit as f64);
            let tables = growth(&self.watermarks, "state");
            bounds.extend([
                Bound::at_most("log over its limit, worst moment", most, LOG_OVER_LIMIT_MAX),
                Bound::at_most("tables, last minute over first", tables, TABLES_GROWTH_MAX),
            ]);
        }
        bounds
    }

    /// Whether all bounds hold and every request was a success.
    pub(crate) fn holds(&self) -> bool {
        self.failures == 0 && self.bounds().iter().all(Bound::holds)
    }

    /// The page of this run.
    pub(crate) fn page(&self) -> Page {
        Page {
            title: format!("{} for {:.0} s, {}", self.peer, self.duration_s, self.machine.date),
            tables: self.to_string(),
            sections: vec![
                ("Over time".to_owned(), self.over_time()),
                ("Percentiles".to_owned(), self.percentiles()),
            ],
        }
    }

    fn percentiles(&self) -> Vec<Chart> {
        let parts = [("reads", &self.latency_of_reads), ("writes", &self.latency_of_writes)];
        let lines = parts.into_iter().enumerate().filter_map(|(colour, (name, latency))| {
            Some(percentile_line(name, colour, latency.as_ref()?))
        });
        vec![Chart {
            title: "Latency from when requests were due".to_owned(),
            x: percentile_axis(),
            y: Axis::new("latency in ms", Scale::Log),
            lines: lines.collect(),
        }]
    }

    fn over_time(&self) -> Vec<Chart> {
        let slices = |name: &str, colour, figure: fn(&Slice) -> f64| {
            let points = self.series.slices.iter().enumerate().map(|(position, slice)| {
                let second = position as f64 * self.series.slice_s;
                (second, figure(slice), format!("{second:.0} s: {:.3}", figure(slice)))
            });
            Line { name: name.to_owned(), colour, points: points.collect(), joined: true }
        };
        let chart = |title: &str, unit: &str, scale, lines| Chart {
            title: title.to_owned(),
            x: Axis::new("seconds", Scale::Linear),
            y: Axis::new(unit, scale),
            lines,
        };
        let rate = self.series.slice_s;
        let mut throughput = slices("successes", 0, |slice| slice.operations as f64);
        for point in &mut throughput.points {
            point.1 /= rate;
        }
        let latency = vec![
            slices("p50", 0, |slice| slice.p50_us / 1e3),
            slices("p99", 1, |slice| slice.p99_us / 1e3),
            slices("max", 2, |slice| slice.max_us / 1e3),
        ];
        vec![
            chart("Throughput", "successes per second", Scale::Linear, vec![throughput]),
            chart("Latency of each second", "ms", Scale::Log, latency),
            chart(
                "Memory",
                "RSS in MiB",
                Scale::Linear,
                self.marks("process", |mark, index| mark.resident_bytes.get(index).copied()),
            ),
            chart(
                "Disk use",
                "MiB",
                Scale::Linear,
                self.marks("node", |mark, index| mark.disk_bytes.get(index).copied()),
            ),
            chart("Disk use of the first node", "MiB", Scale::Linear, self.parts()),
            chart("Time for a fixed piece of work", "ms", Scale::Linear, self.work()),
        ]
    }

    fn marks(&self, what: &str, figure: fn(&super::Watermark, usize) -> Option<u64>) -> Vec<Line> {
        let count = self.watermarks.first().map_or(0, |mark| mark.disk_bytes.len());
        let line = |index: usize| {
            let points = self.watermarks.iter().filter_map(|mark| {
                let mib = figure(mark, index)? as f64 / f64::from(1 << 20);
                Some((mark.second, mib, format!("{:.0} s: {mib:.0} MiB", mark.second)))
            });
            let name = format!("{what} {index}");
            Line { name, colour: index, points: points.collect(), joined: true }
        };
        (0..count).map(line).collect()
    }

    fn work(&self) -> Vec<Line> {
        let processors = self.watermarks.first().map_or(0, |mark| mark.work_ms.len());
        let line = |processor: usize| {
            let points = self.watermarks.iter().filter_map(|mark| {
                let ms = *mark.work_ms.get(processor)?;
                Some((mark.second, ms, format!("{:.0} s: {ms:.2} ms", mark.second)))
            });
            let name = format!("processor {processor}");
            Line { name, colour: processor, points: points.collect(), joined: true }
        };
        (0..processors).map(line).collect()
    }

    fn parts(&self) -> Vec<Line> {
        let mut names: Vec<&String> =
            self.watermarks.iter().flat_map(|mark| mark.parts.keys()).collect();
        names.sort();
        names.dedup();
        let line = |(colour, name): (usize, &String)| {
            let points = self.watermarks.iter().filter_map(|mark| {
                let mib = *mark.parts.get(name)? as f64 / f64::from(1 << 20);
                Some((mark.second, mib, format!("{name} {:.0} s: {mib:.0} MiB", mark.second)))
            });
            Line { name: name.clone(), colour, points: points.collect(), joined: true }
        };
        names.into_iter().enumerate().map(line).collect()
    }
}

impl fmt::Display for Soak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.machine.heading(), self.machine.command)?;
        for warning in self.machine.warnings() {
            writeln!(f, "! {warning}")?;
        }
        writeln!(f, "{}, {}, {}", self.peer, self.case.point, self.case.dataset)?;
        writeln!(f, "started and filled in {:.1} s", self.fill_s)?;
        if let Some(maximum) = self.maximum_per_second {
            writeln!(f, "maximum in a closed loop {maximum:.0}/s")?;
        }
        writeln!(
            f,
            "open loop at {:.0}/s for {:.0} s: {:.0}/s answered, {} failures",
            self.rate, self.duration_s, self.operations_per_second, self.failures
        )?;
        let lines = [("latency", &self.latency), ("own lag", &self.lag)];
        for (name, latency) in lines.into_iter().filter_map(|(name, of)| Some((name, of.as_ref()?)))
        {
            writeln!(
                f,
                "{name}: p50 {:.3}, p90 {:.3}, p99 {:.3}, p99.9 {:.3}, p99.99 {:.3}, max {:.3} ms",
                latency.p50_us / 1e3,
                latency.p90_us / 1e3,
                latency.p99_us / 1e3,
                latency.p999_us / 1e3,
                latency.p9999_us / 1e3,
                latency.max_us / 1e3
            )?;
        }
        let work = self.watermarks.iter().flat_map(|mark| mark.work_ms.iter().copied());
        if let Some(Spread { median, min, max }) = Spread::of(work) {
            let (median, max) = (median / min, max / min);
            writeln!(
                f,
                "the same piece of work took {median:.2} (median), {max:.2} (most) times as long as at its fastest"
            )?;
        }
        for usage in &self.usage {
            writeln!(
                f,
                "{}: {:.2} us CPU per operation, {:.0} % of a core, RSS {} MiB at the end",
                usage.name,
                usage.cpu_us_per_operation,
                usage.cpu_percent,
                usage.resident_bytes >> 20
            )?;
        }
        let most = |figure: fn(&Watermark) -> &Vec<u64>| {
            self.watermarks.iter().flat_map(figure).max().copied().unwrap_or_default() >> 20
        };
        writeln!(f, "most RSS of a process {} MiB", most(|mark| &mark.resident_bytes))?;
        writeln!(
            f,
            "most disk use of a node {} MiB; keys and values are {} MiB",
            most(|mark| &mark.disk_bytes),
            self.data_bytes >> 20
        )?;
        if let Some(bytes) = self.disk_written_bytes {
            let share = bytes as f64 / (self.operations_per_second * self.duration_s).max(1.0);
            writeln!(f, "the disk got {} MiB, {share:.0} bytes per operation", bytes >> 20)?;
        }
        for bound in self.bounds() {
            writeln!(f, "{bound}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_of_the_last_minute_over_the_first() {
        let mark = |bytes| Watermark {
            second: 0.0,
            resident_bytes: Vec::new(),
            disk_bytes: Vec::new(),
            parts: [("state".to_owned(), bytes)].into(),
            work_ms: Vec::new(),
        };
        let marks = |sizes: &[(usize, u64)]| -> Vec<Watermark> {
            sizes.iter().flat_map(|&(count, bytes)| vec![mark(bytes); count]).collect()
        };
        assert_eq!(growth(&marks(&[(60, 100), (60, 900), (60, 130)]), "state"), Some(1.3));
        assert_eq!(growth(&marks(&[(5, 100), (5, 50)]), "state"), Some(0.5));
        assert_eq!(growth(&marks(&[(10, 100)]), "log"), None);
        assert_eq!(growth(&[], "state"), None);
    }
}
