//! What came of many runs, and whether they tried what they were meant to try.
//!
//! Runs without a violation prove something only if faults took effect, clients were answered, and
//! every seed that was asked for was run: what lacks is a failure, too.

use crate::disk::LOST;
use crate::faults::{CLASSES, effects_of};
use crate::run::Report;
use std::collections::BTreeMap;
use std::fmt;

/// Seeds from which on each effect of each class of faults must have been seen: each class is in more
/// than half of the runs.
pub const SEEDS_FOR_ALL_CLASSES: u64 = 20;
/// Seeds from which on what comes of several faults together must have been seen, too.
pub const SEEDS_FOR_RARE_EVENTS: u64 = 200;

/// What comes of several faults together.
const RARE_EVENTS: [&str; 2] = [LOST, "snapshot received"];

/// Sums of reports.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    seeds: u64,
    simulated_us: u64,
    operations: u64,
    reads: u64,
    violations: u64,
    /// Seeds that were run twice, and those whose two runs differ.
    replayed: u64,
    differing: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Adds the report of a seed, and that of its second run, if there was one.
    pub fn add(&mut self, report: &Report, again: Option<&Report>) {
        self.seeds += 1;
        self.simulated_us += report.simulated_us;
        self.operations += report.operations;
        self.reads += report.reads;
        self.violations += u64::from(report.violation.is_some());
        self.replayed += u64::from(again.is_some());
        self.differing += u64::from(again.is_some_and(|again| again != report));
        for (kind, count) in &report.counts {
            *self.counts.entry(kind).or_default() += count;
        }
    }

    /// Why these runs, of so many seeds that were `asked` for, are no success.
    pub fn failures(&self, asked: u64) -> Vec<String> {
        let mut failures = Vec::new();
        if self.violations > 0 {
            failures.push(format!("{} seeds violate an invariant", self.violations));
        }
        if self.differing > 0 {
            failures.push(format!("{} seeds differ when run twice", self.differing));
        }
        if self.seeds < asked {
            failures.push(format!("{} seeds were run, and {asked} asked for", self.seeds));
        }
        if self.operations == 0 || self.reads == 0 {
            failures.push("no read was answered: nothing was tried".to_owned());
        }
        if asked >= SEEDS_FOR_ALL_CLASSES {
            for row in &CLASSES {
                let unseen = row.shows.iter().filter(|event| self.count(event) == 0);
                failures.extend(unseen.map(|event| format!("{}: no {event:?}", row.strike)));
            }
        }
        if asked >= SEEDS_FOR_RARE_EVENTS {
            let unseen = RARE_EVENTS.iter().filter(|event| self.count(event) == 0);
            failures.extend(unseen.map(|event| format!("no {event:?} in all runs")));
        }
        if asked > 1 && self.replayed == 0 {
            failures.push("no seed was run twice".to_owned());
        }
        failures
    }

    fn count(&self, kind: &str) -> u64 {
        self.counts.get(kind).copied().unwrap_or(0)
    }
}

/// The tables.
impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<28} {:>12}", "seeds", self.seeds)?;
        let hours = self.simulated_us as f64 / 3.6e9;
        writeln!(out, "{:<28} {hours:>12.2}", "simulated cluster-hours")?;
        for (name, count) in [
            ("operations answered", self.operations),
            ("  of them reads", self.reads),
            ("entries applied, all nodes", self.count("applied")),
            ("snapshots installed", self.count("snapshot received")),
            ("power cuts that lost data", self.count(LOST)),
            ("frames between nodes", self.count("frame")),
            ("writes to disks", self.count("disk write")),
            ("starts of nodes", self.count("start")),
        ] {
            writeln!(out, "{name:<28} {count:>12}")?;
        }
        writeln!(out, "\n{:<28} {:>12} {:>12}", "faults", "in effect", "struck")?;
        for row in &CLASSES {
            let (effects, strikes) = (effects_of(row, &self.counts), self.count(row.strike));
            writeln!(out, "{:<28} {effects:>12} {strikes:>12}", row.strike)?;
            for event in row.shows.iter().filter(|_| row.shows.len() > 1) {
                writeln!(out, "  {event:<26} {:>12}", self.count(event))?;
            }
        }
        writeln!(out, "\n{:<28} {:>12}", "violations", self.violations)?;
        let identical = self.replayed - self.differing;
        writeln!(out, "{:<28} {identical:>12}", "replayed, identical")?;
        writeln!(out, "{:<28} {:>12}", "replayed, different", self.differing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report of a run in which every effect was seen, but for this one.
    fn report(unseen: &str) -> Report {
        let events = CLASSES.iter().flat_map(|row| row.shows).chain(&RARE_EVENTS);
        let counts = events.filter(|event| **event != unseen).map(|event| (*event, 1)).collect();
        Report { operations: 2, reads: 1, counts, ..Report::default() }
    }

    fn failures(reports: &[Report], asked: u64) -> Vec<String> {
        let mut summary = Summary::default();
        reports.iter().for_each(|report| summary.add(report, Some(report)));
        summary.failures(asked)
    }

    #[test]
    fn runs_that_tried_everything_are_a_success() {
        assert_eq!(failures(&vec![report("none"); 20], 20), [""; 0]);
    }

    #[test]
    fn an_effect_that_is_not_seen_is_a_failure_of_many_seeds() {
        for row in &CLASSES {
            for event in row.shows {
                let expected = [format!("{}: no {event:?}", row.strike)];
                assert_eq!(failures(&vec![report(event); 20], 20), expected);
                assert_eq!(failures(&vec![report(event); 19], 19), [""; 0]);
            }
        }
        for event in RARE_EVENTS {
            let expected = [format!("no {event:?} in all runs")];
            assert_eq!(failures(&vec![report(event); 200], 200), expected);
            assert_eq!(failures(&vec![report(event); 199], 199), [""; 0]);
        }
    }

    #[test]
    fn runs_of_which_none_was_replayed_are_a_failure() {
        let mut summary = Summary::default();
        summary.add(&report("none"), None);
        assert_eq!(summary.failures(1), [""; 0]);
        summary.add(&report("none"), None);
        assert_eq!(summary.failures(2), ["no seed was run twice"]);
    }

    #[test]
    fn silence_and_missing_seeds_are_failures() {
        let silent = Report { operations: 0, reads: 0, ..report("none") };
        assert_eq!(failures(&[silent], 1), ["no read was answered: nothing was tried"]);
        assert_eq!(failures(&[report("none")], 2), ["1 seeds were run, and 2 asked for"]);
        assert_eq!(failures(&[], 1).len(), 2);
    }

    #[test]
    fn a_violation_and_a_second_run_that_differs_are_failures() {
        let mut summary = Summary::default();
        let violation = Some("lost".to_owned());
        let (sound, broken) = (report("none"), Report { violation, ..report("none") });
        summary.add(&broken, Some(&sound));
        let expected = ["1 seeds violate an invariant", "1 seeds differ when run twice"];
        assert_eq!(summary.failures(1), expected);
    }
}
