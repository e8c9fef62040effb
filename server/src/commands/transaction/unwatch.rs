//! UNWATCH: forgets what was watched.
//!
//! ```text
//! > UNWATCH
//! OK
//! ```

use super::PLAIN;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Run};
use protocol::{Reply, Request};

pub(super) const UNWATCH: CommandSpec = CommandSpec {
    name: "unwatch",
    syntax: "UNWATCH",
    summary: "Forgets the watched keys.",
    since: "2.2.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(1),
    run: Run::Session(unwatch),
    ..PLAIN
};

fn unwatch(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    ctx.session.forget_watched();
    Reply::OK
}
