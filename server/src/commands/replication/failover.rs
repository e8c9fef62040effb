//! FAILOVER: hands leadership over.
//!
//! ```text
//! > FAILOVER TO 127.0.0.1 6380 TIMEOUT 5000
//! OK
//! ```
//!
//! Unlike Redis it may be given on any node, and is answered when the other node leads.

use crate::commands::context::NodeContext;
use crate::commands::docs::Docs;
use crate::commands::numbers;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use crate::commands::words::{SYNTAX, is_word};
use crate::node_control::Order;
use crate::status::ClusterStatus;
use futures_util::future::BoxFuture;
use protocol::{Reply, Request};
use std::time::Duration;

pub(super) const FAILOVER: CommandSpec = CommandSpec {
    name: "failover",
    syntax: "FAILOVER [TO host port [FORCE]]{target} [ABORT] [TIMEOUT milliseconds]",
    summary: "Hands leadership over to another node.",
    group: Group::Server,
    since: "6.2.0",
    docs: Docs::COST_1,
    arity: Arity::AtLeast(1),
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE),
    run: Run::Node(failover),
    ..CommandSpec::TEMPLATE
};

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    target: Option<(Vec<u8>, i64)>,
    timeout_ms: Option<u64>,
    force: bool,
    abort: bool,
}

fn failover<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        let to = match parse(args).and_then(|options| check(&ctx.node.status(), options)) {
            Ok(to) => to,
            Err(refused) => return refused,
        };
        let (to, timeout_ms) = to;
        let order = ctx.node.order(Order::TransferLeader { to });
        let wait = timeout_ms.map_or(Duration::MAX, Duration::from_millis);
        match tokio::time::timeout(wait, order).await {
            Ok(Ok(_)) => Reply::OK,
            Ok(Err(text)) => Reply::error(text),
            Err(_) => Reply::error("ERR FAILOVER timed out; the other node may still take over"),
        }
    })
}

fn parse(args: &Request) -> Result<Options, Reply> {
    let number_error =
        |error: crate::commands::error::CommandError| Reply::error(error.to_string());
    let mut options = Options::default();
    let mut at = 1;
    while let Some(word) = args.get(at) {
        let more = args.len() - at - 1;
        if is_word(word, "timeout") && more >= 1 && options.timeout_ms.is_none() {
            let timeout = numbers::integer(args.arg(at + 1)).map_err(number_error)?;
            if timeout <= 0 {
                return Err(Reply::error("ERR FAILOVER timeout must be greater than 0"));
            }
            options.timeout_ms = Some(timeout as u64);
            at += 2;
        } else if is_word(word, "abort") && args.len() == 2 {
            options.abort = true;
            at += 1;
        } else if is_word(word, "to") && more >= 2 && options.target.is_none() {
            let port = numbers::integer(args.arg(at + 2)).map_err(number_error)?;
            options.target = Some((args.arg(at + 1).to_vec(), port));
            at += 3;
        } else if is_word(word, "force") && !options.force {
            options.force = true;
            at += 1;
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(options)
}

/// The node to hand over to (None: the node's choice) and the time for it, or the refusal.
fn check(status: &ClusterStatus, options: Options) -> Result<(Option<u64>, Option<u64>), Reply> {
    let refuse = |text| Err(Reply::error(text));
    if options.abort && status.transferring {
        return refuse(
            "ERR FAILOVER under way cannot be aborted: it ends with the election timeout",
        );
    }
    if options.abort {
        return refuse("ERR No failover in progress.");
    }
    if status.transferring {
        return refuse("ERR FAILOVER already in progress.");
    }
    if status.voters() < 2 {
        return refuse("ERR FAILOVER requires connected replicas.");
    }
    if options.force && (options.timeout_ms.is_none() || options.target.is_none()) {
        let text = "ERR FAILOVER with force option requires both a timeout and target HOST and IP.";
        return refuse(text);
    }
    let Some((host, port)) = options.target else {
        return Ok((None, options.timeout_ms));
    };
    let is_target = |member: &&crate::status::Member| {
        let ports = [member.port, member.tls_port].map(i64::from);
        member.host.as_bytes() == host && port != 0 && ports.contains(&port)
    };
    match status.replicas().find(is_target) {
        Some(member) if member.voter => Ok((Some(member.id), options.timeout_ms)),
        _ => refuse("ERR FAILOVER target HOST and PORT is not a replica."),
    }
}
