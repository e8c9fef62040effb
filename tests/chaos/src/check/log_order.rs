//! A witness by log index over every operation, in n log n: replies of writes tell the index of their
//! entry, those of reads the index of the state they saw (`RAFT.INDEX`), and that is an order that all
//! operations on all keys must fit into.
//!
//! - Real time: who begins after another has returned is not before it in the log; a write is behind it.
//! - One state at one index: reads of a key at the same index find the same, whichever nodes they
//!   asked.
//! - Registers: no read finds a value that an acknowledged write between the two indexes replaced.
//! - What only grows is greater behind each write, and the same until the next.
//! - A key that was gone at an index is not back at a later one.
//!
//! An index may be greater than that of the entry for the first writes of a pipeline. Nothing is judged
//! wrong by that: it only makes the judgement milder.

use super::witness::Past;
use crate::journal::{Known, Seen};
use std::collections::{BTreeMap, HashMap};

/// What certainly does not fit; one line for each operation that shows it.
pub fn check(known: &[Known]) -> Vec<String> {
    let mut wrong = real_time(known);
    let mut keys: BTreeMap<&str, Vec<Place<'_>>> = BTreeMap::new();
    for operation in known {
        let Some(index) = operation.index else { continue };
        for sight in &operation.sights {
            let place = Place { index, seen: sight.seen, wrote: sight.wrote, operation };
            keys.entry(&sight.key).or_default().push(place);
        }
    }
    for (key, mut places) in keys {
        places.sort_by_key(|place| place.index);
        let found = disagreeing(&places).or_else(|| match places[0].seen {
            Seen::Value(_) => values(&places),
            Seen::Size(_) => sizes(&places),
            Seen::There(_) => presence(&places),
        });
        wrong.extend(found.map(|found| format!("by log index, {key}: {found}")));
    }
    wrong
}

/// What an operation saw of one key, at an index.
struct Place<'a> {
    index: u64,
    seen: Seen,
    wrote: bool,
    operation: &'a Known,
}

impl Place<'_> {
    /// Whether it saw the state at its index whole, rather than inside an entry.
    fn is_whole(&self) -> bool {
        !self.operation.writes
    }

    fn wrong(&self, why: &str) -> String {
        format!("{why}: {:?} of {:?}", self.seen, self.operation)
    }
}

fn real_time(known: &[Known]) -> Vec<String> {
    let indexed = || known.iter().filter_map(|operation| Some((operation, operation.index?)));
    let past = Past::new(indexed().map(|(known, index)| (known.returned, index)).collect());
    let is_wrong = |(operation, index): &(&Known, u64)| {
        let Some(before) = past.before(operation.invoked) else { return false };
        if operation.writes { *index <= before } else { *index < before }
    };
    let line = |(operation, _): (&Known, _)| {
        let before = past.before(operation.invoked).unwrap_or(0);
        format!("by log index: another at {before} had returned before {operation:?}")
    };
    indexed().filter(is_wrong).map(line).collect()
}

