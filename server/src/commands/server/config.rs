//! CONFIG: settings and statistics.
//!
//! ```text
//! > CONFIG SET slowlog-max-len 64
//! OK
//! > CONFIG GET slowlog-max-len
//! 1) slowlog-max-len
//! 2) 64
//! ```

use super::PLAIN;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Run};
use crate::commands::words::{SYNTAX, help, printable};
use protocol::{Reply, Request};

pub(super) const CONFIG: CommandSpec = CommandSpec {
    name: "config",
    syntax: "CONFIG subcommand",
    summary: "A container for commands on settings.",
    since: "2.0.0",
    docs: Docs::CONTAINER,
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    subcommands: SUBCOMMANDS,
    run: Run::Container,
    ..PLAIN
};

const ADMIN: CommandSpec = CommandSpec {
    since: "2.0.0",
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    ..PLAIN
};

static SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "get",
        syntax: "CONFIG GET parameter [parameter ...]{block}",
        summary: "Returns the values of settings; patterns are allowed.",
        docs: Docs::cost("O(N) when N is the number of configuration parameters provided").history(
            &[("7.0.0", "Added the ability to pass multiple pattern parameters in one call")],
        ),
        arity: Arity::AtLeast(3),
        run: Run::Session(get),
        ..ADMIN
    },
    CommandSpec {
        name: "help",
        syntax: "CONFIG HELP",
        summary: "Lists the subcommands.",
        since: "5.0.0",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(print_help),
        ..PLAIN
    },
    CommandSpec {
        name: "resetstat",
        syntax: "CONFIG RESETSTAT",
        summary: "Sets the counters of INFO to zero.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(reset_stat),
        ..ADMIN
    },
    CommandSpec {
        name: "rewrite",
        syntax: "CONFIG REWRITE",
        summary: "Refused: the configuration file is never written.",
        since: "2.8.0",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(rewrite),
        ..ADMIN
    },
    CommandSpec {
        name: "set",
        syntax: "CONFIG SET parameter value [parameter value ...]",
        summary: "Changes settings, all or none.",
        docs: Docs::cost("O(N) when N is the number of configuration parameters provided")
            .history(&[("7.0.0", "Added the ability to set multiple parameters in one call.")]),
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arity: Arity::AtLeast(4),
        run: Run::Session(set),
        ..ADMIN
    },
];

fn get(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let patterns: Vec<&[u8]> = args.iter().skip(2).collect();
    let found = ctx.node.settings().get(&patterns);
    Reply::Map(
        found.into_iter().map(|(name, value)| (Reply::bulk(name), Reply::bulk(value))).collect(),
    )
}

fn set(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    if !args.len().is_multiple_of(2) {
        return SYNTAX;
    }
    let text: Vec<String> = args
        .iter()
        .skip(2)
        .map(|arg| String::from_utf8(arg.to_vec()).unwrap_or_else(|_| printable(arg)))
        .collect();
    let pairs: Vec<(&str, &str)> =
        text.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let is_password = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("requirepass");
    if ctx.node.users().default_is_stored() && pairs.iter().any(is_password) {
        return Reply::error(
            "ERR CONFIG SET failed (possibly related to argument 'requirepass') - the default user \
             is in the log: use ACL SETUSER default",
        );
    }
    match ctx.node.settings().set(&pairs) {
        Ok(()) => Reply::OK,
        Err(error) => Reply::error(printable(error.to_string().as_bytes())),
    }
}

fn reset_stat(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    ctx.node.metrics().reset();
    Reply::OK
}

fn rewrite(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::error("ERR The server is running without a config file")
}

fn print_help(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    help(
        "CONFIG",
        &[
            "GET <pattern>",
            "    Return parameters matching the glob-like <pattern> and their values.",
            "SET <directive> <value>",
            "    Set the configuration <directive> to <value>.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
            "REWRITE",
            "    Rewrite the configuration file.",
        ],
    )
}
