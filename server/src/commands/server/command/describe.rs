//! One command as COMMAND INFO and COMMAND DOCS print it.

use super::key_specs::{self, KeySpec};
use crate::commands::categories::acl_categories;
use crate::commands::docs::Docs;
use crate::commands::numbering;
use crate::commands::spec::{CommandSpec, Flags, Group};
use crate::commands::syntax::{self, Argument, ArgumentType};
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
        Reply::Set(spec.tips.iter().map(Reply::bulk).collect()),
        Reply::Set(key_specs),
        Reply::Set(spec.subcommands.iter().map(info).collect()),
    ])
}

/// Full name and documentation of a command.
pub(super) fn docs(spec: &'static CommandSpec) -> (Reply, Reply) {
    let text = |text: &str| Reply::bulk(text);
    let mut pairs = vec![
        (text("summary"), text(spec.summary)),
        (text("since"), text(spec.since)),
        (text("group"), text(group_name(spec.group))),
    ];
    let Docs { complexity, history, deprecated, for_developers } = spec.docs;
    if !complexity.is_empty() {
        pairs.push((text("complexity"), text(complexity)));
    }
    let doc_flags = flags_of(&[(deprecated.is_some(), "deprecated"), (for_developers, "syscmd")]);
    pairs.extend(doc_flags.map(|flags| (text("doc_flags"), flags)));
    if let Some((since, replaced_by)) = deprecated {
        pairs.push((text("deprecated_since"), text(since)));
        pairs.push((text("replaced_by"), text(replaced_by)));
    }
    if !history.is_empty() {
        let change = |(version, change): &(&str, &str)| {
            Reply::Array(vec![Reply::bulk(version), Reply::bulk(change)])
        };
        pairs.push((text("history"), Reply::Set(history.iter().map(change).collect())));
    }
    if spec.subcommands.is_empty() {
        let arguments = arguments(spec);
        pairs.extend(arguments.map(|arguments| (text("arguments"), arguments)));
    } else {
        let subcommands = spec.subcommands.iter().map(docs).collect();
        pairs.push((text("subcommands"), Reply::Map(subcommands)));
    }
    (text(numbering::full_name_of(spec)), Reply::Map(pairs))
}

/// The names whose condition holds, if any does.
fn flags_of(flags: &[(bool, &'static str)]) -> Option<Reply> {
    let set: Vec<Reply> =
        flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| Reply::simple(name)).collect();
    (!set.is_empty()).then_some(Reply::Set(set))
}

/// The arguments that a command's syntax declares; none where it takes none.
fn arguments(spec: &'static CommandSpec) -> Option<Reply> {
    let name_words = numbering::full_name_of(spec).split('|').count();
    let arguments = syntax::arguments(spec.syntax, name_words);
    let key_specs = key_specs::of(spec);
    (!arguments.is_empty()).then(|| describe_all(&arguments, name_words, &key_specs))
}

/// Arguments of which the first stands at `position` of a request.
fn describe_all(arguments: &[Argument], mut position: usize, key_specs: &[KeySpec]) -> Reply {
    let describe = |argument: &Argument| {
        let described = describe(argument, position, key_specs);
        position += argument.words_min();
        described
    };
    Reply::Array(arguments.iter().map(describe).collect())
}

fn describe(argument: &Argument, position: usize, key_specs: &[KeySpec]) -> Reply {
    let text = |text: &str| Reply::bulk(text);
    let mut pairs =
        vec![(text("name"), text(&argument.name)), (text("type"), text(argument.kind.name()))];
    if argument.kind == ArgumentType::Key {
        let specs_before = key_specs.iter().take_while(|spec| spec.first <= position).count();
        let index = specs_before.checked_sub(1).map(|index| Reply::Integer(index as i64));
        pairs.extend(index.map(|index| (text("key_spec_index"), index)));
    }
    let texts = [
        ("token", argument.token),
        ("since", argument.since),
        ("deprecated_since", argument.deprecated_since),
    ];
    for (name, value) in texts {
        pairs.extend(value.map(|value| (text(name), text(value))));
    }
    let flags = flags_of(&[(argument.optional, "optional"), (argument.multiple, "multiple")]);
    pairs.extend(flags.map(|flags| (text("flags"), flags)));
    if !argument.arguments.is_empty() {
        let parts = describe_all(&argument.arguments, position, key_specs);
        pairs.push((text("arguments"), parts));
    }
    Reply::Map(pairs)
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
