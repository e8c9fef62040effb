//! A fast look at every operation on registers, in n log n: necessary conditions only, so that it
//! cannot give up where the search may.
//!
//! Registers that are SET hold unique values: what is read must have been written, not after the
//! read, and not be older than a write that had surely taken effect. Registers that grow (INCRBY,
//! APPEND) never go back, and no two writes report the same place.

use kvorum_tests::history::{Action, Operation, text_length};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What is certainly wrong; one line for each operation that shows it.
pub fn check(history: &[Operation]) -> Vec<String> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(&operation.key).or_default().push(operation);
    }
    let mut wrong = Vec::new();
    for operations in keys.values() {
        let is = |kind: fn(&Action) -> bool| operations.iter().any(|one| kind(&one.action));
        if is(|action| matches!(action, Action::Write(_))) {
            unique_values(operations, &mut wrong);
        } else if is(|action| matches!(action, Action::Append { .. })) {
            growing(operations, |value| text_length(value) as u64, &mut wrong);
        } else {
            growing(operations, |value| value, &mut wrong);
        }
    }
    wrong
}

/// The greatest of the numbers that belong to moments before `moment`.
pub(super) struct Past(Vec<(u64, u64)>);

impl Past {
    pub(super) fn new(mut moments: Vec<(u64, u64)>) -> Self {
        moments.sort_unstable();
        let mut greatest = 0;
        for (_, number) in &mut moments {
            greatest = greatest.max(*number);
            *number = greatest;
        }
        Past(moments)
    }

    pub(super) fn before(&self, moment: u64) -> Option<u64> {
        let count = self.0.partition_point(|(at, _)| *at < moment);
        count.checked_sub(1).map(|last| self.0[last].1)
    }
}

fn unique_values(operations: &[&Operation], wrong: &mut Vec<String>) {
    // A value's write lasts at most until somebody has read it.
    let mut writes: HashMap<u64, (u64, u64)> = HashMap::new();
    for operation in operations {
        if let Action::Write(value) = operation.action {
            writes.insert(value, (operation.invoked, operation.returned.unwrap_or(u64::MAX)));
        }
    }
    let reads = || {
        operations.iter().filter_map(|operation| match (&operation.action, operation.returned) {
            (Action::Read(value), Some(returned)) => Some((*operation, *value, returned)),
            _ => None,
        })
    };
    for (operation, value, returned) in reads() {
        let Some(value) = value else { continue };
        match writes.get_mut(&value) {
            Some((invoked, _)) if *invoked > returned => {
                wrong.push(format!("read before it was written: {operation:?}"));
            }
            Some((_, until)) => *until = returned.min(*until),
            None => wrong.push(format!("read what nobody wrote: {operation:?}")),
        }
    }
    let past = Past::new(writes.values().map(|(invoked, until)| (*until, *invoked)).collect());
    for (operation, value, _) in reads() {
        let Some(later) = past.before(operation.invoked) else { continue };
        let until = value.map(|value| writes.get(&value).map_or(u64::MAX, |write| write.1));
        if until.is_none_or(|until| until < later) {
            wrong.push(format!("stale: {operation:?}, a newer write began at {later}"));
        }
    }
}

fn growing(operations: &[&Operation], place: fn(u64) -> u64, wrong: &mut Vec<String>) {
    let mut taken = HashSet::new();
    let mut places = Vec::new();
    for operation in operations {
        let Some(returned) = operation.returned else { continue };
        let (at, writes) = match &operation.action {
            Action::Read(value) => (value.map_or(0, place), false),
            Action::ReadText(text) => (text.len() as u64, false),
            Action::Add { result, .. } => (result.unwrap_or(0), true),
            Action::Append { length, .. } => (length.unwrap_or(0) as u64, true),
            Action::Write(_) => continue,
        };
        if writes && !taken.insert(at) {
            wrong.push(format!("two writes reached the same place: {operation:?}"));
        }
        places.push((operation, returned, at, writes));
    }
    let past = Past::new(places.iter().map(|(_, returned, at, _)| (*returned, *at)).collect());
    for (operation, _, at, writes) in places {
        let Some(before) = past.before(operation.invoked) else { continue };
        if at < before || (writes && at == before) {
            wrong.push(format!("behind {before}: {operation:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(action: Action, invoked: u64, returned: Option<u64>) -> Operation {
        Operation { key: "k".to_owned(), client: 0, action, invoked, returned }
    }

    fn found(operations: &[(Action, u64, Option<u64>)]) -> usize {
        let history: Vec<Operation> = operations
            .iter()
            .map(|(action, invoked, returned)| operation(action.clone(), *invoked, *returned))
            .collect();
        check(&history).len()
    }

    #[test]
    fn unique_values_are_neither_stale_nor_invented() {
        use Action::{Read, Write};
        let writes = [(Write(1), 0, Some(1)), (Write(2), 2, Some(9)), (Write(3), 20, None)];
        let with = |read, invoked, returned| {
            found(&[&writes[..], &[(Read(read), invoked, Some(returned))]].concat())
        };
        assert_eq!(with(Some(1), 3, 4), 0);
        assert_eq!(with(Some(2), 3, 4), 0);
        assert_eq!(with(Some(2), 30, 40), 0);
        assert_eq!(with(Some(3), 30, 40), 0);
        assert_eq!(with(Some(1), 10, 11), 1, "stale");
        assert_eq!(with(None, 2, 3), 1, "lost");
        assert_eq!(with(Some(2), 0, 1), 1, "from the future");
        assert_eq!(with(Some(7), 3, 4), 1, "invented");
        let there_and_back = [(Read(Some(2)), 3, Some(4)), (Read(Some(1)), 5, Some(6))];
        assert_eq!(found(&[&writes[..], &there_and_back].concat()), 1, "back again");
    }

    #[test]
    fn what_grows_never_goes_back() {
        use Action::{Add, Read};
        let add = |result| Add { by: 1, result };
        let good = [
            (add(Some(1)), 0, Some(5)),
            (add(Some(2)), 0, Some(5)),
            (add(None), 6, None),
            (Read(Some(2)), 7, Some(8)),
            (add(Some(4)), 9, Some(10)),
        ];
        assert_eq!(found(&good), 0);
        let with = |action| found(&[&good[..], &[(action, 11, Some(12))]].concat());
        assert_eq!(with(Read(Some(4))), 0);
        assert_eq!(with(Read(Some(3))), 1);
        assert_eq!(with(Read(None)), 1);
        assert_eq!(with(add(Some(4))), 2, "the same place, which is behind, too");
    }
}
