//! Every command and subcommand, at every level of right, through real connections.
//!
//! The requests and what is expected of them are computed from what `COMMAND` says: arity, flags,
//! categories, key specifications. Nothing of it is taken from the code that decides about rights. Where
//! the environment names a redis-server, it gets the same requests, and its verdicts must be the same.
//! Each request has a connection of its own, because some change or end theirs; arguments are words that
//! make the dangerous ones fail after their rights were looked at.

use kvorum_tests::client::{Client, text};
use kvorum_tests::cluster::Cluster;
use kvorum_tests::redis_server::start_redis_server;
use protocol::Reply;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Password of the default user, which a connection without authentication does not have.
const PASSWORD: &str = "of-the-default-user";
/// Every key, and every other argument, of the requests.
const KEY: &str = "key";

/// What a reply says about rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// `NOAUTH`.
    Unauthenticated,
    /// `NOPERM`, because of the command.
    Command,
    /// `NOPERM`, because of a key.
    Key,
    /// Anything else: the request was allowed, whatever came of it.
    Allowed,
}

/// A command that runs, as COMMAND describes it.
#[derive(Debug)]
struct Described {
    /// `get`, `config|set`.
    name: String,
    request: Vec<String>,
    flags: Vec<String>,
    categories: Vec<String>,
    /// What is done to each of its keys: flags of the specification.
    keys: Vec<Vec<String>>,
}

impl Described {
    fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// Whether it does one of these things to a key.
    fn does(&self, what: &[&str]) -> bool {
        let mut flags = self.keys.iter().flatten();
        flags.any(|flag| what.contains(&flag.as_str()))
    }

    /// Keys are read. SET does it with the option GET only, which no request here has.
    fn reads_keys(&self) -> bool {
        self.name != "set" && self.does(&["access"])
    }

    fn writes_keys(&self) -> bool {
        self.does(&["insert", "update", "delete"])
    }

    /// Whether it may be queued in a MULTI block.
    fn can_be_queued(&self) -> bool {
        let runs_at_once = ["exec", "discard", "multi", "watch", "quit", "reset"];
        !self.has_flag("no_multi") && !runs_at_once.contains(&self.name.as_str())
    }
}

fn items(reply: &Reply) -> &[Reply] {
    match reply {
        Reply::Array(items) | Reply::Set(items) => items,
        other => panic!("no list: {other:?}"),
    }
}

fn words(reply: &Reply) -> Vec<String> {
    items(reply).iter().map(text).collect()
}

fn integer(reply: &Reply) -> i64 {
    match reply {
        Reply::Integer(number) => *number,
        other => panic!("no number: {other:?}"),
    }
}

/// A list of names and values, as a map.
fn fields(reply: &Reply) -> BTreeMap<String, &Reply> {
    items(reply).chunks(2).map(|pair| (text(&pair[0]), &pair[1])).collect()
}

/// All that runs, of what COMMAND lists: containers only where they run alone.
fn described(admin: &mut Client) -> Vec<Described> {
    let mut found = Vec::new();
    for row in items(&admin.ask("COMMAND")) {
        let row = items(row);
        let subcommands = items(&row[9]);
        let runs_alone = integer(&row[1]).abs() == 1;
        if subcommands.is_empty() || runs_alone {
            found.push(describe(row));
        }
        found.extend(subcommands.iter().map(|subcommand| describe(items(subcommand))));
    }
    found
}

fn describe(row: &[Reply]) -> Described {
    let name = text(&row[0]);
    let arity = integer(&row[1]);
    let mut request: Vec<String> = name.split('|').map(str::to_owned).collect();
    request.resize(request.len().max(arity.unsigned_abs() as usize), KEY.to_owned());
    // Without an argument these would do harm.
    if ["shutdown", "failover"].contains(&name.as_str()) {
        request.push(KEY.to_owned());
    }
    let mut keys = Vec::new();
    for spec in items(&row[8]).iter().map(fields) {
        let positions = key_positions(&spec, request.len());
        keys.extend(
            positions
                .map(|_| words(spec["flags"]))
                .map(|flags| flags.iter().map(|flag| flag.to_lowercase()).collect::<Vec<_>>()),
        );
    }
    let categories = words(&row[6]);
    Described { name, request, flags: words(&row[2]), categories, keys }
}

/// Where the keys of a request with `count` words are, by the one form of specification that there is.
fn key_positions(spec: &BTreeMap<String, &Reply>, count: usize) -> impl Iterator<Item = usize> {
    let (begin, find) = (fields(spec["begin_search"]), fields(spec["find_keys"]));
    let known = (text(begin["type"]), text(find["type"]));
    assert_eq!(known, ("index".into(), "range".into()), "teach this test the form: {spec:?}");
    let first = integer(fields(begin["spec"])["index"]) as usize;
    let range = fields(find["spec"]);
    let last = match integer(range["lastkey"]) {
        last if last < 0 => count.checked_sub(last.unsigned_abs() as usize).expect("words"),
        last => first + last as usize,
    };
    assert_eq!(integer(range["limit"]), 0, "teach this test the form: {spec:?}");
    assert!(first >= 1 && last < count, "keys beyond the request: {spec:?}");
    (first..=last).step_by(integer(range["keystep"]) as usize)
}

