//! EXEC: proposes the queued commands as one log entry.
//!
//! ```text
//! > EXEC
//! 1) OK
//! 2) 1
//! ```

use super::PLAIN;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Run};

pub(super) const EXEC: CommandSpec = CommandSpec {
    name: "exec",
    syntax: "EXEC",
    summary: "Executes all commands of a transaction.",
    since: "1.2.0",
    docs: Docs::cost("Depends on commands in the transaction"),
    arity: Arity::Exactly(1),
    flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::SKIP_SLOWLOG),
    run: Run::Exec,
    ..PLAIN
};
