//! AUTH: proves that the client knows the password.
//!
//! There is one user, `default`. Comparison takes the same time for every wrong password of the
//! right length, and neither password ever reaches a reply or a trace.
//!
//! ```text
//! > AUTH secret
//! OK
//! ```

use super::hello::HANDSHAKE_FLAGS;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Group, Run};
use crate::commands::words::SYNTAX;
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
        2 if ctx.node.settings().load().requirepass.is_empty() => {
            return Reply::error(NOT_CONFIGURED);
        }
        2 => authenticate(ctx, b"default", args.arg(1)),
        3 => authenticate(ctx, args.arg(1), args.arg(2)),
        _ => return SYNTAX,
    };
    proved.map_or_else(|wrong| wrong, |()| Reply::OK)
}

/// Marks the session as authenticated when user and password are right; else gives the reply.
/// Without a password configured, every password of the default user is.
pub(super) fn authenticate(
    ctx: &mut SessionContext<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), Reply> {
    let settings = ctx.node.settings().load();
    let expected = settings.requirepass.as_bytes();
    if user == b"default" && (expected.is_empty() || same_bytes(expected, password)) {
        ctx.session.authenticated = true;
        return Ok(());
    }
    Err(Reply::error(WRONG))
}

/// Compares in a time that does not tell where the difference is.
fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |sum, (left, right)| sum | (left ^ right));
    one.len() == other.len() && std::hint::black_box(difference) == 0
}
