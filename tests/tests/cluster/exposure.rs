//! Who is served at which address: loopback by default, and protected mode elsewhere.
//!
//! Where the machine has an address that is not loopback, clients come from there. Where it has none, what
//! listens is looked up in the tables of the kernel all the same, and the unit tests of
//! `server/src/net/listener.rs` judge addresses without a network.

use crate::{expect, expect_error};
use kvorum_tests::client::{Client, REPLY_WAIT, text};
use kvorum_tests::cluster::Cluster;
use kvorum_tests::node::{Node, binary};
use kvorum_tests::redis_server::start_redis_server;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

/// Ports whose peer port, by default 10,000 above, is below those of outgoing connections.
const PORTS: std::ops::Range<u16> = 22_200..22_600;
const PEER_PORT_DISTANCE: u16 = 10_000;
const PASSWORD: &str = "only-for-those-who-know";

/// An address of this machine that is not loopback; nothing is sent to find it.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 77), 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

/// What a setting is when nobody sets it, without quotes.
fn default_of(setting: &str) -> String {
    let mut command = Command::new(binary());
    // What is set for the tests is not meant for the node.
    for (name, _) in
        env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KVORUM_"))
    {
        command.env_remove(name);
    }
    let printed = command.arg("--print-config").output().expect("kvorum runs");
    let printed = String::from_utf8(printed.stdout).expect("text");
    let lines = printed.lines().map(|line| line.trim_start_matches(['#', ' ']));
    let beginning = format!("{setting} = ");
    let mut values = lines.filter_map(|line| line.strip_prefix(&beginning));
    let value = values.next().unwrap_or_else(|| panic!("no {setting} in {printed}"));
    value.split('#').next().unwrap_or(value).trim().trim_matches('"').to_owned()
}

/// A node told nothing but a free port: everything else is as it is by default.
fn node_with_defaults(root: &Cluster) -> Node {
    let host = default_of("listen");
    let host = host.rsplit_once(':').expect("a port").0;
    let is_free = |port: &u16| {
        [*port, *port + PEER_PORT_DISTANCE]
            .iter()
            .all(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
    };
    let spread = std::process::id() as u16 % (PORTS.end - PORTS.start);
    let mut ports = (PORTS.start + spread..PORTS.end).chain(PORTS);
    let port = ports.find(is_free).expect("a free port");
    let mut node = Node::new(root.nodes[0].dir.parent().expect("a folder"), &[]);
    node.addr = format!("{host}:{port}");
    node.peer_addr = default_of("peer-listen");
    assert_eq!(node.peer_addr, "", "derived from 'listen'");
    node.start();
    node
}

/// Addresses that a process listens at, of the tables in /proc: address in hexadecimal digits, port.
#[cfg(target_os = "linux")]
fn listening(pid: u32) -> BTreeSet<(String, u16)> {
    let mut own = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").flatten() {
        if let Ok(target) = fs::read_link(entry.path()) {
            own.insert(target.to_string_lossy().into_owned());
        }
    }
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/{pid}/net/{name}")));
    let mut found = BTreeSet::new();
    for line in tables.iter().flatten().flat_map(|table| table.lines().skip(1)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        // 0A: it listens.
        if words[3] == "0A" && own.contains(&format!("socket:[{}]", words[9])) {
            let (address, port) = words[1].split_once(':').expect("a port");
            found.insert((address.to_owned(), u16::from_str_radix(port, 16).expect("a port")));
        }
    }
    found
}

#[test]
fn a_server_with_its_defaults_is_reached_from_this_machine_only() {
    let cluster = Cluster::prepare(1, &[]);
    let node = node_with_defaults(&cluster);
    let port: u16 = node.addr.rsplit_once(':').expect("a port").1.parse().expect("a port");
    expect(&mut node.client(), "CONFIG GET protected-mode", "[protected-mode, yes]");
    #[cfg(target_os = "linux")]
    {
        let loopback = |port| ("0100007F".to_owned(), port);
        let expected = BTreeSet::from([loopback(port), loopback(port + PEER_PORT_DISTANCE)]);
        assert_eq!(listening(node.pid().expect("it runs")), expected);
    }
    let Some(outer) = outer_address() else {
        return eprintln!("SKIPPED: no address to connect from, only the kernel was asked");
    };
    for port in [port, port + PEER_PORT_DISTANCE] {
        let tried = TcpStream::connect_timeout(&(outer, port).into(), Duration::from_secs(5));
        assert!(tried.is_err(), "{outer}:{port} is open");
    }
}

