//! One node with many keys as text, and the bounds it is held to.

use super::{Kind, Large, Round, bare};
use crate::bound::Bound;
use crate::chart::Page;
use crate::stats::Spread;
use std::fmt;

/// Bounds of a node whose data is far larger than its caches.
const MEMORY_MAX: f64 = 1.15;
const OVER_BARE_MIN: f64 = 0.8;
const ABSENT_OVER_HOT_MIN: f64 = 0.9;
const AFTER_STOP_MAX_S: f64 = 5.0;
const AFTER_KILL_MAX_S: f64 = 15.0;

const MOMENTS: [&str; 3] = ["fill", "SETs", "GETs"];

fn longest(seconds: &[f64]) -> Option<f64> {
    seconds.iter().copied().max_by(f64::total_cmp)
}

impl Large {
    /// Each bound with its figure.
    pub(super) fn judge(&self) -> Vec<Bound> {
        let rate = |kind| self.median(kind, |round| round.operations_per_second);
        let over = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let resident = self.resident_bytes.iter().max().copied().unwrap_or_default();
        let bare = self.bare(|round| round.gets_per_second).median;
        vec![
            Bound::at_most(
                "RSS over limits, worst moment",
                over(resident as f64, self.limits.sum() as f64),
                MEMORY_MAX,
            ),
            Bound::at_least(
                "GET random over the tables alone",
                over(rate(Kind::GetRandom), bare),
                OVER_BARE_MIN,
            ),
            Bound::at_least(
                "GET no such key over hot keys",
                over(rate(Kind::GetAbsent), rate(Kind::GetHot)),
                ABSENT_OVER_HOT_MIN,
            ),
            Bound::at_most(
                "answer after a clean stop, s, longest",
                longest(&self.after_stop_s),
                AFTER_STOP_MAX_S,
            ),
            Bound::at_most(
                "answer after kill -9, s, longest",
                longest(&self.after_kill_s),
                AFTER_KILL_MAX_S,
            ),
            Bound::at_most("failed requests", Some(self.failures() as f64), 0.0),
        ]
    }

    /// A figure of the tables alone over the rounds.
    fn bare(&self, figure: fn(&bare::Round) -> f64) -> Spread {
        let none = Spread { median: 0.0, min: 0.0, max: 0.0 };
        Spread::of(self.bare.iter().map(figure)).unwrap_or(none)
    }

    /// The page of this run.
    pub(crate) fn page(&self) -> Page {
        Page {
            title: format!("One node, {}, {}", self.dataset, self.machine.date),
            tables: self.to_string(),
            sections: Vec::new(),
        }
    }

    fn write_loads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:20} {:>9} {:>21} {:>8} {:>8} {:>11} {:>9} {:>9}",
            "50 connections, P16",
            "ops/s",
            "[min..max]",
            "p50 ms",
            "p99 ms",
            "CPU us/op",
            "server %",
            "client %"
        )?;
        for kind in [Kind::GetRandom, Kind::GetHot, Kind::GetAbsent, Kind::SetRandom] {
            let of = |figure: fn(&Round) -> f64| self.median(kind, figure);
            let Some(rate) = self.spread(kind, |round| round.operations_per_second) else {
                continue;
            };
            writeln!(
                f,
                "{:20} {:>9.0} {:>21} {:>8.3} {:>8.3} {:>11.2} {:>9.0} {:>9.0}",
                kind.name(),
                rate.median,
                format!("[{:.0}..{:.0}]", rate.min, rate.max),
                of(|round| round.p50_us) / 1e3,
                of(|round| round.p99_us) / 1e3,
                of(|round| round.server_cpu_us),
                of(|round| round.server_cpu_percent),
                of(|round| round.client_cpu_percent),
            )?;
        }
        let rate = self.bare(|round| round.gets_per_second);
        let cpu = self.bare(|round| round.cpu_us_per_get);
        writeln!(
            f,
            "{:20} {:>9.0} {:>21} {:>8} {:>8} {:>11.2}",
            "tables alone",
            rate.median,
            format!("[{:.0}..{:.0}]", rate.min, rate.max),
            "",
            "",
            cpu.median
        )?;
        writeln!(
            f,
            "  {:.1} % of the keys at least were found in the tables alone",
            self.bare(|round| round.found).min * 100.0
        )?;
        writeln!(
            f,
            "a lookup: {:.2} us CPU in the node (GET of a random key less GET of a hot one), {:.2} us \
             in the tables alone",
            self.lookup_cpu_us(),
            cpu.median
        )
    }

    fn write_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        let limits = self.limits;
        writeln!(
            f,
            "limits: {} MiB = 2 x {} overlay + {} block cache + {} log tail + {} filters and indexes",
            mib(limits.sum()),
            mib(limits.overlay),
            mib(limits.block_cache),
            mib(limits.log_cache),
            mib(limits.pinned)
        )?;
        for (moment, bytes) in MOMENTS.iter().zip(self.resident_bytes) {
            writeln!(f, "  RSS behind the {moment}: {} MiB", mib(bytes))?;
        }
        Ok(())
    }
}

impl fmt::Display for Large {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.machine.heading(), self.machine.command)?;
        for warning in self.machine.warnings() {
            writeln!(f, "! {warning}")?;
        }
        writeln!(f, "one node, {}, {}", self.dataset, self.settings.join(" "))?;
        let data_bytes = self.dataset.data_bytes();
        writeln!(
            f,
            "filled in {:.1} s: {:.0} keys/s, {:.1} MB/s of keys and values; on disk {} MiB, {:.2} \
             times the data",
            self.fill_s,
            self.dataset.keys as f64 / self.fill_s,
            data_bytes as f64 / 1e6 / self.fill_s,
            self.disk_bytes >> 20,
            self.disk_bytes as f64 / data_bytes as f64
        )?;
        self.write_memory(f)?;
        self.write_loads(f)?;
        let stops = [
            ("a clean stop took", &self.stops_s),
            ("answer after a clean stop", &self.after_stop_s),
            ("answer after kill -9", &self.after_kill_s),
        ];
        for (name, seconds) in stops {
            if let Some(spread) = Spread::of(seconds.iter().copied()) {
                let (median, min, max) = (spread.median, spread.min, spread.max);
                writeln!(f, "{name}: {median:.2} s [{min:.2}..{max:.2}]")?;
            }
        }
        self.bounds.iter().try_for_each(|bound| writeln!(f, "{bound}"))
    }
}
