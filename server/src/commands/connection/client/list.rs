//! CLIENT LIST and INFO: one line for each client.
//!
//! ```text
//! > CLIENT INFO
//! id=7 addr=127.0.0.1:5022 laddr=127.0.0.1:6379 fd=9 name= age=3 idle=0 flags=N db=0 ...
//! ```

use super::{ADMIN, PLAIN};
use crate::clients::{Client, ClientKind};
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::numbers::parse_i64;
use crate::commands::spec::{Arity, CommandSpec, Run};
use crate::commands::words::{SYNTAX, is_word, printable};
use protocol::{Reply, Request};
use std::sync::Arc;

pub(super) const INFO: CommandSpec = CommandSpec {
    name: "info",
    syntax: "CLIENT INFO",
    summary: "Describes this connection.",
    since: "6.2.0",
    docs: Docs::COST_1,
    tips: &["nondeterministic_output"],
    arity: Arity::Exactly(2),
    run: Run::Session(info),
    ..PLAIN
};

pub(super) const LIST: CommandSpec = CommandSpec {
    name: "list",
    syntax: "CLIENT LIST [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>]{5.0.0} \
             [ID client-id [client-id ...]]{6.2.0}",
    summary: "Describes connections.",
    since: "2.4.0",
    docs: Docs::cost("O(N) where N is the number of client connections").history(&[
        ("2.8.12", "Added unique client `id` field."),
        ("5.0.0", "Added optional `TYPE` filter."),
        ("6.0.0", "Added `user` field."),
        (
            "6.2.0",
            "Added `argv-mem`, `tot-mem`, `laddr` and `redir` fields and the optional `ID` filter.",
        ),
        ("7.0.0", "Added `resp`, `multi-mem`, `rbs` and `rbp` fields."),
        ("7.0.3", "Added `ssub` field."),
    ]),
    tips: &["nondeterministic_output"],
    arity: Arity::AtLeast(2),
    run: Run::Session(list),
    ..ADMIN
};

fn info(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    describe(ctx, std::slice::from_ref(&ctx.session.client))
}

fn list(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    match selected(ctx, args) {
        Ok(clients) => describe(ctx, &clients),
        Err(refused) => refused,
    }
}

fn selected(ctx: &SessionContext<'_>, args: &Request) -> Result<Vec<Arc<Client>>, Reply> {
    let registry = ctx.node.clients();
    match (args.get(2), args.len()) {
        (None, _) => Ok(registry.list()),
        (Some(option), 4) if is_word(option, "type") => {
            let name = args.arg(3);
            let wrong = || Reply::error(format!("ERR Unknown client type '{}'", printable(name)));
            let kind = ClientKind::parse(name).ok_or_else(wrong)?;
            Ok(registry.list().into_iter().filter(|client| client.kind() == kind).collect())
        }
        (Some(option), 4..) if is_word(option, "id") => {
            let ids = (3..args.len()).map(|at| parse_i64(args.arg(at)));
            let ids: Option<Vec<i64>> = ids.collect();
            let ids = ids.ok_or_else(|| Reply::error("ERR Invalid client ID"))?;
            let known = ids.into_iter().filter_map(|id| registry.get(u64::try_from(id).ok()?));
            Ok(known.collect())
        }
        _ => Err(SYNTAX),
    }
}

/// About the bytes of a client's line.
const LINE_BYTES: usize = 320;

fn describe(ctx: &SessionContext<'_>, clients: &[Arc<Client>]) -> Reply {
    let now_ms = ctx.node.clock().unix_ms();
    let mut lines = String::with_capacity(clients.len() * LINE_BYTES);
    for client in clients {
        lines += &client.describe(now_ms);
        lines.push('\n');
    }
    Reply::Verbatim(*b"txt", lines.into())
}