/// What a connection may do.
struct Level {
    name: &'static str,
    /// Rules of its user; none: it does not authenticate. `{}` stands for the command.
    rules: Option<&'static str>,
    expected: fn(&Described) -> Verdict,
}

/// A denial if the command lacks the category.
fn if_in(command: &Described, category: &str) -> Verdict {
    match command.categories.iter().any(|own| own == category) {
        true => Verdict::Allowed,
        false => Verdict::Command,
    }
}

/// A denial of a key if there is reason for one.
fn key_denied(reason: bool) -> Verdict {
    if reason { Verdict::Key } else { Verdict::Allowed }
}

const LEVELS: &[Level] = &[
    Level { name: "nobody", rules: None, expected: |_| Verdict::Unauthenticated },
    Level { name: "all", rules: Some("+@all ~*"), expected: |_| Verdict::Allowed },
    Level { name: "@read", rules: Some("+@read ~*"), expected: |it| if_in(it, "@read") },
    Level { name: "@write", rules: Some("+@write ~*"), expected: |it| if_in(it, "@write") },
    Level { name: "nothing", rules: Some("-@all ~*"), expected: |_| Verdict::Command },
    Level { name: "all but it", rules: Some("+@all ~* -{}"), expected: |_| Verdict::Command },
    Level {
        name: "wrong key",
        rules: Some("+@all ~other"),
        expected: |it| key_denied(!it.keys.is_empty()),
    },
    Level {
        name: "it alone, wrong key",
        rules: Some("-@all +{} ~other"),
        expected: |it| key_denied(!it.keys.is_empty()),
    },
    Level { name: "it alone", rules: Some("-@all +{} ~key"), expected: |_| Verdict::Allowed },
    Level {
        name: "keys to read",
        rules: Some("+@all %R~*"),
        expected: |it| key_denied(it.writes_keys()),
    },
    Level {
        name: "keys to write",
        rules: Some("+@all %W~*"),
        expected: |it| key_denied(it.reads_keys()),
    },
];

impl Level {
    /// What is expected of a request. Some commands are for everybody.
    fn verdict(&self, command: &Described) -> Verdict {
        match (command.has_flag("no_auth"), self.rules) {
            // It is allowed, and then says itself that authentication is missing.
            (true, None) if command.request == ["hello"] => Verdict::Unauthenticated,
            (true, _) => Verdict::Allowed,
            (false, _) => (self.expected)(command),
        }
    }
}

fn verdict_of(reply: &Reply) -> Verdict {
    let Reply::Error(said) = reply else { return Verdict::Allowed };
    // An EXEC that is refused says it so.
    let said = said.strip_prefix("EXECABORT Transaction discarded because of: ").unwrap_or(said);
    match said {
        said if said.starts_with("NOAUTH ") => Verdict::Unauthenticated,
        said if !said.starts_with("NOPERM ") => Verdict::Allowed,
        said if said.contains("to run the '") => Verdict::Command,
        said if said.contains("access one of the keys") => Verdict::Key,
        other => panic!("which NOPERM is this: {other}"),
    }
}

/// A server under test, with a connection that may do everything.
struct Server {
    addr: String,
    admin: Client,
}

impl Server {
    fn new(addr: &str) -> Self {
        let mut admin = Client::connect(addr).expect("a connection");
        assert_eq!(text(&admin.ask(&format!("CONFIG SET requirepass {PASSWORD}"))), "OK");
        assert_eq!(text(&admin.ask(&format!("AUTH {PASSWORD}"))), "OK");
        Server { addr: addr.to_owned(), admin }
    }

    /// Gives the user `one` these rights and no others.
    fn give(&mut self, rules: &str, command: &str) {
        let rules = rules.replace("{}", command);
        let reply = self.admin.ask(&format!("ACL SETUSER one reset on nopass {rules}"));
        assert_eq!(text(&reply), "OK", "{rules}");
    }

    /// A connection with the rights that were given, or one that has none.
    fn connect(&self, authenticates: bool) -> Client {
        let mut client = Client::connect(&self.addr).expect("a connection");
        if authenticates {
            assert_eq!(text(&client.ask("AUTH one any")), "OK");
        }
        client
    }

    /// What becomes of a command at a level.
    fn try_alone(&mut self, command: &Described, level: &Level) -> Verdict {
        if let Some(rules) = level.rules {
            self.give(rules, &command.name);
        }
        let mut client = self.connect(level.rules.is_some());
        let reply = client.call(&command.request);
        verdict_of(&reply.unwrap_or_else(|error| panic!("{:?}: {error}", command.request)))
    }

