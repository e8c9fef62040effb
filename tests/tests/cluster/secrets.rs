//! No secret is shown or traced, whatever request carries it and whichever node it came to.

use crate::{expect, expect_error};
use kvorum_tests::client::{Client, text};
use kvorum_tests::cluster::Cluster;
use kvorum_tests::node::{Node, wait_until};
use protocol::Reply;
use std::fmt::Write;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

const SETTINGS: &[&str] = &[
    "loglevel=debug",
    "follower-writes=forward",
    "slowlog-log-slower-than=0",
    "slowlog-max-len=10000",
];

/// What every secret here begins with; followed by the form that it is sent in.
const SECRET: &str = "hush-";

/// Forms that carry a secret, with the beginning of what is replied. `$` stands for a secret, `%` for
/// 64 hexadecimal digits that nobody should see either.
const FORMS: &[(&str, &str)] = &[
    ("AUTH $", "ERR AUTH <password> called without any password"),
    ("AUTH $ $ $", "ERR "),
    ("AUTH nobody $", "WRONGPASS"),
    ("auth nobody $", "WRONGPASS"),
    ("HELLO 3 AUTH nobody $", "WRONGPASS"),
    ("HELLO 2 AUTH nobody $ SETNAME me", "WRONGPASS"),
    ("HELLO 2 SETNAME me AUTH nobody $", "WRONGPASS"),
    ("HELLO 9 AUTH nobody $", "NOPROTO"),
    ("HELLO 3 AUTH nobody $ NONSENSE", "WRONGPASS"),
    ("HELLO AUTH nobody $", "ERR"),
    ("COMMAND GETKEYS AUTH $", "ERR"),
    ("COMMAND GETKEYSANDFLAGS ACL SETUSER alice >$", "ERR"),
    ("command getkeys HELLO 3 AUTH nobody $", "ERR"),
    ("ACL SETUSER alice on >$ ~* +@all", "OK"),
    ("Acl SetUser alice >$ #%", "OK"),
    ("ACL SETUSER alice <$", "ERR"),
    ("ACL SETUSER alice !%", "ERR"),
    ("ACL SETUSER alice >$ nonsense", "ERR"),
    ("ACL SETUSER bob on >$ ~* +@all", "OK"),
    ("ACL DRYRUN bob AUTH $", "OK"),
    ("ACL DRYRUN nobody AUTH bob $", "ERR"),
    ("ACL DRYRUN bob ACL SETUSER eve >$", "OK"),
    ("AUTH alice $", "WRONGPASS"),
    ("CONFIG SET requirepass $", "OK"),
    ("config set timeout 1000 RequirePass $", "OK"),
    ("CONFIG SET requirepass $ nonsense 1", "ERR"),
    ("CONFIG SET requirepass $ requirepass $", "ERR"),
    ("CONFIG SET requirepass $ timeout", "ERR"),
    ("AUTH $", "WRONGPASS"),
    ("AUTH default $", "WRONGPASS"),
    ("HELLO 3 AUTH default $", "WRONGPASS"),
];

/// The same inside a MULTI block, with what EXEC or the request itself says.
const BLOCKS: &[(&str, &str)] = &[
    ("ACL SETUSER carol on >$ #% ~* +@all", "QUEUED"),
    ("ACL SETUSER carol <$", "QUEUED"),
    ("ACL SETUSER carol on $", "QUEUED"),
    ("ACL SETUSER carol on (>$)", "QUEUED"),
    ("CONFIG SET requirepass $", "QUEUED"),
];

/// A request of a form, with its secrets; `number` tells them apart.
fn request(form: &str, number: usize) -> Vec<String> {
    let digits = format!("{number:04}{}", "5ec4e7".repeat(10));
    let fill = |word: &str| word.replace('$', &format!("{SECRET}{number}")).replace('%', &digits);
    form.split(' ').map(fill).collect()
}

fn check(client: &mut Client, form: &str, number: usize, beginning: &str) {
    let reply = client.call(&request(form, number)).expect("a reply");
    let said = text(&reply);
    assert!(said.starts_with(beginning), "{form}: {said}");
}

