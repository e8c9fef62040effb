//! CLUSTER: Redis Cluster's view of one Raft group that owns all slots.
//!
//! ```text
//! > CLUSTER SLOTS
//! 1) 1) 0  2) 16383  3) 1) 127.0.0.1  2) 6379  3) 00c0ffee...  4) (empty)
//! ```
//!
//! The leader is the one master, all others are its replicas. The commands work everywhere although
//! INFO says `cluster_enabled:0` and `redis_mode:standalone`: clients that are told of cluster mode
//! give up SELECT (there are 16 databases here) and demand many masters, while cluster clients only
//! ask CLUSTER SLOTS, SHARDS or NODES and follow MOVED. While no leader is known, this node stands
//! in for it, so that clients keep a place to ask; it holds their requests until there is one.

mod keys;
mod nodes;
mod shape;
mod slots;
#[cfg(test)]
mod tests;

use crate::commands::context::{NodeContext, SessionContext};
use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use crate::commands::words::{help, printable_at_the_end};
use crate::node_control::{MembershipChange, Order};
use crate::status::cluster_name;
use futures_util::future::BoxFuture;
use protocol::{Reply, Request};

/// The commands of this chapter.
pub static COMMANDS: &[CommandSpec] = &[CLUSTER];

const CLUSTER: CommandSpec = CommandSpec {
    name: "cluster",
    syntax: "CLUSTER subcommand",
    summary: "A container for commands on the cluster.",
    group: Group::Cluster,
    since: "3.0.0",
    docs: Docs::CONTAINER,
    arity: Arity::AtLeast(2),
    subcommands: SUBCOMMANDS,
    run: Run::Container,
    ..CommandSpec::TEMPLATE
};

/// What all subcommands share.
const PLAIN: CommandSpec = CommandSpec {
    group: Group::Cluster,
    since: "3.0.0",
    arity: Arity::Exactly(2),
    flags: Flags::STALE,
    ..CommandSpec::TEMPLATE
};

static SUBCOMMANDS: &[CommandSpec] = &[
    keys::COUNTKEYSINSLOT,
    CommandSpec {
        name: "forget",
        syntax: "CLUSTER FORGET node-id",
        summary: "Removes a member.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(3),
        flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
        run: Run::Node(forget),
        ..PLAIN
    },
    keys::GETKEYSINSLOT,
    CommandSpec {
        name: "help",
        syntax: "CLUSTER HELP",
        summary: "Lists the subcommands.",
        since: "5.0.0",
        docs: Docs::COST_1,
        flags: Flags::LOADING.and(Flags::STALE),
        run: Run::Session(print_help),
        ..PLAIN
    },
    nodes::INFO,
    keys::KEYSLOT,
    nodes::LINKS,
    CommandSpec {
        name: "myid",
        syntax: "CLUSTER MYID",
        summary: "Returns the cluster's name for this node.",
        docs: Docs::COST_1,
        run: Run::Session(my_id),
        ..PLAIN
    },
    nodes::NODES,
    nodes::REPLICAS,
    slots::SHARDS,
    nodes::SLAVES,
    slots::SLOTS,
];

fn my_id(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let status = ctx.node.status();
    Reply::bulk(cluster_name(status.cluster_id, status.node_id))
}

fn forget<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        let status = ctx.node.status();
        let Some(member) = shape::find(&status, args.arg(2)) else {
            return Reply::error(format!("ERR Unknown node {}", printable_at_the_end(args.arg(2))));
        };
        if member.id == status.node_id {
            return Reply::error("ERR I tried hard but I can't forget myself...");
        }
        let order = Order::Membership(MembershipChange::Remove { id: member.id });
        ctx.node.order(order).await.map_or_else(Reply::error, |_| Reply::OK)
    })
}

fn print_help(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    help(
        "CLUSTER",
        &[
            "COUNTKEYSINSLOT <slot>",
            "    Return the number of keys in <slot>.",
            "FORGET <node-id>",
            "    Remove a node from the cluster.",
            "GETKEYSINSLOT <slot> <count>",
            "    Return key names stored by current node in a slot.",
            "INFO",
            "    Return information about the cluster.",
            "KEYSLOT <key>",
            "    Return the hash slot for <key>.",
            "MYID",
            "    Return the node id.",
            "NODES",
            "    Return cluster configuration seen by node. Output format:",
            "    <id> <ip:port@bus-port[,hostname]> <flags> <master> <pings> <pongs> <epoch> \
             <link> <slot> ...",
            "REPLICAS <node-id>",
            "    Return <node-id> replicas.",
            "SLOTS",
            "    Return information about slots range mappings. Each range is made of:",
            "    start, end, master and replicas IP addresses, ports and ids",
            "SHARDS",
            "    Return information about slot range mappings and the nodes associated with them.",
            "LINKS",
            "    Return information about all network links between this node and its peers.",
            "    Output format is an array where each array element is a map containing \
             attributes of a link",
        ],
    )
}
