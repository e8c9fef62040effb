//! OBJECT: how a value would be represented in Redis.
//!
//! ```text
//! > SET answer 42
//! OK
//! > OBJECT ENCODING answer
//! "int"
//! ```
//!
//! Values have one representation here; what is printed is the one that Redis would have, which
//! depends on how a value came about. (It survives a restart, where Redis chooses anew.) Times of
//! access are not recorded, a read being no write here: IDLETIME is always 0.

use crate::commands::context::ReadContext;
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Failure, Outcome};
use crate::commands::numbers::parse_i64;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use protocol::{Reply, Request};
use storage::value::{Record, StringForm, ValueKind};

pub(super) const OBJECT: CommandSpec = CommandSpec {
    name: "object",
    syntax: "OBJECT subcommand [argument ...]",
    summary: "Container of the commands on the representation of values.",
    group: Group::Generic,
    since: "2.2.3",
    docs: Docs::CONTAINER,
    arity: Arity::AtLeast(2),
    subcommands: &[ENCODING, REFCOUNT, IDLETIME, FREQ, HELP],
    run: Run::Container,
    ..CommandSpec::TEMPLATE
};

const ENCODING: CommandSpec = CommandSpec {
    name: "encoding",
    syntax: "OBJECT ENCODING key",
    summary: "Returns the encoding that Redis would choose for a value.",
    group: Group::Generic,
    since: "2.2.3",
    docs: Docs::COST_1,
    tips: &["nondeterministic_output"],
    arity: Arity::Exactly(3),
    flags: Flags::READONLY,
    keys: Keys::at(2),
    run: Run::Read(|ctx, args| about(ctx, args, |record| Ok(Reply::bulk(encoding(record))))),
    ..CommandSpec::TEMPLATE
};

const REFCOUNT: CommandSpec = CommandSpec {
    name: "refcount",
    syntax: "OBJECT REFCOUNT key",
    summary: "Returns how many references Redis would hold to a value.",
    docs: Docs::COST_1,
    tips: &["nondeterministic_output"],
    run: Run::Read(|ctx, args| about(ctx, args, |record| Ok(Reply::Integer(references(record))))),
    ..ENCODING
};

const IDLETIME: CommandSpec = CommandSpec {
    name: "idletime",
    syntax: "OBJECT IDLETIME key",
    summary: "Returns 0 for a key that exists (times of access are not recorded).",
    docs: Docs::COST_1,
    tips: &["nondeterministic_output"],
    run: Run::Read(|ctx, args| about(ctx, args, |_| Ok(Reply::Integer(0)))),
    ..ENCODING
};

const FREQ: CommandSpec = CommandSpec {
    name: "freq",
    syntax: "OBJECT FREQ key",
    summary: "Refused for a key that exists (frequencies of access are not recorded).",
    since: "4.0.0",
    docs: Docs::COST_1,
    tips: &["nondeterministic_output"],
    run: Run::Read(|ctx, args| about(ctx, args, |_| Err(CommandError::text(NO_FREQUENCY).into()))),
    ..ENCODING
};

const HELP: CommandSpec = CommandSpec {
    name: "help",
    syntax: "OBJECT HELP",
    summary: "Prints the subcommands of OBJECT.",
    since: "6.2.0",
    docs: Docs::COST_1,
    tips: &[],
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.and(Flags::STALE),
    keys: Keys::None,
    run: Run::Read(help),
    ..ENCODING
};

const NO_FREQUENCY: &str = "ERR An LFU maxmemory policy is not selected, access frequency not \
     tracked. Please note that when switching between policies at runtime LRU and LFU data will \
     take some time to adjust.";

const HELP_TEXT: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
];

/// Longest string that Redis embeds in its object, in bytes.
const EMBEDDED_BYTES_MAX: usize = 44;
/// Redis shares the integers below this one, and counts no references to them.
const SHARED_INTEGERS: i64 = 10_000;

fn help(_: &ReadContext<'_>, _: &Request) -> Outcome {
    Ok(Reply::Array(HELP_TEXT.iter().copied().map(Reply::simple).collect()))
}

fn about(
    ctx: &ReadContext<'_>,
    args: &Request,
    describe: impl Fn(&Record) -> Result<Reply, Failure>,
) -> Outcome {
    let record = ctx.lookup(args.arg(2))?;
    record.map_or(Ok(Reply::Null), |record| describe(&record))
}

fn encoding(record: &Record) -> &'static str {
    match record.kind {
        ValueKind::String(StringForm::Raw) => "raw",
        ValueKind::String(StringForm::Natural) if parse_i64(&record.payload).is_some() => "int",
        ValueKind::String(_) if record.payload.len() <= EMBEDDED_BYTES_MAX => "embstr",
        ValueKind::String(_) => "raw",
    }
}

fn references(record: &Record) -> i64 {
    match record.kind {
        ValueKind::STRING => match parse_i64(&record.payload) {
            Some(0..SHARED_INTEGERS) => i64::from(i32::MAX),
            _ => 1,
        },
        ValueKind::String(_) => 1,
    }
}
