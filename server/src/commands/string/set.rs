//! SET and its older spellings SETNX, SETEX, PSETEX, GETSET.
//!
//! ```text
//! > SET greeting hello EX 60
//! OK
//! > SET greeting bonjour NX
//! (nil)
//! > SET greeting bonjour XX KEEPTTL GET
//! "hello"
//! ```
//!
//! A deadline that has already come leaves the key absent.

use crate::commands::context::WriteContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::expire::{TimeForm, store_string_until};
use crate::commands::numbers::integer;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run, no_check};
use protocol::{Reply, Request};
use storage::keyspace::Found;

pub(super) const SET: CommandSpec = CommandSpec {
    name: "set",
    syntax: "SET key value [NX | XX]{condition,2.6.12} [GET]{6.2.0} [EX seconds{2.6.12} | \
             PX milliseconds{2.6.12} | EXAT unix-time-seconds{6.2.0} | \
             PXAT unix-time-milliseconds{6.2.0} | KEEPTTL{6.0.0}]{expiration}",
    summary: "Sets a key to a string, on conditions and with a deadline if asked for.",
    group: Group::String,
    since: "1.0.0",
    docs: Docs::COST_1.history(&[
        ("2.6.12", "Added the `EX`, `PX`, `NX` and `XX` options."),
        ("6.0.0", "Added the `KEEPTTL` option."),
        ("6.2.0", "Added the `GET`, `EXAT` and `PXAT` option."),
        ("7.0.0", "Allowed the `NX` and `GET` options to be used together."),
    ]),
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::RETURNS_VALUE),
    keys: Keys::at(1),
    run: Run::Write { check: |args| check_times(Options::parse(args)?.expiry, "set"), apply: set },
    ..CommandSpec::TEMPLATE
};

pub(super) const SETNX: CommandSpec = CommandSpec {
    name: "setnx",
    syntax: "SETNX key value",
    summary: "Sets a key to a string unless the key exists.",
    docs: Docs::COST_1,
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
    run: Run::Write { check: no_check, apply: setnx },
    ..SET
};

pub(super) const SETEX: CommandSpec = CommandSpec {
    name: "setex",
    syntax: "SETEX key seconds value",
    summary: "Sets a key to a string that expires after some seconds.",
    flags: Flags::WRITE.and(Flags::DENYOOM),
    since: "2.0.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(4),
    run: Run::Write {
        check: |args| check_times(Some((TimeForm::Seconds, integer(args.arg(2))?)), "setex"),
        apply: |ctx, args| set_for(ctx, args, TimeForm::Seconds, "setex"),
    },
    ..SET
};

pub(super) const PSETEX: CommandSpec = CommandSpec {
    name: "psetex",
    syntax: "PSETEX key milliseconds value",
    summary: "Sets a key to a string that expires after some milliseconds.",
    since: "2.6.0",
    docs: Docs::COST_1,
    run: Run::Write {
        check: |args| check_times(Some((TimeForm::Millis, integer(args.arg(2))?)), "psetex"),
        apply: |ctx, args| set_for(ctx, args, TimeForm::Millis, "psetex"),
    },
    ..SETEX
};

pub(super) const GETSET: CommandSpec = CommandSpec {
    name: "getset",
    syntax: "GETSET key value",
    summary: "Sets a key to a string and returns the one before.",
    docs: Docs::COST_1.deprecated("6.2.0", "`SET` with the `!GET` argument"),
    flags: SETNX.flags.and(Flags::RETURNS_VALUE),
    run: Run::Write { check: no_check, apply: getset },
    ..SETNX
};

/// Whether the key must be there, or must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    IfMissing,
    IfPresent,
}

/// The options of SET.
#[derive(Debug)]
struct Options {
    condition: Condition,
    get: bool,
    keep_ttl: bool,
    expiry: Option<(TimeForm, i64)>,
}

impl Options {
    /// As in Redis an option may be repeated (the last one counts), but not contradicted.
    fn parse(args: &Request) -> Result<Options, CommandError> {
        let mut options =
            Options { condition: Condition::Always, get: false, keep_ttl: false, expiry: None };
        let mut amount: Option<(TimeForm, &[u8])> = None;
        let mut at = 3;
        while let Some(option) = args.get(at) {
            at += 1;
            if option.eq_ignore_ascii_case(b"nx") && options.condition != Condition::IfPresent {
                options.condition = Condition::IfMissing;
            } else if option.eq_ignore_ascii_case(b"xx")
                && options.condition != Condition::IfMissing
            {
                options.condition = Condition::IfPresent;
            } else if option.eq_ignore_ascii_case(b"get") {
                options.get = true;
            } else if option.eq_ignore_ascii_case(b"keepttl") && amount.is_none() {
                options.keep_ttl = true;
            } else {
                let form = TimeForm::of_option(option).ok_or(CommandError::Syntax)?;
                let same = amount.is_none_or(|(before, _)| before == form);
                let number = args.get(at).filter(|_| same && !options.keep_ttl);
                amount = Some((form, number.ok_or(CommandError::Syntax)?));
                at += 1;
            }
        }
        if let Some((form, number)) = amount {
            options.expiry = Some((form, integer(number)?));
        }
        Ok(options)
    }
}

/// Refuses what no clock can make valid.
fn check_times(expiry: Option<(TimeForm, i64)>, command: &'static str) -> Result<(), CommandError> {
    expiry.map_or(Ok(()), |(form, amount)| form.resolve_positive(amount, 0, command).map(|_| ()))
}

fn set(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let options = Options::parse(args)?;
    let deadline_ms = match options.expiry {
        Some((form, amount)) => Some(form.resolve_positive(amount, ctx.now_ms(), "set")?),
        None => None,
    };
    let (found, old_value) = match options.get {
        true => {
            let loaded = ctx.load_string(args.arg(1))?;
            let old_value = loaded.record().map(|record| record.payload.clone());
            (Found::from(loaded), old_value)
        }
        false => (ctx.find(args.arg(1))?, None),
    };
    let before = found.head();
    let wanted = match options.condition {
        Condition::Always => true,
        Condition::IfMissing => before.is_none(),
        Condition::IfPresent => before.is_some(),
    };
    let reply = match old_value {
        Some(old_value) => Reply::Bulk(old_value),
        None if wanted && !options.get => Reply::OK,
        None => Reply::Null,
    };
    if wanted {
        let kept = before.and_then(|head| head.deadline_ms).filter(|_| options.keep_ttl);
        store_string_until(ctx, found, args.arg(2), deadline_ms.or(kept))?;
    }
    Ok(reply)
}

fn setnx(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let found = ctx.find(args.arg(1))?;
    if found.head().is_some() {
        return Ok(Reply::Integer(0));
    }
    ctx.store_string(found, args.arg(2), None)?;
    Ok(Reply::Integer(1))
}

fn set_for(
    ctx: &mut WriteContext<'_, '_>,
    args: &Request,
    form: TimeForm,
    command: &'static str,
) -> Outcome {
    let amount = integer(args.arg(2))?;
    let deadline_ms = form.resolve_positive(amount, ctx.now_ms(), command)?;
    let found = ctx.find(args.arg(1))?;
    store_string_until(ctx, found, args.arg(3), Some(deadline_ms))?;
    Ok(Reply::OK)
}

fn getset(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let loaded = ctx.load_string(args.arg(1))?;
    let before = loaded.record().map(|record| record.payload.clone());
    ctx.store_string(loaded, args.arg(2), None)?;
    Ok(before.map_or(Reply::Null, Reply::Bulk))
}
