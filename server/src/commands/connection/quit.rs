//! QUIT: closes the connection once it is answered.
//!
//! ```text
//! > QUIT
//! OK
//! ```

use super::hello::HANDSHAKE_FLAGS;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Group, Run};
use protocol::{Reply, Request};

pub(super) const QUIT: CommandSpec = CommandSpec {
    name: "quit",
    syntax: "QUIT",
    summary: "Closes the connection.",
    group: Group::Connection,
    since: "1.0.0",
    docs: Docs::COST_1,
    arity: Arity::AtLeast(1),
    flags: HANDSHAKE_FLAGS,
    run: Run::Session(quit),
    ..CommandSpec::TEMPLATE
};

fn quit(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    ctx.session.closing = true;
    Reply::OK
}
