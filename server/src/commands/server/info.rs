//! INFO: what the node knows of itself, by section.
//!
//! ```text
//! > INFO replication
//! # Replication
//! role:master
//! ...
//! ```

use super::PLAIN;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::info;
use crate::commands::spec::{Arity, CommandSpec, Run};
use protocol::{Reply, Request};

pub(super) const INFO: CommandSpec = CommandSpec {
    name: "info",
    syntax: "INFO [section [section ...]]",
    summary: "Returns figures and facts about the node, by section.",
    since: "1.0.0",
    docs: Docs::COST_1
        .history(&[("7.0.0", "Added support for taking multiple section arguments.")]),
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    arity: Arity::AtLeast(1),
    categories: &["@dangerous"],
    run: Run::Session(print_info),
    ..PLAIN
};

fn print_info(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let names: Vec<&[u8]> = args.iter().skip(1).collect();
    Reply::Verbatim(*b"txt", info::render(ctx.node, &names, ctx.session.tls).into())
}
