//! Who leads has every entry that was committed in a term before its own.
//!
//! Committed is what any node has applied. Terms of applied entries also must never change. A node that has
//! just started has applied what its state holds and names no term yet: it does not tell when that was committed.

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
    fn check(&mut self, view: &View) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let seen = node.seen;
            let log = node.log.shard(0);
            let upto = seen.applied.log_index;
            for index in (0..upto).rev() {
                let Some(position) = log.position_at(index) else { break };
                let known = self.committed.get(&index).copied();
                if known.is_some_and(|(term, _)| term != position.term) {
                    let term = position.term;
                    return Err(format!("node {id} applied {index} of term {term}, not {known:?}"));
                }
                if seen.term == 0 {
                    continue;
                }
                // Its term may be told a moment later than what it applied; it is no lower than the entry's.
                let in_term = seen.term.max(position.term);
                if known.is_some_and(|(_, known)| known <= in_term) {
                    break;
                }
                self.committed.insert(index, (position.term, in_term));
            }
        }
        for (id, node) in &view.nodes {
            let seen = node.seen;
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

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;

    /// Two entries of term 1, which node 1 has applied and node 2 has.
    fn scene() -> Scene {
        let mut scene = Scene::new();
        for id in [1, 2] {
            scene.append(id, (0, 1), "a");
            scene.append(id, (1, 1), "b");
        }
        scene.applied(1, 2, 1, 0);
        scene
    }

    fn lead(scene: &mut Scene, id: u64, term: u64) {
        let seen = &mut scene.node(id).seen;
        (seen.leads, seen.term) = (true, term);
    }

    #[test]
    fn a_leader_without_a_committed_entry_is_seen() {
        let (mut scene, mut invariant) = (scene(), LeaderCompleteness::default());
        lead(&mut scene, 2, 2);
        scene.passes(&mut invariant);
        // What it lacks was committed only after this term had begun elsewhere.
        scene.append(3, (0, 1), "a");
        lead(&mut scene, 3, 1);
        scene.passes(&mut invariant);
        lead(&mut scene, 3, 3);
        scene.fails(&mut invariant, "leader 3 of term 3 has None at 1, committed in 1");
    }

    #[test]
    fn a_node_that_names_no_term_yet_says_nothing_of_when_an_entry_was_committed() {
        let (mut scene, mut invariant) = (Scene::new(), LeaderCompleteness::default());
        for id in [1, 2] {
            scene.append(id, (0, 1), "a");
        }
        scene.append(1, (1, 3), "b");
        scene.append(2, (1, 2), "c");
        scene.applied(1, 2, 3, 0);
        scene.node(1).seen.term = 0;
        scene.passes(&mut invariant);
        // Whose terms changed is seen of such a node, too.
        scene.applied(2, 2, 2, 0);
        scene.node(1).seen.term = 3;
        scene.node(2).seen.term = 0;
        scene.fails(&mut invariant, "node 2 applied 1 of term 2");
        scene.applied(2, 0, 0, 0);
        let mut invariant = LeaderCompleteness::default();
        scene.node(1).seen.term = 0;
        // It led before the entry of term 3 was committed.
        lead(&mut scene, 2, 2);
        scene.passes(&mut invariant);
        scene.node(1).seen.term = 3;
        scene.passes(&mut invariant);
        lead(&mut scene, 2, 4);
        scene.fails(&mut invariant, "leader 2 of term 4 has Some(2) at 1, committed in 3");
    }

    #[test]
    fn a_leader_whose_log_is_purged_lacks_nothing() {
        let (mut scene, mut invariant) = (scene(), LeaderCompleteness::default());
        scene.passes(&mut invariant);
        scene.purge(2, (1, 1));
        lead(&mut scene, 2, 2);
        scene.passes(&mut invariant);
    }

    #[test]
    fn an_applied_entry_that_changes_its_term_is_seen() {
        let (mut scene, mut invariant) = (scene(), LeaderCompleteness::default());
        scene.passes(&mut invariant);
        scene.truncate(2, (0, 1));
        scene.append(2, (1, 2), "c");
        scene.passes(&mut invariant);
        scene.applied(2, 2, 2, 0);
        scene.fails(&mut invariant, "node 2 applied 1 of term 2");
    }
}
