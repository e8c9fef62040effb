//! The time of the state never goes back from one log index to a later one, on whatever node,
//! however wrong the clocks of leaders are.

use super::{Invariant, View};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct TimeForward {
    times: BTreeMap<u64, u64>,
}

impl Invariant for TimeForward {
    fn check(&mut self, view: &View) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let applied = node.seen.applied;
            let (index, now_ms) = (applied.log_index, applied.now_ms);
            let before = self.times.range(..=index).next_back().map_or(0, |(_, at)| *at);
            let after = self.times.range(index..).next().map_or(u64::MAX, |(_, at)| *at);
            if now_ms < before || now_ms > after {
                let bounds = format!("not between {before} and {after}");
                return Err(format!("the time of node {id} at {index} is {now_ms}, {bounds}"));
            }
            self.times.insert(index, now_ms);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;

    #[test]
    fn a_time_outside_of_its_neighbours_is_seen() {
        let (mut scene, mut invariant) = (Scene::new(), TimeForward::default());
        for (id, index, now_ms) in [(1, 5, 50), (1, 9, 90), (2, 7, 70), (3, 7, 70)] {
            scene.applied(id, index, 1, now_ms);
            scene.passes(&mut invariant);
        }
        for (index, now_ms) in [(8, 69), (8, 91), (7, 71), (10, 89)] {
            scene.applied(3, index, 1, now_ms);
            let words = format!("the time of node 3 at {index} is {now_ms}");
            scene.fails(&mut TimeForward { times: invariant.times.clone() }, &words);
        }
    }
}
