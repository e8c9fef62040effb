//! READONLY, READWRITE, ASKING: whether this connection accepts what this node has applied.
//!
//! ```text
//! > READONLY
//! OK
//! ```
//!
//! They work on every node, in a cluster of one too: clients send them without asking first. No
//! slot ever moves between masters, so ASKING changes nothing.

use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use protocol::{Reply, Request};
use std::sync::atomic::Ordering;

const PLAIN: CommandSpec = CommandSpec {
    group: Group::Cluster,
    since: "3.0.0",
    arity: Arity::Exactly(1),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
    categories: &["@connection"],
    ..CommandSpec::TEMPLATE
};

pub(super) const READONLY: CommandSpec = CommandSpec {
    name: "readonly",
    syntax: "READONLY",
    summary: "Lets this connection read what this node has applied, without asking the leader.",
    docs: Docs::COST_1,
    run: Run::Session(readonly),
    ..PLAIN
};

pub(super) const READWRITE: CommandSpec = CommandSpec {
    name: "readwrite",
    syntax: "READWRITE",
    summary: "Ends READONLY.",
    docs: Docs::COST_1,
    run: Run::Session(readwrite),
    ..PLAIN
};

pub(super) const ASKING: CommandSpec = CommandSpec {
    name: "asking",
    syntax: "ASKING",
    summary: "Accepted: no slot is ever moved.",
    docs: Docs::COST_1,
    flags: Flags::FAST,
    run: Run::Session(asking),
    ..PLAIN
};

fn readonly(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    set(ctx, true)
}

fn readwrite(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    set(ctx, false)
}

fn asking(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::OK
}

fn set(ctx: &mut SessionContext<'_>, readonly: bool) -> Reply {
    ctx.session.readonly = readonly;
    ctx.session.client.is_readonly.store(readonly, Ordering::Relaxed);
    Reply::OK
}
