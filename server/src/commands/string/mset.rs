//! MSET: sets several strings at once. MSETNX: the same unless one of the keys exists.
//!
//! ```text
//! > MSET one 1 two 2
//! OK
//! > MSETNX two 22 three 3
//! 0
//! ```

use crate::commands::context::WriteContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use protocol::{Reply, Request};
use storage::StorageError;

pub(super) const MSET: CommandSpec = CommandSpec {
    name: "mset",
    syntax: "MSET key value [key value ...]",
    summary: "Sets several keys to strings.",
    group: Group::String,
    since: "1.0.1",
    docs: Docs::cost("O(N) where N is the number of keys to set."),
    tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENYOOM),
    keys: Keys::Range { first: 1, last: -1, step: 2 },
    run: Run::Write { check: |args| check_pairs(args, "mset"), apply: mset },
    ..CommandSpec::TEMPLATE
};

pub(super) const MSETNX: CommandSpec = CommandSpec {
    name: "msetnx",
    syntax: "MSETNX key value [key value ...]",
    summary: "Sets several keys to strings unless one of the keys exists.",
    docs: Docs::cost("O(N) where N is the number of keys to set."),
    tips: &["request_policy:multi_shard", "response_policy:agg_min"],
    run: Run::Write { check: |args| check_pairs(args, "msetnx"), apply: msetnx },
    ..MSET
};

fn check_pairs(args: &Request, command: &'static str) -> Result<(), CommandError> {
    match args.len() % 2 {
        0 => Err(CommandError::Arity(command)),
        _ => Ok(()),
    }
}

fn mset(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    check_pairs(args, "mset")?;
    store_pairs(ctx, args)?;
    Ok(Reply::OK)
}

fn msetnx(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    check_pairs(args, "msetnx")?;
    for key in args.iter().skip(1).step_by(2) {
        if ctx.find(key)?.head().is_some() {
            return Ok(Reply::Integer(0));
        }
    }
    store_pairs(ctx, args)?;
    Ok(Reply::Integer(1))
}

/// Of a key given twice the last value counts.
fn store_pairs(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Result<(), StorageError> {
    for at in (1..args.len()).step_by(2) {
        let found = ctx.find(args.arg(at))?;
        ctx.store_string(found, args.arg(at + 1), None)?;
    }
    Ok(())
}
