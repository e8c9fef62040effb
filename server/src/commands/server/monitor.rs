//! MONITOR: every command of every client, as it comes.
//!
//! ```text
//! > MONITOR
//! OK
//! 1339518083.107412 [0 127.0.0.1:60866] "keys" "*"
//! ```

use super::PLAIN;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Run};
use protocol::{Reply, Request};

pub(super) const MONITOR: CommandSpec = CommandSpec {
    name: "monitor",
    syntax: "MONITOR",
    summary: "Shows every command that this node gets, passwords left out.",
    since: "1.0.0",
    docs: Docs::NONE,
    arity: Arity::Exactly(1),
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    run: Run::Session(monitor),
    ..PLAIN
};

fn monitor(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    if ctx.session.in_multi() {
        return Reply::error("ERR MONITOR isn't allowed for DENY BLOCKING client");
    }
    if !ctx.session.monitor {
        ctx.session.monitor = true;
        ctx.node.clients().monitor(&ctx.session.client);
    }
    Reply::OK
}
