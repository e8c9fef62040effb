//! ACL SETUSER and ACL DELUSER: entries of the log, applied on every node.
//!
//! Passwords are replaced by their hashes before anything is proposed: no log and no peer ever
//! holds one. So an error about a password that is not there names its hash.

use super::user::{DEFAULT_USER, RuleError, User, hash, merge};
use crate::commands::context::WriteContext;
use crate::commands::error::{CommandError, Failure, Outcome};
use crate::commands::words::printable;
use crate::limits::{USER_BYTES_MAX, USER_NAME_BYTES_MAX};
use protocol::{Reply, Request};
use storage::StorageError;

/// The request with hashes instead of passwords. `default_user` is what the default user starts
/// from where it was never changed: this node's `requirepass`.
pub fn sealed(request: &Request, default_user: Option<&User>) -> Request {
    let mut parts: Vec<Vec<u8>> = request.iter().take(3).map(<[u8]>::to_vec).collect();
    if let Some(user) = default_user.filter(|_| request.arg(2) == DEFAULT_USER) {
        let words = user.describe();
        parts.extend(words.split(|byte| *byte == b' ').map(<[u8]>::to_vec));
    }
    parts.extend(request.iter().skip(3).map(|rule| match rule {
        [b'>', password @ ..] => format!("#{}", hash(password)).into_bytes(),
        [b'<', password @ ..] => format!("!{}", hash(password)).into_bytes(),
        _ => rule.to_vec(),
    }));
    Request::from_parts(&parts)
}

/// The rules of a request of ACL SETUSER.
fn rules(request: &Request) -> Result<Vec<Vec<u8>>, CommandError> {
    let words: Vec<&[u8]> = request.iter().skip(3).collect();
    merge(&words).map_err(|start| {
        let start = printable(start);
        let text = format!("ERR Unmatched parenthesis in acl selector starting at '{start}'.");
        CommandError::text(text)
    })
}

/// Changes `user` by all rules of a request.
fn change(
    user: &mut User,
    request: &Request,
    ignores: fn(RuleError) -> bool,
) -> Result<(), CommandError> {
    for rule in rules(request)? {
        match user.apply(&rule) {
            Err(error) if !ignores(error) => return Err(error.reply(&rule)),
            Err(_) | Ok(()) => {}
        }
    }
    Ok(())
}

pub(super) fn check_set_user(request: &Request) -> Result<(), CommandError> {
    let name = request.arg(2);
    if super::selector::has_spaces(name) {
        let text = "ERR Usernames can't contain spaces or null characters";
        return Err(CommandError::text(text));
    }
    if name.len() > USER_NAME_BYTES_MAX {
        return Err(CommandError::text("ERR the name of the user is too long"));
    }
    change(&mut User::nobody(), request, RuleError::depends_on_user)
}

pub(super) fn set_user(ctx: &mut WriteContext<'_, '_>, request: &Request) -> Outcome {
    check_set_user(request)?;
    let name = request.arg(2);
    let mut user = match ctx.writer.user(name)? {
        Some(row) => read_row(&row)?,
        None if name == DEFAULT_USER => User::everybody(""),
        None => User::nobody(),
    };
    change(&mut user, request, |_| false)?;
    let text = user.describe();
    if text.len() > USER_BYTES_MAX {
        return Err(CommandError::text("ERR the user has too many rules").into());
    }
    // A row that cannot be read would end every node.
    if User::parse(&text).as_ref() != Ok(&user) {
        return Err(CommandError::text("ERR the rules of this user cannot be stored").into());
    }
    ctx.writer.set_user(name, Some(&row(&text)));
    Ok(Reply::OK)
}

pub(super) fn check_delete_users(request: &Request) -> Result<(), CommandError> {
    match request.iter().skip(2).any(|name| name == DEFAULT_USER) {
        true => Err(CommandError::text("ERR The 'default' user cannot be removed")),
        false => Ok(()),
    }
}

pub(super) fn delete_users(ctx: &mut WriteContext<'_, '_>, request: &Request) -> Outcome {
    check_delete_users(request)?;
    let mut deleted = 0;
    for name in request.iter().skip(2).filter(|name| name.len() <= USER_NAME_BYTES_MAX) {
        if ctx.writer.user(name).map_err(Failure::Storage)?.is_some() {
            ctx.writer.set_user(name, None);
            deleted += 1;
        }
    }
    Ok(Reply::Integer(deleted))
}

/// Version of the row that holds a user.
const ROW_VERSION: u8 = 1;

fn row(text: &[u8]) -> Vec<u8> {
    [&[ROW_VERSION], text].concat()
}

/// The user in a row.
pub fn read_row(row: &[u8]) -> Result<User, StorageError> {
    let unreadable = |why: String| StorageError::Corrupt(format!("unreadable user: {why}"));
    match row.split_first() {
        Some((&ROW_VERSION, text)) => {
            User::parse(text).map_err(|error| unreadable(error.to_string()))
        }
        _ => Err(unreadable("another version".to_owned())),
    }
}
