//! The command lines of the servers: everything default but what makes them comparable.
//!
//! Every process listens on 127.0.0.1. Kvorum runs with its defaults. Redis gets what favours it: no
//! RDB snapshots and no rewrite of the append-only file during a run. etcd gets room for its data.

use super::{Peer, Site};
use std::path::Path;
use std::process::Command;

/// Largest database of etcd, in bytes: its recommended limit; the default of 2 GiB fills in minutes.
const ETCD_BYTES_MAX: u64 = 8 << 30;

/// The command for node `index` of `peer`, with its data in `data`.
pub(super) fn command(peer: Peer, site: &Site, data: &Path, index: u16) -> Command {
    match peer {
        Peer::KvorumOne | Peer::KvorumThree => kvorum(peer, site, data, index),
        Peer::RedisAlways | Peer::RedisMemory | Peer::RedisWait => redis(peer, site, data, index),
        Peer::EtcdThree => etcd(peer, site, data, index),
    }
}

fn address(peer: Peer, site: &Site, index: u16) -> String {
    format!("127.0.0.1:{}", site.base_port + peer.port_offset() + index)
}

/// The command for a Kvorum node that joins `members`.
pub(super) fn joiner(site: &Site, data: &Path, address: &str, members: &[String]) -> Command {
    let mut command = kvorum_node(site, data, address);
    command.arg("--join").arg(members.join(","));
    command
}

fn kvorum_node(site: &Site, data: &Path, address: &str) -> Command {
    let mut command = Command::new(&site.kvorum);
    command.arg("start").arg("--data-dir").arg(data).arg("--listen").arg(address);
    // What is measured is what the command line says.
    let own = std::env::vars_os().map(|(name, _)| name);
    for name in own.filter(|name| name.to_string_lossy().starts_with("KVORUM_")) {
        command.env_remove(name);
    }
    for setting in &site.kvorum_settings {
        command.arg("--set").arg(setting);
    }
    command
}

fn kvorum(peer: Peer, site: &Site, data: &Path, index: u16) -> Command {
    let mut command = kvorum_node(site, data, &address(peer, site, index));
    if peer.nodes() > 1 {
        let members: Vec<String> =
            (0..peer.nodes()).map(|index| address(peer, site, index)).collect();
        command.arg("--bootstrap-expect").arg(peer.nodes().to_string());
        command.arg("--join").arg(members.join(","));
    }
    command
}

fn redis(peer: Peer, site: &Site, data: &Path, index: u16) -> Command {
    let port = |index: u16| (site.base_port + peer.port_offset() + index).to_string();
    let mut command = Command::new(&site.redis);
    command.args(["--bind", "127.0.0.1", "--daemonize", "no", "--save", ""]);
    command.arg("--port").arg(port(index)).arg("--dir").arg(data);
    if peer != Peer::RedisMemory {
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        command.args(["--auto-aof-rewrite-percentage", "0"]);
    }
    if peer == Peer::RedisWait {
        command.args(["--repl-diskless-sync-delay", "0"]);
        if index > 0 {
            command.arg("--replicaof").arg("127.0.0.1").arg(port(0));
        }
    }
    command
}

/// The client ports come first, then the ports between the nodes.
fn etcd(peer: Peer, site: &Site, data: &Path, index: u16) -> Command {
    let url = |index| format!("http://{}", address(peer, site, index));
    let (client, between) = (url(index), url(peer.nodes() + index));
    let members: Vec<String> =
        (0..peer.nodes()).map(|index| format!("n{index}={}", url(peer.nodes() + index))).collect();
    let mut command = Command::new(&site.etcd);
    command.arg("--name").arg(format!("n{index}")).arg("--data-dir").arg(data);
    command.arg("--listen-client-urls").arg(&client).arg("--advertise-client-urls").arg(&client);
    command.arg("--listen-peer-urls").arg(&between);
    command.arg("--initial-advertise-peer-urls").arg(&between);
    command.arg("--initial-cluster").arg(members.join(","));
    command.args(["--initial-cluster-state", "new", "--initial-cluster-token", "kvorum-bench"]);
    command.arg("--quota-backend-bytes").arg(ETCD_BYTES_MAX.to_string());
    command.args(["--logger", "zap", "--log-level", "warn"]);
    command
}
