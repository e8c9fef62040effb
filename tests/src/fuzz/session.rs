//! Commands of a session and of the node (AUTH, HELLO, CLIENT, CONFIG, COMMAND, MULTI, ACL ...), one
//! after the other on one connection: each gets one reply, and it can be sent.
//!
//! ACL SETUSER and ACL DELUSER are applied between them, so that there are users to ask about. The
//! node is made up, and what dispatch checks, routes or queues is no part of it, nor are WATCH and EXEC:
//! these run in the comparison with redis-server.

use super::{Done, apply};
use crate::differential;
use crate::random::Random;
use kvorum::commands::acl::User;
use kvorum::commands::spec::{CommandSpec, Run};
use kvorum::fuzzing::LoneNode;
use kvorum::state_machine::Operation;
use protocol::{Reply, Request};
use storage::memory::MemoryEngine;
use storage::txn::Engine;
use tokio::runtime::{Builder, Runtime};

/// Requests of one seed.
const REQUESTS: usize = 100;

thread_local! {
    /// For commands that ask for a timer; nothing waits for one.
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().build().expect("a runtime without threads");
}

fn is_wanted(spec: &CommandSpec) -> bool {
    matches!(spec.run, Run::Session(_) | Run::Node(_)) || changes_users(spec)
}

fn changes_users(spec: &CommandSpec) -> bool {
    matches!(spec.name, "setuser" | "deluser")
}

/// A node with the users of a state.
#[derive(Default)]
struct World {
    node: LoneNode,
    state: MemoryEngine,
    time: u64,
    log_index: u64,
}

impl World {
    /// The reply to a request, if it is a whole one and does not wait.
    fn answer(&mut self, random: &mut Random, request: Request) -> Option<Reply> {
        if !apply::admitted(&request).is_some_and(changes_users) {
            return self.node.answer(&request);
        }
        self.log_index += 1;
        let entry = apply::entry(random, &[Operation::Command { database: 0, request }]);
        let applied = apply::apply(&self.state, self.log_index, &mut self.time, &entry);
        let applied = applied.expect("memory does not fail");
        if applied.users_changed {
            self.node.set_users(apply::users(&*self.state.read()));
        }
        applied.replies.into_iter().next()
    }

    /// Users are listed and described as what they are.
    fn check_users(&mut self) {
        for (name, user) in apply::users(&*self.state.read()) {
            apply::check_text(&user);
            let listed = [b"user ", &name[..], b" ", &user.describe()].concat();
            let list = self.node.answer(&Request::from_parts(&["ACL", "LIST"]));
            assert!(
                matches!(list, Some(Reply::Array(lines)) if lines.contains(&Reply::bulk(listed)))
            );
            let request = Request::from_parts(&[&b"ACL"[..], b"GETUSER", &name]);
            let described = self.node.answer(&request).expect("it waits for nothing");
            let text = rules(&described).join(&b' ');
            assert_eq!(User::parse(&text).as_ref(), Ok(&user), "{}", text.escape_ascii());
        }
    }
}

/// The rules that a reply of ACL GETUSER says: words, and selectors in parentheses.
fn rules(described: &Reply) -> Vec<Vec<u8>> {
    let Reply::Map(fields) = described else { panic!("no user: {described:?}") };
    let mut rules = Vec::new();
    for (name, value) in fields {
        let mark: &[u8] = if *name == Reply::bulk("passwords") { b"#" } else { b"" };
        match value {
            Reply::Bulk(words) if words.is_empty() => {}
            Reply::Bulk(words) => rules.push(words.to_vec()),
            Reply::Set(items) | Reply::Array(items) => {
                rules.extend(items.iter().map(|item| match item {
                    Reply::Bulk(word) => [mark, word].concat(),
                    selector => [b"(", &self::rules(selector).join(&b' ')[..], b")"].concat(),
                }))
            }
            other => panic!("no part of a user: {other:?}"),
        }
    }
    rules
}

/// The target.
pub(super) fn requests(random: &mut Random) -> Done {
    RUNTIME.with(|runtime| {
        let _entered = runtime.enter();
        converse(random)
    })
}

fn converse(random: &mut Random) -> Done {
    let mut world = World::default();
    let mut answered = 0;
    for parts in differential::requests(random, REQUESTS, is_wanted) {
        if let Some(reply) = world.answer(random, Request::from_parts(&parts)) {
            apply::check_reply(&reply);
            answered += 1;
        }
    }
    world.check_users();
    Done { executions: answered, readings: answered }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn commands_are_answered_with_errors_and_without() {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _entered = runtime.enter();
        let (mut refused, mut served) = (BTreeSet::new(), BTreeSet::new());
        for seed in 0..120 {
            let mut random = Random::new(seed);
            let mut world = World::default();
            for parts in differential::requests(&mut random, REQUESTS, is_wanted) {
                let name = String::from_utf8_lossy(&parts[0]).to_lowercase();
                match world.answer(&mut random, Request::from_parts(&parts)) {
                    Some(Reply::Error(_)) => refused.insert(name),
                    Some(_) => served.insert(name),
                    None => false,
                };
            }
        }
        for name in ["acl", "auth", "client", "command", "config", "hello", "select"] {
            assert!(refused.contains(name) && served.contains(name), "{refused:?} {served:?}");
        }
        for name in ["multi", "discard", "unwatch", "info", "cluster", "slowlog", "latency"] {
            assert!(refused.contains(name) || served.contains(name), "{refused:?} {served:?}");
        }
    }
}
