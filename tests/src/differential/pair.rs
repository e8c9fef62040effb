//! Two servers that are sent the same: a script runs on both, and its first difference ends it.

use super::compare::{Comparison, agree, is_error, is_null};
use super::departures::How;
use super::generate::{DATABASES, SETTINGS};
use super::{CONNECTIONS, Report, Step};
use crate::golden::render::{View, render};
use crate::golden::wire::{Connection, Element, Received, encode_request};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Requests that are sent before the first reply is read.
const BATCH_STEPS: usize = 32;

/// How long a reply may take. A busy machine is slow; only a hanging server takes this long.
const REPLY_WAIT: Duration = Duration::from_secs(20);

/// Where two servers differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Position of the request in its script.
    pub at: usize,
    kvorum: String,
    redis: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kvorum: {}\nRedis:  {}", self.kvorum, self.redis)
    }
}

/// A server, and the connections of the script that runs.
struct Side {
    addr: String,
    connections: Vec<Connection>,
}

impl Side {
    fn reconnect(&mut self, at: usize) {
        let opened = Connection::open(&self.addr);
        self.connections[at] = opened.unwrap_or_else(|error| panic!("{}: {error}", self.addr));
    }

    fn send(&mut self, steps: &[Step]) {
        let bytes: Vec<u8> = steps.iter().flat_map(|step| encode_request(&step.args)).collect();
        let sent = self.connections[steps[0].connection].send(&bytes);
        sent.unwrap_or_else(|error| panic!("{}: {error}", self.addr));
    }

    fn receive(&mut self, at: usize) -> Received {
        self.connections[at].receive(REPLY_WAIT)
    }

    fn ask(&mut self, request: &[&[u8]]) -> Received {
        let args = request.iter().map(|word| word.to_vec()).collect();
        self.send(&[Step { connection: 0, args }]);
        self.receive(0)
    }

    /// Whether one of these keys is absent from some database that scripts use.
    fn lacks_one(&mut self, keys: &[Vec<u8>]) -> bool {
        self.reconnect(0);
        let absent = Received::Reply(Element::Line(b":0".to_vec()));
        DATABASES.iter().any(|database| {
            self.ask(&[b"SELECT", database.as_bytes()]);
            keys.iter().any(|key| self.ask(&[b"EXISTS", key]) == absent)
        })
    }

    /// An empty keyspace, the settings as they were, no users, and new connections.
    fn reset(&mut self) {
        let opened = (0..CONNECTIONS).map(|_| Connection::open(&self.addr));
        self.connections = opened
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{}: {error}", self.addr));
        let mut configure: Vec<&[u8]> = vec![b"CONFIG", b"SET"];
        let settings =
            SETTINGS.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        configure.extend(settings);
        for request in [&[&b"FLUSHALL"[..]][..], &configure] {
            let reply = self.ask(request);
            let ok = Received::Reply(Element::Line(b"+OK".to_vec()));
            assert_eq!(reply, ok, "{request:?} at {}", self.addr);
        }
        self.delete_users();
    }

    /// Deletes all users but the default one: a script that is made shorter names others.
    fn delete_users(&mut self) {
        let users = self.ask(&[b"ACL", b"USERS"]);
        let Received::Reply(Element::Aggregate(_, users)) = users else {
            panic!("ACL USERS at {}: {users:?}", self.addr);
        };
        for user in users {
            if let Element::Bulk(_, name) = user
                && name != b"default"
            {
                self.ask(&[b"ACL", b"DELUSER", &name]);
            }
        }
    }
}

/// Kvorum and a redis-server.
pub(super) struct Pair {
    kvorum: Side,
    redis: Side,
}

impl Pair {
    pub(super) fn new(kvorum: &str, redis: &str) -> Pair {
        let side = |addr: &str| Side { addr: addr.to_owned(), connections: Vec::new() };
        Pair { kvorum: side(kvorum), redis: side(redis) }
    }

