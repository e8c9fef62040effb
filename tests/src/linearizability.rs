//! Whether a history of reads and writes could have come from one register that is never wrong.
//!
//! The search is Wing and Gong's with Lowe's memory of visited configurations (as in porcupine):
//! take any operation that may be next, that is, one invoked before every other open operation
//! returned; undo when stuck; never look twice at the same set of done operations with the same
//! value. Keys are independent, so each is checked alone.
//!
//! Texts that only grow are searched with a look ahead: as long as the longest text that somebody read is
//! not read yet, the text is a beginning of it. Otherwise every order of appends of unknown outcome
//! would be tried.
//!
//! An operation whose outcome is unknown has no return: it may take effect at any time after its
//! invocation, or never. A read with unknown outcome says nothing and is left out.
//!
//! A search that takes too many steps is a failure, not a pass.

use crate::history::{Action, Operation, appended, text_length, text_value};
use std::collections::{BTreeMap, HashSet};

/// Steps of one key's search. Histories of the tests need a few thousand.
pub const STEPS_MAX: usize = 5_000_000;

/// Why a history is not linearizable, or could not be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// No order of the key's operations explains what was read. The operations at which the
    /// search got furthest before it was stuck.
    Impossible { key: String, stuck_at: Vec<Operation> },
    /// The search was given up.
    TooHard { key: String },
}

/// Checks every key of a history.
///
/// # Errors
/// The first key, by name, that no register explains.
pub fn check(history: &[Operation]) -> Result<(), Violation> {
    check_within(history, STEPS_MAX)
}

/// As [`check`], with so many steps for the search of each key.
///
/// # Errors
/// The first key, by name, that no register explains, or whose search was given up.
pub fn check_within(history: &[Operation], steps_max: usize) -> Result<(), Violation> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        let says_nothing = operation.returned.is_none() && operation.action.is_read();
        if !says_nothing {
            keys.entry(&operation.key).or_default().push(operation);
        }
    }
    for (key, mut operations) in keys {
        operations.sort_by_key(|operation| operation.invoked);
        Search::new(&operations).run(key, steps_max)?;
    }
    Ok(())
}

/// A value of the register; none before the first write.
type Value = Option<u64>;

/// The done operations as bits, and the value after them.
type Configuration = (Vec<u64>, Value);

struct Search<'a> {
    operations: &'a [&'a Operation],
    done: Vec<u64>,
    value: Value,
    /// Known operations not yet done.
    open: usize,
    visited: HashSet<Configuration>,
    growth: Growth,
    /// Operations taken, each with the value before it and its place among the candidates.
    taken: Vec<(usize, Value, usize)>,
    furthest: (usize, Vec<usize>),
}

impl<'a> Search<'a> {
    fn new(operations: &'a [&'a Operation]) -> Self {
        Search {
            operations,
            done: vec![0; operations.len().div_ceil(64)],
            value: None,
            open: operations.iter().filter(|operation| operation.returned.is_some()).count(),
            visited: HashSet::new(),
            growth: Growth::of(operations),
            taken: Vec::new(),
            furthest: (0, Vec::new()),
        }
    }

    fn run(mut self, key: &str, steps_max: usize) -> Result<(), Violation> {
        let mut from = 0;
        for _ in 0..steps_max {
            if self.open == 0 {
                return Ok(());
            }
            match self.next(from) {
                Some((place, at)) => {
                    self.take(place, at);
                    from = 0;
                }
                None => {
                    let Some(place) = self.undo() else { return Err(self.impossible(key)) };
                    from = place + 1;
                }
            }
        }
        Err(Violation::TooHard { key: key.to_owned() })
    }

    /// The next candidate, at or after the place `from`, that leads somewhere new.
    fn next(&mut self, from: usize) -> Option<(usize, usize)> {
        let candidates = self.candidates();
        if self.taken.len() >= self.furthest.0 {
            self.furthest = (self.taken.len(), candidates.clone());
        }
        candidates.into_iter().enumerate().skip(from).find(|(_, at)| {
            let Some(value) = self.operations[*at].action.after(self.value) else { return false };
            if !self.growth.goes_on_from(value) {
                return false;
            }
            let mut done = self.done.clone();
            done[at / 64] |= 1 << (at % 64);
            self.visited.insert((done, value))
        })
    }

    /// Open operations that were invoked before every open operation returned; those of unknown
    /// outcome come last: they are only needed where the others explain nothing.
    fn candidates(&self) -> Vec<usize> {
        let mut earliest_return = u64::MAX;
        let mut candidates = Vec::new();
        for (at, operation) in self.operations.iter().enumerate() {
            if operation.invoked > earliest_return {
                break;
            }
            if self.done[at / 64] & (1 << (at % 64)) == 0 {
                candidates.push(at);
                earliest_return = earliest_return.min(operation.returned.unwrap_or(u64::MAX));
            }
        }
        candidates.sort_by_key(|at| self.operations[*at].returned.is_none());
        candidates
    }

    fn take(&mut self, place: usize, at: usize) {
        let operation = self.operations[at];
        self.taken.push((at, self.value, place));
        self.value = operation.action.after(self.value).expect("only fitting operations are taken");
        self.done[at / 64] |= 1 << (at % 64);
        self.open -= usize::from(operation.returned.is_some());
        self.growth.open -= usize::from(self.growth.ends_with(operation));
    }

    fn undo(&mut self) -> Option<usize> {
        let (at, value, place) = self.taken.pop()?;
        self.value = value;
        self.done[at / 64] &= !(1 << (at % 64));
        self.open += usize::from(self.operations[at].returned.is_some());
        self.growth.open += usize::from(self.growth.ends_with(self.operations[at]));
        Some(place)
    }

    fn impossible(&self, key: &str) -> Violation {
        let stuck_at = self.furthest.1.iter().map(|at| self.operations[*at].clone()).collect();
        Violation::Impossible { key: key.to_owned(), stuck_at }
    }
}

