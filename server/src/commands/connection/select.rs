//! SELECT: the database of the commands that follow on this connection.
//!
//! ```text
//! > SELECT 3
//! OK
//! ```

use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::numbers;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use protocol::{Reply, Request};

pub(super) const SELECT: CommandSpec = CommandSpec {
    name: "select",
    syntax: "SELECT index",
    summary: "Changes the selected database.",
    group: Group::Connection,
    since: "1.0.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
    run: Run::Session(select),
    ..CommandSpec::TEMPLATE
};

fn select(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let databases = ctx.node.settings().load().databases as u16;
    match numbers::database(args.arg(1), databases) {
        Ok(database) => {
            ctx.session.select(database);
            Reply::OK
        }
        Err(error) => Reply::error(error.to_string()),
    }
}
