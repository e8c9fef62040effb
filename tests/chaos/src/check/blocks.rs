//! MULTI blocks that append words to texts and read texts: could they have run one after the other,
//! in an order that respects real time?
//!
//! The longest text read of a key gives the order of its words. Edges: a word before the next one;
//! a word before who reads it as the last; who reads before the block that wrote the next word; who
//! returned before who was invoked (through a chain of moments, so that there are few of them). A
//! cycle has no order. Texts that are not beginnings of the longest, words that occur twice, words
//! of no block, and acknowledged words that a later read lacks are wrong by themselves.

use crate::journal::Block;
use std::collections::{BTreeMap, HashMap};

/// What is wrong with these blocks. Blocks of different epochs (what stands before the colon of
/// their keys) share no key and are judged apart.
pub fn check(blocks: &[Block]) -> Vec<String> {
    let mut epochs: BTreeMap<&str, Vec<Block>> = BTreeMap::new();
    for block in blocks {
        let some_key = block.appends.iter().chain(&block.reads).map(|(key, _)| key.as_str()).next();
        let epoch = some_key.unwrap_or_default().split(':').next().unwrap_or_default();
        let epoch = if some_key.is_some_and(|key| key.contains(':')) { epoch } else { "" };
        epochs.entry(epoch).or_default().push(block.clone());
    }
    epochs.values().flat_map(|blocks| check_epoch(blocks)).collect()
}

fn check_epoch(blocks: &[Block]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut graph = Graph::new(blocks);
    let mut longest: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, text) in blocks.iter().flat_map(|block| &block.reads) {
        let known = longest.entry(key).or_default();
        if text.len() > known.len() {
            *known = text;
        }
    }
    let mut writers: HashMap<(&str, &str), usize> = HashMap::new();
    for (at, block) in blocks.iter().enumerate() {
        for (key, word) in &block.appends {
            writers.insert((key, word), at);
        }
    }
    for (key, text) in &longest {
        let words: Vec<&str> = text.split_inclusive(',').collect();
        let order: Vec<Option<usize>> =
            words.iter().map(|word| writers.get(&(*key, *word)).copied()).collect();
        let places: HashMap<&str, usize> =
            words.iter().enumerate().map(|(at, w)| (*w, at)).collect();
        if places.len() < words.len() {
            wrong.push(format!("{key}: a word occurs twice: {text}"));
        }
        if let Some(at) = order.iter().position(Option::is_none) {
            wrong.push(format!("{key}: nobody wrote {:?}", words[at]));
        }
        for pair in order.windows(2) {
            graph.edge(pair[0], pair[1]);
        }
        for (at, block) in blocks.iter().enumerate() {
            for (_, read) in block.reads.iter().filter(|(read, _)| read == key) {
                if !text.starts_with(read.as_str()) {
                    wrong.push(format!("{key}: {read:?} is no beginning of {text:?}"));
                    continue;
                }
                let count = read.split_inclusive(',').count();
                if let Some(last) = count.checked_sub(1) {
                    graph.edge(order[last], Some(at));
                }
                graph.edge(Some(at), order.get(count).copied().flatten());
            }
            // A word that no read shows came after all that was read.
            for (_, word) in block.appends.iter().filter(|(appended, _)| appended == key) {
                if block.span.returned.is_some() && !places.contains_key(word.as_str()) {
                    graph.edge(order.last().copied().flatten(), Some(at));
                    for (reader, other) in blocks.iter().enumerate() {
                        if other.reads.iter().any(|(read, _)| read == key) {
                            graph.edge(Some(reader), Some(at));
                        }
                    }
                }
            }
        }
    }
    wrong.extend(partial(blocks, &longest));
    if let Some(cycle) = graph.cycle() {
        wrong.push(format!("blocks without an order: {:?}", &blocks[cycle]));
    }
    wrong
}

/// Blocks of which one word is there and another is certainly not: a later read of its key, by
/// somebody who also saw the first, lacks it.
fn partial(blocks: &[Block], longest: &BTreeMap<&str, &str>) -> Vec<String> {
    let shows = |key: &str, word: &str| {
        longest.get(key).is_some_and(|text| text.split_inclusive(',').any(|other| other == word))
    };
    let mut wrong = Vec::new();
    for block in blocks.iter().filter(|block| block.appends.len() > 1) {
        let there = block.appends.iter().filter(|(key, word)| shows(key, word)).count();
        let first_seen = blocks.iter().filter(|other| {
            let sees = |(key, word): &(String, String)| {
                let in_read =
                    |(read, text): &(String, String)| read == key && text.contains(word.as_str());
                other.reads.iter().any(in_read)
            };
            block.appends.iter().any(sees)
        });
        let Some(seen_by) = first_seen.filter_map(|other| other.span.returned).min() else {
            continue;
        };
        let lacking = block.appends.iter().filter(|(key, word)| !shows(key, word));
        let read_later = lacking.filter(|(key, _)| {
            blocks.iter().any(|other| {
                other.span.invoked > seen_by && other.reads.iter().any(|(read, _)| read == key)
            })
        });
        if there > 0 && read_later.count() > 0 {
            wrong.push(format!("only a part took effect: {block:?}"));
        }
    }
    wrong
}

