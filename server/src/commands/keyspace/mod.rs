//! Commands on keys of any type, and on whole databases.

mod copy;
mod database;
mod del;
mod exists;
mod expire;
mod object;
mod randomkey;
mod rename;
mod scan;
mod ttl;

use crate::commands::spec::CommandSpec;

/// The commands of this chapter.
pub static COMMANDS: &[CommandSpec] = &[
    del::DEL,
    del::UNLINK,
    exists::EXISTS,
    exists::TOUCH,
    exists::TYPE,
    rename::RENAME,
    rename::RENAMENX,
    copy::COPY,
    copy::MOVE,
    expire::EXPIRE,
    expire::PEXPIRE,
    expire::EXPIREAT,
    expire::PEXPIREAT,
    expire::PERSIST,
    ttl::TTL,
    ttl::PTTL,
    ttl::EXPIRETIME,
    ttl::PEXPIRETIME,
    scan::SCAN,
    scan::KEYS,
    randomkey::RANDOMKEY,
    object::OBJECT,
    database::DBSIZE,
    database::FLUSHDB,
    database::FLUSHALL,
    database::SWAPDB,
];

#[cfg(test)]
mod tests;
