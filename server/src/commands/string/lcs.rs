//! LCS: the longest common subsequence of two strings.
//!
//! ```text
//! > MSET one ohmytext two mynewtext
//! OK
//! > LCS one two
//! "mytext"
//! > LCS one two LEN
//! 6
//! ```
//!
//! The table of dynamic programming (Cormen et al., "Introduction to Algorithms", 14.4) is kept as
//! one row of lengths, and one bit for each cell that says where the way back goes. That is
//! a thirty-second of what Redis takes; what is refused as too large is nevertheless the same.

use super::STRING_BYTES_MAX;
use crate::commands::context::ReadContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::numbers::integer;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use bytes::Bytes;
use protocol::{Reply, Request};
use std::ops::Range;

pub(super) const LCS: CommandSpec = CommandSpec {
    name: "lcs",
    syntax: "LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]",
    summary: "Returns the longest common subsequence of two strings.",
    group: Group::String,
    since: "7.0.0",
    docs: Docs::cost("O(N*M) where N and M are the lengths of s1 and s2, respectively"),
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    keys: Keys::Range { first: 1, last: 2, step: 1 },
    run: Run::Scan(lcs),
    ..CommandSpec::TEMPLATE
};

#[derive(Debug, Default)]
struct Options {
    length_only: bool,
    ranges: bool,
    with_length: bool,
    length_min: usize,
}

impl Options {
    fn parse(args: &Request) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut at = 3;
        while let Some(option) = args.get(at) {
            at += 1;
            if option.eq_ignore_ascii_case(b"idx") {
                options.ranges = true;
            } else if option.eq_ignore_ascii_case(b"len") {
                options.length_only = true;
            } else if option.eq_ignore_ascii_case(b"withmatchlen") {
                options.with_length = true;
            } else if option.eq_ignore_ascii_case(b"minmatchlen") {
                let number = integer(args.get(at).ok_or(CommandError::Syntax)?)?;
                options.length_min = usize::try_from(number).unwrap_or(0);
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.ranges && options.length_only {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(CommandError::text(text));
        }
        Ok(options)
    }
}

fn lcs(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    let payload = |position| -> Result<Bytes, crate::commands::error::Failure> {
        let record = ctx.lookup_string(args.arg(position))?;
        Ok(record.map_or_else(Bytes::new, |record| record.payload))
    };
    let (one, other) = (payload(1)?, payload(2)?);
    let options = Options::parse(args)?;
    check_size(one.len(), other.len())?;
    let table = Table::new(&one, &other);
    if options.length_only {
        return Ok(Reply::Integer(i64::from(table.length)));
    }
    let runs = table.common_runs(&one, &other);
    if !options.ranges {
        let parts: Vec<&[u8]> = runs.iter().rev().map(|run| &one[run.in_one()]).collect();
        return Ok(Reply::bulk(parts.concat()));
    }
    let long = runs.iter().filter(|run| run.length >= options.length_min);
    let matches = long.map(|run| run.reply(options.with_length)).collect();
    Ok(Reply::Map(vec![
        (Reply::bulk("matches"), Reply::Array(matches)),
        (Reply::bulk("len"), Reply::Integer(i64::from(table.length))),
    ]))
}

/// Redis's bound: a table of 32-bit cells may not be longer than the longest string.
fn check_size(one_bytes: usize, other_bytes: usize) -> Result<(), CommandError> {
    let table_bytes = 4 * (one_bytes as u64 + 1) * (other_bytes as u64 + 1);
    if table_bytes <= STRING_BYTES_MAX as u64 {
        return Ok(());
    }
    let text = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
    Err(CommandError::text(text))
}

/// Bytes that follow each other in both strings.
#[derive(Debug, PartialEq, Eq)]
struct CommonRun {
    one_start: usize,
    other_start: usize,
    length: usize,
}

impl CommonRun {
    fn in_one(&self) -> Range<usize> {
        self.one_start..self.one_start + self.length
    }

    fn reply(&self, with_length: bool) -> Reply {
        let range = |start: usize| {
            let (first, last) = (start as i64, (start + self.length) as i64 - 1);
            Reply::Array(vec![Reply::Integer(first), Reply::Integer(last)])
        };
        let mut parts = vec![range(self.one_start), range(self.other_start)];
        if with_length {
            parts.push(Reply::Integer(self.length as i64));
        }
        Reply::Array(parts)
    }
}

/// Cell (i, j) stands for the first i bytes of one string and the first j of the other.
struct Table {
    /// Length of the longest common subsequence.
    length: u32,
    columns: usize,
    /// For each cell whether the cell (i - 1, j) has a greater length than (i, j - 1).
    up: Vec<u64>,
}

impl Table {
    fn new(one: &[u8], other: &[u8]) -> Self {
        let columns = other.len();
        let mut up = vec![0u64; (one.len() * columns).div_ceil(64)];
        let mut row = vec![0u32; columns + 1];
        for (i, from_one) in one.iter().enumerate() {
            // `row[j]` still holds the row before wherever j was not passed.
            let (mut diagonal, mut left) = (0, 0);
            for (j, from_other) in other.iter().enumerate() {
                let above = row[j + 1];
                let here = if from_one == from_other { diagonal + 1 } else { above.max(left) };
                let cell = i * columns + j;
                up[cell / 64] |= u64::from(above > left) << (cell % 64);
                (row[j + 1], diagonal, left) = (here, above, here);
            }
        }
        Table { length: row[columns], columns, up }
    }

    /// Walks back from the last cell; the runs from the last to the first.
    fn common_runs(&self, one: &[u8], other: &[u8]) -> Vec<CommonRun> {
        let mut runs: Vec<CommonRun> = Vec::new();
        let mut in_run = false;
        let (mut i, mut j) = (one.len(), other.len());
        while i > 0 && j > 0 {
            let cell = (i - 1) * self.columns + j - 1;
            if one[i - 1] == other[j - 1] {
                (i, j) = (i - 1, j - 1);
                match runs.last_mut().filter(|_| in_run) {
                    Some(run) => {
                        (run.one_start, run.other_start, run.length) = (i, j, run.length + 1);
                    }
                    None => runs.push(CommonRun { one_start: i, other_start: j, length: 1 }),
                }
                in_run = true;
            } else {
                in_run = false;
                match self.up[cell / 64] >> (cell % 64) & 1 {
                    1 => i -= 1,
                    _ => j -= 1,
                }
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_from_the_last_to_the_first() {
        let (one, other) = (b"ohmytext", b"mynewtext");
        let table = Table::new(one, other);
        assert_eq!(table.length, 6);
        let run = |one_start, other_start, length| CommonRun { one_start, other_start, length };
        assert_eq!(table.common_runs(one, other), [run(4, 5, 4), run(2, 0, 2)]);
        assert_eq!(Table::new(b"", b"abc").length, 0);
        assert!(Table::new(b"abc", b"").common_runs(b"abc", b"").is_empty());
    }

    #[test]
    fn a_table_that_redis_refuses_is_refused() {
        assert_eq!(check_size(11_584, 11_584), Ok(()));
        assert!(check_size(11_585, 11_585).is_err());
        assert!(check_size(STRING_BYTES_MAX, STRING_BYTES_MAX).is_err());
    }
}
