//! WATCH: EXEC does nothing if any of these keys has changed by then.
//!
//! ```text
//! > WATCH balance
//! OK
//! ```

use super::PLAIN;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Keys, Run};

pub(super) const WATCH: CommandSpec = CommandSpec {
    name: "watch",
    syntax: "WATCH key [key ...]",
    summary: "Makes the next EXEC depend on these keys being unchanged.",
    since: "2.2.0",
    docs: Docs::cost("O(1) for every key."),
    arity: Arity::AtLeast(2),
    keys: Keys::Range { first: 1, last: -1, step: 1 },
    run: Run::Watch,
    ..PLAIN
};
