//! TTL, PTTL: how long a key has left. EXPIRETIME, PEXPIRETIME: when it expires.
//!
//! ```text
//! > SET greeting hello EXAT 4102444800
//! OK
//! > EXPIRETIME greeting
//! 4102444800
//! > TTL nothing
//! -2
//! ```
//!
//! -2 stands for no key, -1 for no deadline. The figures of TTL and PTTL are by the clock of the
//! node that answers; whether the key is there is not.

use crate::commands::context::ReadContext;
use crate::commands::docs::Docs;
use crate::commands::error::Outcome;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use protocol::{Reply, Request};

pub(super) const TTL: CommandSpec = CommandSpec {
    name: "ttl",
    syntax: "TTL key",
    summary: "Returns the time a key has left, in seconds.",
    group: Group::Generic,
    since: "1.0.0",
    docs: Docs::COST_1.history(&[("2.8.0", "Added the -2 reply.")]),
    tips: &["nondeterministic_output"],
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: Keys::at(1),
    run: Run::Read(|ctx, args| figure(ctx, args, |deadline_ms| seconds(left(ctx, deadline_ms)))),
    ..CommandSpec::TEMPLATE
};

pub(super) const PTTL: CommandSpec = CommandSpec {
    name: "pttl",
    syntax: "PTTL key",
    summary: "Returns the time a key has left, in milliseconds.",
    since: "2.6.0",
    docs: Docs::COST_1.history(&[("2.8.0", "Added the -2 reply.")]),
    tips: &["nondeterministic_output"],
    run: Run::Read(|ctx, args| figure(ctx, args, |deadline_ms| left(ctx, deadline_ms))),
    ..TTL
};

pub(super) const EXPIRETIME: CommandSpec = CommandSpec {
    name: "expiretime",
    syntax: "EXPIRETIME key",
    summary: "Returns when a key expires, in seconds since 1970.",
    since: "7.0.0",
    docs: Docs::COST_1,
    tips: &[],
    run: Run::Read(|ctx, args| figure(ctx, args, seconds)),
    ..TTL
};

pub(super) const PEXPIRETIME: CommandSpec = CommandSpec {
    name: "pexpiretime",
    syntax: "PEXPIRETIME key",
    summary: "Returns when a key expires, in milliseconds since 1970.",
    since: "7.0.0",
    docs: Docs::COST_1,
    tips: &[],
    run: Run::Read(|ctx, args| figure(ctx, args, |deadline_ms| deadline_ms)),
    ..TTL
};

fn figure(ctx: &ReadContext<'_>, args: &Request, of_deadline: impl Fn(u64) -> u64) -> Outcome {
    let record = ctx.lookup(args.arg(1))?;
    Ok(Reply::Integer(match record.map(|record| record.deadline_ms) {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline_ms)) => of_deadline(deadline_ms) as i64,
    }))
}

fn left(ctx: &ReadContext<'_>, deadline_ms: u64) -> u64 {
    deadline_ms.saturating_sub(ctx.clock_ms)
}

/// Rounded to the nearest second, as in Redis.
fn seconds(milliseconds: u64) -> u64 {
    milliseconds.saturating_add(500) / 1000
}