/// What a server says to whoever connects to `addr`: at once, or to a PING.
fn said_to_stranger(addr: &str) -> String {
    let mut error = None;
    for _ in 0..20 {
        let mut client = Client::connect(addr).expect("a connection");
        client.set_reply_wait(Duration::from_millis(200));
        let reply = client.receive().or_else(|_| {
            client.set_reply_wait(REPLY_WAIT);
            client.call(&["PING"])
        });
        match reply {
            Ok(reply) => return text(&reply),
            // A PING that meets a connection which is closed already can lose what was said before.
            Err(met) => error = Some(met),
        }
    }
    panic!("{addr}: {error:?}")
}

fn first_word(said: &str) -> &str {
    said.split(' ').next().unwrap_or(said)
}

#[test]
fn strangers_are_denied_until_there_is_a_password_or_protected_mode_is_off() {
    let Some(outer) = outer_address() else {
        return eprintln!("SKIPPED: no address to connect from; see the tests of the listener");
    };
    let mut cluster = Cluster::prepare(1, &[]);
    let node = &mut cluster.nodes[0];
    let port = node.addr.rsplit_once(':').expect("a port").1.to_owned();
    // At an address that other machines reach, and not at loopback.
    node.addr = format!("{outer}:{port}");
    node.spawn();
    node.wait_ready();
    let addr = node.addr.clone();
    let denied = said_to_stranger(&addr);
    assert!(denied.starts_with("DENIED "), "{denied}");
    assert!(denied.contains("protected mode"), "{denied}");
    node.kill();

    // At all addresses, so that somebody of this machine can change the settings.
    node.addr = format!("0.0.0.0:{port}");
    node.args.extend(["--set".into(), format!("advertise=127.0.0.1:{port}")]);
    node.start();
    let local = format!("127.0.0.1:{port}");
    let mut owner = Client::connect(&local).expect("a connection");
    expect(&mut owner, "SET key value", "OK");
    let redis_arguments = ["--bind", "0.0.0.0", "--protected-mode", "yes"];
    let redis = start_redis_server(&redis_arguments.map(str::to_owned));
    let theirs = redis.as_ref().map(|redis| {
        let port = redis.addr.rsplit_once(':').expect("a port").1;
        let owner = Client::connect(&redis.addr).expect("a connection");
        (owner, format!("{outer}:{port}"))
    });
    let mut servers = vec![(owner, addr)];
    servers.extend(theirs);
    for (owner, addr) in &mut servers {
        assert_eq!(first_word(&said_to_stranger(addr)), "DENIED", "{addr}");
        expect(owner, &format!("CONFIG SET requirepass {PASSWORD}"), "OK");
        let mut stranger = Client::connect(addr).expect("a connection");
        expect_error(&mut stranger, "GET key", "NOAUTH");
        expect(&mut stranger, &format!("AUTH {PASSWORD}"), "OK");
        expect(&mut stranger, "PING", "PONG");
        expect(owner, "CONFIG SET requirepass ", "OK");
        assert_eq!(first_word(&said_to_stranger(addr)), "DENIED", "{addr}");
        // A password of the default user that is none of the settings counts as well.
        expect(owner, &format!("ACL SETUSER default resetpass >{PASSWORD}"), "OK");
        assert_eq!(first_word(&said_to_stranger(addr)), "NOAUTH", "{addr}");
        expect(owner, "ACL SETUSER default nopass", "OK");
        assert_eq!(first_word(&said_to_stranger(addr)), "DENIED", "{addr}");
        expect(owner, "CONFIG SET protected-mode no", "OK");
        assert_eq!(said_to_stranger(addr), "PONG", "{addr}");
    }
}

/// A listener at `[::]` also gets clients of IPv4, whose addresses look like those of IPv6.
#[test]
fn loopback_stays_loopback_at_a_listener_for_both_families() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return eprintln!("SKIPPED: this machine has no IPv6; see the tests of the listener");
    }
    let mut cluster = Cluster::prepare(1, &[]);
    let node = &mut cluster.nodes[0];
    let port = node.addr.rsplit_once(':').expect("a port").1.to_owned();
    node.addr = format!("[::]:{port}");
    node.args.extend(["--set".into(), format!("advertise=127.0.0.1:{port}")]);
    node.start();
    for host in ["127.0.0.1", "[::1]"] {
        assert_eq!(said_to_stranger(&format!("{host}:{port}")), "PONG", "{host}");
    }
    let mut client = Client::connect(&format!("127.0.0.1:{port}")).expect("a connection");
    let shown = text(&client.ask("CLIENT LIST"));
    assert!(shown.contains(" addr=127.0.0.1:"), "{shown}");
    if let Some(outer) = outer_address() {
        assert_eq!(first_word(&said_to_stranger(&format!("{outer}:{port}"))), "DENIED");
    }
}
