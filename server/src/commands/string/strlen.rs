//! STRLEN: the length of a string.
//!
//! ```text
//! > SET greeting hello
//! OK
//! > STRLEN greeting
//! 5
//! ```

use crate::commands::context::ReadContext;
use crate::commands::docs::Docs;
use crate::commands::error::Outcome;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use protocol::{Reply, Request};

pub(super) const STRLEN: CommandSpec = CommandSpec {
    name: "strlen",
    syntax: "STRLEN key",
    summary: "Returns the length in bytes of a string.",
    group: Group::String,
    since: "2.2.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: Keys::at(1),
    run: Run::Read(strlen),
    ..CommandSpec::TEMPLATE
};

fn strlen(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let record = ctx.lookup_string(args.arg(1))?;
    Ok(Reply::Integer(record.map_or(0, |record| record.payload.len() as i64)))
}
