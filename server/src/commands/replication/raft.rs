//! RAFT.*: membership and state of the Raft group, in RedisRaft's names where it has them.
//!
//! ```text
//! > RAFT.NODE ADD 10.0.0.4:6379
//! 4
//! > RAFT.NODE REMOVE 2
//! OK
//! > RAFT.TRANSFER_LEADER 3
//! OK
//! ```

use crate::commands::context::{NodeContext, SessionContext};
use crate::commands::docs::Docs;
use crate::commands::numbers::parse_i64;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};
use crate::commands::words::help;
use crate::config::split_address;
use crate::node_control::{MembershipChange, Order, OrderDone, OrderResult};
use crate::status::{ClusterStatus, Member};
use futures_util::future::BoxFuture;
use protocol::{Reply, Request};

/// What orders to the cluster share.
const ADMIN: CommandSpec = CommandSpec {
    group: Group::Raft,
    since: "0.1.0",
    flags: Flags::ADMIN
        .and(Flags::NOSCRIPT)
        .and(Flags::LOADING)
        .and(Flags::STALE)
        .and(Flags::NO_MULTI),
    ..CommandSpec::TEMPLATE
};

/// What questions share.
const PLAIN: CommandSpec = CommandSpec { flags: Flags::LOADING.and(Flags::STALE), ..ADMIN };

pub(super) const NODE: CommandSpec = CommandSpec {
    name: "raft.node",
    syntax: "RAFT.NODE subcommand",
    summary: "A container for commands on the members of the cluster.",
    docs: Docs::CONTAINER,
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    subcommands: NODE_SUBCOMMANDS,
    run: Run::Container,
    ..PLAIN
};

static NODE_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "add",
        syntax: "RAFT.NODE ADD host:port",
        summary: "Adds the node with this client address: learner, caught up, then voter.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(3),
        run: Run::Node(add),
        ..ADMIN
    },
    CommandSpec {
        name: "help",
        syntax: "RAFT.NODE HELP",
        summary: "Lists the subcommands.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(node_help),
        ..PLAIN
    },
    CommandSpec {
        name: "list",
        syntax: "RAFT.NODE LIST",
        summary: "Returns the members of the cluster.",
        docs: Docs::cost("O(N) where N is the number of members."),
        arity: Arity::Exactly(2),
        run: Run::Session(list),
        ..PLAIN
    },
    CommandSpec {
        name: "promote",
        syntax: "RAFT.NODE PROMOTE id{integer}",
        summary: "Makes a learner a voter.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(3),
        run: Run::Node(promote),
        ..ADMIN
    },
    CommandSpec {
        name: "remove",
        syntax: "RAFT.NODE REMOVE id{integer}",
        summary: "Removes a member.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(3),
        run: Run::Node(remove),
        ..ADMIN
    },
];

pub(super) const CLUSTER: CommandSpec = CommandSpec {
    name: "raft.cluster",
    syntax: "RAFT.CLUSTER subcommand",
    summary: "A container for commands that make this node part of a cluster.",
    docs: Docs::CONTAINER,
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    subcommands: CLUSTER_SUBCOMMANDS,
    run: Run::Container,
    ..PLAIN
};

static CLUSTER_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "help",
        syntax: "RAFT.CLUSTER HELP",
        summary: "Lists the subcommands.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(cluster_help),
        ..PLAIN
    },
    CommandSpec {
        name: "init",
        syntax: "RAFT.CLUSTER INIT",
        summary: "Forms a cluster of this node alone.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Node(init),
        ..ADMIN
    },
    CommandSpec {
        name: "join",
        syntax: "RAFT.CLUSTER JOIN host:port [host:port ...]",
        summary: "Enters the cluster that these client addresses belong to.",
        docs: Docs::cost("O(N) where N is the number of addresses."),
        arity: Arity::AtLeast(3),
        run: Run::Node(join),
        ..ADMIN
    },
];

pub(super) const TRANSFER_LEADER: CommandSpec = CommandSpec {
    name: "raft.transfer_leader",
    syntax: "RAFT.TRANSFER_LEADER [id{integer}]",
    summary: "Hands leadership to a member, or to the most caught-up one.",
    docs: Docs::COST_1,
    arity: Arity::AtLeast(1),
    run: Run::Node(transfer_leader),
    ..ADMIN
};

pub(super) const SNAPSHOT: CommandSpec = CommandSpec {
    name: "raft.snapshot",
    syntax: "RAFT.SNAPSHOT",
    summary: "Makes the state durable and frees the log behind it.",
    docs: Docs::cost(
        "O(N) where N is the number of keys written since the state was last durable.",
    ),
    arity: Arity::Exactly(1),
    run: Run::Node(snapshot),
    ..ADMIN
};

pub(super) const INDEX: CommandSpec = CommandSpec {
    name: "raft.index",
    syntax: "RAFT.INDEX",
    summary: "Returns the log index that this connection's last command wrote or read at.",
    docs: Docs::COST_1,
    arity: Arity::Exactly(1),
    flags: PLAIN.flags.and(Flags::FAST),
    categories: &["@connection"],
    run: Run::Session(index),
    ..PLAIN
};

