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
    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
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
