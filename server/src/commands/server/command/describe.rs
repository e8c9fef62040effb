//! One command as COMMAND INFO and COMMAND DOCS print it.

use super::key_specs;
use crate::commands::categories::acl_categories;
use crate::commands::numbering;
use crate::commands::spec::{CommandSpec, Flags, Group};
use protocol::Reply;

/// Every flag with the name Redis prints, in its order.
const FLAG_NAMES: [(Flags, &str); 18] = [
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::ASKING, "asking"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::MOVABLEKEYS, "movablekeys"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

/// The ten fields of COMMAND INFO.
pub(super) fn info(spec: &'static CommandSpec) -> Reply {
    let (first, last, step) = spec.keys.printed();
    let flags = FLAG_NAMES.iter().filter(|(flag, _)| spec.flags.has(*flag));
    let flags = flags.map(|(_, name)| Reply::simple(name)).collect();
    let categories = acl_categories(spec).into_iter().map(Reply::simple).collect();
    let key_specs = key_specs::of(spec).iter().map(key_specs::KeySpec::describe).collect();
    Reply::Array(vec![
        Reply::bulk(numbering::full_name_of(spec)),
        Reply::Integer(spec.arity.as_redis()),
        Reply::Set(flags),
        Reply::Integer(first as i64),
        Reply::Integer(last as i64),
        Reply::Integer(step as i64),
        Reply::Set(categories),
        Reply::Set(Vec::new()),
        Reply::Set(key_specs),
        Reply::Set(spec.subcommands.iter().map(info).collect()),
    ])
}

/// Full name and documentation of a command.
pub(super) fn docs(spec: &'static CommandSpec) -> (Reply, Reply) {
    let mut pairs = vec![
        (Reply::bulk("summary"), Reply::bulk(spec.summary)),
        (Reply::bulk("since"), Reply::bulk(spec.since)),
        (Reply::bulk("group"), Reply::bulk(group_name(spec.group))),
    ];
    if !spec.subcommands.is_empty() {
        let subcommands = spec.subcommands.iter().map(docs).collect();
        pairs.push((Reply::bulk("subcommands"), Reply::Map(subcommands)));
    }
    (Reply::bulk(numbering::full_name_of(spec)), Reply::Map(pairs))
}

fn group_name(group: Group) -> &'static str {
    match group {
        Group::Generic => "generic",
        Group::String => "string",
        Group::Transactions => "transactions",
        Group::Connection => "connection",
        Group::Server => "server",
        Group::Cluster => "cluster",
        Group::Raft => "raft",
    }
}
