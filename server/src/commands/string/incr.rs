//! INCR, DECR, INCRBY, DECRBY: a string as a 64-bit integer.
//!
//! ```text
//! > INCR visits
//! 1
//! > DECRBY visits 10
//! -9
//! ```

use crate::commands::context::WriteContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::numbers::integer;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run, no_check};
use protocol::{Reply, Request};

pub(super) const INCR: CommandSpec = CommandSpec {
    name: "incr",
    syntax: "INCR key",
    summary: "Adds one to the integer that a string holds.",
    group: Group::String,
    since: "1.0.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(2),
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
    keys: Keys::at(1),
    run: Run::Write { check: no_check, apply: |ctx, args| add(ctx, args, 1) },
    ..CommandSpec::TEMPLATE
};

pub(super) const DECR: CommandSpec = CommandSpec {
    name: "decr",
    syntax: "DECR key",
    summary: "Subtracts one from the integer that a string holds.",
    docs: Docs::COST_1,
    run: Run::Write { check: no_check, apply: |ctx, args| add(ctx, args, -1) },
    ..INCR
};

pub(super) const INCRBY: CommandSpec = CommandSpec {
    name: "incrby",
    syntax: "INCRBY key increment",
    summary: "Adds a number to the integer that a string holds.",
    docs: Docs::COST_1,
    arity: Arity::Exactly(3),
    run: Run::Write {
        check: |args| integer(args.arg(2)).map(|_| ()),
        apply: |ctx, args| add(ctx, args, integer(args.arg(2))?),
    },
    ..INCR
};

pub(super) const DECRBY: CommandSpec = CommandSpec {
    name: "decrby",
    syntax: "DECRBY key decrement",
    summary: "Subtracts a number from the integer that a string holds.",
    docs: Docs::COST_1,
    run: Run::Write {
        check: |args| negated(args).map(|_| ()),
        apply: |ctx, args| add(ctx, args, negated(args)?),
    },
    ..INCRBY
};

fn negated(args: &Request) -> Result<i64, CommandError> {
    let decrement = integer(args.arg(2))?;
    decrement.checked_neg().ok_or(CommandError::text("ERR decrement would overflow"))
}

fn add(ctx: &mut WriteContext<'_, '_>, args: &Request, increment: i64) -> Outcome {
    let loaded = ctx.load_string(args.arg(1))?;
    let (before, deadline_ms) = match loaded.record() {
        Some(record) => (integer(&record.payload)?, record.deadline_ms),
        None => (0, None),
    };
    let sum = before.checked_add(increment).ok_or(CommandError::Overflow)?;
    ctx.store_string(loaded, itoa::Buffer::new().format(sum).as_bytes(), deadline_ms)?;
    Ok(Reply::Integer(sum))
}
