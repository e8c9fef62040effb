//! Who leads has every entry that was committed in a term before its own.
//!
//! Committed is what any node has applied. Terms of applied entries also must never change.

use super::{Invariant, View};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Default)]
pub struct LeaderCompleteness {
    /// By log index (from 0): the term of the entry that was applied there, and the lowest term of
    /// a node that had applied it.
    committed: BTreeMap<u64, (u64, u64)>,
    /// Leaders looked at, by term and node.
    looked: BTreeSet<(u64, u64)>,
}

impl Invariant for LeaderCompleteness {
    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let seen = node.replica.observe();
            let log = node.log.shard(0);
            let upto = seen.applied.log_index;
            for index in (0..upto).rev() {
                let Some(position) = log.position_at(index) else { break };
                let known = self.committed.get(&index).copied();
                if known.is_some_and(|(term, _)| term != position.term) {
                    let term = position.term;
                    return Err(format!("node {id} applied {index} of term {term}, not {known:?}"));
                }
                if known.is_some_and(|(_, in_term)| in_term <= seen.term) {
                    break;
                }
                self.committed.insert(index, (position.term, seen.term));
            }
        }
        for (id, node) in &view.nodes {
            let seen = node.replica.observe();
            if !seen.leads || !self.looked.insert((seen.term, *id)) {
                continue;
            }
            let log = node.log.shard(0);
            // Of a log without entries all was purged behind a snapshot.
            let after_last = || log.state().1.map_or(0, |last| last.index + 1);
            let first = log.first_index().unwrap_or_else(after_last);
            for (index, (term, in_term)) in self.committed.range(first..) {
                let own = log.position_at(*index).map(|position| position.term);
                if *in_term < seen.term && own != Some(*term) {
                    let what = format!("leader {id} of term {}", seen.term);
                    return Err(format!("{what} has {own:?} at {index}, committed in {term}"));
                }
            }
        }
        Ok(())
    }
}
