//! Raft ends on a node only when its log failed, and nothing ever panics.

use super::{Invariant, View};

/// See the module.
pub struct RaftRuns;

impl Invariant for RaftRuns {
    fn check(&mut self, view: &View) -> Result<(), String> {
        if view.panics > 0 {
            return Err("something panicked; see above".to_owned());
        }
        for (id, node) in &view.nodes {
            if !node.seen.runs && node.log.failure().is_none() {
                return Err(format!("Raft ended on node {id}, whose log did not fail"));
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
    fn raft_may_end_only_with_its_log() {
        let mut scene = Scene::new();
        scene.passes(&mut RaftRuns);
        scene.node(2).seen.runs = false;
        scene.fails(&mut RaftRuns, "Raft ended on node 2");
        scene.fail_log(2);
        scene.passes(&mut RaftRuns);
        scene.view.panics = 1;
        scene.fails(&mut RaftRuns, "panicked");
    }
}
