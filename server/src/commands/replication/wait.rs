//! WAIT and WAITAOF: how many other nodes have the last write of this connection on their disks.
//!
//! ```text
//! > SET k v
//! OK
//! > WAIT 1 100
//! 2
//! ```
//!
//! An acknowledged write is already on a majority; these tell of more. Inside MULTI they do not
//! wait.

use crate::commands::context::NodeContext;
use crate::commands::docs::Docs;
use crate::commands::error::CommandError;
use crate::commands::numbers;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use crate::commands::words::timeout_ms;
use crate::config::AppendFsync;
use futures_util::future::BoxFuture;
use protocol::{Reply, Request};
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) const WAIT: CommandSpec = CommandSpec {
    name: "wait",
    syntax: "WAIT numreplicas timeout",
    summary: "Waits until other nodes have the last write of this connection on their disks.",
    group: Group::Generic,
    since: "3.0.0",
    docs: Docs::COST_1,
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    arity: Arity::Exactly(3),
    flags: Flags::NOSCRIPT,
    categories: &["@connection"],
    run: Run::Node(wait),
    ..CommandSpec::TEMPLATE
};

pub(super) const WAITAOF: CommandSpec = CommandSpec {
    name: "waitaof",
    syntax: "WAITAOF numlocal numreplicas timeout",
    summary: "As WAIT, and tells whether this node has the write on its disk.",
    since: "7.2.0",
    docs: Docs::COST_1,
    arity: Arity::Exactly(4),
    run: Run::Node(wait_aof),
    ..WAIT
};

fn wait<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        let count = match numbers::integer(args.arg(1)) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) => return Reply::error(error.to_string()),
        };
        match timeout_ms(args.arg(2)) {
            Ok(timeout_ms) => Reply::Integer(replicated(ctx, count, timeout_ms).await),
            Err(error) => Reply::error(error.to_string()),
        }
    })
}

fn wait_aof<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        let (count, timeout_ms) = match parse_aof(args) {
            Ok(parsed) => parsed,
            Err(error) => return Reply::error(error.to_string()),
        };
        let replicas = replicated(ctx, count, timeout_ms).await;
        // What was acknowledged under `everysec` may be in memory only: it is not claimed.
        let always = ctx.node.settings().load().appendfsync == AppendFsync::Always;
        Reply::Array(vec![Reply::Integer(i64::from(always)), Reply::Integer(replicas)])
    })
}

fn parse_aof(args: &Request) -> Result<(usize, u64), CommandError> {
    if !(0..=1).contains(&numbers::integer(args.arg(1))?) {
        return Err(CommandError::text("ERR value is out of range, value must between 0 and 1"));
    }
    let count = usize::try_from(numbers::integer(args.arg(2))?);
    let count =
        count.map_err(|_| CommandError::text("ERR value is out of range, must be positive"))?;
    Ok((count, timeout_ms(args.arg(3))?))
}

/// Waits for `count` nodes, at most `timeout_ms` (0: for ever); returns how many there are.
async fn replicated(ctx: NodeContext<'_>, count: usize, timeout_ms: u64) -> i64 {
    let session = ctx.session;
    let timeout = match timeout_ms {
        _ if session.in_multi() => Some(Duration::ZERO),
        0 => None,
        millis => Some(Duration::from_millis(millis)),
    };
    // Ends with the wait, also when the connection is dropped in the middle of it.
    struct Blocked<'a>(NodeContext<'a>);
    impl Drop for Blocked<'_> {
        fn drop(&mut self) {
            self.0.session.client.is_blocked.store(false, Ordering::Relaxed);
            self.0.node.metrics().blocked_clients.decrement();
        }
    }
    session.client.is_blocked.store(true, Ordering::Relaxed);
    ctx.node.metrics().blocked_clients.increment();
    let _blocked = Blocked(ctx);
    ctx.node.wait_replicated(session.last_write_index, count, timeout).await as i64
}
