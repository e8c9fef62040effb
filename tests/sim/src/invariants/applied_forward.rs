//! What a running node has applied never goes back, in index or term.

use super::{Invariant, View};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct AppliedForward {
    /// By node: its life, log index and term.
    seen: BTreeMap<u64, (u64, u64, u64)>,
}

impl Invariant for AppliedForward {
    fn check(&mut self, view: &View) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let applied = node.seen.applied;
            let now = (node.life, applied.log_index, applied.term);
            let before = self.seen.insert(*id, now).unwrap_or_default();
            if before.0 == now.0 && (now.1 < before.1 || now.2 < before.2) {
                return Err(format!("node {id} went from {before:?} back to {now:?}"));
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
    fn a_restart_may_go_back_and_a_life_may_not() {
        for (back, words) in [((5, 2), "(1, 5, 2)"), ((7, 1), "(1, 7, 1)")] {
            let (mut scene, mut invariant) = (Scene::new(), AppliedForward::default());
            for (index, term) in [(3, 1), (6, 2), (6, 2)] {
                scene.applied(1, index, term, 0);
                scene.passes(&mut invariant);
            }
            scene.applied(1, back.0, back.1, 0);
            scene.node(1).life = 2;
            scene.passes(&mut AppliedForward { seen: invariant.seen.clone() });
            scene.node(1).life = 1;
            scene.fails(&mut invariant, words);
        }
    }
}
