//! RESET: the connection as it was when it was made.
//!
//! ```text
//! > RESET
//! RESET
//! ```

use super::hello::HANDSHAKE_FLAGS;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Group, Run};
use crate::session::ReplyMode;
use protocol::encode::RespVersion;
use protocol::{Reply, Request};
use std::sync::atomic::Ordering;

pub(super) const RESET: CommandSpec = CommandSpec {
    name: "reset",
    syntax: "RESET",
    summary: "Resets the connection: database, MULTI, WATCH, protocol, name, authentication.",
    group: Group::Connection,
    since: "6.2.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(1),
    flags: HANDSHAKE_FLAGS,
    run: Run::Session(reset),
    ..CommandSpec::TEMPLATE
};

fn reset(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let session = &mut *ctx.session;
    session.end_multi();
    session.select(0);
    session.speak(RespVersion::Resp2);
    session.readonly = false;
    session.redirect_capable = false;
    session.reply_mode = ReplyMode::On;
    let users = ctx.node.users();
    let open = users.default_is_open(&ctx.node.settings().load().requirepass);
    session.log_in(users.default_account(), open);
    session.client.set_name("");
    for flag in [&session.client.no_evict, &session.client.no_touch, &session.client.is_readonly] {
        flag.store(false, Ordering::Relaxed);
    }
    if session.monitor {
        session.monitor = false;
        ctx.node.clients().end_monitor(&session.client);
    }
    Reply::simple("RESET")
}
