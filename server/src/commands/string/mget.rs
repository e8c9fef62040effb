//! MGET: several strings.
//!
//! ```text
//! > MSET one 1 two 2
//! OK
//! > MGET one two three
//! 1) "1"
//! 2) "2"
//! 3) (nil)
//! ```

use crate::commands::context::ReadContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use crate::limits::MGET_BYTES_MAX;
use protocol::{Reply, Request};
use storage::value::ValueKind;

pub(super) const MGET: CommandSpec = CommandSpec {
    name: "mget",
    syntax: "MGET key [key ...]",
    summary: "Returns several strings, nil for each key that holds none.",
    group: Group::String,
    since: "1.0.0",
    docs: Docs::cost("O(N) where N is the number of keys to retrieve."),
    tips: &["request_policy:multi_shard"],
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: Keys::Range { first: 1, last: -1, step: 1 },
    run: Run::Read(mget),
    ..CommandSpec::TEMPLATE
};

fn mget(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let mut values = Vec::with_capacity(args.len() - 1);
    let mut bytes = 0;
    for key in args.iter().skip(1) {
        values.push(match ctx.lookup(key)? {
            Some(record) => match record.kind {
                ValueKind::String(_) => {
                    bytes += record.payload.len();
                    Reply::Bulk(record.payload)
                }
            },
            None => Reply::Null,
        });
        if bytes > MGET_BYTES_MAX {
            // One key named a thousand times is a reply of a thousand values.
            return Err(CommandError::ValuesTooLong.into());
        }
    }
    Ok(Reply::Array(values))
}
