//! Checkers of histories. Each takes what clients saw and returns what is wrong with it, as lines
//! for people; none is a pass.

pub mod blocks;
pub mod invariants;
pub mod log_order;
pub mod witness;

use crate::faults::Fault;
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
    /// Operations whose place in the log is known, and was judged.
    pub indexed: usize,
}

/// Runs every checker that needs only the history; the search of one register may take so many
/// steps.
pub fn all(history: &History, steps_max: usize) -> Verdict {
    let searched = history.registers.len();
    let indexed = history.known.iter().filter(|known| known.index.is_some()).count();
    let mut verdict = Verdict { searched, indexed, ..Verdict::default() };
    let mut registers: Vec<&_> = history.registers.iter().collect();
    registers.sort_by(|one, other| one.key.cmp(&other.key));
    for key in registers.chunk_by(|one, other| one.key == other.key) {
        let operations: Vec<_> = key.iter().map(|operation| (*operation).clone()).collect();
        match linearizability::check_within(&operations, steps_max) {
            Ok(()) => {}
            Err(Violation::TooHard { key }) => verdict.undecided.push(key),
            Err(violation) => verdict.violations.push(format!("not linearizable: {violation:?}")),
        }
    }
    verdict.violations.extend(witness::check(&history.registers));
    verdict.violations.extend(log_order::check(&history.known));
    verdict.violations.extend(blocks::check(&history.blocks));
    verdict.violations.extend(invariants::sums(&history.sums));
    verdict.violations.extend(invariants::leases(&history.leases, &history.looks));
    let clocks = history.windows_of(Fault::Clock);
    verdict.violations.extend(invariants::early(&history.leases, &history.looks, &clocks));
    verdict.violations.extend(history.odd.iter().map(|error| format!("odd answer: {error}")));
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Block, Known, Lease, Look, Seen, Sight, Span};
    use crate::report::Report;
    use crate::workload::{ACCOUNTS, DEPOSIT};
    use kvorum_tests::history::{Action, Operation};
    use kvorum_tests::linearizability::STEPS_MAX;

    fn span(invoked: u64, returned: u64) -> Span {
        Span { invoked, returned: Some(returned), index: None }
    }

    fn operation(key: &str, action: Action, invoked: u64) -> Operation {
        let (key, returned) = (key.to_owned(), Some(invoked + 1));
        Operation { key, client: 0, action, invoked, returned }
    }

    fn look(invoked: u64, is_there: bool) -> Look {
        Look { span: span(invoked, invoked + 1), key: "lease".to_owned(), is_there }
    }

    fn block(invoked: u64, word: &str, found: &str) -> Block {
        let pair = |text: &str| ("t0:1".to_owned(), text.to_owned());
        Block {
            span: span(invoked, invoked + 1),
            appends: vec![pair(word)],
            reads: vec![pair(found)],
        }
    }

    fn known(index: u64, wrote: bool, value: u64) -> Known {
        let seen = Seen::Value(Some(value));
        let sights = vec![Sight { key: "r0:0".to_owned(), seen, wrote }];
        Known { invoked: 0, returned: 9, index: Some(index), writes: wrote, sights }
    }

    /// Something of everything, all of it right.
    fn good() -> History {
        History {
            registers: vec![
                operation("r0:0", Action::Write(1), 0),
                operation("r0:0", Action::Read(Some(1)), 10),
                operation("r0:2", Action::Add { by: 1, result: Some(1) }, 0),
                operation("r0:2", Action::Read(Some(1)), 10),
            ],
            blocks: vec![block(0, "1,", "1,"), block(10, "2,", "1,2,")],
            sums: vec![(span(0, 1), vec![DEPOSIT; ACCOUNTS])],
            leases: vec![Lease { span: span(0, 1), key: "lease".to_owned(), ttl_ms: 1000 }],
            looks: vec![look(10, true), look(2_000_000_000, false)],
            known: vec![known(7, true, 1), known(7, false, 1)],
            ..History::default()
        }
    }

    /// What all checkers say once the good history is changed, and of which register they say nothing.
    fn said(change: impl FnOnce(&mut History)) -> String {
        let mut history = good();
        change(&mut history);
        let verdict = all(&history, STEPS_MAX);
        assert_eq!(verdict.undecided, Vec::<String>::new());
        assert_eq!(verdict.searched, history.registers.len());
        verdict.violations.join("\n")
    }

    #[test]
    fn a_good_history_passes_and_every_checker_is_asked() {
        assert_eq!(said(|_| ()), "");
        let stale = said(|history| history.registers[1].action = Action::Read(None));
        assert!(stale.contains("not linearizable") && stale.contains("stale"), "{stale}");
        let twice = said(|history| {
            history.registers.push(operation("r0:2", Action::Add { by: 1, result: Some(1) }, 20));
        });
        assert!(twice.contains("not linearizable") && twice.contains("same place"), "{twice}");
        let lost = said(|history| history.blocks.push(block(20, "3,", "1,3,")));
        assert!(lost.contains("t0:1"), "{lost}");
        let made = said(|history| history.sums[0].1[0] += 1);
        assert!(made.contains("the bank has not"), "{made}");
        let back = said(|history| history.looks.push(look(3_000_000_000, true)));
        assert!(back.contains("and back"), "{back}");
        let out_of_order = said(|history| history.known[1].index = Some(6));
        assert!(out_of_order.contains("by log index, r0:0"), "{out_of_order}");
        let odd = said(|history| history.odd.push("ERR what".to_owned()));
        assert!(odd.contains("odd answer: ERR what"), "{odd}");
    }

    #[test]
    fn a_lease_that_ends_early_is_excused_by_a_clock_fault_around_it_only() {
        let early = |window: Option<(u64, u64, &str)>| {
            said(|history| {
                history.looks[1] = look(500_000_000, false);
                let named = window.map(|(begun, ended, name)| (begun, ended, name.to_owned()));
                history.windows.extend(named);
            })
        };
        assert!(early(None).contains("gone too early"));
        assert_eq!(early(Some((100_000_000, 200_000_000, "Clock"))), "");
        assert_eq!(early(Some((499_000_000, 9_000_000_000, "Clock"))), "");
        assert!(early(Some((100_000_000, 200_000_000, "Pause"))).contains("gone too early"));
        assert!(early(Some((600_000_000, 900_000_000, "Clock"))).contains("gone too early"));
    }

    #[test]
    fn a_search_that_is_given_up_fails_the_run() {
        let judged = |steps_max: usize| {
            let mut report = Report::default();
            report.take(&good(), all(&good(), steps_max));
            report
        };
        assert!(judged(STEPS_MAX).is_good());
        let given_up = judged(2);
        assert_eq!(given_up.undecided, ["r0:0", "r0:2"]);
        assert!(given_up.violations.is_empty() && !given_up.is_good());
    }
}
