//! APPEND: lengthens a string.
//!
//! ```text
//! > APPEND greeting hello
//! 5
//! > APPEND greeting " world"
//! 11
//! ```

use super::check_length;
use crate::commands::context::WriteContext;
use crate::commands::docs::Docs;
use crate::commands::error::Outcome;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run, no_check};
use bytes::Bytes;
use protocol::{Reply, Request};
use storage::value::{StringForm, ValueKind};

pub(super) const APPEND: CommandSpec = CommandSpec {
    name: "append",
    syntax: "APPEND key value",
    summary: "Appends to a string, or creates it, and returns its length in bytes.",
    group: Group::String,
    since: "2.0.0",
    docs: Docs::cost("O(N) where N is the length of the resulting string."),
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
    keys: Keys::at(1),
    run: Run::Write { check: no_check, apply: append },
    ..CommandSpec::TEMPLATE
};

fn append(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let loaded = ctx.load_string(args.arg(1))?;
    let (before, deadline_ms, form) = match loaded.record() {
        Some(record) => (record.payload.clone(), record.deadline_ms, StringForm::Raw),
        None => (Bytes::new(), None, StringForm::Natural),
    };
    let value = args.arg(2);
    check_length(before.len(), value.len())?;
    let length = before.len() + value.len();
    ctx.writer.store(loaded, ValueKind::String(form), &[&before, value], deadline_ms)?;
    Ok(Reply::Integer(length as i64))
}
