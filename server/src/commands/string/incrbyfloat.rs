//! INCRBYFLOAT: a string as a float, in the arithmetic of Redis (see [`float80`]).
//!
//! ```text
//! > SET price 0.1
//! OK
//! > INCRBYFLOAT price 0.2
//! "0.3"
//! ```
//!
//! [`float80`]: crate::commands::float80

use crate::commands::context::WriteContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::float80::Float80;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use protocol::{Reply, Request};
use storage::value::{StringForm, ValueKind};

pub(super) const INCRBYFLOAT: CommandSpec = CommandSpec {
    name: "incrbyfloat",
    syntax: "INCRBYFLOAT key increment{double}",
    summary: "Adds a number to the float that a string holds.",
    group: Group::String,
    since: "2.6.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
    keys: Keys::at(1),
    run: Run::Write { check: |args| float(args.arg(2)).map(|_| ()), apply: incrbyfloat },
    ..CommandSpec::TEMPLATE
};

fn float(text: &[u8]) -> Result<Float80, CommandError> {
    Float80::parse(text).ok_or(CommandError::NotAFloat)
}

fn incrbyfloat(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let loaded = ctx.load_string(args.arg(1))?;
    let (before, deadline_ms) = match loaded.record() {
        Some(record) => (float(&record.payload)?, record.deadline_ms),
        None => (float(b"0")?, None),
    };
    let sum = before.checked_add(float(args.arg(2))?).and_then(Float80::to_text);
    let infinite = || CommandError::text("ERR increment would produce NaN or Infinity");
    let sum = sum.ok_or_else(infinite)?;
    let kind = ValueKind::String(StringForm::Text);
    ctx.writer.store(loaded, kind, &[sum.as_bytes()], deadline_ms)?;
    Ok(Reply::bulk(sum))
}
