//! At most one leader is ever seen in a term.

use super::{Invariant, View};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<u64, u64>,
}

impl Invariant for ElectionSafety {
    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let seen = node.replica.observe();
            if !seen.leads {
                continue;
            }
            let first = *self.leaders.entry(seen.term).or_insert(*id);
            if first != *id {
                return Err(format!("nodes {first} and {id} lead in term {}", seen.term));
            }
        }
        Ok(())
    }
}
