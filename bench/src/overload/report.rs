//! The table of an overload run: one line for each scenario, and whether it holds.

use super::TOLERANCE;
use crate::error::Failure;
use crate::machine::Machine;
use crate::stats::Latency;
use serde::Serialize;
use std::fmt;

/// All scenarios that ran.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Where and when.
    pub(crate) machine: Machine,
    /// In the order they ran.
    pub(crate) lines: Vec<Line>,
}

impl Report {
    /// Whether every scenario holds; false when none ran.
    pub(crate) fn holds(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(Line::holds)
    }
}

/// What one scenario showed; sizes in bytes.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    name: String,
    p99_alone_us: Option<f64>,
    p99_beside_us: Option<f64>,
    /// How late the load itself was beside the attack: the part that no server can help.
    p99_own_lag_us: Option<f64>,
    resident_before: u64,
    resident_highest: u64,
    resident_bound: u64,
    /// What was not as it should be; the memory and the p99 included.
    misses: Vec<String>,
    note: String,
}

impl Line {
    /// A scenario that could not be measured.
    pub(crate) fn broken(name: &str, failure: &Failure) -> Self {
        Self { name: name.to_owned(), misses: vec![failure.to_string()], ..Self::default() }
    }

    /// A scenario that measures no latency, with what it has to tell.
    pub(crate) fn told(name: &str, note: String, misses: Vec<String>) -> Self {
        Self { name: name.to_owned(), note, misses, ..Self::default() }
    }

    /// Latencies alone and beside; memory before, highest and its bound; what was wrong already.
    pub(crate) fn judge(
        name: &str,
        (alone, beside): (Option<Latency>, Option<Latency>),
        (before, highest, bound): (u64, u64, u64),
        mut misses: Vec<String>,
    ) -> Self {
        let p99 = |latency: Option<Latency>| latency.map(|latency| latency.p99_us);
        let (alone, beside) = (p99(alone), p99(beside));
        match (alone, beside) {
            (Some(alone), Some(beside)) if is_slow(alone, beside) => {
                misses.push("p99 more than doubled".to_owned());
            }
            (Some(_), Some(_)) => {}
            _ => misses.push("the others got no replies".to_owned()),
        }
        if highest > bound {
            misses.push("memory above its bound".to_owned());
        }
        Self {
            name: name.to_owned(),
            p99_alone_us: alone,
            p99_beside_us: beside,
            p99_own_lag_us: None,
            resident_before: before,
            resident_highest: highest,
            resident_bound: bound,
            misses,
            note: String::new(),
        }
    }

    /// With how late the load itself was beside the attack.
    pub(crate) fn with_lag(self, lag: Option<Latency>) -> Self {
        Self { p99_own_lag_us: lag.map(|lag| lag.p99_us), ..self }
    }

    fn holds(&self) -> bool {
        self.misses.is_empty()
    }
}

/// Whether a p99, in microseconds, is a miss.
fn is_slow(alone: f64, beside: f64) -> bool {
    beside > 2.0 * alone && beside > alone + TOLERANCE.as_secs_f64() * 1e6
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{:.1}", us / 1e3));
        let ratio = match (self.p99_alone_us, self.p99_beside_us) {
            (Some(alone), Some(beside)) => format!("{:.1}", beside / alone),
            _ => "-".to_owned(),
        };
        let memory = match self.resident_bound {
            0 => "-".to_owned(),
            bound => format!(
                "{} / {} / {}",
                self.resident_before >> 20,
                self.resident_highest >> 20,
                bound >> 20
            ),
        };
        let verdict = if self.holds() { "holds".to_owned() } else { self.misses.join("; ") };
        let (alone, beside) = (ms(self.p99_alone_us), ms(self.p99_beside_us));
        let note = if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) };
        let lag = ms(self.p99_own_lag_us);
        let name = &self.name;
        write!(f, "| {name} | {alone} | {beside} | {ratio} | {lag} | {memory} | {verdict}{note} |")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine.heading())?;
        writeln!(
            f,
            "| scenario | p99 alone, ms | p99 beside, ms | ratio | load's own lag, ms | \
             MiB before / highest / bound | verdict |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_p99_may_double_or_be_a_little_slower() {
        assert!(!is_slow(8_000.0, 16_000.0));
        assert!(!is_slow(300.0, 10_000.0), "less than the tolerance more");
        assert!(is_slow(300.0, 11_000.0));
        assert!(is_slow(8_000.0, 19_000.0));
    }

    #[test]
    fn memory_above_its_bound_is_a_miss() {
        let judge = |highest| Line::judge("x", (None, None), (1, highest, 10), Vec::new());
        assert_eq!(judge(10).misses, ["the others got no replies"]);
        assert_eq!(judge(11).misses.len(), 2);
        let told = Line::told("disk", "12 refused".to_owned(), Vec::new());
        assert!(told.holds());
        assert_eq!(told.to_string(), "| disk | - | - | - | - | - | holds (12 refused) |");
    }
}
