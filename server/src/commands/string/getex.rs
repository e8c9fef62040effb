//! GETEX: a string, and its key is given another deadline or none.
//!
//! ```text
//! > SET greeting hello
//! OK
//! > GETEX greeting EX 60
//! "hello"
//! > TTL greeting
//! 60
//! > GETEX greeting PERSIST
//! "hello"
//! > TTL greeting
//! -1
//! ```

use crate::commands::context::WriteContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::expire::{TimeForm, change_deadline};
use crate::commands::numbers::integer;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use protocol::{Reply, Request};

pub(super) const GETEX: CommandSpec = CommandSpec {
    name: "getex",
    syntax: "GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
             PXAT unix-time-milliseconds | PERSIST]{expiration}",
    summary: "Returns a string and changes or removes the deadline of its key.",
    group: Group::String,
    since: "6.2.0",
    docs: Docs::COST_1,
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::FAST).and(Flags::RETURNS_VALUE),
    keys: Keys::at(1),
    run: Run::Write { check: |args| parse(args).map(|_| ()), apply: getex },
    ..CommandSpec::TEMPLATE
};

/// What becomes of the deadline.
enum Change<'a> {
    Nothing,
    Persist,
    /// The number is read only when the key exists: Redis refuses none for a missing key.
    Expire(TimeForm, &'a [u8]),
}

/// As in Redis an option may be repeated (the last one counts), but not contradicted.
fn parse(args: &Request) -> Result<Change<'_>, CommandError> {
    let mut change = Change::Nothing;
    let mut at = 2;
    while let Some(option) = args.get(at) {
        at += 1;
        let persist = option.eq_ignore_ascii_case(b"persist");
        change = match (change, TimeForm::of_option(option)) {
            (Change::Nothing | Change::Persist, None) if persist => Change::Persist,
            (Change::Nothing, Some(form)) => {
                Change::Expire(form, args.get(at).ok_or(CommandError::Syntax)?)
            }
            (Change::Expire(before, _), Some(form)) if before == form => {
                Change::Expire(form, args.get(at).ok_or(CommandError::Syntax)?)
            }
            _ => return Err(CommandError::Syntax),
        };
        at += usize::from(matches!(change, Change::Expire(..)));
    }
    Ok(change)
}

fn getex(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let change = parse(args)?;
    let loaded = ctx.load_string(args.arg(1))?;
    let Some(record) = loaded.record() else {
        return Ok(Reply::Null);
    };
    let reply = Reply::Bulk(record.payload.clone());
    match change {
        Change::Expire(form, number) => {
            let amount = integer(number)?;
            let deadline_ms = form.resolve_positive(amount, ctx.now_ms(), "getex")?;
            change_deadline(ctx, loaded, Some(deadline_ms))?;
        }
        Change::Persist if record.deadline_ms.is_some() => change_deadline(ctx, loaded, None)?,
        Change::Persist | Change::Nothing => {}
    }
    Ok(reply)
}
