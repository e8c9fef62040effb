//! RENAME: gives a key another name. RENAMENX: the same unless that name is taken.
//!
//! ```text
//! > MSET one 1 two 2
//! OK
//! > RENAMENX one two
//! 0
//! > RENAME one two
//! OK
//! > GET two
//! "1"
//! ```
//!
//! The deadline goes with the value.

use crate::commands::context::WriteContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Failure};
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run, no_check};
use protocol::{Reply, Request};

pub(super) const RENAME: CommandSpec = CommandSpec {
    name: "rename",
    syntax: "RENAME key newkey",
    summary: "Renames a key, replacing a key that has the new name.",
    group: Group::Generic,
    since: "1.0.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(3),
    flags: Flags::WRITE,
    keys: Keys::Range { first: 1, last: 2, step: 1 },
    run: Run::Write {
        check: no_check,
        apply: |ctx, args| rename(ctx, args, true).map(|_| Reply::OK),
    },
    ..CommandSpec::TEMPLATE
};

pub(super) const RENAMENX: CommandSpec = CommandSpec {
    name: "renamenx",
    syntax: "RENAMENX key newkey",
    summary: "Renames a key unless a key has the new name.",
    docs: Docs::COST_1.history(&[(
        "3.2.0",
        "The command no longer returns an error when source and destination names are the same.",
    )]),
    flags: Flags::WRITE.and(Flags::FAST),
    run: Run::Write {
        check: no_check,
        apply: |ctx, args| Ok(Reply::Integer(i64::from(rename(ctx, args, false)?))),
    },
    ..RENAME
};

/// Returns whether the key has got a name that it did not have.
fn rename(ctx: &mut WriteContext<'_, '_>, args: &Request, replace: bool) -> Result<bool, Failure> {
    let (key, new_key) = (args.arg(1), args.arg(2));
    let from = ctx.load(key)?;
    let record = from.record().cloned().ok_or(CommandError::NoSuchKey)?;
    if key == new_key {
        return Ok(false);
    }
    let to = ctx.load(new_key)?;
    if to.record().is_some() && !replace {
        return Ok(false);
    }
    ctx.writer.remove(from)?;
    ctx.writer.store(to, record.kind, &[&record.payload], record.deadline_ms)?;
    Ok(true)
}
