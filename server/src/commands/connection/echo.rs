//! ECHO: its argument.
//!
//! ```text
//! > ECHO hello
//! hello
//! ```

use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use protocol::{Reply, Request};

pub(super) const ECHO: CommandSpec = CommandSpec {
    name: "echo",
    syntax: "ECHO message",
    summary: "Returns the message.",
    group: Group::Connection,
    since: "1.0.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
    run: Run::Session(echo),
    ..CommandSpec::TEMPLATE
};

fn echo(_: &mut SessionContext<'_>, args: &Request) -> Reply {
    Reply::Bulk(args.bytes(1))
}
