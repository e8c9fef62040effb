//! The command table: declarations agree with themselves and, where it is asked for, with Redis.
//!
//! `KVORUM_REDIS_SERVER` names a redis-server 7.0.15 to compare with; without it that one test has
//! nothing to do.

use super::categories::acl_categories;
use super::spec::{Arity, CommandSpec, Flags, Group, Keys, Run};
use protocol::Request;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Calls `visit` with every command and subcommand, and with its full name.
fn each(mut visit: impl FnMut(&str, &'static CommandSpec)) {
    for spec in super::all() {
        visit(spec.name, spec);
        for subcommand in spec.subcommands {
            visit(&format!("{}|{}", spec.name, subcommand.name), subcommand);
        }
    }
}

#[test]
fn names_are_lower_case_and_each_is_found() {
    let mut names = BTreeSet::new();
    each(|name, spec| {
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        assert!(!spec.name.is_empty() && spec.name == spec.name.to_ascii_lowercase(), "{name}");
    });
    for spec in super::all() {
        let found = super::lookup(spec.name.to_ascii_uppercase().as_bytes());
        assert!(found.is_some_and(|found| std::ptr::eq(found, spec)), "{}", spec.name);
    }
}

#[test]
fn summaries_are_sentences() {
    each(|name, spec| {
        let first = spec.summary.chars().next();
        assert!(first.is_some_and(char::is_uppercase), "{name}");
        assert!(spec.summary.ends_with('.') && !spec.summary.contains('\n'), "{name}");
    });
}

/// How many words a syntax asks for at least: `[..]` may be left out, `<..>` is one or more.
fn words_of(syntax: &str) -> usize {
    let (mut depth, mut words) = (0usize, 0);
    for word in syntax.split_whitespace() {
        words += usize::from(depth == 0 && !word.starts_with('['));
        depth += word.matches(['[', '<']).count();
        depth -= word.matches([']', '>']).count();
    }
    words
}

#[test]
fn arity_agrees_with_syntax() {
    each(|name, spec| {
        let words: Vec<_> = name.split('|').map(str::to_ascii_uppercase).collect();
        assert!(spec.syntax.starts_with(&words.join(" ")), "{name}: {}", spec.syntax);
        let least = words_of(spec.syntax);
        let (optional, choice) = (spec.syntax.contains('['), spec.syntax.contains('<'));
        let agrees = match spec.arity {
            Arity::Exactly(count) if choice => least <= count,
            Arity::Exactly(count) => least == count && !optional,
            // Of some commands Redis counts no further than the name, and parses the rest itself.
            Arity::AtLeast(count) if count == words.len() => true,
            Arity::AtLeast(count) if choice => least <= count,
            Arity::AtLeast(count) => least == count && (optional || !spec.subcommands.is_empty()),
        };
        assert!(agrees, "{name}: {} but {:?}", spec.syntax, spec.arity);
    });
}

#[test]
fn keys_are_arguments_that_every_request_has() {
    each(|name, spec| {
        let least = match spec.arity {
            Arity::Exactly(count) | Arity::AtLeast(count) => count,
        };
        if let Keys::Range { first, last, step } = spec.keys {
            assert!((1..least).contains(&first) && step > 0, "{name}");
            assert!(last < least as isize && (last < 0 || last >= first as isize), "{name}");
        }
        let request = Request::from_parts(&vec!["x"; least]);
        spec.keys.positions(&request, |position| assert!(position < least, "{name}"));
    });
}

#[test]
fn flags_agree_with_what_a_command_does() {
    each(|name, spec| {
        let (write, read) = (spec.flags.has(Flags::WRITE), spec.flags.has(Flags::READONLY));
        assert!(!(write && read), "{name}");
        match spec.run {
            Run::Write { .. } => assert!(write, "{name}"),
            Run::Read(_) | Run::Scan(_) => assert!(!write, "{name}"),
            Run::Container => assert!(!spec.subcommands.is_empty(), "{name}"),
            Run::Session(_) | Run::Node(_) | Run::Exec | Run::Watch => assert!(!write, "{name}"),
        }
    });
}

/// Commands that Redis 7.0.15 does not have.
fn is_ours(name: &str, spec: &CommandSpec) -> bool {
    const LATER: [&str; 4] = ["client|setinfo", "client|capa", "client|no-touch", "waitaof"];
    spec.group == Group::Raft || LATER.contains(&name)
}

const FLAG_NAMES: [(&str, Flags); 18] = [
    ("write", Flags::WRITE),
    ("readonly", Flags::READONLY),
    ("denyoom", Flags::DENYOOM),
    ("admin", Flags::ADMIN),
    ("noscript", Flags::NOSCRIPT),
    ("loading", Flags::LOADING),
    ("stale", Flags::STALE),
    ("fast", Flags::FAST),
    ("no_auth", Flags::NO_AUTH),
    ("skip_monitor", Flags::SKIP_MONITOR),
    ("skip_slowlog", Flags::SKIP_SLOWLOG),
    ("no_multi", Flags::NO_MULTI),
    ("allow_busy", Flags::ALLOW_BUSY),
    ("movablekeys", Flags::MOVABLEKEYS),
    ("blocking", Flags::BLOCKING),
    ("no_async_loading", Flags::NO_ASYNC_LOADING),
    ("asking", Flags::ASKING),
    ("no_mandatory_keys", Flags::NO_MANDATORY_KEYS),
];

/// A declaration as COMMAND INFO would show it, in one line.
fn described(name: &str, spec: &CommandSpec) -> String {
    let set = FLAG_NAMES.iter().filter(|(_, flag)| spec.flags.has(*flag)).map(|(name, _)| *name);
    let flags: BTreeSet<_> = set.collect();
    let categories: BTreeSet<_> = acl_categories(spec).into_iter().collect();
    let (arity, keys) = (spec.arity.as_redis(), spec.keys.printed());
    format!("{name} {arity} {flags:?} {keys:?} {categories:?}")
}

#[test]
fn declarations_are_those_of_redis() {
    let Some(program) = std::env::var_os("KVORUM_REDIS_SERVER") else {
        return;
    };
    let mut redis = Redis::start(&program);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    each(|name, spec| {
        if !is_ours(name, spec) {
            ours.push(described(name, spec));
            theirs.push(redis.described(name));
        }
    });
    assert_eq!(ours, theirs);
}

/// A redis-server of this test's own.
struct Redis {
    connection: BufReader<TcpStream>,
    _process: Process,
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("it was started here");
        self.0.wait().expect("it was started here");
    }
}

