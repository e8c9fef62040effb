//! CLIENT REPLY, CAPA, NO-EVICT, NO-TOUCH: how this connection is treated.
//!
//! ```text
//! > CLIENT CAPA redirect
//! OK
//! ```
//!
//! After `CLIENT CAPA redirect` the client is told where to go by `-REDIRECT host:port`, as in
//! Valkey 8. NO-EVICT spares the client when `maxmemory-clients` is exceeded. Reads never touch a key's
//! age, so NO-TOUCH only shows in CLIENT LIST.

use super::{ADMIN, PLAIN};
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Run};
use crate::commands::words::{SYNTAX, is_word};
use crate::session::ReplyMode;
use protocol::{Reply, Request};
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) const REPLY: CommandSpec = CommandSpec {
    name: "reply",
    syntax: "CLIENT REPLY <ON | OFF | SKIP>",
    summary: "Turns the replies to this connection off and on.",
    since: "3.2.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(3),
    run: Run::Session(reply),
    ..PLAIN
};

pub(super) const CAPA: CommandSpec = CommandSpec {
    name: "capa",
    syntax: "CLIENT CAPA capability [capability ...]",
    summary: "Says what the client understands; unknown words are ignored.",
    since: "7.2.0",
    docs: Docs::cost("O(N) where N is the number of words."),
    arity: Arity::AtLeast(3),
    run: Run::Session(capa),
    ..PLAIN
};

pub(super) const NO_EVICT: CommandSpec = CommandSpec {
    name: "no-evict",
    syntax: "CLIENT NO-EVICT <ON | OFF>{enabled}",
    summary: "Spares this client when all together have too much memory.",
    since: "7.0.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(3),
    run: Run::Session(no_evict),
    ..ADMIN
};

pub(super) const NO_TOUCH: CommandSpec = CommandSpec {
    name: "no-touch",
    syntax: "CLIENT NO-TOUCH <ON | OFF>{enabled}",
    summary: "Accepted: reads never change the age of keys.",
    since: "7.2.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(3),
    run: Run::Session(no_touch),
    ..PLAIN
};

/// The words OFF and SKIP are answered by nothing: whoever writes replies looks at the mode.
fn reply(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let mode = &mut ctx.session.reply_mode;
    let word = args.arg(2);
    if is_word(word, "on") {
        *mode = ReplyMode::On;
    } else if is_word(word, "off") {
        *mode = ReplyMode::Off;
    } else if !is_word(word, "skip") {
        return SYNTAX;
    } else if *mode != ReplyMode::Off {
        *mode = ReplyMode::SkipNext;
    }
    Reply::OK
}

fn capa(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    ctx.session.redirect_capable |= args.iter().skip(2).any(|word| is_word(word, "redirect"));
    Reply::OK
}

fn no_evict(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    switch(&ctx.session.client.no_evict, args)
}

fn no_touch(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    switch(&ctx.session.client.no_touch, args)
}

fn switch(flag: &AtomicBool, args: &Request) -> Reply {
    let on = is_word(args.arg(2), "on");
    if !on && !is_word(args.arg(2), "off") {
        return SYNTAX;
    }
    flag.store(on, Ordering::Relaxed);
    Reply::OK
}
