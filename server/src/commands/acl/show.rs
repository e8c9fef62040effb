//! What ACL answers from this node: users, categories, dry runs, denials, new passwords.

use super::selector::{CATEGORIES, Denied, Selector, in_category};
use crate::acl_log::AclEntry;
use crate::commands::context::SessionContext;
use crate::commands::error::CommandError;
use crate::commands::numbering;
use crate::commands::numbers::parse_i64;
use crate::commands::words::{help, is_word, printable, subcommand_syntax};
use protocol::{Reply, Request};

/// How much of an unknown category an error repeats, in bytes.
const CATEGORY_SHOWN_BYTES: usize = 128;

/// Entries that LOG returns when it is not told how many.
const LOG_COUNT_DEFAULT: i64 = 10;

/// Bits of a password that GENPASS makes up when it is not told how many, and at most.
const PASSWORD_BITS_DEFAULT: i64 = 256;
const PASSWORD_BITS_MAX: i64 = 4096;

pub(super) fn cat(_: &mut SessionContext<'_>, args: &Request) -> Reply {
    let names =
        |names: &mut dyn Iterator<Item = &str>| Reply::Array(names.map(Reply::bulk).collect());
    match (args.get(2), args.len()) {
        (None, _) => names(&mut CATEGORIES.into_iter()),
        (Some(category), 3) => {
            let known = CATEGORIES.into_iter().find(|known| is_word(category, known));
            let Some(known) = known else {
                let shown = printable(&category[..category.len().min(CATEGORY_SHOWN_BYTES)]);
                return Reply::error(format!("ERR Unknown category '{shown}'"));
            };
            let numbers = (0..numbering::count()).filter(|number| in_category(*number, known));
            names(&mut numbers.map(numbering::full_name))
        }
        _ => subcommand_syntax("ACL", args.arg(1)),
    }
}

pub(super) fn who_am_i(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::bulk(ctx.session.account.name())
}

pub(super) fn users(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let requirepass = &ctx.node.settings().load().requirepass;
    let users = ctx.node.users().list(requirepass);
    Reply::Array(users.into_iter().map(|(name, _)| Reply::bulk(name)).collect())
}

pub(super) fn list(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let requirepass = &ctx.node.settings().load().requirepass;
    let users = ctx.node.users().list(requirepass);
    let lines = users
        .into_iter()
        .map(|(name, user)| Reply::bulk([b"user ", &name[..], b" ", &user.describe()].concat()));
    Reply::Array(lines.collect())
}

pub(super) fn get_user(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let requirepass = &ctx.node.settings().load().requirepass;
    let Some(user) = ctx.node.users().user(args.arg(2), requirepass) else { return Reply::Null };
    let mut fields = vec![
        ("flags", Reply::Set(user.flags().into_iter().map(Reply::bulk).collect())),
        ("passwords", Reply::Array(user.passwords().iter().map(Reply::bulk).collect())),
    ];
    fields.extend(describe(user.root()));
    let selectors = user.selectors().iter().map(|selector| map(describe(selector).into()));
    fields.push(("selectors", Reply::Array(selectors.collect())));
    map(fields)
}

