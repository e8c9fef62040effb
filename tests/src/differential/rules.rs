//! Rules of ACL SETUSER, of every kind there is: mostly right, often a little wrong.

use super::generate::{PATTERNS, command_names};
use crate::random::Random;
use kvorum::commands::categories::acl_categories;
use kvorum::commands::{self};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Names of users that are made. No connection to a server is in the name of one.
pub(super) const USERS: &[&str] = &["reader", "u", "U", "user:\u{e9}"];

/// Rules that are one word.
pub const RULE_WORDS: &[&str] = &[
    "on",
    "off",
    "nopass",
    "resetpass",
    "reset",
    "clearselectors",
    "sanitize-payload",
    "skip-sanitize-payload",
    "allkeys",
    "resetkeys",
    "allchannels",
    "resetchannels",
    "allcommands",
    "nocommands",
];

/// Where those begin that a selector may have, too.
const SELECTOR_WORDS_AT: usize = 8;

/// Passwords as they are given, added or removed, and as they are kept: "secret", and another.
const PASSWORDS: &[&str] = &[
    ">secret",
    "<secret",
    "#2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    "!2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    ">",
    ">p\u{e9}<#",
    "#0000000000000000000000000000000000000000000000000000000000000000",
    "#2BB80D537B1DA3E38BD30361AA855686BDE0EACD7162FEF6A25FE97BF527A25B",
    "!00",
];

/// What patterns of keys begin with, right and wrong.
const KEY_MARKS: &[&str] = &["~", "~", "%R~", "%W~", "%RW~", "%wr~", "%~", "%RR~", "%"];

/// Categories of commands, with some that no command has, or nobody.
static CATEGORIES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let of_commands = commands::all().flat_map(acl_categories);
    let all: BTreeSet<String> = of_commands.map(|category| category.to_string()).collect();
    all.into_iter().chain(["@all", "@hash", "@nosuch", "@"].map(str::to_owned)).collect()
});

/// A rule.
pub(super) fn rule(random: &mut Random) -> Vec<u8> {
    let mut rule = match random.below(8) {
        0 | 1 => random.pick(RULE_WORDS).as_bytes().to_vec(),
        2 => random.pick(PASSWORDS).as_bytes().to_vec(),
        3 => {
            let inner: Vec<Vec<u8>> = (0..random.below(4)).map(|_| of_selector(random)).collect();
            [b"(", &inner.join(&b' ')[..], b")"].concat()
        }
        _ => of_selector(random),
    };
    if random.percent(3) && !rule.is_empty() {
        rule.truncate(random.below(rule.len()));
    }
    rule
}

/// A rule that a selector may have: on commands, keys or channels.
fn of_selector(random: &mut Random) -> Vec<u8> {
    let sign = *random.pick(&["+", "+", "-"]);
    match random.below(10) {
        0 => random.pick(&RULE_WORDS[SELECTOR_WORDS_AT..]).as_bytes().to_vec(),
        1..3 => [random.pick(KEY_MARKS).as_bytes(), random.pick::<&[u8]>(PATTERNS)].concat(),
        3 => [b"&", *random.pick::<&[u8]>(PATTERNS)].concat(),
        4..6 => format!("{sign}{}", random.pick::<String>(&CATEGORIES)).into_bytes(),
        6 => format!(
            "{sign}{}|{}",
            random.pick::<String>(command_names()),
            random.pick(&["a", "get", ""])
        )
        .into_bytes(),
        _ => format!("{sign}{}", random.pick::<String>(command_names())).into_bytes(),
    }
}
