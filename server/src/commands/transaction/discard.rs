//! DISCARD: drops the block and forgets what was watched.
//!
//! ```text
//! > MULTI
//! OK
//! > DISCARD
//! OK
//! ```

use super::PLAIN;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Run};
use protocol::{Reply, Request};

pub(super) const DISCARD: CommandSpec = CommandSpec {
    name: "discard",
    syntax: "DISCARD",
    summary: "Discards a transaction.",
    since: "2.0.0",
    docs: Docs::cost("O(N), when N is the number of queued commands"),
    arity: Arity::Exactly(1),
    run: Run::Session(discard),
    ..PLAIN
};

fn discard(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    if ctx.session.multi.is_none() {
        return Reply::error("ERR DISCARD without MULTI");
    }
    ctx.session.end_multi();
    Reply::OK
}
