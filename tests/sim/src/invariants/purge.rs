//! The log is purged only up to where the state is durable, so that every restart finds either.

use super::{Invariant, View};
use storage::txn::Engine;

/// See the module.
pub struct PurgeBehindDurable;

impl Invariant for PurgeBehindDurable {
    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
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
