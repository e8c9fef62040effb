//! DEBUG: what test harnesses of clients need, where `enable-debug-command` allows it.
//!
//! ```text
//! > DEBUG SLEEP 0.5
//! OK
//! ```
//!
//! DIGEST hashes all data of this node, of every database, with the log index of each key's last
//! change; nodes that applied the same entries answer the same. An empty node answers zeros.
//! STATE-DIGEST, which Redis does not have, hashes all that nodes replicate: also the members, the
//! users, and how far the log is applied.
//!
//! SLEEP holds this connection only. JMAP, SET-ACTIVE-EXPIRE and QUICKLIST-PACKED-THRESHOLD are
//! answered with OK and change nothing: there is no such thing to tune.

use super::PLAIN;
use crate::commands::context::NodeContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Run};
use crate::commands::words::{help, is_word, subcommand_syntax};
use crate::config::DebugCommand;
use crate::node_control::DigestOf;
use futures_util::future::BoxFuture;
use protocol::{Reply, Request};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(super) const DEBUG: CommandSpec = CommandSpec {
    name: "debug",
    syntax: "DEBUG subcommand [argument ...]",
    summary: "A container for commands of test harnesses.",
    since: "1.0.0",
    docs: Docs::CONTAINER.for_developers(),
    arity: Arity::AtLeast(2),
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    run: Run::Node(debug),
    ..PLAIN
};

const NOT_ALLOWED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can \
     run it from a local connection, otherwise you need to set this option in the configuration \
     file, and then restart the server.";

/// Longest sleep, in seconds.
const SLEEP_SECONDS_MAX: f64 = 3600.0;

fn debug<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        let allowed = match ctx.node.settings().load().enable_debug_command {
            DebugCommand::No => false,
            DebugCommand::Yes => true,
            DebugCommand::Local => is_local(&ctx.session.client.address),
        };
        if !allowed {
            return Reply::error(NOT_ALLOWED);
        }
        run(ctx, args).await
    })
}

async fn run(ctx: NodeContext<'_>, args: &Request) -> Reply {
    let name = args.arg(1);
    let no_ops = [("jmap", 2), ("set-active-expire", 3), ("quicklist-packed-threshold", 3)];
    if no_ops.iter().any(|(word, len)| is_word(name, word) && args.len() == *len) {
        return Reply::OK;
    }
    if is_word(name, "help") && args.len() == 2 {
        return print_help();
    }
    let digests = [("digest", DigestOf::Data), ("state-digest", DigestOf::State)];
    let digest = digests.iter().find(|(word, _)| is_word(name, word) && args.len() == 2);
    if let Some((_, of)) = digest {
        return match ctx.node.digest(*of).await {
            Ok(digest) => Reply::Simple(format!("{digest:040x}").into()),
            Err(error) => Reply::error(format!("ERR {error}")),
        };
    }
    let seconds = args.get(2).and_then(|text| str::from_utf8(text).ok()?.parse::<f64>().ok());
    match seconds.filter(|seconds| (0.0..=SLEEP_SECONDS_MAX).contains(seconds)) {
        Some(seconds) if is_word(name, "sleep") && args.len() == 3 => {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            Reply::OK
        }
        _ => subcommand_syntax("DEBUG", name),
    }
}

fn is_local(address: &str) -> bool {
    let ip = address.parse::<SocketAddr>().map(|address| address.ip().to_canonical());
    ip.is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn print_help() -> Reply {
    help(
        "DEBUG",
        &[
            "DIGEST",
            "    Output a hex signature representing the current DB content.",
            "STATE-DIGEST",
            "    The same of all that nodes replicate, members and users included.",
            "SLEEP <seconds>",
            "    Hold this connection for <seconds>. Decimals allowed.",
            "JMAP, SET-ACTIVE-EXPIRE (0|1), QUICKLIST-PACKED-THRESHOLD <size>",
            "    Accepted; nothing is changed.",
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_means_loopback() {
        assert!(is_local("127.0.0.1:5") && is_local("[::1]:5") && is_local("[::ffff:127.0.0.1]:5"));
        assert!(!is_local("10.0.0.1:5") && !is_local("nonsense"));
    }
}
