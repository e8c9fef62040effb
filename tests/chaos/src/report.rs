//! What a run found, as figures that can be summed over several clusters, and as a table.

use crate::check::Verdict;
use crate::faults::{self, Fault};
use crate::journal::History;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Of a hundred wanted operations, so many have to be inside fault windows.
pub const INSIDE_PERCENT: u64 = 30;

/// Of a hundred operations, so many have to have a known log index: the rest lost the reply behind
/// their own.
const INDEXED_PERCENT: u64 = 95;

/// What is wanted before a run counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// How often every class of faults has to take effect.
    pub each: u64,
    /// Operations with a known outcome.
    pub operations: u64,
    /// Whether every class there is has to be possible here.
    pub all_classes: bool,
}

/// Sums over operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub done: u64,
    pub inside: u64,
    pub unknown: u64,
    pub searched: u64,
    pub indexed: u64,
    pub blocks: u64,
    pub transfers: u64,
    pub sums: u64,
    pub leases: u64,
    pub looks: u64,
    pub ledger: u64,
    pub comparisons: u64,
}

impl Figures {
    /// What clients or the harness never did. Each kind needs a second or two.
    fn idle(&self) -> Vec<&'static str> {
        let kinds = [
            ("operations on registers", self.searched),
            ("MULTI blocks on texts", self.blocks),
            ("transfers of the bank", self.transfers),
            ("sums of the bank", self.sums),
            ("leases", self.leases),
            ("looks at leases", self.looks),
            ("writes of the ledger", self.ledger),
            ("comparisons of states", self.comparisons),
        ];
        kinds.into_iter().filter(|(_, count)| *count == 0).map(|(kind, _)| kind).collect()
    }
}

/// What a run, or several after each other, found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seed: u64,
    /// Sizes of the clusters.
    pub nodes: Vec<usize>,
    /// Whether nodes had networks of their own.
    pub networks: bool,
    /// How long clients worked.
    pub lasted: Duration,
    /// How long the checkers worked.
    pub judged: Duration,
    pub figures: Figures,
    /// Classes that could be injected.
    pub classes: BTreeSet<Fault>,
    pub injected: BTreeMap<Fault, u64>,
    pub effects: BTreeMap<String, u64>,
    pub violations: Vec<String>,
    pub undecided: Vec<String>,
    /// Why the run does not count, beside violations.
    pub shortcomings: Vec<String>,
}

impl Report {
    /// Takes in what clients saw and checkers found.
    pub fn take(&mut self, history: &History, verdict: Verdict) {
        let count = |length: usize| length as u64;
        self.figures = Figures {
            done: count(history.known.len()),
            inside: count(history.inside_windows()),
            unknown: history.unknown,
            searched: count(verdict.searched),
            indexed: count(verdict.indexed),
            blocks: count(history.blocks.len()),
            transfers: history.transfers,
            sums: count(history.sums.len()),
            leases: count(history.leases.len()),
            looks: count(history.looks.len()),
            ledger: count(history.ledger.len() + history.buried.len()) + history.forgotten,
            comparisons: self.figures.comparisons,
        };
        self.violations.extend(verdict.violations);
        self.undecided.extend(verdict.undecided);
    }

    /// How often a class took effect.
    pub fn effect(&self, fault: Fault) -> u64 {
        self.effects.get(&format!("{fault:?}")).copied().unwrap_or(0)
    }

    /// Faults injected, and those of them that took effect.
    fn injected_and_in_effect(&self) -> (u64, u64) {
        let in_effect = self.injected.keys().map(|fault| self.effect(*fault)).sum();
        (self.injected.values().sum(), in_effect)
    }

    /// Adds what another cluster's run found.
    pub fn absorb(&mut self, other: Report) {
        self.nodes.extend(other.nodes);
        self.networks |= other.networks;
        self.lasted += other.lasted;
        self.judged += other.judged;
        let (ours, its) = (&mut self.figures, other.figures);
        for (sum, more) in [
            (&mut ours.done, its.done),
            (&mut ours.inside, its.inside),
            (&mut ours.unknown, its.unknown),
            (&mut ours.searched, its.searched),
            (&mut ours.indexed, its.indexed),
            (&mut ours.blocks, its.blocks),
            (&mut ours.transfers, its.transfers),
            (&mut ours.sums, its.sums),
            (&mut ours.leases, its.leases),
            (&mut ours.looks, its.looks),
            (&mut ours.ledger, its.ledger),
            (&mut ours.comparisons, its.comparisons),
        ] {
            *sum += more;
        }
        self.classes.extend(other.classes);
        for (fault, count) in other.injected {
            *self.injected.entry(fault).or_default() += count;
        }
        for (name, count) in other.effects {
            *self.effects.entry(name).or_default() += count;
        }
        self.violations.extend(other.violations);
        self.undecided.extend(other.undecided);
        self.shortcomings.extend(other.shortcomings);
    }

