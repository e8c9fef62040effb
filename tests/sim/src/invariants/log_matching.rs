//! Entries of the same index and term are the same, and so are all before them.
//!
//! Every entry that a log ever held is known by its content and by the term of the entry before
//! it; that no two logs differ in these is the property, by induction. A log is read from where
//! it may have changed since the last look.

use super::{Invariant, View};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// See the module.
#[derive(Default)]
pub struct LogMatching {
    /// By index and term: hash of the content, term of the entry before.
    known: BTreeMap<(u64, u64), (u64, Option<u64>)>,
    /// By node: its life, index and term of the last entry looked at.
    looked: BTreeMap<u64, (u64, u64, u64)>,
}

impl Invariant for LogMatching {
    fn check(&mut self, view: &View) -> Result<(), String> {
        for (id, node) in &view.nodes {
            let log = node.log.shard(0);
            let (Some(first), (_, Some(last))) = (log.first_index(), log.state()) else { continue };
            let term_at = |index| log.position_at(index).map(|position| position.term);
            let from = match self.looked.get(id) {
                Some((life, index, term))
                    if *life == node.life && term_at(*index) == Some(*term) =>
                {
                    index + 1
                }
                _ => first,
            };
            for entry in log.read(from..last.index + 1, usize::MAX).map_err(|e| e.to_string())? {
                let (index, term) = (entry.position.index, entry.position.term);
                let before = index.checked_sub(1).and_then(term_at);
                let content = (xxh3_64(&entry.payload) ^ entry.kind as u64, before);
                let known = self.known.entry((index, term)).or_insert(content);
                // What was purged before is not known to this log.
                known.1 = known.1.or(before);
                let is_other = before.is_some_and(|before| known.1 != Some(before));
                if known.0 != content.0 || is_other {
                    let what = format!("entry {index} of term {term} of node {id}");
                    return Err(format!("{what} is {content:?}, elsewhere {known:?}"));
                }
                self.looked.insert(*id, (node.life, index, term));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;

    /// Two entries, of terms 1 and 2, that nodes 1 and 2 have, shown to an invariant.
    fn shown() -> (Scene, LogMatching) {
        let (mut scene, mut invariant) = (Scene::new(), LogMatching::default());
        for id in [1, 2] {
            scene.append(id, (0, 1), "a");
            scene.append(id, (1, 2), "b");
            scene.passes(&mut invariant);
        }
        (scene, invariant)
    }

    #[test]
    fn a_replaced_suffix_of_another_term_passes() {
        let (mut scene, mut invariant) = shown();
        scene.truncate(2, (0, 1));
        scene.append(2, (1, 3), "c");
        scene.passes(&mut invariant);
        scene.purge(2, (0, 1));
        scene.node(2).life = 2;
        scene.passes(&mut invariant);
    }

    #[test]
    fn another_content_of_the_same_index_and_term_is_seen() {
        let (mut scene, mut invariant) = shown();
        scene.append(3, (0, 1), "a");
        scene.append(3, (1, 2), "c");
        scene.fails(&mut invariant, "entry 1 of term 2 of node 3");
    }

    #[test]
    fn another_term_before_the_same_entry_is_seen() {
        let (mut scene, mut invariant) = shown();
        scene.append(3, (0, 2), "c");
        scene.append(3, (1, 2), "b");
        scene.fails(&mut invariant, "entry 1 of term 2 of node 3");
    }
}
