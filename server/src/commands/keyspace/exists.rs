//! EXISTS and TOUCH: how many keys there are. TYPE: what a key holds.
//!
//! ```text
//! > SET greeting hello
//! OK
//! > EXISTS greeting greeting nothing
//! 2
//! > TYPE greeting
//! string
//! ```
//!
//! TOUCH counts like EXISTS: times of access are not recorded.

use crate::commands::context::ReadContext;
use crate::commands::docs::Docs;
use crate::commands::error::Outcome;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use protocol::{Reply, Request};

pub(super) const EXISTS: CommandSpec = CommandSpec {
    name: "exists",
    syntax: "EXISTS key [key ...]",
    summary: "Returns how many of the keys exist; a key named twice counts twice.",
    group: Group::Generic,
    since: "1.0.0",
    docs: Docs::cost("O(N) where N is the number of keys to check.")
        .history(&[("3.0.3", "Accepts multiple `key` arguments.")]),
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: Keys::Range { first: 1, last: -1, step: 1 },
    run: Run::Read(exists),
    ..CommandSpec::TEMPLATE
};

pub(super) const TOUCH: CommandSpec = CommandSpec {
    name: "touch",
    syntax: "TOUCH key [key ...]",
    summary: "Returns how many of the keys exist (times of access are not recorded).",
    since: "3.2.1",
    docs: Docs::cost("O(N) where N is the number of keys that will be touched."),
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    ..EXISTS
};

pub(super) const TYPE: CommandSpec = CommandSpec {
    name: "type",
    syntax: "TYPE key",
    summary: "Returns the type of the value of a key, or none.",
    docs: Docs::COST_1,
    tips: &[],
    arity: Arity::Exactly(2),
    keys: Keys::at(1),
    run: Run::Read(type_of),
    ..EXISTS
};

fn exists(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let mut existing = 0;
    for key in args.iter().skip(1) {
        existing += i64::from(ctx.lookup(key)?.is_some());
    }
    Ok(Reply::Integer(existing))
}

fn type_of(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let record = ctx.lookup(args.arg(1))?;
    Ok(Reply::simple(record.map_or("none", |record| record.kind.name())))
}