    /// Runs a script from an empty keyspace up to its first difference, and counts what was
    /// compared.
    pub(super) fn run(&mut self, steps: &[Step], report: &mut Report) -> Option<Difference> {
        self.kvorum.reset();
        self.redis.reset();
        let mut states = vec![State::default(); CONNECTIONS];
        let mut at = 0;
        while at < steps.len() {
            let connection = steps[at].connection;
            let rest = steps[at..].iter().take(BATCH_STEPS);
            // QUIT is sent alone: what follows it on its connection is nobody's.
            let is_alone = |step: &Step| step.args[0].eq_ignore_ascii_case(b"quit");
            let alike = rest.take_while(|step| step.connection == connection && !is_alone(step));
            let batch = &steps[at..at + alike.count().max(1)];
            self.kvorum.send(batch);
            self.redis.send(batch);
            for (number, step) in batch.iter().enumerate() {
                let ours = self.kvorum.receive(connection);
                let theirs = self.redis.receive(connection);
                report.compared += 1;
                match states[connection].judge(step, &ours, &theirs, &mut report.departures) {
                    Verdict::Same => {}
                    Verdict::SameIfOneIsAbsent(keys) if self.redis.lacks_one(&keys) => {
                        let name = format!("exec ({:?})", How::UnlessAbsent);
                        *report.departures.entry(name).or_default() += 1;
                        return None;
                    }
                    Verdict::SameIfOneIsAbsent(_) | Verdict::Different => {
                        let (kvorum, redis) = (shown(&ours), shown(&theirs));
                        return Some(Difference { at: at + number, kvorum, redis });
                    }
                }
            }
            if is_alone(&batch[0]) {
                self.kvorum.reconnect(connection);
                self.redis.reconnect(connection);
                states[connection] = State::default();
            }
            at += batch.len();
        }
        None
    }
}

/// What comes of two replies.
enum Verdict {
    Same,
    Different,
    /// See [`How::UnlessAbsent`].
    SameIfOneIsAbsent(Vec<Vec<u8>>),
}

impl Verdict {
    fn same_if(same: bool) -> Verdict {
        if same { Verdict::Same } else { Verdict::Different }
    }
}

/// What must be known of a connection to compare its replies.
#[derive(Clone, Default)]
struct State {
    /// How replies to the requests that are queued will be compared.
    queued: Vec<Comparison>,
    /// Keys under WATCH.
    watched: Vec<Vec<u8>>,
}

impl State {
    fn judge(
        &mut self,
        step: &Step,
        ours: &Received,
        theirs: &Received,
        departures: &mut Departures,
    ) -> Verdict {
        let (Received::Reply(ours), Received::Reply(theirs)) = (ours, theirs) else {
            // Nothing that is sent here closes a connection before its reply.
            return Verdict::Different;
        };
        if matches!(theirs, Element::Line(line) if line == b"+QUEUED") {
            self.queued.push(Comparison::of(&step.args));
            return Verdict::same_if(ours == theirs);
        }
        let is = |name: &str| step.args[0].eq_ignore_ascii_case(name.as_bytes());
        let before = self.clone();
        // One that is refused for another reason than the block itself ends nothing.
        let is_refused = matches!(theirs, Element::Line(line) if line.starts_with(b"-ERR"));
        if !is_refused && (is("exec") || is("discard") || is("reset")) {
            *self = State::default();
        } else if is("unwatch") {
            self.watched.clear();
        } else if is("watch") && !is_error(theirs) {
            self.watched.extend_from_slice(&step.args[1..]);
        }
        if is("exec") {
            return judge_exec(before, ours, theirs, departures);
        }
        Verdict::same_if(same(&Comparison::of(&step.args), ours, theirs, departures))
    }
}

/// How often replies differed that may, by name.
type Departures = BTreeMap<String, u64>;

/// Whether two replies count as the same, noting what makes them so.
fn same(
    comparison: &Comparison,
    ours: &Element,
    theirs: &Element,
    departures: &mut Departures,
) -> bool {
    let agree = agree(comparison.how, ours, theirs);
    if let Some(name) = comparison.departure(ours, theirs).filter(|_| agree) {
        *departures.entry(name).or_default() += 1;
    }
    agree
}

/// Compares the replies to a MULTI block one by one.
fn judge_exec(
    before: State,
    ours: &Element,
    theirs: &Element,
    departures: &mut Departures,
) -> Verdict {
    match (ours, theirs) {
        (Element::Aggregate(header, ours), Element::Aggregate(theirs_header, theirs))
            if header == theirs_header && ours.len() == before.queued.len() =>
        {
            let mut all = before.queued.iter().zip(ours.iter().zip(theirs));
            Verdict::same_if(all.all(|(how, (ours, theirs))| same(how, ours, theirs, departures)))
        }
        (Element::Aggregate(..), theirs) if is_null(theirs) => {
            Verdict::SameIfOneIsAbsent(before.watched)
        }
        _ => Verdict::same_if(agree(How::Exact, ours, theirs)),
    }
}

fn shown(received: &Received) -> String {
    match received {
        Received::Reply(element) => {
            let lines = render(element, View::Exact);
            let shown: Vec<String> =
                lines.iter().take(60).map(|line| line.chars().take(400).collect()).collect();
            shown.join("\n        ")
        }
        other => format!("{other:?}"),
    }
}
