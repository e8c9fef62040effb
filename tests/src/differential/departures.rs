//! Where replies may differ from those of redis-server 7.0.15, and why: the only such list.
//!
//! What is not listed is compared byte by byte, except that what Redis itself calls unordered (RESP3
//! sets and maps, the tip `nondeterministic_output_order`) is compared in any order, and what it calls
//! `nondeterministic_output` by its type. Errors are compared as text: where Redis puts bytes of a
//! request that are no UTF-8 into an error, Kvorum puts the replacement character.
//!
//! What changes users and is not sent is in `blocks.rs`: within MULTI, where Kvorum shows users as they
//! are after the block; a null character in a selector; `%RW~*`. A rule that removes a password
//! by its text is not made: Kvorum's error names the password's hash. The golden scripts look closer at
//! many of these commands.

use kvorum::commands::spec::{CommandSpec, Flags, Group};

/// How closely replies are compared. Errors are compared exactly, but for one line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Byte by byte.
    Exact,
    /// Elements of the outermost array in any order.
    AnyOrder,
    /// Keys and values, in any order of the keys.
    AnyOrderOfPairs,
    /// Numbers that differ by no more than this; both below 0 are compared exactly.
    Within(i64),
    /// The type of the reply: string, number, list, nothing.
    Type,
    /// A whole iteration as a set; a part of one by its type.
    Iteration,
    /// Exact, but where Redis executes nothing Kvorum may, if a watched key is absent. The script
    /// ends there.
    UnlessAbsent,
    /// Exact, but for the rules on commands in descriptions of users.
    UnlessCommandRule,
    /// Exact, but where several rules of ACL SETUSER are wrong either may be named.
    AnyWrongRule,
    /// The command is not sent.
    NotSent,
}

/// One line of the list.
pub struct Departure {
    /// Full names, in lower case: `client|list`. A container stands for all its subcommands.
    pub commands: &'static [&'static str],
    /// How they are compared.
    pub how: How,
    /// Why not exactly.
    pub reason: &'static str,
}

const fn line(commands: &'static [&'static str], how: How, reason: &'static str) -> Departure {
    Departure { commands, how, reason }
}

/// The list.
pub const DEPARTURES: &[Departure] = &[
    line(&["monitor"], How::NotSent, "its connection gets lines of others from then on"),
    line(&["shutdown", "failover", "debug"], How::NotSent, "they end or stop the server"),
    line(&["client|kill", "client|pause"], How::NotSent, "they reach beyond their connection"),
    line(&["client|reply"], How::NotSent, "replies could not be told apart"),
    line(
        &["acl|getuser", "acl|list"],
        How::UnlessCommandRule,
        "Redis 7.0 makes rules up from the commands that are allowed, and knows other commands; what \
         the rules allow is compared by ACL DRYRUN",
    ),
    line(
        &["acl|setuser"],
        How::AnyWrongRule,
        "Kvorum first names a rule that is wrong by itself, before it looks at what the user has",
    ),
    line(&["acl|genpass"], How::Type, "chance"),
    line(&["acl|cat", "acl|log"], How::Type, "Kvorum has other commands; denials have a clock"),
    line(&["wait"], How::NotSent, "it waits for what a server without replicas never has"),
    line(
        &["cluster", "readonly", "readwrite", "asking"],
        How::NotSent,
        "Kvorum always answers them; the server compared with is none of a cluster",
    ),
    line(
        &["client|setinfo", "client|capa", "client|no-touch", "waitaof"],
        How::NotSent,
        "Redis 7.0 does not have them",
    ),
    line(&["ttl", "expiretime"], How::Within(2), "two clocks, read at two moments"),
    line(&["pttl", "pexpiretime"], How::Within(2_000), "two clocks, read at two moments"),
    line(&["time", "lastsave", "object|idletime"], How::Type, "they show a clock"),
    line(
        &["exec"],
        How::UnlessAbsent,
        "Kvorum compares the state: a watched key that was absent, came and went is unchanged",
    ),
    line(&["randomkey"], How::Type, "chance"),
    line(&["scan"], How::Iteration, "the order of keys is that of the store, not of a hash table"),
    line(&["keys"], How::AnyOrder, "the order of keys is that of the store"),
    line(&["config|get"], How::AnyOrderOfPairs, "settings come in the order of the table"),
    line(
        &["info", "hello", "client|info", "client|list", "client|id", "role", "memory", "slowlog"],
        How::Type,
        "they describe the server, its connections and what happened to it",
    ),
    line(
        &["latency", "command|count", "command|list", "command|docs", "command", "command|info"],
        How::Type,
        "they describe the server; COMMAND is compared field by field in the tests of the table",
    ),
    line(&["help"], How::Type, "a HELP lists those subcommands that Kvorum has"),
];

/// How replies of a command are compared; `name` is its full name.
pub fn how(name: &str, spec: &CommandSpec) -> How {
    if spec.group == Group::Raft || spec.flags.has(Flags::BLOCKING) {
        return How::NotSent;
    }
    let container = name.split('|').next().unwrap_or_default();
    let last = name.split('|').next_back().unwrap_or_default();
    let named = |departure: &&Departure| {
        let of = departure.commands;
        of.contains(&name) || of.contains(&container) || (name != last && of.contains(&last))
    };
    if let Some(departure) = DEPARTURES.iter().find(named) {
        return departure.how;
    }
    match spec.tips {
        tips if tips.contains(&"nondeterministic_output") => How::Type,
        tips if tips.contains(&"nondeterministic_output_order") => How::AnyOrder,
        _ => How::Exact,
    }
}