    /// Notes as shortcomings what is missing to `quota`, and what was not disturbed or not done.
    pub fn judge(&mut self, quota: Quota) {
        let mut all = self.missing_classes(quota);
        all.extend(self.missing_effects(quota));
        all.extend(self.missing_operations(quota));
        self.shortcomings.extend(all);
    }

    fn missing_classes(&self, quota: Quota) -> Vec<String> {
        let missing = faults::all().filter(|fault| !self.classes.contains(fault));
        let missing = missing.filter(|_| quota.all_classes);
        missing
            .map(|fault| format!("{fault:?} is not possible here, or with so few nodes"))
            .collect()
    }

    fn missing_effects(&self, quota: Quota) -> Vec<String> {
        let mut all = Vec::new();
        for fault in &self.classes {
            let injected = self.injected.get(fault).copied().unwrap_or(0);
            let effect = self.effect(*fault);
            if effect < quota.each {
                let wanted = quota.each;
                all.push(format!("{fault:?} was in effect {effect} times, {wanted} are wanted"));
            } else if injected > 1 && effect == 0 {
                all.push(format!("{fault:?} was injected {injected} times and had no effect"));
            }
        }
        let (injected, in_effect) = self.injected_and_in_effect();
        if in_effect == 0 {
            all.push("no fault was in effect".to_owned());
        } else if in_effect * 2 < injected {
            all.push(format!("of {injected} faults, only {in_effect} were in effect"));
        }
        all
    }

    fn missing_operations(&self, quota: Quota) -> Vec<String> {
        let mut all = Vec::new();
        let (done, inside) = (self.figures.done, self.figures.inside);
        if done < quota.operations {
            all.push(format!("{done} operations, {} are wanted", quota.operations));
        }
        let inside_min = quota.operations * INSIDE_PERCENT / 100;
        if quota.each > 0 && inside < inside_min {
            all.push(format!("{inside} operations inside fault windows, {inside_min} are wanted"));
        }
        let figures = &self.figures;
        if figures.indexed * 100 < done * INDEXED_PERCENT {
            all.push(format!("of {done} operations, {} have a place in the log", figures.indexed));
        }
        all.extend(figures.idle().iter().map(|kind| format!("no {kind}")));
        all
    }

