//! Who may use whom: net -> dispatch -> raft -> state_machine -> commands -> storage, protocol.

use super::source::{Source, mentions};

/// A folder or file, and what nothing in it may name.
struct Layer {
    path: &'static str,
    never: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    Layer {
        path: "protocol/src/",
        never: &["storage::", "kvorum::", "openraft", "fjall", "tokio::"],
    },
    Layer { path: "storage/src/", never: &["protocol::", "kvorum::", "openraft", "tokio"] },
    Layer {
        path: "server/src/commands/",
        never: &[
            "crate::state_machine",
            "crate::raft",
            "crate::dispatch",
            "crate::net",
            "crate::server",
            "crate::cli",
            "openraft",
            "fjall",
        ],
    },
    Layer {
        path: "server/src/state_machine/",
        never: &[
            "crate::raft",
            "crate::dispatch",
            "crate::net",
            "crate::server",
            "crate::cli",
            "openraft",
            "fjall",
        ],
    },
    Layer {
        path: "server/src/raft/",
        never: &["crate::dispatch", "crate::net", "crate::server", "crate::cli", "fjall"],
    },
    Layer { path: "server/src/dispatch", never: &["crate::net", "crate::cli", "openraft"] },
    Layer { path: "server/src/net/", never: &["crate::cli", "openraft", "fjall"] },
    Layer { path: "server/src/config", never: UPPER },
    Layer { path: "server/src/clients", never: UPPER },
    Layer { path: "server/src/metrics", never: UPPER },
    Layer { path: "server/src/slowlog.rs", never: UPPER },
    Layer { path: "server/src/status.rs", never: UPPER },
    Layer { path: "server/src/session.rs", never: UPPER },
    Layer { path: "server/src/node_control.rs", never: UPPER },
];

/// What the registries of a node must not know.
const UPPER: &[&str] =
    &["crate::raft", "crate::dispatch", "crate::net", "crate::server", "crate::cli", "openraft"];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for layer in LAYERS {
        for source in sources.iter().filter(|source| source.path.starts_with(layer.path)) {
            if source.is_test() {
                continue;
            }
            for (number, line) in source.code() {
                let named = layer.never.iter().filter(|name| mentions(line, name));
                problems.extend(
                    named.map(|name| format!("{}:{number}: {name} is a layer above", source.path)),
                );
            }
        }
    }
    problems
}
