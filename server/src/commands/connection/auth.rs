//! AUTH: proves that the client knows the password.
//!
//! Hashes are compared, and no password ever reaches a reply or a trace. Failures are in ACL LOG.
//!
//! ```text
//! > AUTH secret
//! OK
//! ```

use super::hello::HANDSHAKE_FLAGS;
use crate::acl_log::Denial;
use crate::commands::acl::DEFAULT_USER;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Group, Run};
use crate::commands::words::SYNTAX;
use bytes::Bytes;
use protocol::{Reply, Request};

pub(super) const AUTH: CommandSpec = CommandSpec {
    name: "auth",
    syntax: "AUTH [username]{6.0.0} password",
    summary: "Authenticates the connection.",
    group: Group::Connection,
    since: "1.0.0",
    docs: Docs::cost("O(N) where N is the number of passwords defined for the user")
        .history(&[("6.0.0", "Added ACL style (username and password).")]),
    arity: Arity::AtLeast(2),
    flags: HANDSHAKE_FLAGS,
    run: Run::Session(auth),
    ..CommandSpec::TEMPLATE
};

const NOT_CONFIGURED: &str = "ERR AUTH <password> called without any password configured for the \
                              default user. Are you sure your configuration is correct?";
const WRONG: &str = "WRONGPASS invalid username-password pair or user is disabled.";

fn auth(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let proved = match args.len() {
        2 if default_needs_no_password(ctx) => {
            return Reply::error(NOT_CONFIGURED);
        }
        2 => authenticate(ctx, DEFAULT_USER, args.arg(1)),
        3 => authenticate(ctx, args.arg(1), args.arg(2)),
        _ => return SYNTAX,
    };
    proved.map_or_else(|wrong| wrong, |()| Reply::OK)
}

fn default_needs_no_password(ctx: &SessionContext<'_>) -> bool {
    let default = ctx.node.users().user(DEFAULT_USER, &ctx.node.settings().load().requirepass);
    default.is_some_and(|user| user.needs_no_password())
}

/// Makes the session that of a user when the password is right; else gives the reply.
pub(super) fn authenticate(
    ctx: &mut SessionContext<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), Reply> {
    let requirepass = &ctx.node.settings().load().requirepass;
    if let Some(account) = ctx.node.users().prove(user, password, requirepass) {
        ctx.session.log_in(account, true);
        return Ok(());
    }
    let denial = Denial {
        reason: "auth",
        context: if ctx.session.in_multi() { "multi" } else { "toplevel" },
        object: ctx.session.client.last_command().unwrap_or("auth").to_ascii_uppercase().into(),
        user: Bytes::copy_from_slice(user),
    };
    let now_ms = ctx.node.clock().unix_ms();
    ctx.node.users().log().add(denial, ctx.session.client.describe(now_ms), now_ms);
    Err(Reply::error(WRONG))
}