fn describe(selector: &Selector) -> [(&'static str, Reply); 3] {
    [
        ("commands", Reply::bulk(selector.describe_commands())),
        ("keys", Reply::bulk(selector.describe_keys())),
        ("channels", Reply::bulk(selector.describe_channels())),
    ]
}

fn map(fields: Vec<(&'static str, Reply)>) -> Reply {
    Reply::Map(fields.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
}

pub(super) fn dry_run(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let requirepass = &ctx.node.settings().load().requirepass;
    let Some(user) = ctx.node.users().user(args.arg(2), requirepass) else {
        return Reply::error(format!("ERR User '{}' not found", printable(args.arg(2))));
    };
    let parts: Vec<&[u8]> = args.iter().skip(3).collect();
    let request = Request::from_parts(&parts);
    let spec = numbering::resolve(&request)
        .filter(|spec| request.len() == 1 || spec.subcommands.is_empty());
    let Some(spec) = spec else {
        return Reply::error(format!("ERR Command '{}' not found", printable(args.arg(3))));
    };
    let name = numbering::full_name_of(spec);
    if !spec.arity.accepts(request.len()) {
        return CommandError::Arity(name).into();
    }
    match user.check(spec, &request) {
        Ok(()) => Reply::OK,
        Err(Denied::Command) => {
            Reply::bulk(format!("This user has no permissions to run the '{name}' command"))
        }
        Err(Denied::Key(position)) => {
            let key = request.arg(position);
            let parts: [&[u8]; 3] =
                [b"This user has no permissions to access the '", key, b"' key"];
            Reply::bulk(parts.concat())
        }
    }
}

pub(super) fn log(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let log = ctx.node.users().log();
    let count = match (args.get(2), args.len()) {
        (None, _) => LOG_COUNT_DEFAULT,
        (Some(word), 3) if is_word(word, "reset") => {
            log.clear();
            return Reply::OK;
        }
        (Some(count), 3) => match parse_i64(count) {
            Some(count) => count,
            None => return CommandError::NotAnInteger.into(),
        },
        _ => return subcommand_syntax("ACL", args.arg(1)),
    };
    let now_ms = ctx.node.clock().unix_ms();
    let entries = log.newest(usize::try_from(count).unwrap_or(0));
    Reply::Array(entries.into_iter().map(|entry| describe_entry(entry, now_ms)).collect())
}

fn describe_entry(entry: AclEntry, now_ms: u64) -> Reply {
    let age_ms = now_ms.saturating_sub(entry.last_ms);
    map(vec![
        ("count", Reply::Integer(entry.count as i64)),
        ("reason", Reply::bulk(entry.denial.reason)),
        ("context", Reply::bulk(entry.denial.context)),
        ("object", Reply::bulk(entry.denial.object)),
        ("username", Reply::bulk(entry.denial.user)),
        ("age-seconds", Reply::Double(age_ms as f64 / 1000.0)),
        ("client-info", Reply::bulk(entry.client)),
    ])
}

pub(super) fn generate_password(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let bits = match (args.get(2), args.len()) {
        (None, _) => PASSWORD_BITS_DEFAULT,
        (Some(bits), 3) => match parse_i64(bits) {
            Some(bits) => bits,
            None => return CommandError::NotAnInteger.into(),
        },
        _ => return subcommand_syntax("ACL", args.arg(1)),
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Reply::error(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a \
             positive number up to 4096",
        );
    }
    let digits = (bits as usize).div_ceil(4);
    let mut random = vec![0; digits.div_ceil(2)];
    if let Err(error) = ctx.node.fill_secret(&mut random) {
        return Reply::error(format!("ERR no randomness: {error}"));
    }
    let mut password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    password.truncate(digits);
    Reply::bulk(password)
}

pub(super) fn no_file(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::error(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify \
         users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a \
         Redis configuration file set) in order to store users in the Redis configuration.",
    )
}

pub(super) fn print_help(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    help(
        "ACL",
        &[
            "CAT [<category>]",
            "    List all commands that belong to <category>, or all command categories",
            "    when no category is specified.",
            "DELUSER <username> [<username> ...]",
            "    Delete a list of users.",
            "DRYRUN <username> <command> [<arg> ...]",
            "    Returns whether the user can execute the given command without executing the \
             command.",
            "GETUSER <username>",
            "    Get the user's details.",
            "GENPASS [<bits>]",
            "    Generate a secure 256-bit user password. The optional `bits` argument can",
            "    be used to specify a different size.",
            "LIST",
            "    Show users details in config file format.",
            "LOAD",
            "    Reload users from the ACL file.",
            "LOG [<count> | RESET]",
            "    Show the ACL log entries.",
            "SAVE",
            "    Save the current config to the ACL file.",
            "SETUSER <username> <attribute> [<attribute> ...]",
            "    Create or modify a user with the specified attributes.",
            "USERS",
            "    List all the registered usernames.",
            "WHOAMI",
            "    Return the current connection username.",
        ],
    )
}
