//! Nodes that have applied the same log index hold the same state, byte by byte.

use super::{Invariant, View};
use crate::engine::SimEngine;
use std::collections::BTreeMap;
use storage::key::shard_bounds;
use storage::txn::Engine;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// See the module.
#[derive(Default)]
pub struct StateMachineSafety {
    digests: BTreeMap<u64, u64>,
    looked: BTreeMap<u64, (u64, u64)>,
}

/// The log index of a state, and a hash of all its rows.
pub fn digest(engine: &SimEngine) -> Result<(u64, u64), String> {
    let txn = engine.read();
    let (start, end) = shard_bounds(0);
    let mut hash = 0;
    for row in txn.rows(&start, &end) {
        let (key, value) = row.map_err(|error| error.to_string())?;
        hash = xxh3_64_with_seed(&value, xxh3_64_with_seed(&key, hash));
    }
    Ok((txn.log_index(), hash))
}

impl Invariant for StateMachineSafety {
    fn check(&mut self, view: &View) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let applied = node.seen.applied.log_index;
            if self.looked.get(id) == Some(&(node.life, applied)) {
                continue;
            }
            let (index, hash) = digest(&node.engine)?;
            self.looked.insert(*id, (node.life, index));
            let known = *self.digests.entry(index).or_insert(hash);
            if known != hash {
                return Err(format!("the state of node {id} at {index} differs from another's"));
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
    fn another_state_at_the_same_log_index_is_seen_however_much_later() {
        let (mut scene, mut invariant) = (Scene::new(), StateMachineSafety::default());
        for id in [1, 2] {
            scene.apply(id, 1, "a");
            scene.passes(&mut invariant);
        }
        scene.apply(1, 2, "b");
        scene.passes(&mut invariant);
        scene.view.nodes.remove(&1);
        scene.apply(2, 2, "c");
        scene.fails(&mut invariant, "the state of node 2 at 2 differs");
    }
}
