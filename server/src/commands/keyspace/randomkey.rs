//! RANDOMKEY: some key of the database.
//!
//! ```text
//! > SET greeting hello
//! OK
//! > RANDOMKEY
//! "greeting"
//! ```
//!
//! Keys lie in the order of their slot and hash. A random slot is drawn and the next one that has
//! keys is taken; in it a random hash is drawn and the next key is taken. So keys are likelier
//! the wider the gap before them, but each can be found, also where all share few slots.

use crate::commands::context::{ReadContext, SeededRandom};
use crate::commands::docs::Docs;
use crate::commands::error::Outcome;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use protocol::{Reply, Request};
use storage::StorageError;
use storage::key::Position;
use storage::keyspace::KeyRow;

pub(super) const RANDOMKEY: CommandSpec = CommandSpec {
    name: "randomkey",
    syntax: "RANDOMKEY",
    summary: "Returns a random key of the selected database.",
    group: Group::Generic,
    since: "1.0.0",
    docs: Docs::COST_1,
    tips: &["request_policy:all_shards", "nondeterministic_output"],
    arity: Arity::Exactly(1),
    flags: Flags::READONLY,
    run: Run::Read(randomkey),
    ..CommandSpec::TEMPLATE
};

fn randomkey(ctx: &ReadContext<'_>, _: &Request) -> Outcome {
    let mut random = SeededRandom::new(ctx.random);
    let slot_width = Position::start_of_slot(1).0;
    let slots = Position::END.0 / slot_width;
    let any_slot = random.next_u64() % slots * slot_width;
    let Some(in_slot) = next_key(ctx, any_slot)? else {
        return Ok(Reply::Null);
    };
    let slot_start = in_slot.position.0 / slot_width * slot_width;
    let key = match next_key(ctx, slot_start + random.next_u64() % slot_width)? {
        Some(key) if key.position.0 / slot_width * slot_width == slot_start => key,
        // No later key in this slot: its first, which is what was found before.
        _ => in_slot,
    };
    Ok(Reply::Bulk(key.user_key))
}

/// The first key at `position` or later, or else the first of all.
fn next_key(ctx: &ReadContext<'_>, position: u64) -> Result<Option<KeyRow>, StorageError> {
    let later = ctx.reader.keys_from(ctx.database, Position(position))?.next();
    match later {
        Some(row) => row.map(Some),
        None => ctx.reader.keys_from(ctx.database, Position(0))?.next().transpose(),
    }
}
