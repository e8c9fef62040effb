//! Where a command's keys are and what it does to them, as COMMAND INFO prints it.
//!
//! Positions follow from the declaration. What is done to a key is printed by this table, as
//! redis-server 7.0.15 prints it; a command that is not in it has the flags of its kind.

use crate::commands::numbering;
use crate::commands::spec::{CommandSpec, Flags};
use crate::commands::words::is_word;
use protocol::{Reply, Request};

/// Says that the flags are those of the longest form of a command.
const VARIABLE: &str = "variable_flags";

/// Flags of a command's keys; two sets where the second key is treated unlike the first.
const KEY_FLAGS: &[(&[&str], &[&[&str]])] = &[
    (&["append"], &[&["RW", "insert"]]),
    (&["copy"], &[&["RO", "access"], &["OW", "update"]]),
    (&["del", "unlink"], &[&["RM", "delete"]]),
    (&["getdel"], &[&["RW", "access", "delete"]]),
    (&["msetnx", "setnx"], &[&["OW", "insert"]]),
    (&["mset", "psetex", "setex"], &[&["OW", "update"]]),
    (&["expire", "expireat", "pexpire", "pexpireat", "persist", "setrange"], &[&["RW", "update"]]),
    (&["rename"], &[&["RW", "access", "delete"], &["OW", "update"]]),
    (&["renamenx"], &[&["RW", "access", "delete"], &["OW", "insert"]]),
    (&["set"], &[&["RW", "access", "update", VARIABLE]]),
    (&["exists", "strlen", "touch", "type", "watch", "memory|usage"], &[&["RO"]]),
    (&["object|encoding", "object|freq", "object|idletime", "object|refcount"], &[&["RO"]]),
];

/// Notes that Redis prints with a key.
const NOTES: &[(&str, &str)] = &[
    ("set", "RW and ACCESS due to the optional `GET` argument"),
    ("getex", "RW and UPDATE because it changes the TTL"),
];

/// Some keys of a command that are treated alike.
pub(crate) struct KeySpec {
    /// What is done to them, in Redis's words.
    pub(super) flags: &'static [&'static str],
    note: Option<&'static str>,
    /// Position of the first of them.
    pub(super) first: usize,
    /// Distance of the last key from the first; negative: counted from the end.
    last: isize,
    step: usize,
}

/// The key specs of a command, in the order of its keys.
pub(crate) fn of(spec: &'static CommandSpec) -> Vec<KeySpec> {
    let (first, last, step) = spec.keys.printed();
    if first == 0 {
        return Vec::new();
    }
    let name = numbering::full_name_of(spec);
    let note = NOTES.iter().find(|(noted, _)| *noted == name).map(|(_, note)| *note);
    let listed = KEY_FLAGS.iter().find(|(names, _)| names.contains(&name));
    let by_kind: &'static [&'static [&'static str]] = if spec.flags.has(Flags::WRITE) {
        &[&["RW", "access", "update"]]
    } else {
        &[&["RO", "access"]]
    };
    let groups = listed.map_or(by_kind, |(_, groups)| groups);
    let span = if last < 0 { last } else { last - first as isize };
    let spec_of = |(position, flags): (usize, &&'static [&'static str])| {
        let last = if groups.len() > 1 { 0 } else { span };
        KeySpec { flags, note, first: first + position, last, step }
    };
    groups.iter().enumerate().map(spec_of).collect()
}

impl KeySpec {
    /// What `request` does to these keys. Where flags vary, they do with SET's GET.
    pub(crate) fn flags_in(&self, request: &Request) -> &'static [&'static str] {
        let has_get = || request.iter().skip(3).any(|word| is_word(word, "get"));
        match self.flags {
            [flags @ .., VARIABLE] if has_get() => flags,
            [.., VARIABLE] => &["OW", "update"],
            flags => flags,
        }
    }

    pub(super) fn describe(&self) -> Reply {
        let text = |text: &str| Reply::bulk(text);
        let number = |number: isize| Reply::Integer(number as i64);
        let method = |name, fields: Vec<(Reply, Reply)>| {
            Reply::Map(vec![(text("type"), text(name)), (text("spec"), Reply::Map(fields))])
        };
        let range = vec![
            (text("lastkey"), number(self.last)),
            (text("keystep"), number(self.step as isize)),
            (text("limit"), number(0)),
        ];
        let mut pairs = Vec::new();
        pairs.extend(self.note.map(|note| (text("notes"), text(note))));
        let flags = self.flags.iter().map(|flag| Reply::simple(flag)).collect();
        pairs.push((text("flags"), Reply::Set(flags)));
        let first = vec![(text("index"), number(self.first as isize))];
        pairs.push((text("begin_search"), method("index", first)));
        pairs.push((text("find_keys"), method("range", range)));
        Reply::Map(pairs)
    }
}
