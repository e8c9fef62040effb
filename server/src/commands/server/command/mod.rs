//! COMMAND: the command table, for clients that route or complete by it.
//!
//! ```text
//! > COMMAND GETKEYS MSET a 1 b 2
//! 1) a
//! 2) b
//! ```

mod describe;
mod getkeys;
pub(crate) mod key_specs;
mod list;

use super::PLAIN;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Run};
use crate::commands::words::help;
use crate::commands::{all, numbering};
use protocol::{Reply, Request};

pub(super) const COMMAND: CommandSpec = CommandSpec {
    name: "command",
    syntax: "COMMAND",
    summary: "Describes all commands.",
    since: "2.8.13",
    docs: Docs::cost("O(N) where N is the total number of Redis commands"),
    tips: &["nondeterministic_output_order"],
    arity: Arity::AtLeast(1),
    categories: &["@connection"],
    subcommands: SUBCOMMANDS,
    run: Run::Session(command),
    ..PLAIN
};

const SUB: CommandSpec = CommandSpec { since: "2.8.13", categories: &["@connection"], ..PLAIN };

static SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "count",
        syntax: "COMMAND COUNT",
        summary: "Returns the number of commands.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(count),
        ..SUB
    },
    CommandSpec {
        name: "docs",
        syntax: "COMMAND DOCS [command-name [command-name ...]]",
        summary: "Returns what commands are for.",
        since: "7.0.0",
        docs: Docs::cost("O(N) where N is the number of commands to look up"),
        tips: &["nondeterministic_output_order"],
        arity: Arity::AtLeast(2),
        run: Run::Session(docs),
        ..SUB
    },
    CommandSpec {
        name: "getkeys",
        syntax: "COMMAND GETKEYS command arg [arg ...]",
        summary: "Returns the keys of a command.",
        docs: Docs::cost("O(N) where N is the number of arguments to the command"),
        arity: Arity::AtLeast(4),
        run: Run::Session(getkeys::getkeys),
        ..SUB
    },
    CommandSpec {
        name: "getkeysandflags",
        syntax: "COMMAND GETKEYSANDFLAGS command arg [arg ...]",
        summary: "Returns the keys of a command, and what it does to each.",
        since: "7.0.0",
        docs: Docs::cost("O(N) where N is the number of arguments to the command"),
        arity: Arity::AtLeast(4),
        run: Run::Session(getkeys::getkeysandflags),
        ..SUB
    },
    CommandSpec {
        name: "help",
        syntax: "COMMAND HELP",
        summary: "Lists the subcommands.",
        since: "5.0.0",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(print_help),
        ..SUB
    },
    CommandSpec {
        name: "info",
        syntax: "COMMAND INFO [command-name [command-name ...]]",
        summary: "Describes commands.",
        docs: Docs::cost("O(N) where N is the number of commands to look up").history(&[(
            "7.0.0",
            "Allowed to be called with no argument to get info on all commands.",
        )]),
        tips: &["nondeterministic_output_order"],
        arity: Arity::AtLeast(2),
        run: Run::Session(info),
        ..SUB
    },
    CommandSpec {
        name: "list",
        syntax: "COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN \
             pattern>{filterby}]",
        summary: "Returns the names of commands.",
        since: "7.0.0",
        docs: Docs::cost("O(N) where N is the total number of Redis commands"),
        tips: &["nondeterministic_output_order"],
        arity: Arity::AtLeast(2),
        run: Run::Session(list::list),
        ..SUB
    },
];

fn command(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::Array(all().map(describe::info).collect())
}

fn count(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::Integer(all().count() as i64)
}

fn info(_: &mut SessionContext<'_>, args: &Request) -> Reply {
    if args.len() == 2 {
        return Reply::Array(all().map(describe::info).collect());
    }
    let describe = |name| numbering::find(name).map_or(Reply::Null, describe::info);
    Reply::Array(args.iter().skip(2).map(describe).collect())
}

fn docs(_: &mut SessionContext<'_>, args: &Request) -> Reply {
    if args.len() == 2 {
        return Reply::Map(all().map(describe::docs).collect());
    }
    Reply::Map(args.iter().skip(2).filter_map(numbering::find).map(describe::docs).collect())
}

fn print_help(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    help(
        "COMMAND",
        &[
            "(no subcommand)",
            "    Return details about all commands.",
            "COUNT",
            "    Return the total number of commands in this server.",
            "LIST",
            "    Return a list of all commands in this server.",
            "INFO [<command-name> ...]",
            "    Return details about multiple commands.",
            "    If no command names are given, details for all commands are returned.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "GETKEYS <full-command>",
            "    Return the keys from a full command.",
            "GETKEYSANDFLAGS <full-command>",
            "    Return the keys and the access flags from a full command.",
        ],
    )
}
