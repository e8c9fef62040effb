//! The log is purged only up to where the state is durable, so that every restart finds either.

use super::{Invariant, View};
use storage::txn::Engine;

/// See the module.
pub struct PurgeBehindDurable;

impl Invariant for PurgeBehindDurable {
    fn check(&mut self, view: &View) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let (Some(purged), _) = node.log.shard(0).state() else { continue };
            // The store counts from 1, Raft from 0.
            let (purged, durable) = (purged.index + 1, node.engine.durable_index());
            if purged > durable {
                return Err(format!(
                    "node {id} purged its log up to {purged}, its state is durable up to {durable}"
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
    fn a_log_purged_ahead_of_the_durable_state_is_seen() {
        let mut scene = Scene::new();
        for (index, text) in [(0, "a"), (1, "b"), (2, "c")] {
            scene.append(1, (index, 1), text);
            scene.apply(1, index + 1, text);
            if index == 1 {
                scene.node(1).engine.flush().unwrap();
            }
        }
        scene.passes(&mut PurgeBehindDurable);
        scene.purge(1, (1, 1));
        scene.passes(&mut PurgeBehindDurable);
        scene.purge(1, (2, 1));
        scene.fails(&mut PurgeBehindDurable, "node 1 purged its log up to 3");
    }
}
