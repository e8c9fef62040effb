//! Raft ends on a node only when its log failed, and nothing ever panics.

use super::{Invariant, View};
use crate::trace;

/// See the module.
pub struct RaftRuns;

impl Invariant for RaftRuns {
    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        if trace::panics() > 0 {
            return Err("something panicked; see above".to_owned());
        }
        for (id, node) in &view.nodes {
            if !node.replica.observe().runs && node.log.failure().is_none() {
                return Err(format!("Raft ended on node {id}, whose log did not fail"));
            }
        }
        Ok(())
    }
}
