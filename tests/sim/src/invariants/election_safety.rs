//! At most one leader is ever seen in a term.

use super::{Invariant, View};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<u64, u64>,
}

impl Invariant for ElectionSafety {
    fn check(&mut self, view: &View) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let seen = node.seen;
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

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;

    #[test]
    fn a_second_leader_of_a_term_is_seen_even_when_the_first_is_gone() {
        let (mut scene, mut invariant) = (Scene::new(), ElectionSafety::default());
        for (id, term) in [(1, 3), (2, 4)] {
            // The old leader of an old term may not have heard yet.
            let seen = &mut scene.node(id).seen;
            (seen.leads, seen.term) = (true, term);
            scene.passes(&mut invariant);
        }
        scene.view.nodes.remove(&1);
        let seen = &mut scene.node(3).seen;
        (seen.leads, seen.term) = (true, 3);
        scene.fails(&mut invariant, "nodes 1 and 3 lead in term 3");
    }
}