/// How a text grew until the longest text that was read; empty where a register holds no text, or may
/// be set to something else.
#[derive(Default)]
struct Growth {
    /// The value at each length of that text, from 0.
    values: Vec<u64>,
    /// Reads of all of it that are not done.
    open: usize,
}

impl Growth {
    fn of(operations: &[&Operation]) -> Self {
        let mut longest: Option<&str> = None;
        for operation in operations {
            match &operation.action {
                Action::Write(_) | Action::Add { .. } => return Growth::default(),
                Action::ReadText(text) if longest.is_none_or(|known| known.len() < text.len()) => {
                    longest = Some(text);
                }
                _ => {}
            }
        }
        let Some(longest) = longest else { return Growth::default() };
        // No text ends within a character.
        let value = |end: usize| longest.get(..end).map_or(u64::MAX, text_value);
        let values = (0..=longest.len()).map(value).collect();
        let mut growth = Growth { values, open: 0 };
        growth.open = operations.iter().filter(|operation| growth.ends_with(operation)).count();
        growth
    }

    /// Whether this reads the longest text, or one as long.
    fn ends_with(&self, operation: &Operation) -> bool {
        matches!(&operation.action, Action::ReadText(text) if text.len() + 1 == self.values.len())
    }

    /// Whether the longest text can still be read where a register has this value.
    fn goes_on_from(&self, value: Value) -> bool {
        let value = value.unwrap_or(0);
        self.open == 0 || self.values.get(text_length(value)) == Some(&value)
    }
}