    /// What becomes of a command at a level where MULTI is allowed: when it is queued, and at EXEC.
    fn try_queued(&mut self, command: &Described, rules: &str) -> (Verdict, String) {
        self.give(&format!("{rules} +multi"), &command.name);
        let mut client = self.connect(true);
        assert_eq!(text(&client.ask("MULTI")), "OK");
        let queued = client.call(&command.request).expect("a reply");
        let verdict = verdict_of(&queued);
        let is_queued = text(&queued) == "QUEUED";
        assert_eq!(is_queued, verdict == Verdict::Allowed, "{:?}: {queued:?}", command.request);
        if is_queued {
            // What is queued must not run here: it is allowed no more.
            self.give("+@all ~* -{}", &command.name);
        }
        let executed = text(&client.ask("EXEC"));
        let words: Vec<&str> = executed.split(' ').collect();
        (verdict, words[..words.len().min(4)].join(" "))
    }
}

/// All that runs, checked to be what this test takes it for.
fn all_described(kvorum: &mut Server) -> Vec<Described> {
    let all = described(&mut kvorum.admin);
    // If COMMAND lost its rows, or their keys, this test would say nothing.
    let with = |is: fn(&Described) -> bool| all.iter().filter(|command| is(command)).count();
    assert!(all.len() > 130, "{} commands", all.len());
    assert!(with(|it| it.name.contains('|')) > 50, "subcommands");
    assert!(with(|it| it.reads_keys() && !it.writes_keys()) > 4, "commands that read keys");
    assert!(with(|it| it.writes_keys() && !it.reads_keys()) > 10, "commands that write keys");
    all
}

/// redis-server, and which commands it knows too.
fn redis(server: &str) -> (Server, Vec<String>) {
    let mut server = Server::new(server);
    let rows = server.admin.ask("COMMAND");
    let rows =
        items(&rows).iter().flat_map(|row| std::iter::once(row).chain(items(&items(row)[9])));
    let known = rows.map(|row| text(&items(row)[0])).collect();
    (server, known)
}

const REDIS_SETTINGS: [&str; 2] = ["--enable-debug-command", "yes"];

#[test]
fn every_command_is_judged_at_every_level_of_right() {
    let cluster = Cluster::start(1, &["storage-engine=memory", "enable-debug-command=yes"]);
    let mut kvorum = Server::new(&cluster.nodes[0].addr);
    let process = start_redis_server(&REDIS_SETTINGS.map(str::to_owned));
    let mut redis = process.as_ref().map(|process| redis(&process.addr));
    let mut wrong = Vec::new();
    for command in &all_described(&mut kvorum) {
        for level in LEVELS {
            let expected = level.verdict(command);
            let seen = kvorum.try_alone(command, level);
            if seen != expected {
                wrong.push(difference(command, level, &seen, &expected));
            }
            let Some((redis, known)) = &mut redis else { continue };
            if known.contains(&command.name) {
                let theirs = redis.try_alone(command, level);
                if theirs != seen {
                    wrong.push(difference(command, level, &seen, &("Redis", &theirs)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A verdict, and what it is held against, as a line.
fn difference(command: &Described, level: &Level, seen: &dyn Debug, other: &dyn Debug) -> String {
    format!("{:?} at {}: {seen:?}, not {other:?}", command.request, level.name)
}

#[test]
fn every_command_of_a_multi_block_is_judged_when_it_is_queued_and_again_at_exec() {
    let cluster = Cluster::start(1, &["storage-engine=memory", "enable-debug-command=yes"]);
    let mut kvorum = Server::new(&cluster.nodes[0].addr);
    let process = start_redis_server(&REDIS_SETTINGS.map(str::to_owned));
    let mut redis = process.as_ref().map(|process| redis(&process.addr));
    let all = all_described(&mut kvorum);
    let queued: Vec<&Described> = all.iter().filter(|command| command.can_be_queued()).collect();
    assert!(queued.len() > 100, "{}", queued.len());
    let mut wrong = Vec::new();
    for (command, level) in queued.iter().flat_map(|it| LEVELS.iter().map(move |level| (it, level)))
    {
        // Without authentication, and without MULTI, no block begins.
        let Some(rules) = level.rules else { continue };
        let expected = level.verdict(command);
        let at_exec = match expected {
            Verdict::Allowed if command.has_flag("no_auth") => None,
            Verdict::Allowed => Some("[NOPERM ACLs rules changed"),
            _ => Some("EXECABORT Transaction discarded because"),
        };
        let seen = kvorum.try_queued(command, rules);
        if seen.0 != expected || at_exec.is_some_and(|said| said != seen.1) {
            wrong.push(difference(command, level, &seen, &expected));
        }
        let Some((redis, known)) = &mut redis else { continue };
        if known.contains(&command.name) {
            let theirs = redis.try_queued(command, rules);
            if theirs != seen {
                wrong.push(difference(command, level, &seen, &("Redis", &theirs)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
