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
    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let applied = node.replica.observe().applied;
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
