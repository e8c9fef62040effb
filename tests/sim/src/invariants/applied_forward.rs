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
    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let applied = node.replica.observe().applied;
            let now = (node.life, applied.log_index, applied.term);
            let before = self.seen.insert(*id, now).unwrap_or_default();
            if before.0 == now.0 && (now.1 < before.1 || now.2 < before.2) {
                return Err(format!("node {id} went from {before:?} back to {now:?}"));
            }
        }
        Ok(())
    }
}
