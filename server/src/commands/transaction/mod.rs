//! MULTI blocks: gathered on the connection, proposed as one log entry.
//!
//! EXEC and WATCH are carried out by dispatch, which alone can propose and read versions; the rest
//! only changes the session.

mod discard;
mod exec;
mod multi;
mod unwatch;
mod watch;

use crate::commands::spec::{CommandSpec, Flags, Group};

/// The commands of this chapter.
pub static COMMANDS: &[CommandSpec] =
    &[discard::DISCARD, exec::EXEC, multi::MULTI, unwatch::UNWATCH, watch::WATCH];

/// What all of them but EXEC share.
const PLAIN: CommandSpec = CommandSpec {
    group: Group::Transactions,
    flags: Flags::NOSCRIPT
        .and(Flags::LOADING)
        .and(Flags::STALE)
        .and(Flags::FAST)
        .and(Flags::ALLOW_BUSY),
    ..CommandSpec::TEMPLATE
};
