//! MEMORY: what a key takes.
//!
//! ```text
//! > MEMORY USAGE greeting
//! 36
//! ```
//!
//! Keys are not held in memory: USAGE is the length of the stored record and its key, before
//! compression.

use super::PLAIN;
use crate::commands::context::{ReadContext, SessionContext};
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::numbers;
use crate::commands::spec::{Arity, CommandSpec, Flags, Keys, Run};
use crate::commands::words::{help, is_word};
use protocol::{Reply, Request};

pub(super) const MEMORY: CommandSpec = CommandSpec {
    name: "memory",
    syntax: "MEMORY subcommand",
    summary: "A container for commands on memory.",
    since: "4.0.0",
    docs: Docs::CONTAINER,
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    subcommands: SUBCOMMANDS,
    run: Run::Container,
    ..PLAIN
};

static SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "doctor",
        syntax: "MEMORY DOCTOR",
        summary: "Says what decides how much memory is used.",
        since: "4.0.0",
        docs: Docs::COST_1,
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        arity: Arity::Exactly(2),
        flags: Flags::NONE,
        run: Run::Session(doctor),
        ..PLAIN
    },
    CommandSpec {
        name: "help",
        syntax: "MEMORY HELP",
        summary: "Lists the subcommands.",
        since: "4.0.0",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(print_help),
        ..PLAIN
    },
    CommandSpec {
        name: "usage",
        syntax: "MEMORY USAGE key [SAMPLES count]",
        summary: "Estimates the bytes that a key and its value take in the store.",
        since: "4.0.0",
        docs: Docs::COST_1,
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::at(2),
        run: Run::Read(usage),
        ..PLAIN
    },
];

/// Bytes of a storage key around the user key (shard, keyspace, slot), and of a record's head.
const OVERHEAD_BYTES: usize = 9 + 11;
/// Bytes of a deadline in a record, and of its row in the order of deadlines.
const DEADLINE_BYTES: usize = 8 + 11;

fn usage(ctx: &ReadContext<'_>, args: &Request) -> Outcome {
    check_samples(args)?;
    let key = args.arg(2);
    let Some(record) = ctx.lookup(key)? else {
        return Ok(Reply::Null);
    };
    let mut bytes = OVERHEAD_BYTES + key.len() + record.payload.len();
    if record.deadline_ms.is_some() {
        bytes += DEADLINE_BYTES + key.len();
    }
    Ok(Reply::Integer(bytes as i64))
}

/// SAMPLES is checked, and means nothing: the whole record is measured.
fn check_samples(args: &Request) -> Result<(), CommandError> {
    let mut at = 3;
    while at < args.len() {
        let samples = args.get(at + 1).filter(|_| is_word(args.arg(at), "samples"));
        if numbers::integer(samples.ok_or(CommandError::Syntax)?)? < 0 {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    Ok(())
}

fn doctor(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    let text = "Data is on disk. Memory is bounded by cache-bytes, twice overlay-bytes, \
                log-cache-bytes, and the buffers of clients: see INFO memory.\n";
    Reply::Verbatim(*b"txt", text.into())
}

fn print_help(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    help(
        "MEMORY",
        &[
            "DOCTOR",
            "    Say what decides how much memory is used.",
            "USAGE <key> [SAMPLES <count>]",
            "    Return the bytes used by <key> and its value in the store.",
        ],
    )
}