impl Action {
    /// The register's value after this action on `value`; none when it cannot have happened there.
    fn after(&self, value: Value) -> Option<Value> {
        match self {
            Action::Write(written) => Some(Some(*written)),
            Action::Read(read) => (*read == value).then_some(value),
            Action::ReadText(text) => (Some(text_value(text)) == value).then_some(value),
            Action::Add { by, result } => {
                let sum = value.unwrap_or(0) + by;
                result.is_none_or(|result| result == sum).then_some(Some(sum))
            }
            Action::Append { text, length } => {
                let longer = appended(value.unwrap_or(0), text);
                let fits = length.is_none_or(|length| text_length(longer) == length);
                fits.then_some(Some(longer))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `w1 0-5` writes 1 between the times 0 and 5, `r1 6-7` reads it, `r- 0-1` reads nothing
    /// there, `w2 3-` never returned, `i3 0-1` adds 1 and returns 3, `i- 0-` adds 1 and returns
    /// nothing, `ab2 0-1` appends b and returns the length 2, `tab 0-1` reads the text ab.
    fn history(text: &str) -> Vec<Operation> {
        let operation = |word: &str| {
            let (action, times) = word.split_once(' ').expect("an action and its times");
            let (invoked, returned) = times.split_once('-').expect("two times");
            let value = &action[1..];
            let action = match &action[..1] {
                "w" => Action::Write(value.parse().expect("a value")),
                "i" => Action::Add { by: 1, result: value.parse().ok() },
                "a" => {
                    let (text, length) = value.split_at(1);
                    Action::Append { text: text.to_owned(), length: length.parse().ok() }
                }
                "t" => Action::ReadText(value.to_owned()),
                _ => Action::Read(value.parse().ok()),
            };
            Operation {
                key: "k".to_owned(),
                client: 0,
                action,
                invoked: invoked.parse().expect("a time"),
                returned: returned.parse().ok(),
            }
        };
        text.split(", ").map(operation).collect()
    }

    fn good(text: &str) {
        assert_eq!(check(&history(text)), Ok(()), "{text}");
    }

    fn bad(text: &str) {
        assert!(matches!(check(&history(text)), Err(Violation::Impossible { .. })), "{text}");
    }

    #[test]
    fn one_after_the_other_reads_see_the_last_write() {
        good("r- 0-1, w1 2-3, r1 4-5, w2 6-7, r2 8-9");
        bad("w1 2-3, r- 4-5");
        bad("w1 0-1, w2 2-3, r1 4-5");
        bad("r1 0-1, w1 2-3");
        bad("w1 0-1, r2 2-3");
    }

    #[test]
    fn concurrent_operations_take_effect_in_some_order() {
        good("w1 0-10, r- 1-2, r1 3-4");
        good("w1 0-10, r1 1-2, r1 3-4");
        bad("w1 0-10, r1 1-2, r- 3-4");
        good("w1 0-10, w2 0-10, r2 11-12");
        good("w1 0-10, w2 0-10, r1 11-12");
        bad("w1 0-10, w2 0-10, r1 11-12, r2 13-14");
        bad("w1 0-10, w2 0-10, r1 11-20, r2 11-20, r- 21-22");
    }

    #[test]
    fn unknown_writes_may_take_effect_late_once_or_never() {
        good("w1 0-1, w2 2-, r1 3-4, r1 5-6, r2 100-101");
        good("w1 0-1, w2 2-, r1 100-101");
        bad("w1 0-1, w2 2-, r2 3-4, r1 5-6");
        bad("w1 0-1, w2 2-, w3 4-5, r2 6-7, r3 8-9, r2 10-11");
        bad("w1 0-1, r2 2-3, w2 4-");
    }

    #[test]
    fn reads_of_unknown_outcome_say_nothing() {
        good("w1 0-1, r7 2-, r1 3-4");
    }

    #[test]
    fn a_stale_read_by_another_client_is_found_in_a_long_history() {
        let mut operations = Vec::new();
        for number in 0..300 {
            let at = number * 10;
            operations.push(format!("w{number} {at}-{}", at + 15));
            operations.push(format!("r{number} {}-{}", at + 16, at + 17));
        }
        good(&operations.join(", "));
        operations.push("r150 5000-5001".to_owned());
        bad(&operations.join(", "));
    }

    #[test]
    fn a_search_that_is_given_up_is_no_pass() {
        // Many writes at once, of which none explains what is read: every subset is a new state.
        let mut operations: Vec<String> =
            (1..=12).map(|number| format!("w{number} 0-50")).collect();
        operations.push("r99 51-52".to_owned());
        let hard = history(&operations.join(", "));
        let given_up = Err(Violation::TooHard { key: "k".to_owned() });
        assert_eq!(check_within(&hard, 1000), given_up);
        assert!(matches!(check(&hard), Err(Violation::Impossible { .. })));
        // A search needs a step for each operation, and one to see that it is done.
        let good = history("w1 0-1, r1 2-3");
        assert_eq!(check_within(&good, 2), given_up);
        assert_eq!(check_within(&good, 3), Ok(()));
    }

    #[test]
    fn increments_count_each_once() {
        good("i1 0-5, i2 0-5, i3 6-7, r3 8-9, w7 10-11, i8 12-13");
        bad("i1 0-5, i1 0-5");
        bad("i1 0-1, i2 2-3, r1 4-5");
        good("i1 0-1, i- 2-, i2 3-4, i4 100-101");
        good("i1 0-1, i- 2-, r1 3-4, r2 5-6, i3 100-101");
        bad("i1 0-1, i- 2-, i2 3-4, i5 100-101");
        bad("i1 0-1, i- 2-, i3 3-4, i4 5-6, i6 100-101");
    }

    #[test]
    fn appended_texts_are_in_one_order() {
        good("aa1 0-5, ab2 0-5, tab 6-7, ac3 8-9, tabc 10-11");
        good("ab1 0-5, aa2 0-5, tba 6-7");
        bad("aa1 0-5, ab2 0-5, tba 6-7");
        bad("aa1 0-1, ab2 2-3, tab 4-5, ta 6-7");
        good("aa1 0-1, ab 2-, ta 3-4, ac2 5-6, tacb 7-8");
        bad("aa1 0-1, ab 2-, tab 3-4, ac3 5-6, tacb 7-8");
        bad("aa1 0-1, tabb 2-3");
    }

    #[test]
    fn many_appends_of_unknown_outcome_are_no_reason_to_give_up() {
        let letters: Vec<char> = ('b'..='y').collect();
        let found: String = letters.iter().rev().step_by(2).collect();
        let unknown = letters.iter().map(|letter| format!("a{letter} 2-"));
        let mut operations: Vec<String> = unknown.collect();
        operations.insert(0, "aa1 0-1".to_owned());
        operations.push(format!("az{} 100-200", found.len() + 2));
        let with = |read: String| {
            let all = [&operations[..], &[read]].concat().join(", ");
            check_within(&history(&all), 100)
        };
        assert_eq!(with(format!("ta{found}z 300-301")), Ok(()));
        for wrong in [format!("ta{found} 300-301"), format!("ta{found}zz 300-301")] {
            assert!(matches!(with(wrong), Err(Violation::Impossible { .. })));
        }
    }

    #[test]
    fn keys_are_independent() {
        let mut both = history("w1 0-1, r1 2-3");
        for operation in history("r- 4-5") {
            both.push(Operation { key: "other".to_owned(), ..operation });
        }
        assert_eq!(check(&both), Ok(()));
    }
}
