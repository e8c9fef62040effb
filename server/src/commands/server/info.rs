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
use crate::commands::info;
use crate::commands::spec::{Arity, CommandSpec, Run};
use protocol::{Reply, Request};

pub(super) const INFO: CommandSpec = CommandSpec {
    name: "info",
    syntax: "INFO [section [section ...]]",
    summary: "Returns figures and facts about the node, by section.",
    since: "1.0.0",
    arity: Arity::AtLeast(1),
    categories: &["@dangerous"],
    run: Run::Session(print_info),
    ..PLAIN
};

fn print_info(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let names: Vec<&[u8]> = args.iter().skip(1).collect();
    Reply::Verbatim(*b"txt", info::render(ctx.node, &names).into())
}