/// Blocks, and after them the moments at which blocks returned, in order.
struct Graph {
    edges: Vec<Vec<usize>>,
    blocks: usize,
}

impl Graph {
    fn new(blocks: &[Block]) -> Self {
        let mut returns: Vec<(u64, usize)> = blocks
            .iter()
            .enumerate()
            .filter_map(|(at, block)| Some((block.span.returned?, at)))
            .collect();
        returns.sort_unstable();
        let count = blocks.len();
        let mut edges = vec![Vec::new(); count + returns.len()];
        for (moment, (_, at)) in returns.iter().enumerate() {
            edges[*at].push(count + moment);
            if moment > 0 {
                edges[count + moment - 1].push(count + moment);
            }
        }
        for (at, block) in blocks.iter().enumerate() {
            let before = returns.partition_point(|(moment, _)| *moment < block.span.invoked);
            if let Some(last) = before.checked_sub(1) {
                edges[count + last].push(at);
            }
        }
        Graph { edges, blocks: count }
    }

    fn edge(&mut self, from: Option<usize>, to: Option<usize>) {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            self.edges[from].push(to);
        }
    }

    /// Some block that is part of a cycle or behind one, if there is a cycle.
    fn cycle(&self) -> Option<usize> {
        let mut incoming = vec![0; self.edges.len()];
        self.edges.iter().flatten().for_each(|to| incoming[*to] += 1);
        let mut free: Vec<usize> =
            (0..incoming.len()).filter(|node| incoming[*node] == 0).collect();
        while let Some(node) = free.pop() {
            for to in &self.edges[node] {
                incoming[*to] -= 1;
                if incoming[*to] == 0 {
                    free.push(*to);
                }
            }
        }
        (0..self.blocks).find(|block| incoming[*block] > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Span;

    fn block(times: (u64, Option<u64>), appends: &[(&str, &str)], reads: &[(&str, &str)]) -> Block {
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
        };
        let span = Span { invoked: times.0, returned: times.1, index: None };
        Block { span, appends: own(appends), reads: own(reads) }
    }

    #[test]
    fn blocks_that_have_an_order() {
        let good = [
            block((0, Some(5)), &[("a", "1,"), ("b", "1,")], &[("a", "1,")]),
            block((0, Some(6)), &[("a", "2,")], &[("a", "1,2,"), ("b", "1,")]),
            block((7, None), &[("b", "3,")], &[]),
            block((8, Some(9)), &[("a", "4,")], &[("a", "1,2,4,"), ("b", "1,")]),
            block((10, Some(11)), &[], &[("b", "1,3,")]),
        ];
        assert_eq!(check(&good), Vec::<String>::new());
    }

    fn bad(blocks: &[Block]) {
        assert!(!check(blocks).is_empty(), "{blocks:?}");
    }

    #[test]
    fn words_twice_invented_lost_or_in_two_orders() {
        bad(&[block((0, Some(1)), &[("a", "1,")], &[("a", "1,1,")])]);
        bad(&[block((0, Some(1)), &[("a", "1,")], &[("a", "9,1,")])]);
        bad(&[
            block((0, Some(1)), &[("a", "1,")], &[]),
            block((2, Some(3)), &[("a", "2,")], &[("a", "2,")]),
        ]);
        bad(&[
            block((0, Some(9)), &[("a", "1,")], &[("a", "1,")]),
            block((0, Some(9)), &[("a", "2,")], &[("a", "2,")]),
        ]);
    }

    #[test]
    fn cycles_stale_reads_and_halves() {
        // Each misses what the other wrote: write skew.
        bad(&[
            block((0, Some(9)), &[("a", "1,")], &[("b", "")]),
            block((0, Some(9)), &[("b", "2,")], &[("a", "")]),
            block((10, Some(11)), &[], &[("a", "1,"), ("b", "2,")]),
        ]);
        bad(&[
            block((0, Some(1)), &[("a", "1,")], &[("a", "1,")]),
            block((2, Some(3)), &[], &[("a", "")]),
        ]);
        bad(&[
            block((0, None), &[("a", "1,"), ("b", "1,")], &[]),
            block((2, Some(3)), &[], &[("a", "1,")]),
            block((4, Some(5)), &[], &[("b", "")]),
        ]);
    }
}
