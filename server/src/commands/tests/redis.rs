//! What COMMAND INFO and COMMAND DOCS print, against redis-server 7.0.15, byte for byte.
//!
//! `KVORUM_REDIS_SERVER` names the server; without it these tests have nothing to do. Subcommands
//! are compared one by one, because Redis prints them in the order of a hash table.

use super::each;
use crate::commands::fake_node::FakeNode;
use crate::commands::spec::{CommandSpec, Group};
use bytes::BytesMut;
use protocol::{RespVersion, encode::encode};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Commands that Redis 7.0.15 does not have.
fn is_ours(name: &str, spec: &CommandSpec) -> bool {
    const LATER: [&str; 4] = ["client|setinfo", "client|capa", "client|no-touch", "waitaof"];
    spec.group == Group::Raft || LATER.contains(&name)
}

/// Commands, a field of COMMAND DOCS, and why Redis's text would be wrong here.
const DEPARTURES: &[(&[&str], &str, &str)] = &[
    (&["append", "setrange"], "complexity", "a changed string is written as a whole"),
    (&["flushall", "flushdb", "swapdb"], "complexity", "rows are removed later, unseen"),
    (&["unlink"], "complexity", "as DEL: nothing is left to another thread"),
    (&["memory|usage"], "complexity", "nothing is sampled"),
    (&["shutdown"], "complexity", "everything acknowledged is in the log already"),
    (&["cluster|countkeysinslot", "cluster|getkeysinslot"], "complexity", "keys are walked"),
    (&["command|getkeys", "command|getkeysandflags", "debug"], "arguments", "Redis lists none"),
];

/// Whether Redis's text of a field is not to be ours.
fn departs(name: &str, field: &str) -> bool {
    // Summaries are written for what Kvorum does.
    field == "summary"
        || DEPARTURES.iter().any(|(names, of, _)| *of == field && names.contains(&name))
}

#[test]
fn command_info_is_that_of_redis() {
    compare("INFO", |_, reply| {
        let Value::List(_, mut commands) = reply else { panic!("{reply:?} is no list") };
        let Some(Value::List(_, mut fields)) = commands.pop() else { return Vec::new() };
        assert_eq!(fields.len(), 10);
        fields.pop();
        fields.into_iter().map(|field| (String::new(), field)).collect()
    });
}

#[test]
fn command_docs_are_those_of_redis() {
    compare("DOCS", |name, reply| {
        let mut fields = reply.pairs().pop().map_or(Vec::new(), |(_, docs)| docs.pairs());
        fields.retain(|(field, _)| field != "subcommands" && !departs(name, field));
        fields
    });
}

#[test]
fn departures_from_the_docs_of_redis_are_there() {
    let Some(mut redis) = Redis::start_if_named() else { return };
    let node = FakeNode::new(Some(1));
    for (names, field, _) in DEPARTURES {
        for name in *names {
            let line = format!("COMMAND DOCS {name}");
            let field_of = |reply: Value| {
                let docs = reply.pairs().pop().expect("a command that both have").1.pairs();
                docs.into_iter().find(|(named, _)| named == field)
            };
            assert_ne!(field_of(ours(&node, &line)), field_of(redis.ask(&line)), "{name}");
        }
    }
}

/// Compares fields of what both reply about each command that both have.
fn compare(subcommand: &str, fields_of: impl Fn(&str, Value) -> Vec<(String, Value)>) {
    let Some(mut redis) = Redis::start_if_named() else { return };
    let node = FakeNode::new(Some(1));
    let mut different = Vec::new();
    each(|name, spec| {
        if is_ours(name, spec) {
            return;
        }
        let line = format!("COMMAND {subcommand} {name}");
        let (ours, theirs) =
            (fields_of(name, ours(&node, &line)), fields_of(name, redis.ask(&line)));
        assert!(!theirs.is_empty(), "Redis does not have {name}");
        if ours != theirs {
            different.push(format!("{name}\n  Kvorum {ours:?}\n  Redis  {theirs:?}"));
        }
    });
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// What Kvorum replies, as bytes of RESP3 that were read again.
fn ours(node: &FakeNode, line: &str) -> Value {
    let mut bytes = BytesMut::new();
    encode(&node.reply(line), RespVersion::Resp3, &mut bytes);
    Value::read(&mut &bytes[..])
}

/// A reply: containers and texts with the character that marks their type.
#[derive(Clone, PartialEq, Eq)]
enum Value {
    Text(char, String),
    List(char, Vec<Value>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(kind, text) => write!(f, "{kind}{text}"),
            Value::List(kind, items) => write!(f, "{kind}{items:?}"),
        }
    }
}

impl Value {
    /// The pairs of a map, by name.
    fn pairs(self) -> Vec<(String, Value)> {
        let Value::List('%', items) = self else { panic!("{self:?} is no map") };
        let name = |value: &Value| match value {
            Value::Text(_, text) => text.clone(),
            Value::List(..) => panic!("{value:?} is no name"),
        };
        items.chunks(2).map(|pair| (name(&pair[0]), pair[1].clone())).collect()
    }

    fn read(from: &mut impl BufRead) -> Value {
        let mut line = String::new();
        from.read_line(&mut line).expect("a reply");
        let kind = line.chars().next().expect("a reply");
        let rest = line[1..].trim_end();
        let number = || rest.parse::<usize>().expect("a length");
        match kind {
            '+' | ':' | '_' => Value::Text(kind, rest.to_owned()),
            '*' | '~' => Value::List(kind, (0..number()).map(|_| Value::read(from)).collect()),
            '%' => Value::List(kind, (0..2 * number()).map(|_| Value::read(from)).collect()),
            '$' => {
                let mut text = vec![0; number() + 2];
                from.read_exact(&mut text).expect("a text");
                text.truncate(text.len() - 2);
                Value::Text(kind, String::from_utf8(text).expect("UTF-8"))
            }
            _ => panic!("{line} in a reply of COMMAND"),
        }
    }
}

/// A redis-server of one test's own, in RESP3.
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

impl Redis {
    fn start_if_named() -> Option<Self> {
        std::env::var_os("KVORUM_REDIS_SERVER").map(Redis::start)
    }

    fn start(program: OsString) -> Self {
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
                let mut redis = Redis { connection, _process: process };
                redis.ask("HELLO 3");
                return redis;
            }
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask(&mut self, line: &str) -> Value {
        let request = format!("{line}\r\n");
        self.connection.get_mut().write_all(request.as_bytes()).expect("redis-server listens");
        Value::read(&mut self.connection)
    }
}
