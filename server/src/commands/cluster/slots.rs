//! CLUSTER SLOTS and SHARDS: who owns the slots; what cluster clients ask first.
//!
//! ```text
//! > CLUSTER SLOTS
//! 1) 1) 0  2) 16383  3) leader  4) follower  5) follower
//! ```

use super::PLAIN;
use super::shape::{self, LAST_SLOT};
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{CommandSpec, Run};
use crate::status::{ClusterStatus, Member};
use protocol::{Reply, Request};

pub(super) const SLOTS: CommandSpec = CommandSpec {
    name: "slots",
    syntax: "CLUSTER SLOTS",
    summary: "Returns the slot ranges with their master and replicas.",
    docs: Docs::cost("O(N) where N is the total number of Cluster nodes")
        .deprecated("7.0.0", "`CLUSTER SHARDS`")
        .history(&[
            ("4.0.0", "Added node IDs."),
            ("7.0.0", "Added additional networking metadata field."),
        ]),
    tips: &["nondeterministic_output"],
    run: Run::Session(slots),
    ..PLAIN
};

pub(super) const SHARDS: CommandSpec = CommandSpec {
    name: "shards",
    syntax: "CLUSTER SHARDS",
    summary: "Returns the shards with their slots and nodes.",
    since: "7.0.0",
    docs: Docs::cost("O(N) where N is the total number of cluster nodes"),
    tips: &["nondeterministic_output"],
    run: Run::Session(shards),
    ..PLAIN
};

fn slots(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let status = ctx.node.status().told(ctx.session.tls);
    let Some(master) = shape::master(&status) else {
        return Reply::Array(Vec::new());
    };
    let node = |member: &Member| {
        Reply::Array(vec![
            Reply::bulk(&member.host),
            Reply::Integer(i64::from(member.port)),
            Reply::bulk(member.cluster_name(status.cluster_id)),
            Reply::Array(Vec::new()),
        ])
    };
    // As Redis: replicas that fail, or have nothing yet, are left out.
    let usable = shape::replicas(&status)
        .filter(|member| shape::is_online(&status, member) && member.match_index != Some(0));
    let mut range = vec![Reply::Integer(0), Reply::Integer(i64::from(LAST_SLOT)), node(master)];
    range.extend(usable.map(node));
    Reply::Array(vec![Reply::Array(range)])
}

fn shards(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let status = ctx.node.status();
    let Some(master) = shape::master(&status) else {
        return Reply::Array(Vec::new());
    };
    let members = std::iter::once(master).chain(shape::replicas(&status));
    let nodes = members.map(|member| describe(&status, member, member.id == master.id));
    let slots = vec![Reply::Integer(0), Reply::Integer(i64::from(LAST_SLOT))];
    Reply::Array(vec![Reply::Map(vec![
        (Reply::bulk("slots"), Reply::Array(slots)),
        (Reply::bulk("nodes"), Reply::Array(nodes.collect())),
    ])])
}

fn describe(status: &ClusterStatus, member: &Member, is_master: bool) -> Reply {
    let health = if shape::is_online(status, member) { "online" } else { "failed" };
    let mut pairs = vec![("id", Reply::bulk(member.cluster_name(status.cluster_id)))];
    let port = |port: u16| Reply::Integer(i64::from(port));
    pairs.extend(member.plain_port().map(|plain| ("port", port(plain))));
    pairs.extend((member.tls_port != 0).then(|| ("tls-port", port(member.tls_port))));
    pairs.extend([
        ("ip", Reply::bulk(&member.host)),
        ("endpoint", Reply::bulk(&member.host)),
        ("role", Reply::bulk(if is_master { "master" } else { "replica" })),
        ("replication-offset", Reply::Integer(shape::offset(status, member) as i64)),
        ("health", Reply::bulk(health)),
    ]);
    Reply::Map(pairs.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
}