/// Registers whose values are unique.
fn values(places: &[Place<'_>]) -> Option<String> {
    let writes: Vec<&Place<'_>> = places.iter().filter(|place| place.wrote).collect();
    let written: HashMap<Seen, u64> =
        writes.iter().map(|place| (place.seen, place.index)).collect();
    let reads = || places.iter().filter(|place| place.is_whole());
    // Since when a value that nobody is known to have written was certainly there.
    let mut since: HashMap<Seen, u64> = HashMap::new();
    for read in reads() {
        let unwritten = if read.seen == Seen::Value(None) { 0 } else { read.index };
        let from = written.get(&read.seen).copied();
        let from = from.unwrap_or_else(|| *since.entry(read.seen).or_insert(unwritten));
        if from > read.index {
            return Some(read.wrong(&format!("it was written at {from}")));
        }
        let next = writes.partition_point(|write| write.index <= from);
        if let Some(replaced) = writes.get(next).filter(|write| write.index <= read.index) {
            return Some(read.wrong(&format!("it was replaced at {}", replaced.index)));
        }
    }
    None
}

/// Two reads at one index that found something else.
fn disagreeing(places: &[Place<'_>]) -> Option<String> {
    let whole: Vec<&Place<'_>> = places.iter().filter(|place| place.is_whole()).collect();
    let differ =
        |pair: &&[&Place<'_>]| pair[0].index == pair[1].index && pair[0].seen != pair[1].seen;
    let pair = whole.windows(2).find(differ)?;
    Some(pair[1].wrong(&format!("at the same index, another found {:?}", pair[0].seen)))
}

/// Registers that only grow.
fn sizes(places: &[Place<'_>]) -> Option<String> {
    let mut greatest = 0;
    for entry in places.chunk_by(|one, other| one.index == other.index) {
        let size = |place: &Place<'_>| match place.seen {
            Seen::Size(size) => size,
            Seen::Value(_) | Seen::There(_) => 0,
        };
        let inside = entry.iter().filter(|place| !place.is_whole());
        let after = inside.map(size).fold(greatest, u64::max);
        let is_wrong = |place: &&Place<'_>| match place.is_whole() {
            true => size(place) < after,
            false if place.wrote => size(place) <= greatest,
            false => size(place) < greatest,
        };
        if let Some(place) = entry.iter().find(is_wrong) {
            return Some(place.wrong(&format!("{greatest} before its index, {after} at it")));
        }
        greatest = entry.iter().map(size).fold(after, u64::max);
    }
    None
}

/// Keys that are set once and expire.
fn presence(places: &[Place<'_>]) -> Option<String> {
    let set = places.iter().find(|place| place.wrote).map(|place| place.index);
    let mut was_there = false;
    let mut gone = None;
    for place in places {
        let is_there = place.seen == Seen::There(true);
        was_there |= is_there || set.is_some_and(|set| set <= place.index);
        match (is_there, gone) {
            (true, Some(gone)) => return Some(place.wrong(&format!("it was gone at {gone}"))),
            (true, None) if set.is_some_and(|set| place.index < set) => {
                return Some(place.wrong("it was not yet set"));
            }
            (false, None) if was_there => gone = Some(place.index),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Sight;

    /// An operation at a time that says nothing of its order, unless it is given one.
    fn at(index: u64, writes: bool, seen: &[(&str, Seen, bool)]) -> Known {
        let sight = |(key, seen, wrote): &(&str, _, _)| Sight {
            key: (*key).to_owned(),
            seen: *seen,
            wrote: *wrote,
        };
        let sights = seen.iter().map(sight).collect();
        Known { invoked: 0, returned: 1_000_000, index: Some(index), writes, sights }
    }

    fn write(index: u64, seen: Seen) -> Known {
        at(index, true, &[("k", seen, true)])
    }

    fn read(index: u64, seen: Seen) -> Known {
        at(index, false, &[("k", seen, false)])
    }

    fn says(operations: &[Known], what: &str) {
        let wrong = check(operations).join("\n");
        assert!(wrong.contains(what) && !wrong.is_empty(), "{what:?} is not in {wrong:?}");
    }

    fn fits(operations: &[Known]) {
        assert_eq!(check(operations), Vec::<String>::new());
    }

    #[test]
    fn who_begins_after_another_returned_is_not_before_it() {
        let timed = |known: Known, invoked, returned| Known { invoked, returned, ..known };
        let first = || timed(at(10, true, &[]), 0, 5);
        let second = |index, writes| timed(at(index, writes, &[]), 6, 9);
        fits(&[first(), second(11, true)]);
        fits(&[first(), second(10, false)]);
        says(&[first(), second(10, true)], "at 10 had returned before");
        says(&[first(), second(9, false)], "at 10 had returned before");
        says(&[timed(read(10, Seen::Value(None)), 0, 5), second(10, true)], "at 10 had returned");
        fits(&[first(), timed(at(9, true, &[]), 5, 9)]);
        let unknown = Known { index: None, ..second(1, true) };
        fits(&[first(), unknown]);
    }

    #[test]
    fn values_last_until_they_are_replaced() {
        let value = |number| Seen::Value(Some(number));
        let writes = [write(5, value(1)), write(9, value(2)), write(9, value(3))];
        let with = |reads: &[Known]| [&writes[..], reads].concat();
        fits(&with(&[
            read(4, Seen::Value(None)),
            read(5, value(1)),
            read(8, value(1)),
            read(9, value(2)),
            read(12, value(7)),
            read(13, value(7)),
        ]));
        fits(&with(&[read(20, value(3))]));
        says(&with(&[read(9, value(1))]), "replaced at 9");
        says(&with(&[read(4, value(1))]), "written at 5");
        says(&with(&[read(5, Seen::Value(None))]), "replaced at 5");
        says(&with(&[read(6, value(7)), read(9, value(7))]), "replaced at 9");
        says(&with(&[read(20, value(2)), read(20, value(3))]), "same index");
    }

    #[test]
    fn what_grows_is_greater_behind_each_write() {
        let good = [
            read(4, Seen::Size(0)),
            write(5, Seen::Size(2)),
            write(5, Seen::Size(1)),
            read(5, Seen::Size(2)),
            at(7, true, &[("k", Seen::Size(2), false)]),
            write(7, Seen::Size(3)),
            read(8, Seen::Size(4)),
        ];
        fits(&good);
        let with = |known: Known| [&good[..], &[known]].concat();
        says(&with(read(6, Seen::Size(1))), "before its index");
        says(&with(read(6, Seen::Size(3))), "before its index");
        says(&with(write(9, Seen::Size(4))), "before its index");
        says(&with(at(9, true, &[("k", Seen::Size(3), false)])), "before its index");
        says(&with(read(4, Seen::Size(1))), "same index");
    }

    #[test]
    fn what_is_gone_stays_away() {
        let good = [
            read(3, Seen::There(false)),
            write(4, Seen::There(true)),
            read(5, Seen::There(true)),
            read(8, Seen::There(false)),
        ];
        fits(&good);
        let with = |known: Known| [&good[..], &[known]].concat();
        says(&with(read(9, Seen::There(true))), "gone at 8");
        says(&with(read(8, Seen::There(true))), "same index");
        says(&with(read(2, Seen::There(true))), "not yet set");
        says(
            &[read(5, Seen::There(true)), read(6, Seen::There(false)), read(7, Seen::There(true))],
            "gone",
        );
    }
}
