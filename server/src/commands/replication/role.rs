//! ROLE: what this node is, and whom it follows or who follows it.
//!
//! ```text
//! > ROLE
//! 1) master
//! 2) 4711
//! 3) 1) 1) 127.0.0.1  2) 6380  3) 4711
//! ```

use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use crate::status::{ClusterStatus, Role};
use protocol::{Reply, Request};

pub(super) const ROLE: CommandSpec = CommandSpec {
    name: "role",
    syntax: "ROLE",
    summary: "Returns the replication role.",
    group: Group::Server,
    since: "2.8.12",
    docs: Docs::COST_1,
    arity: Arity::Exactly(1),
    flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST),
    categories: &["@admin", "@dangerous"],
    run: Run::Session(role),
    ..CommandSpec::TEMPLATE
};

fn role(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let status = ctx.node.status().told(ctx.session.tls);
    Reply::Array(if status.role == Role::Leader { leads(&status) } else { follows(&status) })
}

fn leads(status: &ClusterStatus) -> Vec<Reply> {
    let replica = |member: &crate::status::Member| {
        let offset = member.match_index.unwrap_or(0).to_string();
        let fields = [member.host.clone(), member.port.to_string(), offset];
        Reply::Array(fields.into_iter().map(Reply::bulk).collect())
    };
    let online = status.replicas().filter(|member| member.connected);
    vec![
        Reply::bulk("master"),
        Reply::Integer(status.last_log_index as i64),
        Reply::Array(online.map(replica).collect()),
    ]
}

fn follows(status: &ClusterStatus) -> Vec<Reply> {
    let leader = status.leader();
    let state = match leader {
        _ if status.snapshot_receiving => "sync",
        Some(_) => "connected",
        None => "connect",
    };
    let (host, port) = leader.map_or(("", 0), |leader| (leader.host.as_str(), leader.port));
    let offset = if leader.is_some() { status.applied_index as i64 } else { -1 };
    vec![
        Reply::bulk("slave"),
        Reply::bulk(host),
        Reply::Integer(i64::from(port)),
        Reply::bulk(state),
        Reply::Integer(offset),
    ]
}
