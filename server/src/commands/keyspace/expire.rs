//! EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT: give a key a deadline. PERSIST: takes it away.
//!
//! ```text
//! > SET greeting hello
//! OK
//! > EXPIRE greeting 60
//! 1
//! > EXPIRE greeting 30 GT
//! 0
//! > PERSIST greeting
//! 1
//! ```
//!
//! A deadline that has already come removes the key.

use crate::commands::context::WriteContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::expire::{TimeForm, change_deadline};
use crate::commands::numbers::integer;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run, no_check};
use crate::commands::words::printable_at_the_end;
use protocol::{Reply, Request};

pub(super) const EXPIRE: CommandSpec = CommandSpec {
    name: "expire",
    syntax: "EXPIRE key seconds [NX | XX | GT | LT]{condition,7.0.0}",
    summary: "Makes a key expire after some seconds.",
    group: Group::Generic,
    since: "1.0.0",
    docs: Docs::COST_1.history(&[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")]),
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: Keys::at(1),
    run: Run::Write {
        check: |args| check(args, TimeForm::Seconds, "expire"),
        apply: |ctx, args| expire(ctx, args, TimeForm::Seconds, "expire"),
    },
    ..CommandSpec::TEMPLATE
};

pub(super) const PEXPIRE: CommandSpec = CommandSpec {
    name: "pexpire",
    syntax: "PEXPIRE key milliseconds [NX | XX | GT | LT]{condition,7.0.0}",
    summary: "Makes a key expire after some milliseconds.",
    since: "2.6.0",
    docs: Docs::COST_1.history(&[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")]),
    run: Run::Write {
        check: |args| check(args, TimeForm::Millis, "pexpire"),
        apply: |ctx, args| expire(ctx, args, TimeForm::Millis, "pexpire"),
    },
    ..EXPIRE
};

pub(super) const EXPIREAT: CommandSpec = CommandSpec {
    name: "expireat",
    syntax: "EXPIREAT key unix-time-seconds [NX | XX | GT | LT]{condition,7.0.0}",
    summary: "Makes a key expire at a time in seconds since 1970.",
    since: "1.2.0",
    docs: Docs::COST_1.history(&[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")]),
    run: Run::Write {
        check: |args| check(args, TimeForm::AtSecond, "expireat"),
        apply: |ctx, args| expire(ctx, args, TimeForm::AtSecond, "expireat"),
    },
    ..EXPIRE
};

pub(super) const PEXPIREAT: CommandSpec = CommandSpec {
    name: "pexpireat",
    syntax: "PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]{condition,7.0.0}",
    summary: "Makes a key expire at a time in milliseconds since 1970.",
    since: "2.6.0",
    docs: Docs::COST_1.history(&[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")]),
    run: Run::Write {
        check: |args| check(args, TimeForm::AtMilli, "pexpireat"),
        apply: |ctx, args| expire(ctx, args, TimeForm::AtMilli, "pexpireat"),
    },
    ..EXPIRE
};

pub(super) const PERSIST: CommandSpec = CommandSpec {
    name: "persist",
    syntax: "PERSIST key",
    summary: "Removes the deadline of a key.",
    since: "2.2.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(2),
    run: Run::Write { check: no_check, apply: persist },
    ..EXPIRE
};

/// On what condition a deadline is set; several may hold at once.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    if_none: bool,
    if_some: bool,
    if_later: bool,
    if_earlier: bool,
}

impl Conditions {
    fn parse(args: &Request) -> Result<Conditions, CommandError> {
        let mut conditions = Conditions::default();
        for option in args.iter().skip(3) {
            let flag = match &option.to_ascii_lowercase()[..] {
                b"nx" => &mut conditions.if_none,
                b"xx" => &mut conditions.if_some,
                b"gt" => &mut conditions.if_later,
                b"lt" => &mut conditions.if_earlier,
                _ => return Err(unsupported(option)),
            };
            *flag = true;
        }
        let Conditions { if_none, if_some, if_later, if_earlier } = conditions;
        let text = match () {
            () if if_none && (if_some || if_later || if_earlier) => {
                "ERR NX and XX, GT or LT options at the same time are not compatible"
            }
            () if if_later && if_earlier => {
                "ERR GT and LT options at the same time are not compatible"
            }
            () => return Ok(conditions),
        };
        Err(CommandError::text(text))
    }

    /// Whether `deadline_ms` may take the place of `before`; no deadline is later than any.
    fn allow(self, before: Option<u64>, deadline_ms: i64) -> bool {
        let later = match before {
            Some(before) => i128::from(deadline_ms) > i128::from(before),
            None => false,
        };
        let earlier = match before {
            Some(before) => i128::from(deadline_ms) < i128::from(before),
            None => true,
        };
        !(self.if_none && before.is_some()
            || self.if_some && before.is_none()
            || self.if_later && !later
            || self.if_earlier && !earlier)
    }
}

fn unsupported(option: &[u8]) -> CommandError {
    CommandError::text(format!("ERR Unsupported option {}", printable_at_the_end(option)))
}

fn check(args: &Request, form: TimeForm, command: &'static str) -> Result<(), CommandError> {
    Conditions::parse(args)?;
    form.resolve(integer(args.arg(2))?, 0, command).map(|_| ())
}

fn expire(
    ctx: &mut WriteContext<'_, '_>,
    args: &Request,
    form: TimeForm,
    command: &'static str,
) -> Outcome {
    let conditions = Conditions::parse(args)?;
    let deadline_ms = form.resolve(integer(args.arg(2))?, ctx.now_ms(), command)?;
    let loaded = ctx.load(args.arg(1))?;
    let Some(record) = loaded.record() else {
        return Ok(Reply::Integer(0));
    };
    if !conditions.allow(record.deadline_ms, deadline_ms) {
        return Ok(Reply::Integer(0));
    }
    // A time before 1970 has passed as much as 1970 itself.
    change_deadline(ctx, loaded, Some(u64::try_from(deadline_ms).unwrap_or(0)))?;
    Ok(Reply::Integer(1))
}

fn persist(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let loaded = ctx.load(args.arg(1))?;
    if loaded.record().is_none_or(|record| record.deadline_ms.is_none()) {
        return Ok(Reply::Integer(0));
    }
    change_deadline(ctx, loaded, None)?;
    Ok(Reply::Integer(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_compare_with_the_deadline_before() {
        let conditions = |options: &[&str]| {
            let request = Request::from_parts(&[&["EXPIRE", "k", "1"], options].concat());
            Conditions::parse(&request)
        };
        let allowed = |options: &[&str], before, deadline_ms| {
            conditions(options).map(|conditions| conditions.allow(before, deadline_ms))
        };
        assert_eq!(allowed(&[], None, 5), Ok(true));
        assert_eq!(allowed(&["NX"], Some(5), 5), Ok(false));
        assert_eq!(allowed(&["xx"], None, 5), Ok(false));
        assert_eq!(allowed(&["GT"], None, 5), Ok(false));
        assert_eq!(allowed(&["GT"], Some(5), 5), Ok(false));
        assert_eq!(allowed(&["GT"], Some(5), 6), Ok(true));
        assert_eq!(allowed(&["LT"], None, 5), Ok(true));
        assert_eq!(allowed(&["LT", "XX"], None, 5), Ok(false));
        assert_eq!(allowed(&["LT"], Some(5), -1), Ok(true));
        assert_eq!(allowed(&["LT"], Some(5), 5), Ok(false));
        let error = conditions(&["a\r\nb\0c"]).expect_err("no such option");
        assert_eq!(error.to_string(), "ERR Unsupported option a  b");
    }
}
