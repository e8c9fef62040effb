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

    /// All lines in one: what each p99 was, and how the verdicts are.
    fn headline(&self) -> String {
        let count =
            |is_one: &dyn Fn(&Line) -> bool| self.lines.iter().filter(|line| is_one(line)).count();
        let tails = |tail| count(&|line| line.tail == tail);
        let (holding, not_run) = (count(&Line::holds), count(&|line| line.not_run.is_some()));
        format!(
            "p99 at most doubled: {}; more, but within the allowance of {} ms above the p99 alone: {}; \
             missed: {}; not measured: {}. Verdicts of {}: {holding} hold, {} missed, {not_run} not run",
            tails(Some(Tail::BelowTwice)),
            TOLERANCE.as_millis(),
            tails(Some(Tail::WithinAllowance)),
            tails(Some(Tail::Missed)),
            tails(None),
            self.lines.len(),
            self.lines.len() - holding - not_run,
        )
    }
}

/// How a p99 beside an attack compares with the one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Tail {
    BelowTwice,
    WithinAllowance,
    Missed,
}

impl Tail {
    /// Of two p99, in microseconds.
    fn of(alone: f64, beside: f64) -> Self {
        if beside <= 2.0 * alone {
            Tail::BelowTwice
        } else if beside <= alone + TOLERANCE.as_secs_f64() * 1e6 {
            Tail::WithinAllowance
        } else {
            Tail::Missed
        }
    }

    fn word(self) -> &'static str {
        match self {
            Tail::BelowTwice => "below 2x",
            Tail::WithinAllowance => "within the allowance (a few ms)",
            Tail::Missed => "MISSED",
        }
    }
}

