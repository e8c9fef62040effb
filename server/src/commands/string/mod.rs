//! Commands on strings.

mod append;
mod get;
mod getex;
mod incr;
mod incrbyfloat;
mod lcs;
mod mget;
mod mset;
mod range;
mod set;
mod strlen;

use crate::commands::error::CommandError;
use crate::commands::spec::CommandSpec;

/// The commands of this chapter.
pub static COMMANDS: &[CommandSpec] = &[
    set::SET,
    set::SETNX,
    set::SETEX,
    set::PSETEX,
    set::GETSET,
    get::GET,
    get::GETDEL,
    getex::GETEX,
    mget::MGET,
    mset::MSET,
    mset::MSETNX,
    append::APPEND,
    strlen::STRLEN,
    range::SETRANGE,
    range::GETRANGE,
    range::SUBSTR,
    incr::INCR,
    incr::DECR,
    incr::INCRBY,
    incr::DECRBY,
    incrbyfloat::INCRBYFLOAT,
    lcs::LCS,
];

/// Longest string, in bytes. It is the default of `proto-max-bulk-len`, and no setting: what a log
/// entry does may not depend on the node that applies it.
pub const STRING_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Refuses a string that would be too long; the length is that of two parts, in bytes.
fn check_length(one: usize, other: usize) -> Result<(), CommandError> {
    match one.checked_add(other) {
        Some(length) if length <= STRING_BYTES_MAX => Ok(()),
        _ => Err(CommandError::StringTooLong),
    }
}

#[cfg(test)]
mod tests;
