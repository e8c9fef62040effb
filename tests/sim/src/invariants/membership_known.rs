//! No node goes by members older than those in the state that it has applied.
//!
//! Raft learns them from its log, where they are before they are applied, or with a snapshot, which has
//! to name them beside its state: a node that missed them would count the wrong majorities. What is seen of
//! Raft is what it last showed, and while its task waits for the disk it shows nothing new: only what lasts
//! is wrong.

use super::{Invariant, View};
use std::collections::BTreeMap;

/// Longer than a task of Raft may wait for a slow disk, in microseconds of simulated time.
const SHOWN_WITHIN_US: u64 = 10_000_000;

/// See the module.
#[derive(Default)]
pub struct MembershipKnown {
    /// Since when, in microseconds, this life of a node shows older members.
    since: BTreeMap<(u64, u64), u64>,
}

impl Invariant for MembershipKnown {
    fn check(&mut self, view: &View) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let (known, applied) = (node.seen.membership_known, node.seen.membership_applied);
            if known >= applied {
                self.since.remove(&(*id, node.life));
                continue;
            }
            let since = *self.since.entry((*id, node.life)).or_insert(view.now_us);
            if view.now_us - since >= SHOWN_WITHIN_US {
                return Err(format!(
                    "node {id} goes by the membership at {known:?}, and has applied that at {applied:?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;

    fn show(scene: &mut Scene, known: Option<u64>, applied: Option<u64>) {
        let seen = &mut scene.node(2).seen;
        (seen.membership_known, seen.membership_applied) = (known, applied);
    }

    #[test]
    fn members_that_stay_older_than_the_states_are_seen() {
        let mut scene = Scene::new();
        for (known, applied) in
            [(None, None), (Some(0), None), (Some(5), Some(5)), (Some(9), Some(5))]
        {
            let mut invariant = MembershipKnown::default();
            show(&mut scene, known, applied);
            scene.passes(&mut invariant);
            scene.view.now_us += SHOWN_WITHIN_US;
            scene.passes(&mut invariant);
        }
        for (known, applied) in [(None, Some(0)), (Some(4), Some(5))] {
            let mut invariant = MembershipKnown::default();
            show(&mut scene, known, applied);
            scene.passes(&mut invariant);
            scene.view.now_us += SHOWN_WITHIN_US - 1;
            scene.passes(&mut invariant);
            scene.view.now_us += 1;
            scene.fails(&mut invariant, "node 2 goes by the membership at");
        }
    }

    #[test]
    fn what_is_shown_late_or_by_another_life_is_nothing() {
        let (mut scene, mut invariant) = (Scene::new(), MembershipKnown::default());
        for _ in 0..3 {
            show(&mut scene, Some(4), Some(5));
            scene.passes(&mut invariant);
            scene.view.now_us += SHOWN_WITHIN_US / 2;
            show(&mut scene, Some(5), Some(5));
            scene.passes(&mut invariant);
        }
        show(&mut scene, Some(4), Some(5));
        scene.passes(&mut invariant);
        scene.view.now_us += SHOWN_WITHIN_US;
        scene.node(2).life += 1;
        scene.passes(&mut invariant);
    }
}