pub(super) const PEER: CommandSpec = CommandSpec {
    name: "raft.peer",
    syntax: "RAFT.PEER",
    summary: "Returns what a node that joins must know of this one.",
    docs: Docs::COST_1,
    arity: Arity::Exactly(1),
    run: Run::Node(peer),
    ..ADMIN
};

fn add<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        match address(args.arg(2)) {
            Ok(address) => change(ctx, MembershipChange::Add { address }).await,
            Err(refused) => refused,
        }
    })
}

fn remove<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        match node_id(args.arg(2)) {
            Ok(id) => change(ctx, MembershipChange::Remove { id }).await,
            Err(refused) => refused,
        }
    })
}

fn promote<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        match node_id(args.arg(2)) {
            Ok(id) => change(ctx, MembershipChange::Promote { id }).await,
            Err(refused) => refused,
        }
    })
}

async fn change(ctx: NodeContext<'_>, change: MembershipChange) -> Reply {
    answer(ctx.node.order(Order::Membership(change)).await)
}

fn init<'a>(ctx: NodeContext<'a>, _: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move { answer(ctx.node.order(Order::Init).await) })
}

fn join<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        match (2..args.len()).map(|at| address(args.arg(at))).collect() {
            Ok(addresses) => answer(ctx.node.order(Order::Join { addresses }).await),
            Err(refused) => refused,
        }
    })
}

fn transfer_leader<'a>(ctx: NodeContext<'a>, args: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        let to = match args.len() {
            1 => Ok(None),
            2 => node_id(args.arg(1)).map(Some),
            _ => Err(Reply::error(
                "ERR wrong number of arguments for 'raft.transfer_leader' command",
            )),
        };
        match to {
            Ok(to) => answer(ctx.node.order(Order::TransferLeader { to }).await),
            Err(refused) => refused,
        }
    })
}

fn snapshot<'a>(ctx: NodeContext<'a>, _: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move { answer(ctx.node.order(Order::Snapshot).await) })
}

fn peer<'a>(ctx: NodeContext<'a>, _: &'a Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move { answer(ctx.node.order(Order::Identify).await) })
}

/// As the revision that etcd tells with each reply: a write has the index of its entry, a read that of
/// the last entry before it. All nodes have the same data at the same index. Several writes share
/// an entry when they were committed together; an error leaves the index as it was.
fn index(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::Integer(ctx.session.last_index as i64)
}

fn list(ctx: &mut SessionContext<'_>, _: &Request) -> Reply {
    let status = ctx.node.status().told(ctx.session.tls);
    Reply::Array(status.members.iter().map(|member| describe(&status, member)).collect())
}

fn describe(status: &ClusterStatus, member: &Member) -> Reply {
    let role = match member {
        _ if status.leader_id == Some(member.id) => "leader",
        Member { voter: true, .. } => "follower",
        _ => "learner",
    };
    let pairs = [
        ("id", Reply::Integer(member.id as i64)),
        ("address", Reply::bulk(format!("{}:{}", member.host, member.port))),
        ("peer-port", Reply::Integer(i64::from(member.peer_port))),
        ("role", Reply::bulk(role)),
        (
            "match-index",
            member.match_index.map_or(Reply::Null, |index| Reply::Integer(index as i64)),
        ),
    ];
    Reply::Map(pairs.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
}

fn answer(result: OrderResult) -> Reply {
    match result {
        Ok(OrderDone::Ok) => Reply::OK,
        Ok(OrderDone::NodeId(number) | OrderDone::Index(number)) => Reply::Integer(number as i64),
        Ok(OrderDone::Text(text)) => Reply::bulk(text),
        Err(text) => Reply::error(text),
    }
}

fn node_id(arg: &[u8]) -> Result<u64, Reply> {
    let id = parse_i64(arg).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    id.ok_or_else(|| Reply::error("ERR invalid node id"))
}

fn address(arg: &[u8]) -> Result<String, Reply> {
    let text = str::from_utf8(arg).ok().filter(|text| split_address(text).is_some());
    text.map(str::to_owned).ok_or_else(|| Reply::error("ERR invalid address: give HOST:PORT"))
}

fn node_help(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    help(
        "RAFT.NODE",
        &[
            "ADD <host:port>",
            "    Add the node with this client address; returns its id.",
            "LIST",
            "    Return the members of the cluster.",
            "PROMOTE <id>",
            "    Make a learner a voter.",
            "REMOVE <id>",
            "    Remove a member.",
        ],
    )
}

fn cluster_help(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    help(
        "RAFT.CLUSTER",
        &[
            "INIT",
            "    Form a cluster of this node alone.",
            "JOIN <host:port> [<host:port> ...]",
            "    Enter the cluster that these client addresses belong to.",
        ],
    )
}
