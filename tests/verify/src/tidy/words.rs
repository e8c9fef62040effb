//! Words that pure code must not contain: what is applied from the log is the same on every node
//! and for ever, so it knows no clock, no chance, no order of a hash table, no file and no task.

use super::source::{Source, mentions};

/// Folders whose code is pure.
const PURE: &[&str] = &["server/src/state_machine/", "server/src/commands/", "storage/src/types/"];

const FORBIDDEN: &[&str] = &[
    "tokio",
    "async",
    "await",
    "SystemTime",
    "Instant",
    "HashMap",
    "HashSet",
    "RandomState",
    "crate::random",
    "crate::clock",
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "tracing",
    "thread_local",
    "sin",
    "cos",
    "exp",
    "ln",
    "powf",
];

/// Folder or file, words, reason. A command of a session or of the node is not applied from the
/// log, and may look at both.
const EXCEPTIONS: &[(&str, &[&str], &str)] = &[
    ("server/src/commands/info/process.rs", &["std::fs", "crate::random"], "about this process"),
    ("server/src/commands/info/server.rs", &["std::process"], "about this process"),
    ("server/src/commands/replication/", &["async", "await", "tokio"], "orders to the node"),
    ("server/src/commands/server/debug.rs", &["async", "await", "tokio", "std::net"], "sleeps"),
    ("server/src/commands/server/shutdown.rs", &["async", "await"], "an order to the node"),
    ("server/src/commands/keyspace/database.rs", &["async"], "the name of an option, ASYNC"),
];

/// Unfinished work has no place in any file.
const UNFINISHED: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("#[ig", "nore"),
];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut used = vec![false; EXCEPTIONS.len()];
    for source in sources {
        for (at, line) in source.text.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
                problems.push(format!("{}:{}: {word}", source.path, at + 1));
            }
        }
        if source.is_test() || !PURE.iter().any(|folder| source.path.starts_with(folder)) {
            continue;
        }
        for (number, line) in source.code() {
            for word in FORBIDDEN.iter().filter(|word| mentions(line, word)) {
                let exception = EXCEPTIONS.iter().position(|(path, words, _)| {
                    source.path.starts_with(path) && words.contains(word)
                });
                match exception {
                    Some(at) => used[at] = true,
                    None => {
                        problems.push(format!("{}:{number}: '{word}' is not pure", source.path))
                    }
                }
            }
        }
    }
    let names = EXCEPTIONS.iter().zip(used).map(|((path, _, _), used)| (*path, used));
    problems.extend(super::unused("words", names));
    problems
}