    /// Whether nothing was wrong and enough was done.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty() && self.shortcomings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        let seconds = self.lasted.as_secs_f64();
        let sizes: Vec<String> = self.nodes.iter().map(usize::to_string).collect();
        let mut row = |name: &str, figure: String| writeln!(out, "| {name} | {figure} |");
        row("seed", self.seed.to_string())?;
        row("nodes", sizes.join(", then "))?;
        row("each node in a network of its own", if self.networks { "yes" } else { "no" }.into())?;
        row(
            "minutes, operations/s",
            format!("{:.1}, {:.0}", seconds / 60.0, figures.done as f64 / seconds.max(0.001)),
        )?;
        row("minutes of checking after it", format!("{:.1}", self.judged.as_secs_f64() / 60.0))?;
        row("operations with a known outcome", figures.done.to_string())?;
        row("of these inside fault windows", figures.inside.to_string())?;
        row("operations of unknown outcome", figures.unknown.to_string())?;
        row("register operations searched for linearizability", figures.searched.to_string())?;
        row("operations judged by their log index", figures.indexed.to_string())?;
        row("MULTI blocks", figures.blocks.to_string())?;
        row("bank: transfers, sums read", format!("{}, {}", figures.transfers, figures.sums))?;
        row("leases, looks", format!("{}, {}", figures.leases, figures.looks))?;
        row("ledger writes", figures.ledger.to_string())?;
        row("heals with equal states", figures.comparisons.to_string())?;
        let (injected, in_effect) = self.injected_and_in_effect();
        row("faults: injected, in effect", format!("{injected}, {in_effect}"))?;
        row("classes of faults", self.classes.len().to_string())?;
        for fault in &self.classes {
            let injected = self.injected.get(fault).copied().unwrap_or(0);
            let figure = format!("{injected}, {}", self.effect(*fault));
            row(&format!("fault {fault:?}: injected, in effect"), figure)?;
        }
        let of_class = |name: &String| self.classes.iter().any(|one| format!("{one:?}") == *name);
        for (name, count) in self.effects.iter().filter(|(name, _)| !of_class(name)) {
            row(&format!("effect {name}"), count.to_string())?;
        }
        row("violations", self.violations.len().to_string())?;
        row("undecided", self.undecided.len().to_string())?;
        row("shortcomings", self.shortcomings.len().to_string())?;
        let wrong = self.violations.iter().chain(&self.undecided).chain(&self.shortcomings);
        for line in wrong.take(40) {
            let end = (0..=line.len().min(2000)).rev().find(|at| line.is_char_boundary(*at));
            writeln!(out, "{}", &line[..end.unwrap_or(0)])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(nodes: usize, kills: u64, rings: Option<u64>) -> Report {
        let mut report = Report { nodes: vec![nodes], ..Report::default() };
        report.figures = Figures {
            done: 500,
            inside: 200,
            indexed: 480,
            searched: 1,
            transfers: 1,
            sums: 1,
            blocks: 1,
            leases: 1,
            looks: 1,
            ledger: 1,
            comparisons: 1,
            ..Figures::default()
        };
        for (fault, count) in [(Fault::KillOne, Some(kills)), (Fault::Ring, rings)] {
            if let Some(count) = count {
                report.classes.insert(fault);
                report.injected.insert(fault, count + 1);
                report.effects.insert(format!("{fault:?}"), count);
            }
        }
        report
    }

    #[test]
    fn two_clusters_make_one_proof_and_what_is_missed_is_named() {
        let quota = Quota { each: 4, operations: 1000, all_classes: false };
        let mut sum = some(3, 3, None);
        sum.absorb(some(5, 1, Some(4)));
        sum.judge(quota);
        assert!(sum.is_good(), "{sum}");
        assert!(sum.to_string().contains("| nodes | 3, then 5 |"), "{sum}");
        let mut missed = some(3, 3, None);
        missed.absorb(some(5, 0, Some(0)));
        missed.judge(Quota { operations: 1001, ..quota });
        let said = missed.shortcomings.join("\n");
        assert!(said.contains("1000 operations, 1001 are wanted"), "{said}");
        assert!(said.contains("KillOne was in effect 3 times, 4 are wanted"), "{said}");
        assert!(said.contains("Ring was in effect 0 times, 4 are wanted"), "{said}");
        assert_eq!(missed.shortcomings.len(), 3, "{said}");
        let mut idle = some(5, 1, Some(0));
        idle.injected.insert(Fault::Ring, 2);
        idle.judge(Quota::default());
        let said =
            ["Ring was injected 2 times and had no effect", "of 4 faults, only 1 were in effect"];
        assert_eq!(idle.shortcomings, said);
        let mut hollow = some(3, 2, None);
        hollow.injected.insert(Fault::KillOne, 4);
        hollow.judge(Quota::default());
        assert!(hollow.is_good(), "{hollow}");
        hollow.injected.insert(Fault::KillOne, 5);
        hollow.judge(Quota::default());
        assert_eq!(hollow.shortcomings, ["of 5 faults, only 2 were in effect"]);
        let mut outside = some(3, 4, None);
        outside.figures.inside = 149;
        outside.judge(Quota { operations: 500, ..quota });
        assert_eq!(outside.shortcomings.len(), 1, "{:?}", outside.shortcomings);
    }

    #[test]
    fn what_was_not_disturbed_or_not_done_is_a_shortcoming() {
        let judged = |report: Report, all_classes: bool| {
            let mut report = report;
            report.judge(Quota { all_classes, ..Quota::default() });
            report.shortcomings
        };
        let mut calm = some(3, 0, None);
        calm.injected.insert(Fault::KillOne, 1);
        assert_eq!(judged(calm, false), ["no fault was in effect"]);
        let mut idle = some(3, 1, None);
        (idle.figures.leases, idle.figures.ledger) = (0, 0);
        assert_eq!(judged(idle, false), ["no leases", "no writes of the ledger"]);
        let mut all = some(5, 1, Some(1));
        all.classes.extend(faults::all());
        assert!(judged(all.clone(), true).is_empty());
        for fault in [Fault::Ring, Fault::Narrow] {
            all.classes.remove(&fault);
        }
        let missing = judged(all, true);
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(missing[0].starts_with("Narrow is not possible"), "{missing:?}");
    }
}
