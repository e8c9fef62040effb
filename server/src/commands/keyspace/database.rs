//! DBSIZE: how many keys a database has. FLUSHDB, FLUSHALL: empty one or all. SWAPDB: exchanges
//! two.
//!
//! ```text
//! > SET greeting hello
//! OK
//! > SWAPDB 0 1
//! OK
//! > DBSIZE
//! 0
//! > FLUSHALL
//! OK
//! ```
//!
//! Flushing takes the same short time for any number of keys: the rows are removed later, unseen.
//! ASYNC and SYNC are accepted and mean the same.

use crate::commands::context::{ReadContext, WriteContext};
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::numbers::{database_in_range, int32};
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use protocol::{Reply, Request};
use storage::limits::DATABASES_MAX;

pub(super) const DBSIZE: CommandSpec = CommandSpec {
    name: "dbsize",
    syntax: "DBSIZE",
    summary: "Returns the number of keys of the selected database.",
    group: Group::Server,
    since: "1.0.0",
    docs: Docs::COST_1,
    tips: &["request_policy:all_shards", "response_policy:agg_sum"],
    arity: Arity::Exactly(1),
    flags: Flags::READONLY.and(Flags::FAST),
    categories: &["@keyspace"],
    run: Run::Read(dbsize),
    ..CommandSpec::TEMPLATE
};

pub(super) const FLUSHDB: CommandSpec = CommandSpec {
    name: "flushdb",
    syntax: "FLUSHDB [ASYNC{4.0.0} | SYNC{6.2.0}]{async}",
    summary: "Removes all keys of the selected database.",
    docs: Docs::COST_1.history(&[
        ("4.0.0", "Added the `ASYNC` flushing mode modifier."),
        ("6.2.0", "Added the `SYNC` flushing mode modifier."),
    ]),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    arity: Arity::AtLeast(1),
    flags: Flags::WRITE,
    categories: &["@keyspace", "@dangerous"],
    run: Run::Write { check: check_flush, apply: flushdb },
    ..DBSIZE
};

pub(super) const FLUSHALL: CommandSpec = CommandSpec {
    name: "flushall",
    syntax: "FLUSHALL [ASYNC{4.0.0} | SYNC{6.2.0}]{async}",
    summary: "Removes all keys of all databases.",
    docs: Docs::COST_1.history(&[
        ("4.0.0", "Added the `ASYNC` flushing mode modifier."),
        ("6.2.0", "Added the `SYNC` flushing mode modifier."),
    ]),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    run: Run::Write { check: check_flush, apply: flushall },
    ..FLUSHDB
};

pub(super) const SWAPDB: CommandSpec = CommandSpec {
    name: "swapdb",
    syntax: "SWAPDB index1 index2",
    summary: "Exchanges the contents of two databases.",
    since: "4.0.0",
    docs: Docs::COST_1,
    tips: &[],
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::FAST),
    run: Run::Write {
        check: |args| swapped(args, DATABASES_MAX as u16).map(|_| ()),
        apply: swapdb,
    },
    ..FLUSHDB
};

fn dbsize(ctx: &ReadContext<'_>, _: &Request) -> Outcome {
    Ok(Reply::Integer(ctx.reader.counts(ctx.database)?.keys as i64))
}

fn check_flush(args: &Request) -> Result<(), CommandError> {
    match args.get(1) {
        None => Ok(()),
        Some(mode) if args.len() > 2 || !is_flush_mode(mode) => Err(CommandError::Syntax),
        Some(_) => Ok(()),
    }
}

fn is_flush_mode(mode: &[u8]) -> bool {
    mode.eq_ignore_ascii_case(b"sync") || mode.eq_ignore_ascii_case(b"async")
}

fn flushdb(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    check_flush(args)?;
    ctx.writer.flush_database(ctx.database)?;
    Ok(Reply::OK)
}

/// Databases beyond the number configured today may hold keys of yesterday: they are emptied too.
fn flushall(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    check_flush(args)?;
    for database in 0..DATABASES_MAX {
        ctx.writer.flush_database(database as u8)?;
    }
    Ok(Reply::OK)
}

fn swapped(args: &Request, databases: u16) -> Result<(u8, u8), CommandError> {
    let number = |position, error: &'static str| {
        int32(args.arg(position)).map_err(|_| CommandError::text(error))
    };
    let one = number(1, "ERR invalid first DB index")?;
    let other = number(2, "ERR invalid second DB index")?;
    Ok((database_in_range(one, databases)?, database_in_range(other, databases)?))
}

fn swapdb(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let (one, other) = swapped(args, ctx.databases)?;
    if one != other {
        ctx.writer.swap_databases(one, other)?;
    }
    Ok(Reply::OK)
}