/// The part of a reply that COMMAND INFO is made of.
#[derive(Debug)]
enum Value {
    Text(String),
    Number(i64),
    List(Vec<Value>),
}

impl Value {
    fn list(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            other => panic!("{other:?} is no list"),
        }
    }

    fn texts(&self) -> BTreeSet<&str> {
        let texts = self.list().iter().map(|value| match value {
            Value::Text(text) => text.as_str(),
            other => panic!("{other:?} is no text"),
        });
        texts.collect()
    }

    fn number(&self) -> i64 {
        match self {
            Value::Number(number) => *number,
            other => panic!("{other:?} is no number"),
        }
    }
}

impl Redis {
    fn start(program: &std::ffi::OsStr) -> Self {
        let any_port = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = any_port.local_addr().expect("it is bound");
        drop(any_port);
        let port = address.port().to_string();
        let mut command = Command::new(program);
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
        let started = command.stdout(Stdio::null()).spawn();
        let process = Process(started.expect("KVORUM_REDIS_SERVER names a redis-server"));
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Ok(stream) = TcpStream::connect(address) {
                let connection = BufReader::new(stream);
                return Redis { connection, _process: process };
            }
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn described(&mut self, name: &str) -> String {
        let request = format!("COMMAND INFO {name}\r\n");
        self.connection.get_mut().write_all(request.as_bytes()).expect("redis-server listens");
        let reply = self.reply();
        let [Value::List(info)] = reply.list() else {
            return format!("{name} is not there");
        };
        let arity = info[1].number();
        let (first, last, step) = (info[3].number(), info[4].number(), info[5].number());
        let (flags, categories) = (info[2].texts(), info[6].texts());
        format!("{name} {arity} {flags:?} {:?} {categories:?}", (first, last, step))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.connection.read_line(&mut line).expect("redis-server answers");
        line.trim_end().to_owned()
    }

    fn reply(&mut self) -> Value {
        let line = self.line();
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().expect("a number");
        match kind {
            "+" => Value::Text(rest.to_owned()),
            ":" => Value::Number(number()),
            "*" => Value::List((0..number()).map(|_| self.reply()).collect()),
            "$" => {
                let mut text = vec![0; usize::try_from(number() + 2).unwrap_or(0)];
                self.connection.read_exact(&mut text).expect("redis-server answers");
                text.truncate(text.len().saturating_sub(2));
                Value::Text(String::from_utf8(text).expect("UTF-8"))
            }
            _ => panic!("{line} in the reply of COMMAND INFO"),
        }
    }
}
