//! MULTI: opens a block; the commands that follow are queued.
//!
//! ```text
//! > MULTI
//! OK
//! > INCR hits
//! QUEUED
//! ```

use super::PLAIN;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Run};
use protocol::{Reply, Request};

pub(super) const MULTI: CommandSpec = CommandSpec {
    name: "multi",
    syntax: "MULTI",
    summary: "Starts a transaction.",
    since: "1.2.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(1),
    run: Run::Session(multi),
    ..PLAIN
};

fn multi(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    if ctx.session.multi.is_some() {
        return Reply::error("ERR MULTI calls can not be nested");
    }
    ctx.session.begin_multi();
    Reply::OK
}
