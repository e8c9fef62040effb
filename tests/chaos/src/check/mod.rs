//! Checkers of histories. Each takes what clients saw and returns what is wrong with it, as lines
//! for people; none is a pass.

pub mod blocks;
pub mod invariants;
pub mod witness;

use crate::journal::History;
use kvorum_tests::linearizability::{self, Violation};

/// What the checkers found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub violations: Vec<String>,
    /// Keys whose search was given up: a failure, too.
    pub undecided: Vec<String>,
    /// Operations that the search and the witness covered.
    pub searched: usize,
}

/// Runs every checker that needs only the history.
pub fn all(history: &History) -> Verdict {
    let mut verdict = Verdict { searched: history.registers.len(), ..Verdict::default() };
    let mut registers: Vec<&_> = history.registers.iter().collect();
    registers.sort_by(|one, other| one.key.cmp(&other.key));
    for key in registers.chunk_by(|one, other| one.key == other.key) {
        let operations: Vec<_> = key.iter().map(|operation| (*operation).clone()).collect();
        match linearizability::check(&operations) {
            Ok(()) => {}
            Err(Violation::TooHard { key }) => verdict.undecided.push(key),
            Err(violation) => verdict.violations.push(format!("not linearizable: {violation:?}")),
        }
    }
    verdict.violations.extend(witness::check(&history.registers));
    verdict.violations.extend(blocks::check(&history.blocks));
    verdict.violations.extend(invariants::sums(&history.sums));
    verdict.violations.extend(invariants::leases(&history.leases, &history.looks));
    verdict.violations.extend(history.odd.iter().map(|error| format!("odd answer: {error}")));
    verdict
}
