//! CLUSTER KEYSLOT, COUNTKEYSINSLOT, GETKEYSINSLOT: keys by hash slot.
//!
//! ```text
//! > CLUSTER KEYSLOT user:7
//! 6133
//! ```
//!
//! Redis Cluster has one database; here these look at the one selected.

use super::PLAIN;
use super::shape::LAST_SLOT;
use crate::commands::context::{ReadContext, SessionContext};
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::numbers;
use crate::commands::spec::{Arity, CommandSpec, Run};
use protocol::slot::key_slot;
use protocol::{Reply, Request};

pub(super) const KEYSLOT: CommandSpec = CommandSpec {
    name: "keyslot",
    syntax: "CLUSTER KEYSLOT key{string}",
    summary: "Returns the hash slot of a key.",
    docs: Docs::cost("O(N) where N is the number of bytes in the key"),
    arity: Arity::Exactly(3),
    run: Run::Session(key_slot_of),
    ..PLAIN
};

pub(super) const COUNTKEYSINSLOT: CommandSpec = CommandSpec {
    name: "countkeysinslot",
    syntax: "CLUSTER COUNTKEYSINSLOT slot",
    summary: "Returns the number of keys in a hash slot.",
    docs: Docs::cost("O(N) where N is the number of keys in the slot."),
    arity: Arity::Exactly(3),
    run: Run::Scan(count),
    ..PLAIN
};

pub(super) const GETKEYSINSLOT: CommandSpec = CommandSpec {
    name: "getkeysinslot",
    syntax: "CLUSTER GETKEYSINSLOT slot count",
    summary: "Returns keys in a hash slot.",
    docs: Docs::cost("O(N) where N is the number of keys returned."),
    tips: &["nondeterministic_output"],
    arity: Arity::Exactly(4),
    run: Run::Scan(get),
    ..PLAIN
};

fn key_slot_of(_: &mut SessionContext<'_>, args: &Request) -> Reply {
    Reply::Integer(i64::from(key_slot(args.arg(2))))
}

fn count(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let slot = slot(numbers::integer(args.arg(2))?);
    let slot = slot.ok_or_else(|| CommandError::text("ERR Invalid slot"))?;
    let mut count = 0;
    for row in ctx.reader.keys_in_slot(ctx.database, slot)? {
        row?;
        count += 1;
    }
    Ok(Reply::Integer(count))
}

fn get(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let slot = slot(numbers::integer(args.arg(2))?);
    let count = usize::try_from(numbers::integer(args.arg(3))?).ok();
    let (Some(slot), Some(count)) = (slot, count) else {
        return Err(CommandError::text("ERR Invalid slot or number of keys").into());
    };
    let rows = ctx.reader.keys_in_slot(ctx.database, slot)?.take(count);
    let keys: Result<Vec<Reply>, _> = rows.map(|row| Ok(Reply::Bulk(row?.user_key))).collect();
    keys.map(Reply::Array)
}

fn slot(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|slot| *slot <= LAST_SLOT)
}
