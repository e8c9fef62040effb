//! TIME and LASTSAVE: the clock, and the moment the state was last durable.
//!
//! ```text
//! > TIME
//! 1) 1795229961
//! 2) 431984
//! ```

use super::PLAIN;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Run};
use protocol::{Reply, Request};

pub(super) const TIME: CommandSpec = CommandSpec {
    name: "time",
    syntax: "TIME",
    summary: "Returns the time of this node: seconds since 1970, and microseconds.",
    since: "2.6.0",
    docs: Docs::COST_1,
    tips: &["nondeterministic_output"],
    arity: Arity::Exactly(1),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
    run: Run::Session(time),
    ..PLAIN
};

pub(super) const LASTSAVE: CommandSpec = CommandSpec {
    name: "lastsave",
    syntax: "LASTSAVE",
    summary: "Returns when the state last became durable apart from the log, in \
             seconds since 1970.",
    since: "1.0.0",
    docs: Docs::COST_1,
    tips: &["nondeterministic_output"],
    arity: Arity::Exactly(1),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
    categories: &["@admin", "@dangerous"],
    run: Run::Session(last_save),
    ..PLAIN
};

fn time(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let now_us = ctx.node.clock().unix_us();
    let parts = [now_us / 1_000_000, now_us % 1_000_000];
    Reply::Array(parts.map(|part| Reply::bulk(part.to_string())).into())
}

fn last_save(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::Integer((ctx.node.last_save_ms() / 1000) as i64)
}
