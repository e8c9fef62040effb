//! PING: whether the server answers.
//!
//! ```text
//! > PING
//! PONG
//! > PING hello
//! hello
//! ```

use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::error::CommandError;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use protocol::{Reply, Request};

pub(super) const PING: CommandSpec = CommandSpec {
    name: "ping",
    syntax: "PING [message]",
    summary: "Returns the message, or PONG without one.",
    group: Group::Connection,
    since: "1.0.0",
    docs: Docs::COST_1,
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    arity: Arity::AtLeast(1),
    flags: Flags::FAST,
    run: Run::Session(ping),
    ..CommandSpec::TEMPLATE
};

fn ping(_: &mut SessionContext<'_>, args: &Request) -> Reply {
    match args.len() {
        1 => Reply::simple("PONG"),
        2 => Reply::Bulk(args.bytes(1)),
        _ => Reply::error(CommandError::Arity("ping").to_string()),
    }
}
