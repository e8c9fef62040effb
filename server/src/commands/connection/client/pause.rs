//! CLIENT PAUSE and UNPAUSE: holds commands back for a time.
//!
//! ```text
//! > CLIENT PAUSE 1000 WRITE
//! OK
//! ```

use super::ADMIN;
use crate::clients::PauseMode;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Run};
use crate::commands::words::{is_word, subcommand_syntax, timeout_ms};
use protocol::{Reply, Request};

pub(super) const PAUSE: CommandSpec = CommandSpec {
    name: "pause",
    syntax: "CLIENT PAUSE timeout [WRITE | ALL]{mode,6.2.0}",
    summary: "Holds commands back for a number of milliseconds.",
    since: "2.9.50",
    docs: Docs::COST_1
        .history(&[("6.2.0", "`CLIENT PAUSE WRITE` mode added along with the `mode` option.")]),
    arity: Arity::AtLeast(3),
    run: Run::Session(pause),
    ..ADMIN
};

pub(super) const UNPAUSE: CommandSpec = CommandSpec {
    name: "unpause",
    syntax: "CLIENT UNPAUSE",
    summary: "Ends CLIENT PAUSE.",
    since: "6.2.0",
    docs: Docs::cost("O(N) Where N is the number of paused clients"),
    arity: Arity::Exactly(2),
    run: Run::Session(unpause),
    ..ADMIN
};

fn pause(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let mode = match (args.get(3), args.len()) {
        (None, _) => PauseMode::All,
        (Some(word), 4) if is_word(word, "write") => PauseMode::Write,
        (Some(word), 4) if is_word(word, "all") => PauseMode::All,
        (Some(_), 4) => return Reply::error("ERR CLIENT PAUSE mode must be WRITE or ALL"),
        _ => return subcommand_syntax("CLIENT", args.arg(1)),
    };
    let now_ms = ctx.node.clock().unix_ms();
    match timeout_ms(args.arg(2)) {
        Ok(pause_ms) => {
            ctx.node.clients().pause(mode, now_ms.saturating_add(pause_ms), now_ms);
            Reply::OK
        }
        Err(error) => Reply::error(error.to_string()),
    }
}

fn unpause(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    ctx.node.clients().unpause();
    Reply::OK
}
