//! TLS: for clients, between peers, and certificates that change while nodes run.

use crate::expect;
use bytes::{BufMut, BytesMut};
use kvorum_tests::client::{Client, text};
use kvorum_tests::cluster::{CLUSTER_WAIT, Cluster};
use kvorum_tests::node::wait_until;
use kvorum_tests::tls::{self, Authority, Certificate, Usage};
use rustls::ClientConfig;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A setting that does not come from the files.
const CHANGE_WAIT: Duration = Duration::from_secs(40);

const REFUSED: &str = "ERR CONFIG SET failed (possibly related to argument 'tls-cert-file') - \
                       Unable to update TLS configuration. Check server logs.";

/// What the nodes and clients of a test show.
struct Papers {
    dir: TempDir,
    authority: Authority,
    node: Certificate,
    client: Certificate,
    /// Of another authority.
    stranger: Certificate,
}

impl Papers {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::new(dir.path(), "authority");
        let other = Authority::new(dir.path(), "other");
        Papers {
            node: authority.issue("node", Usage::Node),
            client: authority.issue("client", Usage::Client),
            stranger: other.issue("stranger", Usage::Node),
            authority,
            dir,
        }
    }

    fn config(&self) -> Arc<ClientConfig> {
        self.authority.client(Some(&self.client))
    }

    /// Nodes that serve TLS only, and that form a cluster once they are started.
    fn cluster(&self, count: usize, settings: &[&str]) -> Cluster {
        let mut all = self.authority.settings(&self.node);
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut cluster = Cluster::prepare(count, &all);
        for node in &mut cluster.nodes {
            node.tls = Some(self.config());
        }
        cluster
    }

    /// The lines of its keys, none of which may ever be shown.
    fn secrets(&self) -> Vec<String> {
        let keys = [&self.node, &self.client].map(|papers| fs::read_to_string(&papers.key));
        let lines = keys.into_iter().flat_map(|key| {
            let key = key.expect("a key");
            key.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines.filter(|line| !line.starts_with("-----")).collect()
    }
}

/// Whether a client that connects like this gets an answer.
fn is_served(addr: &str, config: Arc<ClientConfig>) -> bool {
    let reply = Client::connect_tls(addr, config).and_then(|mut client| client.call(&["PING"]));
    reply.is_ok()
}

#[test]
fn clients_speak_tls_as_they_speak_plain() {
    let papers = Papers::new();
    let mut cluster = papers.cluster(1, &["loglevel=debug"]);
    cluster.start_all();
    let (addr, config) = (cluster.nodes[0].addr.clone(), papers.config());
    let mut silent = TcpStream::connect(&addr).expect("a connection");
    let since = Instant::now();
    let mut plain = TcpStream::connect(&addr).expect("a connection");
    plain.set_read_timeout(Some(CHANGE_WAIT)).expect("a limit");
    plain.write_all(b"*1\r\n$4\r\nPING\r\n").expect("it is sent");
    let mut said = Vec::new();
    // It may be reset, or told by an alert that this is no TLS.
    drop(plain.read_to_end(&mut said));
    assert!(!said.windows(4).any(|bytes| bytes == b"PONG"), "served without TLS");

    let mut client = cluster.nodes[0].client();
    expect(&mut client, "SET greeting hello", "OK");
    expect(&mut client, "GET greeting", "hello");
    let requests: Vec<Vec<String>> =
        (0..1000).map(|n| vec!["SET".into(), format!("key-{n}"), n.to_string()]).collect();
    client.send(&requests).expect("the pipeline is sent");
    for _ in &requests {
        assert_eq!(text(&client.receive().expect("a reply")), "OK");
    }
    let value: Vec<u8> = (0..5_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let set = [b"SET".to_vec(), b"large".to_vec(), value.clone()];
    assert_eq!(text(&client.call(&set).expect("a reply")), "OK");
    let got = client.call(&["GET", "large"]).expect("a reply");
    assert!(got == protocol::Reply::bulk(value), "a large value came back otherwise");
    let port = addr.rsplit_once(':').expect("a port").1;
    assert_eq!(cluster.nodes[0].info("server")["tcp_port"], port);
    expect(&mut client, "CONFIG GET port", "[port, 0]");

    let mut leaving = tls::connect(&addr, config).expect("a connection");
    leaving.write_all(b"QUIT\r\n").expect("it is sent");
    let mut said = Vec::new();
    leaving.read_to_end(&mut said).expect("the server says goodbye, as TLS has it");
    assert_eq!(said, b"+OK\r\n");

    // All the while somebody said nothing.
    silent.set_read_timeout(Some(CHANGE_WAIT)).expect("a limit");
    let ended = silent.read(&mut [0; 64]);
    assert!(matches!(ended, Ok(0)) || is_reset(&ended), "{ended:?}");
    assert!(since.elapsed() >= Duration::from_secs(4), "before its time was over");
    let failed = &cluster.nodes[0].info("stats")["tls_handshakes_failed"];
    assert_eq!(failed, "2", "the plain one and the silent one");
    let output = cluster.nodes[0].output();
    assert!(papers.secrets().iter().all(|secret| !output.contains(secret)), "a key is traced");
}

fn is_reset(ended: &io::Result<usize>) -> bool {
    ended.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

#[test]
fn clients_show_certificates_where_they_have_to() {
    let papers = Papers::new();
    let mut cluster = papers.cluster(1, &[]);
    cluster.start_all();
    let addr = cluster.nodes[0].addr.clone();
    let (nothing, stranger) =
        (papers.authority.client(None), papers.authority.client(Some(&papers.stranger)));
    let other = Authority::new(papers.dir.path(), "distrusting").client(Some(&papers.client));
    let served = || {
        [papers.config(), nothing.clone(), stranger.clone(), other.clone()]
            .map(|config| is_served(&addr, config))
    };
    assert_eq!(served(), [true, false, false, false], "yes");
    let mut client = cluster.nodes[0].client();
    expect(&mut client, "CONFIG SET tls-auth-clients optional", "OK");
    assert_eq!(served(), [true, true, false, false], "optional");
    expect(&mut client, "CONFIG SET tls-auth-clients no", "OK");
    assert_eq!(served(), [true, true, true, false], "no");
    expect(&mut client, "CONFIG SET tls-protocols TLSv1.2", "OK");
    assert_eq!(served(), [true, true, true, false], "by TLS 1.2");
    expect(&mut client, "CONFIG SET tls-auth-clients yes", "OK");
    assert_eq!(served(), [true, false, false, false], "yes, by TLS 1.2");
}

#[test]
fn certificates_change_while_the_node_runs() {
    let papers = Papers::new();
    let mut cluster = papers.cluster(1, &[]);
    cluster.start_all();
    let node = &cluster.nodes[0];
    let shown = || node.client().certificate().expect("a certificate");
    let mut old = node.client();
    let before = old.certificate().expect("a certificate");
    let set = format!("CONFIG SET tls-cert-file {}", papers.node.certificate.display());

    papers.authority.issue("node", Usage::Node);
    expect(&mut old, &set, "OK");
    let second = shown();
    assert_ne!(second, before, "the same name, another certificate");
    expect(&mut old, "PING", "PONG");

    let none = format!("CONFIG SET tls-cert-file {}/none", papers.dir.path().display());
    expect(&mut old, &none, REFUSED);
    let both = format!(
        "CONFIG SET tls-cert-file {} tls-key-file {} timeout 1000",
        papers.node.certificate.display(),
        papers.client.key.display()
    );
    expect(&mut old, &both, REFUSED);
    expect(
        &mut old,
        "CONFIG SET tls-protocols TLSv1.1 timeout 1",
        &REFUSED.replace("cert-file", "protocols"),
    );
    expect(&mut old, "CONFIG GET timeout", "[timeout, 0]");
    assert_eq!(shown(), second, "files that are no good change nothing");

    // Nobody says that the files have changed; one of them is no good for a while.
    fs::write(&papers.node.certificate, "no certificate").expect("a file");
    assert_eq!(shown(), second);
    papers.authority.issue("node", Usage::Node);
    wait_until(CHANGE_WAIT, "new files are noticed", || shown() != second);
    expect(&mut old, "PING", "PONG");
}

#[test]
fn peers_without_a_certificate_of_the_authority_are_refused() {
    let papers = Papers::new();
    let mut cluster = papers.cluster(3, &["tls-replication=yes"]);
    cluster.start_all();
    let leader = cluster.leader();
    let [one, other] = cluster.others(leader)[..] else { panic!("three nodes") };
    let mut client = cluster.nodes[leader].client();
    expect(&mut client, "SET a 1", "OK");
    let mut follower = cluster.nodes[one].client();
    expect(&mut follower, "GET a", "1");
    let moved = format!("MOVED 15495 {}", cluster.nodes[leader].addr);
    expect(&mut follower, "SET a 2", &moved);
    expect(&mut follower, "CONFIG SET follower-writes forward", "OK");
    expect(&mut follower, "SET a 2", "OK");
    let slots = text(&follower.ask("CLUSTER SLOTS"));
    for node in &cluster.nodes {
        let (host, port) = node.addr.rsplit_once(':').expect("a port");
        assert!(slots.contains(&format!("{host}, {port}, ")), "{slots}");
    }

    let peer = &cluster.nodes[leader].peer_addr;
    let said = |config| tls::connect(peer, config).and_then(answer);
    let node = papers.authority.client(Some(&papers.node));
    assert!(said(node).expect("an answer") > 0, "a peer is answered");
    for shown in [None, Some(&papers.stranger), Some(&papers.client)] {
        let said = said(papers.authority.client(shown));
        assert!(said.as_ref().map_or(true, |bytes| *bytes == 0), "{shown:?}: {said:?}");
    }
    let plain = answer_by_plain(peer);
    assert!(plain.len() < FRAME_BYTES, "answered without TLS: {plain:?}");
    let refused = cluster.nodes[leader].raft_figure("raft_peers_refused");
    assert!(refused >= 4, "{refused} were counted");
    assert!(cluster.nodes[leader].output().contains("refused peer: no TLS connection"));

    cluster.nodes[leader].kill();
    let new = cluster.leader_among(&[one, other]);
    expect(&mut cluster.nodes[new].client(), "SET a 3", "OK");
    let joined = {
        let settings = papers.authority.settings(&papers.node);
        let mut settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        settings.push("tls-replication=yes");
        let address = cluster.nodes[new].addr.clone();
        cluster.add_node(&settings, &[&address])
    };
    cluster.nodes[joined].tls = Some(papers.config());
    cluster.nodes[joined].start();
    let node = &cluster.nodes[joined];
    wait_until(CLUSTER_WAIT, "it has joined", || node.info("raft")["raft_is_voting"] == "yes");
    expect(&mut node.client(), "GET a", "3");
    for node in &cluster.nodes {
        let output = node.output();
        assert!(papers.secrets().iter().all(|secret| !output.contains(secret)), "a key is traced");
    }
}

/// Lets every node read its files anew, and expects that it takes them.
fn renew(cluster: &Cluster, papers: &Papers) {
    let set = format!("CONFIG SET tls-cert-file {}", papers.node.certificate.display());
    for node in &cluster.nodes {
        expect(&mut node.client(), &set, "OK");
    }
}

/// Ends this node's process and starts another: all its connections are made anew, in both directions.
fn restart(cluster: &mut Cluster, at: usize) {
    cluster.nodes[at].kill();
    cluster.nodes[at].start();
    cluster.leader();
}

/// A write by the leader is on all nodes, and so is one that each forwards.
fn expect_all_linked(cluster: &mut Cluster, value: &str) {
    let leader = cluster.leader();
    let links = || cluster.nodes[leader].info("replication")["connected_slaves"] == "2";
    wait_until(CLUSTER_WAIT, "both followers are linked", links);
    expect(&mut cluster.nodes[leader].client(), &format!("SET all {value}"), "OK");
    for (at, node) in cluster.nodes.iter().enumerate() {
        expect(&mut node.client(), "GET all", value);
        expect(&mut node.client(), &format!("SET of-{at} {value}"), "OK");
    }
    cluster.wait_converged();
}

#[test]
fn certificates_and_authority_of_all_peers_change_while_one_of_them_never_restarts() {
    let mut papers = Papers::new();
    let mut cluster = papers.cluster(3, &["tls-replication=yes", "follower-writes=forward"]);
    cluster.start_all();
    let first = cluster.leader();
    let [steady, other] = cluster.others(first)[..] else { panic!("three nodes") };
    let pid = cluster.nodes[steady].pid();
    let shown = |cluster: &Cluster| cluster.nodes[steady].client().certificate();
    let initial = shown(&cluster);
    expect_all_linked(&mut cluster, "initial");

    // The same authority renews the certificate. A neighbour that starts anew shows it to nodes that
    // run, and is shown theirs.
    papers.authority.issue("node", Usage::Node);
    renew(&cluster, &papers);
    assert_ne!(shown(&cluster), initial);
    restart(&mut cluster, other);
    expect_all_linked(&mut cluster, "renewed");

    // Another authority takes over: both are trusted, then it signs, then it alone is trusted.
    let copy = |from: &PathBuf, name: &str| {
        let to = papers.dir.path().join(name);
        fs::copy(from, &to).expect("a copy");
        to
    };
    let former = Certificate {
        certificate: copy(&papers.node.certificate, "former.crt"),
        key: copy(&papers.node.key, "former.key"),
    };
    let authorities = papers.authority.certificate.clone();
    let successor = Authority::new(papers.dir.path(), "successor");
    let trusted = fs::read_to_string(&successor.certificate).expect("a certificate");
    let both = fs::read_to_string(&authorities).expect("a certificate") + &trusted;
    fs::write(&authorities, both).expect("a file");
    renew(&cluster, &papers);
    successor.issue("node", Usage::Node);
    // Clients trust what they are shown now.
    papers.client = successor.issue("client", Usage::Client);
    let config = successor.client(Some(&papers.client));
    let before = cluster.nodes.iter().map(|node| node.client()).collect::<Vec<_>>();
    let set = format!("CONFIG SET tls-cert-file {}", papers.node.certificate.display());
    for mut client in before {
        expect(&mut client, &set, "OK");
    }
    cluster.nodes.iter_mut().for_each(|node| node.tls = Some(config.clone()));
    fs::write(&authorities, trusted).expect("a file");
    renew(&cluster, &papers);

    // The certificate of before is good for nothing, and the new one is.
    let said = |shown, cluster: &Cluster| {
        let config = successor.client(Some(shown));
        tls::connect(&cluster.nodes[steady].peer_addr, config).and_then(answer)
    };
    let refused = said(&former, &cluster);
    assert!(refused.as_ref().map_or(true, |bytes| *bytes == 0), "{refused:?}");
    assert!(said(&papers.node, &cluster).expect("an answer") > 0, "a peer is answered");
    restart(&mut cluster, other);
    restart(&mut cluster, first);
    expect_all_linked(&mut cluster, "succeeded");

    // Also where it is the one that never restarted that reaches out to the others.
    let id = cluster.nodes[steady].id();
    if cluster.leader() != steady {
        expect(&mut cluster.leader_client(), &format!("RAFT.TRANSFER_LEADER {id}"), "OK");
        let node = &cluster.nodes[steady];
        wait_until(CLUSTER_WAIT, "it leads", || node.info("raft")["raft_role"] == "leader");
    }
    expect_all_linked(&mut cluster, "led");
    assert_eq!(cluster.nodes[steady].pid(), pid, "it never restarted");
}

/// The answer that says nothing about the refusals above if nobody would get one.
#[test]
fn without_tls_a_peer_is_answered_and_a_port_opened_later_is_announced() {
    let papers = Papers::new();
    let mut cluster = Cluster::start(1, &[]);
    let node = &mut cluster.nodes[0];
    assert!(answer_by_plain(&node.peer_addr).len() >= FRAME_BYTES);
    let shards = |client: &mut Client| text(&client.ask("CLUSTER SHARDS"));
    assert!(!shards(&mut node.client()).contains("tls-port"));

    node.kill();
    let (host, port) = node.addr.rsplit_once(':').expect("a port");
    let (host, plain) = (host.to_owned(), port.to_owned());
    // Between the client ports and the peer ports of tests.
    let tls_port = plain.parse::<u16>().expect("a port") + 1000;
    let mut settings = papers.authority.settings(&papers.node);
    settings.push(format!("tls-port={tls_port}"));
    node.args.extend(settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]));
    node.start();
    let announced = format!("tls-port, {tls_port}");
    let mut client = node.client();
    wait_until(CLUSTER_WAIT, "it is announced", || shards(&mut client).contains(&announced));
    assert!(shards(&mut client).contains(&format!("port, {plain}, {announced}")));
    let mut encrypted =
        Client::connect_tls(&format!("{host}:{tls_port}"), papers.config()).expect("a connection");
    for (client, port) in [(&mut client, plain.as_str()), (&mut encrypted, &tls_port.to_string())] {
        let slots = text(&client.ask("CLUSTER SLOTS"));
        assert!(slots.contains(&format!("{host}, {port}, ")), "{slots}");
        assert!(text(&client.ask("CLUSTER NODES")).contains(&format!("{host}:{port}@")));
    }
}

/// Bytes before the payload of a peer's frame.
const FRAME_BYTES: usize = 48;

/// A peer's question who this is; see `server/src/raft/frame.rs`.
fn hello() -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_slice(b"KVRM");
    frame.put_u8(1);
    frame.put_u8(12);
    frame.put_u16_le(0);
    frame.put_slice(&[0; 24]);
    frame.put_u64_le(1);
    frame.put_u32_le(0);
    let crc = crc32c::crc32c(&frame);
    frame.put_u32_le(crc);
    frame
}

/// How many bytes come back to a peer's question; an error or 0: it was refused.
fn answer(mut stream: impl Read + Write) -> io::Result<usize> {
    stream.write_all(&hello())?;
    stream.flush()?;
    stream.read(&mut [0; 256])
}

/// What comes back to a peer's question without TLS, until the connection ends or a frame is whole.
fn answer_by_plain(peer: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(peer).expect("a connection");
    stream.set_read_timeout(Some(CHANGE_WAIT)).expect("a limit");
    stream.write_all(&hello()).expect("it is sent");
    let mut said = Vec::new();
    let mut room = [0; 256];
    while said.len() < FRAME_BYTES {
        match stream.read(&mut room) {
            Ok(0) | Err(_) => break,
            Ok(count) => said.extend_from_slice(&room[..count]),
        }
    }
    said
}
