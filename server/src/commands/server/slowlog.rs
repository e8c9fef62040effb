//! SLOWLOG: the last commands that took long.
//!
//! ```text
//! > SLOWLOG LEN
//! 3
//! ```

use super::PLAIN;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::numbers::parse_i64;
use crate::commands::spec::{Arity, CommandSpec, Flags, Run};
use crate::commands::words::{help, subcommand_syntax};
use crate::slowlog::SlowEntry;
use protocol::{Reply, Request};

pub(super) const SLOWLOG: CommandSpec = CommandSpec {
    name: "slowlog",
    syntax: "SLOWLOG subcommand",
    summary: "A container for commands on the slow log.",
    since: "2.2.12",
    docs: Docs::CONTAINER,
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    subcommands: SUBCOMMANDS,
    run: Run::Container,
    ..PLAIN
};

const ADMIN: CommandSpec = CommandSpec {
    since: "2.2.12",
    flags: Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE),
    ..PLAIN
};

/// Entries that GET returns when it is not told how many.
const COUNT_DEFAULT: i64 = 10;

static SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "get",
        syntax: "SLOWLOG GET [count]",
        summary: "Returns entries, newest first.",
        docs: Docs::cost("O(N) where N is the number of entries returned")
            .history(&[("4.0.0", "Added client IP address, port and name to the reply.")]),
        tips: &["request_policy:all_nodes", "nondeterministic_output"],
        arity: Arity::AtLeast(2),
        run: Run::Session(get),
        ..ADMIN
    },
    CommandSpec {
        name: "help",
        syntax: "SLOWLOG HELP",
        summary: "Lists the subcommands.",
        since: "6.2.0",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(print_help),
        ..PLAIN
    },
    CommandSpec {
        name: "len",
        syntax: "SLOWLOG LEN",
        summary: "Returns the number of entries.",
        docs: Docs::COST_1,
        tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
        arity: Arity::Exactly(2),
        run: Run::Session(len),
        ..ADMIN
    },
    CommandSpec {
        name: "reset",
        syntax: "SLOWLOG RESET",
        summary: "Forgets all entries.",
        docs: Docs::cost("O(N) where N is the number of entries in the slowlog"),
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arity: Arity::Exactly(2),
        run: Run::Session(reset),
        ..ADMIN
    },
];

fn get(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    if args.len() > 3 {
        return subcommand_syntax("SLOWLOG", args.arg(1));
    }
    let count = args.get(2).map_or(Some(COUNT_DEFAULT), parse_i64);
    let count = match count {
        Some(-1) => usize::MAX,
        Some(count @ 0..) => usize::try_from(count).unwrap_or(usize::MAX),
        _ => return Reply::error("ERR count should be greater than or equal to -1"),
    };
    Reply::Array(ctx.node.slowlog().newest(count).into_iter().map(describe).collect())
}

fn describe(entry: SlowEntry) -> Reply {
    Reply::Array(vec![
        Reply::Integer(entry.id as i64),
        Reply::Integer(entry.unix_seconds as i64),
        Reply::Integer(entry.micros as i64),
        Reply::Array(entry.args.into_iter().map(Reply::Bulk).collect()),
        Reply::bulk(entry.client_address),
        Reply::bulk(entry.client_name),
    ])
}

fn len(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::Integer(ctx.node.slowlog().len() as i64)
}

fn reset(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    ctx.node.slowlog().clear();
    Reply::OK
}

fn print_help(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    help(
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
            "    Entries are made of:",
            "    id, timestamp, time in microseconds, arguments array, client IP and port,",
            "    client name",
            "LEN",
            "    Return the length of the slowlog.",
            "RESET",
            "    Reset the slowlog.",
        ],
    )
}
