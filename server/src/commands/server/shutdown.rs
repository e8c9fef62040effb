//! SHUTDOWN: hands over, flushes, ends the process.
//!
//! ```text
//! > SHUTDOWN
//! (the connection closes)
//! ```
//!
//! Every acknowledged write is in the log already, so SAVE and NOSAVE make no difference, and
//! neither do NOW and FORCE: nothing is waited for but the hand-over.

use super::PLAIN;
use crate::commands::context::NodeContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Run};
use crate::commands::words::{SYNTAX, is_word};
use crate::node_control::Order;
use futures_util::future::BoxFuture;
use protocol::{Reply, Request};

pub(super) const SHUTDOWN: CommandSpec = CommandSpec {
    name: "shutdown",
    syntax: "SHUTDOWN [NOSAVE | SAVE] [NOW]{7.0.0} [FORCE]{7.0.0} [ABORT]{7.0.0}",
    summary: "Hands leadership over and ends the process.",
    since: "1.0.0",
    docs: Docs::COST_1.history(&[("7.0.0", "Added the `NOW`, `FORCE` and `ABORT` modifiers.")]),
    arity: Arity::AtLeast(1),
    flags: Flags::ADMIN
        .and(Flags::NOSCRIPT)
        .and(Flags::LOADING)
        .and(Flags::STALE)
        .and(Flags::NO_MULTI)
        .and(Flags::ALLOW_BUSY),
    run: Run::Node(shutdown),
    ..PLAIN
};

fn shutdown<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        if let Err(refused) = check(args) {
            return refused;
        }
        match ctx.node.order(Order::Shutdown).await {
            // As in Redis there is no answer: the connection of a killed client drops what it does.
            Ok(_) => {
                ctx.session.client.kill();
                std::future::pending().await
            }
            Err(text) => Reply::error(text),
        }
    })
}

fn check(args: &Request) -> Result<(), Reply> {
    let has = |word: &str| args.iter().skip(1).any(|arg| is_word(arg, word));
    let words = ["save", "nosave", "now", "force", "abort"];
    let known = args.iter().skip(1).all(|arg| words.iter().any(|word| is_word(arg, word)));
    let (both, abort) = (has("save") && has("nosave"), has("abort"));
    if !known || both || (abort && args.len() > 2) {
        return Err(SYNTAX);
    }
    if abort {
        return Err(Reply::error("ERR No shutdown in progress."));
    }
    Ok(())
}
