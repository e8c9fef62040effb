//! HELLO: protocol version, authentication and name in one step.
//!
//! ```text
//! > HELLO 3 AUTH default secret SETNAME worker
//! server: redis, version: 7.0.15, proto: 3, id: 7, mode: standalone, role: master, modules: []
//! ```

use super::auth::authenticate;
use super::client;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::info::REDIS_VERSION;
use crate::commands::numbers::parse_i64;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use crate::commands::words::{is_word, printable};
use crate::status::Role;
use protocol::encode::RespVersion;
use protocol::{Reply, Request};

/// What Redis allows for commands that a client may send before AUTH.
pub(super) const HANDSHAKE_FLAGS: Flags = Flags::NOSCRIPT
    .and(Flags::LOADING)
    .and(Flags::STALE)
    .and(Flags::FAST)
    .and(Flags::NO_AUTH)
    .and(Flags::ALLOW_BUSY);

pub(super) const HELLO: CommandSpec = CommandSpec {
    name: "hello",
    syntax: "HELLO [protover [AUTH username password] [SETNAME clientname]]{arguments}",
    summary: "Agrees on the protocol with the server, and says who it is.",
    group: Group::Connection,
    since: "6.0.0",
    docs: Docs::COST_1.history(&[(
        "6.2.0",
        "`protover` made optional; when called without arguments the command \
             reports the current connection's context.",
    )]),
    arity: Arity::AtLeast(1),
    flags: HANDSHAKE_FLAGS,
    run: Run::Session(hello),
    ..CommandSpec::TEMPLATE
};

const NOT_AUTHENTICATED: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH \
     <user> <pass> option can be used to authenticate the client and select the RESP protocol \
     version at the same time";

fn hello(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    match agree(ctx, args) {
        Ok(()) => greeting(ctx),
        Err(refused) => refused,
    }
}

fn agree(ctx: &mut SessionContext<'_>, args: &Request) -> Result<(), Reply> {
    let version = match args.get(1) {
        None => None,
        Some(text) => match parse_i64(text) {
            Some(2) => Some(RespVersion::Resp2),
            Some(3) => Some(RespVersion::Resp3),
            Some(_) => return Err(Reply::error("NOPROTO unsupported protocol version")),
            None => {
                let text = "ERR Protocol version is not an integer or out of range";
                return Err(Reply::error(text));
            }
        },
    };
    let mut at = 2;
    while let Some(option) = args.get(at) {
        let more = args.len() - at - 1;
        if is_word(option, "auth") && more >= 2 {
            authenticate(ctx, args.arg(at + 1), args.arg(at + 2))?;
            at += 3;
        } else if is_word(option, "setname") && more >= 1 {
            client::set_name(ctx, args.arg(at + 1))?;
            at += 2;
        } else {
            let option = printable(option);
            return Err(Reply::error(format!("ERR Syntax error in HELLO option '{option}'")));
        }
    }
    let requirepass = &ctx.node.settings().load().requirepass;
    let needs_auth = !ctx.node.users().default_is_open(requirepass);
    if needs_auth && !ctx.session.authenticated {
        return Err(Reply::error(NOT_AUTHENTICATED));
    }
    if let Some(version) = version {
        ctx.session.speak(version);
    }
    Ok(())
}

fn greeting(ctx: &SessionContext<'_>) -> Reply {
    let leads = ctx.node.status().role == Role::Leader;
    let version = if ctx.session.version == RespVersion::Resp3 { 3 } else { 2 };
    let pairs = [
        ("server", Reply::bulk("redis")),
        ("version", Reply::bulk(REDIS_VERSION)),
        ("proto", Reply::Integer(version)),
        ("id", Reply::Integer(ctx.session.client.id as i64)),
        ("mode", Reply::bulk("standalone")),
        ("role", Reply::bulk(if leads { "master" } else { "replica" })),
        ("modules", Reply::Array(Vec::new())),
    ];
    Reply::Map(pairs.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
}
