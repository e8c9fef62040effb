//! Which requests about users a script may hold, and which connections are inside a MULTI block.
//!
//! Connections are in the name of the default user all the time: others are made, changed, asked about
//! and deleted without one.

use super::rules::USERS;
use super::{CONNECTIONS, Step};

/// Connections that may be inside a MULTI block.
#[derive(Default)]
pub(super) struct Blocks([bool; CONNECTIONS]);

impl Blocks {
    /// Notes a request.
    pub(super) fn note(&mut self, step: &Step) {
        let is = |name: &str| step.args[0].eq_ignore_ascii_case(name.as_bytes());
        let ends = ["exec", "discard", "reset", "quit"].into_iter().any(is) && step.args.len() == 1;
        self.0[step.connection] = is("multi") || self.0[step.connection] && !ends;
    }

    /// Whether a request changes no users; or, outside a block, only such as no connection is in the
    /// name of, by rules that Redis understands as Kvorum does.
    pub(super) fn let_through(&self, step: &Step) -> bool {
        let is = |at: usize, word: &str| {
            step.args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
        };
        match is(0, "acl") {
            true if is(1, "setuser") => !self.0[step.connection] && are_understood(&step.args[2..]),
            true if is(1, "deluser") => !self.0[step.connection],
            _ => true,
        }
    }
}

/// Whether a user is one of those that are made, and no rule is a selector with a null character, at
/// which Redis ends a pattern, or lets keys of all names be read and written by `%`, which Redis prints
/// as the rule `~*` that it is not.
fn are_understood(user_and_rules: &[Vec<u8>]) -> bool {
    let Some((user, rules)) = user_and_rules.split_first() else { return true };
    let has_selector = rules.iter().any(|rule| rule.starts_with(b"("));
    let is_all = |pattern: &[u8]| pattern.starts_with(b"%") && pattern.ends_with(b"~*");
    let is_wrong = |rule: &Vec<u8>| {
        let mut words = rule.split(|byte| b" ()".contains(byte));
        has_selector && rule.contains(&0) || words.any(is_all)
    };
    USERS.iter().any(|ours| user == ours.as_bytes()) && !rules.iter().any(is_wrong)
}
