//! CLIENT KILL: closes other connections, or this one.
//!
//! ```text
//! > CLIENT KILL ID 12
//! 1
//! ```

use super::ADMIN;
use crate::clients::{ClientFilter, ClientKind};
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::numbers::parse_i64;
use crate::commands::spec::{Arity, CommandSpec, Run};
use crate::commands::words::{SYNTAX, is_word, printable};
use protocol::{Reply, Request};

pub(super) const KILL: CommandSpec = CommandSpec {
    name: "kill",
    syntax: "CLIENT KILL <ip:port{!2.8.12} | <[ID client-id]{2.8.12} | \
             [TYPE <NORMAL | MASTER{3.2.0} | SLAVE | REPLICA{5.0.0} | \
             PUBSUB>{normal_master_slave_pubsub}]{2.8.12} | [USER username] | [ADDR ip:port] | \
             [LADDR ip:port]{6.2.0} | [SKIPME yes/no]>{new-format} ...>{filter}",
    summary: "Closes connections.",
    since: "2.4.0",
    docs: Docs::cost("O(N) where N is the number of client connections").history(&[
        ("2.8.12", "Added new filter format."),
        ("2.8.12", "`ID` option."),
        ("3.2.0", "Added `master` type in for `TYPE` option."),
        (
            "5.0.0",
            "Replaced `slave` `TYPE` with `replica`. `slave` still supported for \
             backward compatibility.",
        ),
        ("6.2.0", "`LADDR` option."),
    ]),
    arity: Arity::AtLeast(3),
    run: Run::Session(kill),
    ..ADMIN
};

fn kill(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    // The old form names one address, means this connection too, and answers OK or an error.
    let old_form = args.len() == 3;
    let filter = if old_form {
        let address = Some(String::from_utf8_lossy(args.arg(2)).into_owned());
        ClientFilter { address, ..Default::default() }
    } else {
        match parse(ctx, args) {
            Ok(filter) => filter,
            Err(refused) => return refused,
        }
    };
    let (killed, own) = ctx.node.clients().kill(&filter, ctx.session.client.id);
    ctx.session.closing |= own;
    match (old_form, killed) {
        (true, 0) => Reply::error("ERR No such client"),
        (true, _) => Reply::OK,
        (false, _) => Reply::Integer(killed as i64),
    }
}

fn parse(ctx: &SessionContext<'_>, args: &Request) -> Result<ClientFilter, Reply> {
    let mut filter = ClientFilter { skip_caller: true, ..Default::default() };
    let mut at = 2;
    while at < args.len() {
        let (option, Some(value)) = (args.arg(at), args.get(at + 1)) else {
            return Err(SYNTAX);
        };
        let text = || Some(String::from_utf8_lossy(value).into_owned());
        if is_word(option, "id") {
            let id = parse_i64(value).filter(|id| *id > 0);
            let wrong = || Reply::error("ERR client-id should be greater than 0");
            filter.id = Some(id.ok_or_else(wrong)? as u64);
        } else if is_word(option, "type") {
            let wrong = || Reply::error(format!("ERR Unknown client type '{}'", printable(value)));
            filter.kind = Some(ClientKind::parse(value).ok_or_else(wrong)?);
        } else if is_word(option, "addr") {
            filter.address = text();
        } else if is_word(option, "laddr") {
            filter.local_address = text();
        } else if is_word(option, "user") {
            if !ctx.node.users().exists(value) {
                return Err(Reply::error(format!("ERR No such user '{}'", printable(value))));
            }
            filter.user = text();
        } else if is_word(option, "skipme") && (is_word(value, "yes") || is_word(value, "no")) {
            filter.skip_caller = is_word(value, "yes");
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    Ok(filter)
}
