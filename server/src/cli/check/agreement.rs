//! Whether a log and a state belong together: pure, so that every case has a test.

use storage::log::{LogPosition, ShardReport};

/// Where a log begins and ends; indexes from 1, 0: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogEnds {
    pub(super) purged: u64,
    pub(super) purged_term: u64,
    pub(super) last: u64,
    pub(super) last_term: u64,
    pub(super) committed: u64,
}

/// Where a state ends; indexes from 1, 0: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StateEnd {
    /// Term and index of what was applied last, as its row says.
    pub(super) term: u64,
    pub(super) index: u64,
    /// The index that the engine says its tables are complete to.
    pub(super) durable_index: u64,
    /// The entry that made the members what they are.
    pub(super) membership_index: u64,
}

impl LogEnds {
    /// From a report, whose indexes count from 0.
    pub(super) fn of(report: &ShardReport) -> Self {
        let index = |position: Option<LogPosition>| position.map_or(0, |at| at.index + 1);
        let term = |position: Option<LogPosition>| position.map_or(0, |at| at.term);
        LogEnds {
            purged: index(report.purged),
            purged_term: term(report.purged),
            last: index(report.last),
            last_term: term(report.last),
            committed: index(report.committed),
        }
    }
}

/// What contradicts. A state ahead of the log is none: a snapshot was installed just before the
/// node stopped, and the node goes on from the state.
pub(super) fn problems(log: &LogEnds, state: &StateEnd) -> Vec<String> {
    let mut found = Vec::new();
    let StateEnd { term, index, durable_index, membership_index } = *state;
    if index != durable_index {
        found.push(format!("the state says it ends at {index}, its tables at {durable_index}"));
    }
    if log.purged > index {
        let (from, to) = (index + 1, log.purged);
        found.push(format!("entries {from} to {to} are in neither log nor state"));
    }
    if log.committed > log.last {
        let (committed, last) = (log.committed, log.last);
        found.push(format!("the log says {committed} is committed and ends at {last}"));
    }
    for (at, log_term) in [(log.purged, log.purged_term), (log.last, log.last_term)] {
        if at == index && at > 0 && log_term != term {
            found.push(format!("entry {at} is of term {log_term} in the log, {term} in the state"));
            break;
        }
    }
    if index > log.last && term < log.last_term {
        let (last, last_term) = (log.last, log.last_term);
        found.push(format!(
            "the state ends at {index} in term {term}, the log before it at {last} in the later \
             term {last_term}"
        ));
    }
    if membership_index > index {
        found.push(format!("the members are those of entry {membership_index}, after the state"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogEnds =
        LogEnds { purged: 10, purged_term: 2, last: 30, last_term: 4, committed: 28 };
    const STATE: StateEnd = StateEnd { term: 3, index: 20, durable_index: 20, membership_index: 5 };

    #[track_caller]
    fn check(log: LogEnds, state: StateEnd, expected: &[&str]) {
        let found = problems(&log, &state);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (problem, expected) in found.iter().zip(expected) {
            assert!(problem.contains(expected), "{found:?}");
        }
    }

    #[test]
    fn a_log_that_goes_on_where_the_state_ends_agrees() {
        check(LOG, STATE, &[]);
        check(LogEnds::default(), StateEnd::default(), &[]);
        check(LOG, StateEnd { index: 10, durable_index: 10, term: 2, ..STATE }, &[]);
        check(LOG, StateEnd { index: 30, durable_index: 30, term: 4, ..STATE }, &[]);
        // A snapshot was installed and the log not yet emptied.
        check(LOG, StateEnd { index: 99, durable_index: 99, term: 4, ..STATE }, &[]);
        check(LogEnds::default(), STATE, &[]);
    }

    #[test]
    fn what_contradicts_is_found() {
        check(LOG, StateEnd { durable_index: 19, ..STATE }, &["ends at 20, its tables at 19"]);
        check(LOG, StateEnd { index: 8, durable_index: 8, ..STATE }, &["entries 9 to 10 are in"]);
        check(LogEnds { committed: 31, ..LOG }, STATE, &["31 is committed and ends at 30"]);
        let at_end = StateEnd { index: 30, durable_index: 30, ..STATE };
        check(LOG, at_end, &["entry 30 is of term 4 in the log, 3 in the state"]);
        let beyond = StateEnd { index: 31, durable_index: 31, ..STATE };
        check(LOG, beyond, &["the later term 4"]);
        check(LOG, StateEnd { membership_index: 21, ..STATE }, &["those of entry 21"]);
    }
}
