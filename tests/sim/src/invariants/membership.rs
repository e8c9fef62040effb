//! Of two memberships that follow each other, committed, some set of voters is in both: so any
//! majority of the one that decides meets any of the other.
//!
//! That is what joint consensus keeps: from `[A]` over `[A, B]` to `[B]`. The entries that nodes have
//! applied are read in order; where all nodes have purged them before, the look begins anew.

use super::{Invariant, View};
use kvorum::simulation::{Voters, voters};
use storage::log::EntryKind;

/// See the module.
#[derive(Default)]
pub struct MembershipSteps {
    /// Entries below this were looked at.
    next: u64,
    last: Option<Voters>,
}

impl Invariant for MembershipSteps {
    fn check(&mut self, view: &View) -> Result<(), String> {
        let firsts = view.nodes.values().filter_map(|node| node.log.shard(0).first_index());
        if firsts.min().is_some_and(|first| first > self.next) && view.nodes.len() > 2 {
            // Whoever comes back with older entries has nothing that was not looked at.
            let firsts = view.nodes.values().filter_map(|node| node.log.shard(0).first_index());
            (self.next, self.last) = (firsts.min().unwrap_or(self.next), None);
        }
        for (id, node) in &view.nodes {
            let (log, applied) = (node.log.shard(0), node.seen.applied.log_index);
            if applied <= self.next || log.first_index().is_none_or(|first| first > self.next) {
                continue;
            }
            let entries = log.read(self.next..applied, usize::MAX).map_err(|e| e.to_string())?;
            for entry in entries {
                self.next = entry.position.index + 1;
                if entry.kind != EntryKind::Membership {
                    continue;
                }
                let what = format!("entry {} of node {id}", entry.position.index);
                let now = voters(entry.payload).ok_or_else(|| format!("{what} is unreadable"))?;
                let is_met = |last: &Voters| now.iter().any(|set| last.contains(set));
                if now.is_empty() || !self.last.as_ref().is_none_or(is_met) {
                    return Err(format!("{what} goes from {:?} to {now:?}", self.last));
                }
                self.last = Some(now);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;

    fn shown(steps: &[&[&[u64]]]) -> (Scene, MembershipSteps) {
        let (mut scene, mut invariant) = (Scene::new(), MembershipSteps::default());
        for (index, sets) in (0..).zip(steps) {
            scene.append_voters(1, (index, 1), sets);
            scene.applied(1, index, 1, 0);
            scene.passes(&mut invariant);
        }
        scene.applied(1, steps.len() as u64, 1, 0);
        (scene, invariant)
    }

    #[test]
    fn steps_over_both_sets_pass() {
        let (one, two): (&[u64], &[u64]) = (&[1, 2, 3], &[4, 5, 6]);
        let (scene, mut invariant) = shown(&[&[one], &[one, two], &[two]]);
        scene.passes(&mut invariant);
        assert_eq!(
            (invariant.next, invariant.last),
            (3, Some(vec![two.iter().copied().collect()]))
        );
    }

    #[test]
    fn a_jump_is_seen_when_it_is_applied() {
        let (scene, mut invariant) = shown(&[&[&[1, 2, 3]], &[&[1, 2, 3, 4]]]);
        scene.fails(&mut invariant, "entry 1 of node 1 goes from");
    }

    #[test]
    fn a_membership_without_voters_is_seen() {
        let mut scene = Scene::new();
        scene.append_voters(1, (0, 1), &[]);
        scene.applied(1, 1, 1, 0);
        scene.fails(&mut MembershipSteps::default(), "entry 0 of node 1");
    }
}
