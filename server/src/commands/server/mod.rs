//! Commands on the node: what it is, what it does, how it is set.

mod command;
mod config;
mod debug;
mod info;
mod latency;
mod memory;
mod monitor;
mod shutdown;
mod slowlog;
#[cfg(test)]
mod tests;
mod time;

use crate::commands::spec::{CommandSpec, Flags, Group};
pub(crate) use command::key_specs;

/// The commands of this chapter.
pub static COMMANDS: &[CommandSpec] = &[
    command::COMMAND,
    config::CONFIG,
    debug::DEBUG,
    info::INFO,
    time::LASTSAVE,
    latency::LATENCY,
    memory::MEMORY,
    monitor::MONITOR,
    shutdown::SHUTDOWN,
    slowlog::SLOWLOG,
    time::TIME,
];

/// What most of them share.
const PLAIN: CommandSpec = CommandSpec {
    group: Group::Server,
    flags: Flags::LOADING.and(Flags::STALE),
    ..CommandSpec::TEMPLATE
};
