//! CLIENT: the connection's own name and habits, and the other connections.
//!
//! ```text
//! > CLIENT SETNAME worker
//! OK
//! > CLIENT GETNAME
//! worker
//! ```

mod kill;
mod list;
mod mode;
mod pause;

use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use crate::commands::words::{help, is_word, printable};
use crate::limits::CLIENT_NAME_BYTES_MAX;
use protocol::{Reply, Request};

pub(super) const CLIENT: CommandSpec = CommandSpec {
    name: "client",
    syntax: "CLIENT subcommand",
    summary: "A container for commands on connections.",
    group: Group::Connection,
    since: "2.4.0",
    docs: Docs::CONTAINER,
    arity: Arity::AtLeast(2),
    subcommands: SUBCOMMANDS,
    run: Run::Container,
    ..CommandSpec::TEMPLATE
};

/// What all subcommands share.
const PLAIN: CommandSpec = CommandSpec {
    group: Group::Connection,
    flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE),
    ..CommandSpec::TEMPLATE
};

/// What those on other connections share.
const ADMIN: CommandSpec = CommandSpec {
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    ..PLAIN
};

static SUBCOMMANDS: &[CommandSpec] = &[
    mode::CAPA,
    CommandSpec {
        name: "getname",
        syntax: "CLIENT GETNAME",
        summary: "Returns the name of the connection.",
        since: "2.6.9",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(get_name),
        ..PLAIN
    },
    CommandSpec {
        name: "help",
        syntax: "CLIENT HELP",
        summary: "Lists the subcommands.",
        since: "5.0.0",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        run: Run::Session(print_help),
        ..PLAIN
    },
    CommandSpec {
        name: "id",
        syntax: "CLIENT ID",
        summary: "Returns the id of the connection.",
        since: "5.0.0",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(id),
        ..PLAIN
    },
    list::INFO,
    kill::KILL,
    list::LIST,
    mode::NO_EVICT,
    mode::NO_TOUCH,
    pause::PAUSE,
    mode::REPLY,
    CommandSpec {
        name: "setinfo",
        syntax: "CLIENT SETINFO <LIB-NAME libname | LIB-VER libver>",
        summary: "Sets the name or version of the client library.",
        since: "7.2.0",
        docs: Docs::COST_1,
        arity: Arity::Exactly(4),
        run: Run::Session(set_info),
        ..PLAIN
    },
    CommandSpec {
        name: "setname",
        syntax: "CLIENT SETNAME connection-name",
        summary: "Sets the name of the connection.",
        since: "2.6.9",
        docs: Docs::COST_1,
        arity: Arity::Exactly(3),
        run: Run::Session(set_name_command),
        ..PLAIN
    },
    pause::UNPAUSE,
];

fn id(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::Integer(ctx.session.client.id as i64)
}

fn get_name(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let name = ctx.session.client.name();
    if name.is_empty() { Reply::Null } else { Reply::bulk(name) }
}

fn set_name_command(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    set_name(ctx, args.arg(2)).map_or_else(|refused| refused, |()| Reply::OK)
}

/// Names the client, or gives the error reply.
pub(super) fn set_name(ctx: &SessionContext<'_>, name: &[u8]) -> Result<(), Reply> {
    let Some(name) = plain_text(name) else {
        let text = "ERR Client names cannot contain spaces, newlines or special characters.";
        return Err(Reply::error(text));
    };
    ctx.session.client.set_name(name);
    Ok(())
}

fn set_info(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let client = &ctx.session.client;
    let (name, set): (_, &dyn Fn(&str)) = if is_word(args.arg(2), "lib-name") {
        ("lib-name", &|text| client.set_library_name(text))
    } else if is_word(args.arg(2), "lib-ver") {
        ("lib-ver", &|text| client.set_library_version(text))
    } else {
        return Reply::error(format!("ERR Unrecognized option '{}'", printable(args.arg(2))));
    };
    let Some(text) = plain_text(args.arg(3)) else {
        let text = "cannot contain spaces, newlines or special characters.";
        return Reply::error(format!("ERR {name} {text}"));
    };
    set(text);
    Reply::OK
}

/// Text of printable ASCII without spaces: what may stand in a line of CLIENT LIST.
fn plain_text(bytes: &[u8]) -> Option<&str> {
    let plain = bytes.len() <= CLIENT_NAME_BYTES_MAX && bytes.iter().all(u8::is_ascii_graphic);
    str::from_utf8(bytes).ok().filter(|_| plain)
}

fn print_help(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    help(
        "CLIENT",
        &[
            "CAPA <capability> [<capability> ...]",
            "    Say what the client understands: redirect.",
            "GETNAME",
            "    Return the name of the current connection.",
            "ID",
            "    Return the ID of the current connection.",
            "INFO",
            "    Return information about the current client connection.",
            "KILL <ip:port>",
            "    Kill connection made from <ip:port>.",
            "KILL <option> <value> [<option> <value> [...]]",
            "    Kill connections. Options are:",
            "    * ID <client-id>",
            "    * ADDR <ip:port>",
            "    * LADDR <ip:port>",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "    * USER <username>",
            "    * SKIPME (YES|NO)",
            "      Skip killing current connection (default: yes).",
            "LIST [options ...]",
            "    Return information about client connections. Options:",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "    * ID <client-id> [<client-id> ...]",
            "UNPAUSE",
            "    Stop the current client pause, resuming traffic.",
            "PAUSE <timeout> [WRITE|ALL]",
            "    Suspend all, or just write, clients for <timeout> milliseconds.",
            "REPLY (ON|OFF|SKIP)",
            "    Control the replies sent to the current connection.",
            "SETINFO (LIB-NAME|LIB-VER) <value>",
            "    Set the name or version of the client library.",
            "SETNAME <name>",
            "    Assign the name <name> to the current connection.",
            "NO-EVICT (ON|OFF)",
            "    Spare this client when all together have too much memory.",
            "NO-TOUCH (ON|OFF)",
            "    Accepted: reads never change the age of keys.",
        ],
    )
}
