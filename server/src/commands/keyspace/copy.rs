//! COPY: copies a value to another key. MOVE: moves a key to another database.
//!
//! ```text
//! > SET one 1
//! OK
//! > COPY one two
//! 1
//! > COPY one two DB 5 REPLACE
//! 1
//! > MOVE one 5
//! 1
//! ```
//!
//! The deadline goes with the value.

use crate::commands::context::{WriteContext, user_key};
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use crate::commands::numbers::database;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use protocol::{Reply, Request};
use storage::limits::DATABASES_MAX;

pub(super) const COPY: CommandSpec = CommandSpec {
    name: "copy",
    syntax: "COPY source destination [DB destination-db] [REPLACE]",
    summary: "Copies the value of a key to another key, in any database.",
    group: Group::Generic,
    since: "6.2.0",
    docs: Docs::cost(
        "O(N) worst case for collections, where N is the number of nested items. \
             O(1) for string values.",
    ),
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENYOOM),
    keys: Keys::Range { first: 1, last: 2, step: 1 },
    run: Run::Write { check: check_copy, apply: copy },
    ..CommandSpec::TEMPLATE
};

pub(super) const MOVE: CommandSpec = CommandSpec {
    name: "move",
    syntax: "MOVE key db",
    summary: "Moves a key to another database unless that has it already.",
    since: "1.0.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: Keys::at(1),
    run: Run::Write {
        check: |args| database(args.arg(2), DATABASES_MAX as u16).map(|_| ()),
        apply: move_key,
    },
    ..COPY
};

/// The options of COPY.
#[derive(Debug)]
struct Options {
    database: u8,
    replace: bool,
}

impl Options {
    /// `selected` is the database where there is no DB option.
    fn parse(args: &Request, selected: u8, databases: u16) -> Result<Options, CommandError> {
        let mut options = Options { database: selected, replace: false };
        let mut at = 3;
        while let Some(option) = args.get(at) {
            at += 1;
            if option.eq_ignore_ascii_case(b"replace") {
                options.replace = true;
            } else if option.eq_ignore_ascii_case(b"db") {
                let number = args.get(at).ok_or(CommandError::Syntax)?;
                options.database = database(number, databases)?;
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

/// How many databases there are is known when the command is applied, and a database that is not
/// there comes before whatever is wrong behind it.
fn check_copy(args: &Request) -> Result<(), CommandError> {
    match Options::parse(args, 0, DATABASES_MAX as u16) {
        Err(CommandError::Syntax)
            if args.iter().skip(3).any(|arg| arg.eq_ignore_ascii_case(b"db")) =>
        {
            Ok(())
        }
        parsed => parsed.map(drop),
    }
}

fn copy(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let options = Options::parse(args, ctx.database, ctx.databases)?;
    let (key, new_key) = (args.arg(1), args.arg(2));
    if options.database == ctx.database && key == new_key {
        return Err(CommandError::SameObject.into());
    }
    let from = ctx.load(key)?;
    let Some(record) = from.record() else {
        return Ok(Reply::Integer(0));
    };
    let to = ctx.writer.load(options.database, user_key(new_key))?;
    if to.record().is_some() && !options.replace {
        return Ok(Reply::Integer(0));
    }
    ctx.writer.store(to, record.kind, &[&record.payload], record.deadline_ms)?;
    Ok(Reply::Integer(1))
}

fn move_key(ctx: &mut WriteContext<'_, '_>, args: &Request) -> Outcome {
    let destination = database(args.arg(2), ctx.databases)?;
    if destination == ctx.database {
        return Err(CommandError::SameObject.into());
    }
    let key = args.arg(1);
    let from = ctx.load(key)?;
    let Some(record) = from.record().cloned() else {
        return Ok(Reply::Integer(0));
    };
    let to = ctx.writer.load(destination, user_key(key))?;
    if to.record().is_some() {
        return Ok(Reply::Integer(0));
    }
    ctx.writer.remove(from)?;
    ctx.writer.store(to, record.kind, &[&record.payload], record.deadline_ms)?;
    Ok(Reply::Integer(1))
}
