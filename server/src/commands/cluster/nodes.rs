//! CLUSTER INFO, NODES, REPLICAS, LINKS: the cluster in Redis Cluster's words.
//!
//! ```text
//! > CLUSTER NODES
//! 00c0...01 127.0.0.1:6379@16379 myself,master - 0 1795229961431 3 connected 0-16383
//! 00c0...02 127.0.0.1:6380@16380 slave 00c0...01 0 1795229961400 3 connected
//! ```
//!
//! The term stands for the epoch.

use super::PLAIN;
use super::shape::{self, LAST_SLOT};
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Run};
use crate::commands::words::printable_at_the_end;
use crate::status::{ClusterStatus, Member};
use protocol::{Reply, Request};

pub(super) const INFO: CommandSpec = CommandSpec {
    name: "info",
    syntax: "CLUSTER INFO",
    summary: "Returns the state of the cluster.",
    docs: Docs::COST_1,
    tips: &["nondeterministic_output"],
    run: Run::Session(info),
    ..PLAIN
};

pub(super) const NODES: CommandSpec = CommandSpec {
    name: "nodes",
    syntax: "CLUSTER NODES",
    summary: "Returns the members of the cluster, one line each.",
    docs: Docs::cost("O(N) where N is the total number of Cluster nodes"),
    tips: &["nondeterministic_output"],
    run: Run::Session(nodes),
    ..PLAIN
};

pub(super) const REPLICAS: CommandSpec = CommandSpec {
    name: "replicas",
    syntax: "CLUSTER REPLICAS node-id",
    summary: "Returns the replicas of a master, one line each.",
    since: "5.0.0",
    docs: Docs::COST_1,
    tips: &["nondeterministic_output"],
    arity: Arity::Exactly(3),
    flags: Flags::ADMIN.and(Flags::STALE),
    run: Run::Session(replicas),
    ..PLAIN
};

pub(super) const SLAVES: CommandSpec = CommandSpec {
    name: "slaves",
    syntax: "CLUSTER SLAVES node-id",
    summary: "Another name of CLUSTER REPLICAS.",
    since: "3.0.0",
    docs: Docs::COST_1.deprecated("5.0.0", "`CLUSTER REPLICAS`"),
    tips: &["nondeterministic_output"],
    ..REPLICAS
};

pub(super) const LINKS: CommandSpec = CommandSpec {
    name: "links",
    syntax: "CLUSTER LINKS",
    summary: "Returns the live links to other members.",
    since: "7.0.0",
    docs: Docs::cost("O(N) where N is the total number of Cluster nodes"),
    tips: &["nondeterministic_output"],
    run: Run::Session(links),
    ..PLAIN
};

fn info(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let (status, figures) = (ctx.node.status(), ctx.node.raft_figures());
    let serves = status.leader().is_some();
    let all = u32::from(LAST_SLOT) + 1;
    let text = format!(
        "cluster_state:{}\r\ncluster_slots_assigned:{all}\r\ncluster_slots_ok:{}\r\n\
         cluster_slots_pfail:{}\r\ncluster_slots_fail:0\r\ncluster_known_nodes:{}\r\n\
         cluster_size:1\r\ncluster_current_epoch:{}\r\ncluster_my_epoch:{}\r\n\
         cluster_stats_messages_sent:{}\r\ncluster_stats_messages_received:{}\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n",
        if serves { "ok" } else { "fail" },
        if serves { all } else { 0 },
        if serves { 0 } else { all },
        status.members.len(),
        status.term,
        status.term,
        figures.peer_messages_sent,
        figures.peer_messages_received,
    );
    Reply::Verbatim(*b"txt", text.into())
}

fn nodes(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let status = ctx.node.status().told(ctx.session.tls);
    let now_ms = ctx.node.clock().unix_ms();
    let lines = status.members.iter().map(|member| line(&status, member, now_ms) + "\n");
    Reply::Verbatim(*b"txt", lines.collect::<String>().into())
}

fn replicas(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let status = ctx.node.status().told(ctx.session.tls);
    let now_ms = ctx.node.clock().unix_ms();
    let Some(member) = shape::find(&status, args.arg(2)) else {
        return Reply::error(format!("ERR Unknown node {}", printable_at_the_end(args.arg(2))));
    };
    if shape::master(&status).is_none_or(|master| master.id != member.id) {
        return Reply::error("ERR The specified node is not a master");
    }
    let lines = shape::replicas(&status).map(|member| Reply::bulk(line(&status, member, now_ms)));
    Reply::Array(lines.collect())
}

fn links(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let status = ctx.node.status();
    let linked = status.members.iter().filter(|m| m.connected && m.id != status.node_id);
    let describe = |member: &Member| {
        let mut pairs = vec![
            (Reply::bulk("direction"), Reply::bulk("to")),
            (Reply::bulk("node"), Reply::bulk(member.cluster_name(status.cluster_id))),
        ];
        if let Some(micros) = member.round_trip_us {
            pairs.push((Reply::bulk("round-trip-us"), Reply::Integer(micros as i64)));
        }
        Reply::Map(pairs)
    };
    Reply::Array(linked.map(describe).collect())
}

/// `<id> <ip:port@peer-port> <flags> <master> <ping-sent> <pong-received> <epoch> <link> [slots]`
fn line(status: &ClusterStatus, member: &Member, now_ms: u64) -> String {
    let is_self = member.id == status.node_id;
    let master = shape::master(status);
    let is_master = master.is_some_and(|master| master.id == member.id);
    let online = shape::is_online(status, member);
    let mut flags = Vec::new();
    flags.extend(is_self.then_some("myself"));
    flags.push(if is_master { "master" } else { "slave" });
    flags.extend((!online).then_some("fail?"));
    let pong_ms = match member.last_contact_ms {
        Some(ago_ms) if !is_self => now_ms.saturating_sub(ago_ms),
        _ => 0,
    };
    let master_name = master.filter(|_| !is_master).map(|m| m.cluster_name(status.cluster_id));
    format!(
        "{} {}:{}@{} {} {} 0 {pong_ms} {} {}{}",
        member.cluster_name(status.cluster_id),
        member.host,
        member.port,
        member.peer_port,
        flags.join(","),
        master_name.as_deref().unwrap_or("-"),
        status.term,
        if online { "connected" } else { "disconnected" },
        if is_master { format!(" 0-{LAST_SLOT}") } else { String::new() },
    )
}