/// Sends everything that carries a secret to a node.
fn send_secrets(node: &Node, first: usize) {
    let mut client = node.client();
    let numbered = FORMS.iter().enumerate().map(|(at, form)| (first + at, form));
    for (number, (form, beginning)) in numbered {
        check(&mut client, form, number, beginning);
    }
    expect(&mut client, "CONFIG SET requirepass ", "OK");
    // What works, by RESP3 too.
    let known = format!("{SECRET}{}", first + FORMS.len());
    expect(&mut client, &format!("ACL SETUSER dave on >{known} ~* +@all"), "OK");
    expect(&mut client, &format!("AUTH dave {known}"), "OK");
    let hello = client.ask(&format!("HELLO 3 AUTH dave {known}"));
    assert!(!hello.is_error(), "{hello:?}");
    expect(&mut client, "MULTI", "OK");
    for (at, (form, beginning)) in BLOCKS.iter().enumerate() {
        check(&mut client, form, first + 100 + at, beginning);
    }
    let executed = client.ask("EXEC");
    assert!(matches!(&executed, Reply::Array(replies) if replies.len() == BLOCKS.len()));
    expect(&mut client, "CONFIG SET requirepass ", "OK");
    // A block that is refused for what came after the secret.
    expect(&mut client, "MULTI", "OK");
    check(&mut client, BLOCKS[0].0, first + 200, "QUEUED");
    expect(&mut client, &format!("AUTH {SECRET}{}", first + 201), "QUEUED");
    expect_error(&mut client, "NO-SUCH-COMMAND", "ERR");
    expect_error(&mut client, "EXEC", "EXECABORT");
    // As a person types it.
    expect_error(&mut client, &format!("AUTH nobody {SECRET}{}", first + 202), "WRONGPASS");
    expect(&mut client, &format!("SET visible marker-{first}"), "OK");
}

/// All that a client in MONITOR has heard up to a line with `last`.
fn heard(monitor: &mut Client, last: &str) -> String {
    let mut all = String::new();
    loop {
        let line = monitor.receive().unwrap_or_else(|error| panic!("{error} after {all}"));
        let line = text(&line);
        writeln!(all, "{line}").expect("a string");
        if line.contains(last) {
            return all;
        }
    }
}

/// The lines of what was shown that hold a secret.
fn leaks(sink: &str, shown: &str) -> Vec<String> {
    let is_leak = |line: &&str| line.contains(SECRET) || line.contains("5ec4e7");
    shown.lines().filter(is_leak).map(|line| format!("{sink}: {line}")).collect()
}

/// Lets a node trace a detail: a client closes with a reply unread, which resets the connection.
fn provoke_details(node: &Node) {
    let mut stream = TcpStream::connect(&node.addr).expect("a connection");
    stream.write_all(b"PING\r\n").expect("sent");
    let arrived = stream.peek(&mut [0]).expect("a reply");
    assert_eq!(arrived, 1);
    drop(stream);
    wait_until(Duration::from_secs(10), "a detail is traced", || {
        node.output().contains("\"DEBUG\"")
    });
}

#[test]
fn what_carries_a_secret_shows_it_nowhere() {
    let mut cluster = Cluster::start(3, SETTINGS);
    let leader = cluster.leader();
    let mut monitors: Vec<Client> = cluster.nodes.iter().map(Node::client).collect();
    for monitor in &mut monitors {
        expect(monitor, "MONITOR", "OK");
    }
    for at in 0..cluster.nodes.len() {
        send_secrets(&cluster.nodes[at], 1000 * (at + 1));
    }
    cluster.wait_converged();
    cluster.nodes.iter().for_each(provoke_details);
    let mut found = Vec::new();
    for (at, node) in cluster.nodes.iter().enumerate() {
        let mark = format!("marker-{}", 1000 * (at + 1));
        let role = if at == leader { "leader" } else { "follower" };
        let monitor = heard(&mut monitors[at], &mark);
        found.extend(leaks(&format!("MONITOR of a {role}"), &monitor));
        let mut client = node.client();
        for (sink, live) in [
            ("SLOWLOG GET -1", mark.as_str()),
            ("INFO everything", "cmdstat_auth"),
            ("ACL LOG 1000", "nobody"),
            ("CLIENT LIST", "cmd=client"),
        ] {
            let shown = text(&client.ask(sink));
            assert!(shown.contains(live), "{sink} shows nothing of it: {shown}");
            found.extend(leaks(&format!("{sink} of a {role}"), &shown));
        }
        let traced = node.output();
        found.extend(leaks(&format!("traces of a {role}"), &traced));
        for sink in ["ACL LIST", "ACL GETUSER dave", "CONFIG GET *"] {
            let shown = text(&client.ask(sink));
            // Hashes are for those who may see all rights.
            assert!(!shown.contains(SECRET), "{sink} of a {role}: {shown}");
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_password_given_at_the_start_is_not_traced() {
    let mut cluster = Cluster::prepare(1, &["loglevel=debug"]);
    let node = &mut cluster.nodes[0];
    node.args.extend(["--set".to_owned(), format!("requirepass={SECRET}1")]);
    node.start();
    expect(&mut node.client(), &format!("AUTH {SECRET}1"), "OK");
    node.kill();
    node.args.truncate(node.args.len() - 2);
    node.env.push(("KVORUM_REQUIREPASS".to_owned(), format!("{SECRET}2")));
    node.start();
    expect(&mut node.client(), &format!("AUTH {SECRET}2"), "OK");
    let (_, _) = node.terminate();
    let traced = node.output();
    assert!(traced.contains("ready for clients"), "nothing is traced: {traced}");
    assert_eq!(leaks("traces", &traced), Vec::<String>::new());
}
