//! GET: a string. GETDEL: a string, and its key is removed.
//!
//! ```text
//! > SET greeting hello
//! OK
//! > GETDEL greeting
//! "hello"
//! > GET greeting
//! (nil)
//! ```

use crate::commands::context::{ReadContext, WriteContext};
use crate::commands::docs::Docs;
use crate::commands::error::Outcome;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run, no_check};
use protocol::{Reply, Request};

pub(super) const GET: CommandSpec = CommandSpec {
    name: "get",
    syntax: "GET key",
    summary: "Returns a string.",
    group: Group::String,
    since: "1.0.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: Keys::at(1),
    run: Run::Read(get),
    ..CommandSpec::TEMPLATE
};

pub(super) const GETDEL: CommandSpec = CommandSpec {
    name: "getdel",
    syntax: "GETDEL key",
    summary: "Returns a string and removes its key.",
    since: "6.2.0",
    docs: Docs::COST_1,
    flags: Flags::WRITE.and(Flags::FAST).and(Flags::RETURNS_VALUE),
    run: Run::Write { check: no_check, apply: getdel },
    ..GET
};

fn get(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let record = ctx.lookup_string(args.arg(1))?;
    Ok(record.map_or(Reply::Null, |record| Reply::Bulk(record.payload)))
}

fn getdel(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let loaded = ctx.load_string(args.arg(1))?;
    let Some(record) = loaded.record() else {
        return Ok(Reply::Null);
    };
    let reply = Reply::Bulk(record.payload.clone());
    ctx.writer.remove(loaded)?;
    Ok(reply)
}
