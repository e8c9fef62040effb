//! DEL and UNLINK: remove keys. Both do the same here: a removal never takes long.
//!
//! ```text
//! > MSET one 1 two 2
//! OK
//! > DEL one two three
//! 2
//! ```

use crate::commands::context::WriteContext;
use crate::commands::docs::Docs;
use crate::commands::error::Outcome;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run, no_check};
use protocol::{Reply, Request};

pub(super) const DEL: CommandSpec = CommandSpec {
    name: "del",
    syntax: "DEL key [key ...]",
    summary: "Removes keys and returns how many there were.",
    group: Group::Generic,
    since: "1.0.0",
    docs: Docs::cost(
        "O(N) where N is the number of keys that will be removed. When a key to \
             remove holds a value other than a string, the individual complexity for \
             this key is O(M) where M is the number of elements in the list, set, \
             sorted set or hash. Removing a single key that holds a string value is \
             O(1).",
    ),
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE,
    keys: Keys::Range { first: 1, last: -1, step: 1 },
    run: Run::Write { check: no_check, apply: del },
    ..CommandSpec::TEMPLATE
};

pub(super) const UNLINK: CommandSpec = CommandSpec {
    name: "unlink",
    syntax: "UNLINK key [key ...]",
    since: "4.0.0",
    docs: Docs::cost("O(N) where N is the number of keys that will be removed."),
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    flags: Flags::WRITE.and(Flags::FAST),
    ..DEL
};

fn del(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let mut removed = 0;
    for key in args.iter().skip(1) {
        let found = ctx.find(key)?;
        removed += i64::from(ctx.writer.remove(found)?);
    }
    Ok(Reply::Integer(removed))
}
