//! GETRANGE, its old name SUBSTR, and SETRANGE: parts of a string by position.
//!
//! ```text
//! > SET greeting "hello world"
//! OK
//! > GETRANGE greeting -5 -1
//! "world"
//! > SETRANGE greeting 6 Redis
//! 11
//! ```

use super::check_length;
use crate::commands::context::{ReadContext, WriteContext};
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::numbers::integer;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use bytes::Bytes;
use protocol::{Reply, Request};
use std::ops::Range;
use storage::value::{StringForm, ValueKind};

pub(super) const GETRANGE: CommandSpec = CommandSpec {
    name: "getrange",
    syntax: "GETRANGE key start end",
    summary: "Returns the part of a string between two positions, both included.",
    group: Group::String,
    since: "2.4.0",
    docs: Docs::cost(
        "O(N) where N is the length of the returned string. The complexity is \
             ultimately determined by the returned length, but because creating a \
             substring from an existing string is very cheap, it can be considered \
             O(1) for small strings.",
    ),
    arity: Arity::Exactly(4),
    flags: Flags::READONLY,
    keys: Keys::at(1),
    run: Run::Read(getrange),
    ..CommandSpec::TEMPLATE
};

pub(super) const SUBSTR: CommandSpec = CommandSpec {
    name: "substr",
    syntax: "SUBSTR key start end",
    summary: "Returns the part of a string between two positions (the old name of GETRANGE).",
    since: "1.0.0",
    docs: Docs::cost(
        "O(N) where N is the length of the returned string. The complexity is \
             ultimately determined by the returned length, but because creating a \
             substring from an existing string is very cheap, it can be considered \
             O(1) for small strings.",
    )
    .deprecated("2.0.0", "`GETRANGE`"),
    ..GETRANGE
};

pub(super) const SETRANGE: CommandSpec = CommandSpec {
    name: "setrange",
    syntax: "SETRANGE key offset value",
    summary: "Overwrites a string from a position on, filling a gap with zero bytes.",
    since: "2.2.0",
    docs: Docs::cost("O(N) where N is the length of the resulting string."),
    flags: Flags::WRITE.and(Flags::DENYOOM),
    run: Run::Write { check: |args| offset(args).map(|_| ()), apply: setrange },
    ..GETRANGE
};

fn getrange(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let (start, end) = (integer(args.arg(2))?, integer(args.arg(3))?);
    let Some(record) = ctx.lookup_string(args.arg(1))? else {
        return Ok(Reply::Bulk(Bytes::new()));
    };
    let range = positions(start, end, record.payload.len());
    let part = &record.payload[range.clone()];
    Ok(Reply::Bulk(match part.len() < record.payload.len() / 2 {
        // A reply that waits must not keep a string alive that is much longer.
        true => Bytes::copy_from_slice(part),
        false => record.payload.slice(range),
    }))
}

/// The positions from `start` to `end`, negative ones counted from the end, of `length`.
fn positions(start: i64, end: i64, length: usize) -> Range<usize> {
    if length == 0 || (start < 0 && end < 0 && start > end) {
        return 0..0;
    }
    let length = length as i64;
    let from_start = |position: i64| match position {
        ..0 => position.saturating_add(length).max(0),
        _ => position,
    };
    let (start, end) = (from_start(start), from_start(end).min(length - 1));
    if start > end {
        return 0..0;
    }
    start as usize..end as usize + 1
}

fn offset(args: &Request) -> Result<usize, CommandError> {
    let offset = integer(args.arg(2))?;
    usize::try_from(offset).map_err(|_| CommandError::text("ERR offset is out of range"))
}

fn setrange(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let (offset, value) = (offset(args)?, args.arg(3));
    let loaded = ctx.load_string(args.arg(1))?;
    let (before, deadline_ms) = match loaded.record() {
        Some(record) => (record.payload.clone(), record.deadline_ms),
        None => (Bytes::new(), None),
    };
    if value.is_empty() {
        return Ok(Reply::Integer(before.len() as i64));
    }
    check_length(offset, value.len())?;
    let head = &before[..offset.min(before.len())];
    let gap = vec![0; offset - head.len()];
    let tail = before.get(offset + value.len()..).unwrap_or_default();
    let parts = [head, &gap, value, tail];
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    ctx.writer.store(loaded, ValueKind::String(StringForm::Raw), &parts, deadline_ms)?;
    Ok(Reply::Integer(length as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_either_end() {
        for (start, end, length, expected) in [
            (0, 3, 5, 0..4),
            (0, -1, 5, 0..5),
            (-3, -1, 5, 2..5),
            (-1, -3, 5, 0..0),
            (3, 1, 5, 0..0),
            (5, 9, 5, 0..0),
            (-100, 100, 5, 0..5),
            (-100, -50, 5, 0..1),
            (i64::MIN, i64::MAX, 5, 0..5),
            (0, 0, 0, 0..0),
        ] {
            assert_eq!(positions(start, end, length), expected, "{start} {end} {length}");
        }
    }
}
