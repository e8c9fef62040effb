//! A join as text and as a chart, and whether it is as quick and as quiet as it should be.

use super::{Join, Phase};
use crate::bound::Bound;
use crate::chart::{Axis, Chart, Page, Scale};
use crate::comparison::time_line;
use crate::stats::Latency;
use std::fmt;

/// Bounds of a join.
const P99_RATIO_MAX: f64 = 1.5;
const RATE_MIN: f64 = 100.0;
/// Part of all cores from which on they are what limits.
const CPU_IS_LIMIT: f64 = 0.9;

impl Join {
    /// Bytes of keys and values over the time, in MB/s.
    fn rate_mb(&self) -> Option<f64> {
        Some(self.data_bytes as f64 / 1e6 / self.join_s?)
    }

    /// Part of all cores that the processes used together while the node joined.
    fn cpu_share(&self) -> f64 {
        let percent: f64 = self.usage.iter().map(|usage| usage.cpu_percent).sum();
        percent / 100.0 / self.machine.cores.max(1) as f64
    }

    fn bounds(&self) -> Vec<Bound> {
        let p99 = |phase: &Phase| Some(phase.latency.as_ref()?.p99_us);
        let ratio =
            p99(&self.during).zip(p99(&self.before)).map(|(during, before)| during / before);
        let share = self.cpu_share();
        let limit = (share >= CPU_IS_LIMIT)
            .then(|| format!("the cores are the limit: {:.0} % used", share * 100.0));
        let failures = (self.before.failures + self.during.failures) as f64;
        vec![
            Bound::at_least("keys and values, MB/s", self.rate_mb(), RATE_MIN).unless(limit),
            Bound::at_most("p99 during over before", ratio, P99_RATIO_MAX),
            Bound::at_most("failed requests", Some(failures), 0.0),
            Bound::at_most(
                "sampled keys that differ",
                self.join_s.map(|_| self.compared.different_count as f64),
                0.0,
            ),
        ]
    }

    /// Whether the node joined and all bounds hold.
    pub(crate) fn holds(&self) -> bool {
        self.join_s.is_some() && self.bounds().iter().all(Bound::holds)
    }

    /// The page of this run.
    pub(crate) fn page(&self) -> Page {
        let chart = Chart {
            title: "p99 over time".to_owned(),
            x: Axis::new("seconds of the loop", Scale::Linear),
            y: Axis::new("ms", Scale::Log),
            lines: vec![
                time_line("before", 0, &self.before.series),
                time_line("while it joins", 1, &self.during.series),
            ],
        };
        Page {
            title: format!("A node joins, {}", self.machine.date),
            tables: self.to_string(),
            sections: vec![("What clients see".to_owned(), vec![chart])],
        }
    }

    fn write_phases(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "ms", "seconds", "ops/s", "p50", "p99", "p99.9", "max", "gap", "failures"
        )?;
        for (name, phase) in [("before", &self.before), ("while it joins", &self.during)] {
            let at = |figure: fn(&Latency) -> f64| {
                let latency = phase.latency.as_ref();
                latency.map_or("-".to_owned(), |latency| format!("{:.3}", figure(latency) / 1e3))
            };
            writeln!(
                f,
                "{name:16} {:>9.1} {:>9.0} {:>9} {:>9} {:>9} {:>9} {:>9.1} {:>9}",
                phase.seconds,
                phase.operations_per_second,
                at(|latency| latency.p50_us),
                at(|latency| latency.p99_us),
                at(|latency| latency.p999_us),
                at(|latency| latency.max_us),
                phase.longest_gap_ms,
                phase.failures
            )?;
            if let Some(lag) = &phase.lag {
                writeln!(f, "  own lag p99 {:.3} ms", lag.p99_us / 1e3)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.machine.heading(), self.machine.command)?;
        for warning in self.machine.warnings() {
            writeln!(f, "! {warning}")?;
        }
        writeln!(f, "a node joins {}, {}, {}", self.peer, self.case.point, self.case.dataset)?;
        if !self.rested {
            writeln!(f, "! the disk was not still before the measurements")?;
        }
        if let Some(maximum) = self.maximum_per_second {
            writeln!(f, "maximum in a closed loop {maximum:.0}/s")?;
        }
        writeln!(f, "open loop at {:.0}/s", self.rate)?;
        self.write_phases(f)?;
        match (self.join_s, self.rate_mb()) {
            (Some(seconds), Some(rate)) => writeln!(
                f,
                "it voted after {seconds:.2} s (answered after {:.2} s): {:.0} MB of keys and values, \
                 {rate:.1} MB/s; snapshots received: {}",
                self.answers_s.unwrap_or_default(),
                self.data_bytes as f64 / 1e6,
                self.snapshots_received.map_or("?".to_owned(), |count| count.to_string()),
            )?,
            _ => writeln!(f, "it did not become a voter in time")?,
        }
        let seconds = self.join_s.unwrap_or(self.during.seconds).max(0.001);
        for usage in &self.usage {
            writeln!(
                f,
                "{}: {:.0} % of a core, RSS {} MiB, pages dirtied {:.1} MB/s",
                usage.name,
                usage.cpu_percent,
                usage.resident_bytes >> 20,
                usage.written_bytes as f64 / 1e6 / seconds
            )?;
        }
        writeln!(f, "all of them: {:.0} % of the cores", self.cpu_share() * 100.0)?;
        if let Some(bytes) = self.disk_written_bytes {
            writeln!(f, "the disk got {:.1} MB/s", bytes as f64 / 1e6 / seconds)?;
        }
        let Some((compared, _)) = Some(&self.compared).zip(self.join_s) else { return Ok(()) };
        writeln!(f, "{} keys compared, {} differ", compared.keys, compared.different_count)?;
        for key in &compared.different {
            writeln!(f, "  {key}")?;
        }
        self.bounds().iter().try_for_each(|bound| writeln!(f, "{bound}"))
    }
}