/// What one scenario showed; sizes in bytes.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    name: String,
    p99_alone_us: Option<f64>,
    p99_beside_us: Option<f64>,
    /// `None` where no p99 is measured.
    tail: Option<Tail>,
    /// The slowest reply beside the attack.
    max_beside_us: Option<f64>,
    /// How late the load itself was beside the attack: the part that no server can help.
    p99_own_lag_us: Option<f64>,
    resident_before: u64,
    resident_highest: u64,
    resident_bound: u64,
    /// What was not as it should be; the memory and the p99 included.
    misses: Vec<String>,
    /// Why this machine cannot run it, where that is so.
    not_run: Option<String>,
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

    /// A scenario that this machine cannot run, and why. It proves nothing, so it does not hold.
    pub(crate) fn not_run(name: &str, why: &str) -> Self {
        Self { name: name.to_owned(), not_run: Some(why.to_owned()), ..Self::default() }
    }

    /// Latencies alone and beside; memory before, highest and its bound; what was wrong already.
    pub(crate) fn judge(
        name: &str,
        (alone, beside): (Option<Latency>, Option<Latency>),
        (before, highest, bound): (u64, u64, u64),
        mut misses: Vec<String>,
    ) -> Self {
        let max_beside_us = beside.as_ref().map(|latency| latency.max_us);
        let p99 = |latency: Option<Latency>| latency.map(|latency| latency.p99_us);
        let (alone, beside) = (p99(alone), p99(beside));
        let tail = match (alone, beside) {
            (Some(alone), Some(beside)) => Tail::of(alone, beside),
            _ => {
                misses.push("the others got no replies".to_owned());
                Tail::Missed
            }
        };
        if tail == Tail::Missed && beside.is_some() {
            misses.push("p99 more than doubled".to_owned());
        }
        if highest > bound {
            misses.push("memory above its bound".to_owned());
        }
        Self {
            name: name.to_owned(),
            p99_alone_us: alone,
            p99_beside_us: beside,
            tail: Some(tail),
            max_beside_us,
            p99_own_lag_us: None,
            resident_before: before,
            resident_highest: highest,
            resident_bound: bound,
            misses,
            not_run: None,
            note: String::new(),
        }
    }

    /// With how late the load itself was beside the attack.
    pub(crate) fn with_lag(self, lag: Option<Latency>) -> Self {
        Self { p99_own_lag_us: lag.map(|lag| lag.p99_us), ..self }
    }

    /// With what else there is to tell.
    pub(crate) fn with_note(self, note: String) -> Self {
        Self { note, ..self }
    }

    fn holds(&self) -> bool {
        self.misses.is_empty() && self.not_run.is_none()
    }

    fn verdict(&self) -> String {
        match &self.not_run {
            Some(why) => format!("NOT RUN: {why}"),
            None if self.holds() => "holds".to_owned(),
            None => self.misses.join("; "),
        }
    }
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
        let verdict = self.verdict();
        let (alone, beside) = (ms(self.p99_alone_us), ms(self.p99_beside_us));
        let note = if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) };
        let (lag, max) = (ms(self.p99_own_lag_us), ms(self.max_beside_us));
        let tail = self.tail.map_or("-", Tail::word);
        let name = &self.name;
        write!(
            f,
            "| {name} | {alone} | {beside} | {ratio} | {tail} | {max} | {lag} | {memory} | "
        )?;
        write!(f, "{verdict}{note} |")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine.heading())?;
        writeln!(
            f,
            "| scenario | p99 alone, ms | p99 beside, ms | ratio | p99 at most doubles | \
             slowest beside, ms | load's own lag, ms | MiB before / highest / bound | verdict |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "\n{}", self.headline())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Binaries;

    #[test]
    fn a_p99_may_double_or_be_a_little_slower() {
        assert_eq!(Tail::of(8_000.0, 16_000.0), Tail::BelowTwice);
        assert_eq!(Tail::of(300.0, 10_000.0), Tail::WithinAllowance, "more than twice, but short");
        assert_eq!(Tail::of(300.0, 11_000.0), Tail::Missed);
        assert_eq!(Tail::of(8_000.0, 19_000.0), Tail::Missed);
    }

    #[test]
    fn those_within_the_allowance_are_counted_apart() {
        let with = |tail, misses: &[&str]| Line {
            tail,
            misses: misses.iter().map(|miss| (*miss).to_owned()).collect(),
            ..Line::default()
        };
        let report = Report {
            machine: Machine::describe(std::path::Path::new("/"), Binaries::default()),
            lines: vec![
                with(Some(Tail::BelowTwice), &[]),
                with(Some(Tail::BelowTwice), &["memory above its bound"]),
                with(Some(Tail::WithinAllowance), &[]),
                with(Some(Tail::Missed), &["p99 more than doubled"]),
                with(None, &[]),
                Line::not_run("disk", "it needs root"),
            ],
        };
        let text = report.to_string();
        let last = text.lines().last().unwrap();
        assert_eq!(
            last,
            "p99 at most doubled: 2; more, but within the allowance of 10 ms above the p99 alone: 1; \
             missed: 1; not measured: 2. Verdicts of 6: 3 hold, 2 missed, 1 not run"
        );
        assert!(text.contains("| within the allowance (a few ms) |"), "{text}");
    }

    #[test]
    fn what_did_not_run_does_not_hold() {
        let line = || Line::not_run("disk", "it needs root");
        assert_eq!(
            line().to_string(),
            "| disk | - | - | - | - | - | - | - | NOT RUN: it needs root |"
        );
        let machine = Machine::describe(std::path::Path::new("/"), Binaries::default());
        assert!(!Report { machine, lines: vec![line()] }.holds());
    }

    #[test]
    fn memory_above_its_bound_is_a_miss() {
        let judge = |highest| Line::judge("x", (None, None), (1, highest, 10), Vec::new());
        assert_eq!(judge(10).misses, ["the others got no replies"]);
        assert_eq!(judge(11).misses.len(), 2);
        assert_eq!(judge(10).tail, Some(Tail::Missed));
        let told = Line::told("disk", "12 refused".to_owned(), Vec::new());
        assert!(told.holds());
        assert_eq!(told.to_string(), "| disk | - | - | - | - | - | - | - | holds (12 refused) |");
    }
}
