//! The command table: every command there is, declared once.

pub mod acl;
pub mod categories;
pub mod context;
pub mod docs;
pub mod error;
pub mod expire;
pub mod float80;
pub mod glob;
pub mod numbering;
pub mod numbers;
pub mod spec;
pub mod syntax;
pub mod words;

pub mod cluster;
pub mod connection;
pub mod info;
pub mod keyspace;
pub mod replication;
pub mod server;
pub mod string;
pub mod transaction;

use protocol::Request;
use rustc_hash::FxHashMap;
use spec::CommandSpec;
use std::sync::LazyLock;

/// Every command, by chapter. A reader finds each in the folder of that name.
pub static TABLE: &[&[CommandSpec]] = &[
    string::COMMANDS,
    keyspace::COMMANDS,
    transaction::COMMANDS,
    connection::COMMANDS,
    server::COMMANDS,
    acl::COMMANDS,
    replication::COMMANDS,
    cluster::COMMANDS,
];

/// Longest command name, in bytes.
const NAME_BYTES_MAX: usize = 32;

static BY_NAME: LazyLock<FxHashMap<&'static [u8], &'static CommandSpec>> = LazyLock::new(|| {
    TABLE.iter().flat_map(|group| group.iter()).map(|spec| (spec.name.as_bytes(), spec)).collect()
});

/// The command of this name, in any case.
pub fn lookup(name: &[u8]) -> Option<&'static CommandSpec> {
    let mut lower = [0u8; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}

/// The subcommand of a container, in any case.
pub fn lookup_subcommand(
    container: &'static CommandSpec,
    name: &[u8],
) -> Option<&'static CommandSpec> {
    container.subcommands.iter().find(|sub| name.eq_ignore_ascii_case(sub.name.as_bytes()))
}

/// Whether a request is a write that answers OK whatever the data hold. Such a write may be answered
/// when its entry is committed, before it is applied.
pub fn answers_ok(request: &Request) -> bool {
    let is = |name: &str| request.arg(0).eq_ignore_ascii_case(name.as_bytes());
    // Options of SET ask about the key, or about the time of the entry.
    (is("set") && request.len() == 3) || (is("mset") && request.len() > 2 && request.len() % 2 == 1)
}

/// Every command, in table order.
pub fn all() -> impl Iterator<Item = &'static CommandSpec> {
    TABLE.iter().flat_map(|group| group.iter())
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fake_node;

#[cfg(test)]
mod test_support;

#[cfg(test)]
mod tests;
