//! SCAN: walks the keys of a database a step at a time. KEYS: all of them at once.
//!
//! ```text
//! > MSET one 1 two 2
//! OK
//! > SCAN 0 MATCH t* COUNT 100
//! 1) "0"
//! 2) 1) "two"
//! ```
//!
//! Keys have a fixed order (`storage::key::Position`), and a cursor is the place of the next key.
//! So a cursor holds on every node and for ever, each key that is there during the whole walk is
//! returned, and no key is returned twice. Keys of one place are returned together.

use crate::commands::context::ReadContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::glob::Glob;
use crate::commands::numbers::integer;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use protocol::{Reply, Request};
use storage::key::Position;
use storage::keyspace::KeyRow;

pub(super) const SCAN: CommandSpec = CommandSpec {
    name: "scan",
    syntax: "SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]{6.0.0}",
    summary: "Returns some of the keys of the selected database and a cursor for the next ones.",
    group: Group::Generic,
    since: "2.8.0",
    docs: Docs::cost(
        "O(1) for every call. O(N) for a complete iteration, including enough \
             command calls for the cursor to return back to 0. N is the number of \
             elements inside the collection.",
    )
    .history(&[("6.0.0", "Added the `TYPE` subcommand.")]),
    tips: &["nondeterministic_output", "request_policy:special"],
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    keys: Keys::None,
    run: Run::Scan(scan),
    ..CommandSpec::TEMPLATE
};

pub(super) const KEYS: CommandSpec = CommandSpec {
    name: "keys",
    syntax: "KEYS pattern",
    summary: "Returns all keys of the selected database that match a pattern.",
    since: "1.0.0",
    docs: Docs::cost(
        "O(N) with N being the number of keys in the database, under the \
             assumption that the key names in the database and the given pattern have \
             limited length.",
    ),
    tips: &["request_policy:all_shards", "nondeterministic_output_order"],
    arity: Arity::Exactly(2),
    categories: &["@dangerous"],
    run: Run::Scan(keys),
    ..SCAN
};

/// Keys that a call looks at where there is no COUNT.
const COUNT_DEFAULT: u64 = 10;

/// The arguments of SCAN.
#[derive(Debug)]
struct Options<'a> {
    cursor: u64,
    pattern: Option<Glob>,
    count: u64,
    kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: &'a Request) -> Result<Options<'a>, CommandError> {
        let cursor = parse_cursor(args.arg(1));
        let cursor = cursor.ok_or(CommandError::text("ERR invalid cursor"))?;
        let mut options = Options { cursor, pattern: None, count: COUNT_DEFAULT, kind: None };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
            at += 2;
            if option.eq_ignore_ascii_case(b"count") {
                let count = u64::try_from(integer(value)?).ok().filter(|count| *count > 0);
                options.count = count.ok_or(CommandError::Syntax)?;
            } else if option.eq_ignore_ascii_case(b"match") {
                options.pattern = Some(Glob::new(value));
            } else if option.eq_ignore_ascii_case(b"type") {
                options.kind = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    fn wants(&self, row: &KeyRow) -> bool {
        let named = |kind: &[u8]| kind.eq_ignore_ascii_case(row.record.kind.name().as_bytes());
        self.kind.is_none_or(named)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(&row.user_key))
    }
}

/// Reads a cursor as C's `strtoul` does: an empty one is 0, and a minus turns it round.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    // C's text ends at the first zero byte.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let cursor: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { cursor.wrapping_neg() } else { cursor })
}

fn scan(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let options = Options::parse(args)?;
    let mut found = Vec::new();
    let mut next = 0;
    let (mut visited, mut last) = (0, None);
    if options.cursor < Position::END.0 {
        for row in ctx.reader.keys_from(ctx.database, Position(options.cursor))? {
            let row = row?;
            if visited >= options.count && last != Some(row.position) {
                next = row.position.0;
                break;
            }
            (visited, last) = (visited + 1, Some(row.position));
            if options.wants(&row) {
                found.push(Reply::Bulk(row.user_key));
            }
        }
    }
    let cursor = Reply::bulk(itoa::Buffer::new().format(next));
    Ok(Reply::Array(vec![cursor, Reply::Array(found)]))
}

fn keys(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let pattern = Glob::new(args.arg(1));
    let mut found = Vec::new();
    for row in ctx.reader.keys_from(ctx.database, Position(0))? {
        let row = row?;
        if pattern.matches(&row.user_key) {
            found.push(Reply::Bulk(row.user_key));
        }
    }
    Ok(Reply::Array(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_redis_reads_them() {
        for (text, expected) in [
            ("", Some(0)),
            ("0", Some(0)),
            ("+007", Some(7)),
            ("-1", Some(u64::MAX)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("1a", None),
            ("1\x00a", Some(1)),
            ("\x00", Some(0)),
            ("-", None),
            (" 1", None),
        ] {
            assert_eq!(parse_cursor(text.as_bytes()), expected, "{text:?}");
        }
    }
}
