//! No node goes by members older than those in the state that it has applied.
//!
//! Raft learns them from its log, where they are before they are applied, or with a snapshot, which has
//! to name them beside its state: a node that missed them would count the wrong majorities.

use super::{Invariant, View};

/// See the module.
pub struct MembershipKnown;

impl Invariant for MembershipKnown {
    fn check(&mut self, view: &View) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let (known, applied) = (node.seen.membership_known, node.seen.membership_applied);
            if known < applied {
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

    #[test]
    fn members_older_than_the_states_are_seen() {
        let mut scene = Scene::new();
        for (known, applied) in
            [(None, None), (Some(0), None), (Some(5), Some(5)), (Some(9), Some(5))]
        {
            let seen = &mut scene.node(2).seen;
            (seen.membership_known, seen.membership_applied) = (known, applied);
            scene.passes(&mut MembershipKnown);
        }
        for (known, applied) in [(None, Some(0)), (Some(4), Some(5))] {
            let seen = &mut scene.node(2).seen;
            (seen.membership_known, seen.membership_applied) = (known, applied);
            scene.fails(&mut MembershipKnown, "node 2 goes by the membership at");
        }
    }
}
