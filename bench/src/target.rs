//! The servers that are compared: which processes, with which settings, and who leads.
//!
//! Every process keeps its data in its own directory below one temporary directory, so that all use
//! the same file system.
//!
//! Invariant: a process started here is killed and waited for when its [`Running`] is dropped,
//! whether the comparison ended well, failed, panicked or was interrupted.

mod commands;

use crate::control;
use crate::error::Failure;
use crate::etcd;
use crate::process::Watched;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Serialize, Serializer};
use std::fmt;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that a peer may take to start, and to agree on a leader later.
const READY_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks at the roles.
const READY_PAUSE: Duration = Duration::from_millis(100);
/// End of a log that is shown when a process fails, in bytes.
const LOG_TAIL_BYTES: usize = 2_000;

/// Pause between two looks at whether a process has ended.
const STOP_PAUSE: Duration = Duration::from_millis(5);
/// Offset of the port of a node that joins: that of a peer that does not run then.
const JOINER_PORT_OFFSET: u16 = 4;

/// A server, or servers that replicate one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// One Kvorum node.
    #[value(name = "kvorum-1")]
    KvorumOne,
    /// Three Kvorum nodes; load goes to the leader.
    #[value(name = "kvorum-3")]
    KvorumThree,
    /// `redis-server --appendonly yes --appendfsync always`.
    RedisAlways,
    /// `redis-server` without any persistence.
    RedisMemory,
    /// Redis with two replicas, `appendfsync always` on all, `WAIT 1` after each round of writes.
    RedisWait,
    /// Three etcd nodes, by their gRPC API; load goes to the leader.
    #[value(name = "etcd-3")]
    EtcdThree,
}

impl Peer {
    /// All peers, in the order in which they are shown.
    pub(crate) const ALL: [Peer; 6] = [
        Peer::KvorumOne,
        Peer::KvorumThree,
        Peer::RedisAlways,
        Peer::RedisMemory,
        Peer::RedisWait,
        Peer::EtcdThree,
    ];

    /// Its position in [`Peer::ALL`].
    pub(crate) fn position(self) -> usize {
        Self::ALL.iter().position(|&peer| peer == self).unwrap_or_default()
    }

    /// Whether the processes are Kvorum's.
    pub(crate) fn is_kvorum(self) -> bool {
        matches!(self, Peer::KvorumOne | Peer::KvorumThree)
    }

    /// Replicas that must acknowledge a write.
    pub(crate) fn wait(self) -> Option<u32> {
        (self == Peer::RedisWait).then_some(1)
    }

    /// Whether the processes are Redis's.
    pub(crate) fn is_redis(self) -> bool {
        matches!(self, Peer::RedisAlways | Peer::RedisMemory | Peer::RedisWait)
    }

    /// How many servers it is.
    pub(crate) fn nodes(self) -> u16 {
        match self {
            Peer::KvorumThree | Peer::RedisWait | Peer::EtcdThree => 3,
            Peer::KvorumOne | Peer::RedisAlways | Peer::RedisMemory => 1,
        }
    }

    /// Ports it listens on; etcd's nodes talk to each other on ports of their own.
    fn ports(self) -> u16 {
        if self == Peer::EtcdThree { 2 * self.nodes() } else { self.nodes() }
    }

    /// Offset of the first port, so that all peers can run at once.
    fn port_offset(self) -> u16 {
        match self {
            Peer::KvorumOne => 0,
            Peer::KvorumThree => 1,
            Peer::RedisAlways => 4,
            Peer::RedisMemory => 5,
            Peer::RedisWait => 6,
            Peer::EtcdThree => 9,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Peer::KvorumOne => "kvorum-1",
            Peer::KvorumThree => "kvorum-3",
            Peer::RedisAlways => "redis-always",
            Peer::RedisMemory => "redis-memory",
            Peer::RedisWait => "redis-wait",
            Peer::EtcdThree => "etcd-3",
        })
    }
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where binaries, directories and ports are.
#[derive(Clone)]
pub(crate) struct Site {
    /// The `kvorum` binary.
    pub(crate) kvorum: PathBuf,
    /// The `redis-server` binary.
    pub(crate) redis: PathBuf,
    /// The `etcd` binary.
    pub(crate) etcd: PathBuf,
    /// `name=value` settings for Kvorum; none in a comparison with defaults.
    pub(crate) kvorum_settings: Vec<String>,
    /// The directory that holds the data directories.
    pub(crate) data: PathBuf,
    /// First of the ports used; Kvorum also uses those 10000 above.
    pub(crate) base_port: u16,
}

struct Node {
    address: String,
    child: Child,
    log: PathBuf,
    data: PathBuf,
    command: Command,
}

impl Node {
    fn spawn(command: &mut Command, log: &Path) -> Result<Child, Failure> {
        command
            .stdin(Stdio::null())
            .stdout(File::options().create(true).append(true).open(log)?)
            .stderr(File::options().create(true).append(true).open(log)?)
            .spawn()
            .map_err(|error| Failure::new(format!("{command:?}: {error}")))
    }
}

/// A peer that runs.
pub(crate) struct Running {
    /// Which one.
    pub(crate) peer: Peer,
    nodes: Vec<Node>,
}

/// Who leads at the moment.
pub(crate) struct Leader {
    /// `host:port` of the leader.
    pub(crate) address: String,
    /// `host:port` of the first of the others; `None` where there is one node.
    pub(crate) follower: Option<String>,
    /// Its position among [`Running::addresses`].
    pub(crate) position: usize,
    /// All processes of the peer, the leader first.
    pub(crate) processes: Vec<Watched>,
}

impl Running {
    /// Starts the processes of `peer` and waits until one of them leads all others.
    ///
    /// Errors: a port is taken, a process cannot be started or ends, or no leader in [`READY_MAX`].
    pub(crate) async fn start(peer: Peer, site: &Site) -> Result<Self, Failure> {
        let first = site.base_port + peer.port_offset();
        for port in first..first + peer.ports() {
            TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
                Failure::new(format!("{peer}: port {port}: {error}; choose another --base-port"))
            })?;
        }
        let mut running = Self { peer, nodes: Vec::new() };
        for index in 0..peer.nodes() {
            let data = site.data.join(format!("{peer}-{index}"));
            fs::create_dir_all(&data)?;
            let log = site.data.join(format!("{peer}-{index}.log"));
            let mut command = commands::command(peer, site, &data, index);
            let child = Node::spawn(&mut command, &log)?;
            let address = format!("127.0.0.1:{}", first + index);
            running.nodes.push(Node { address, child, log, data, command });
        }
        running.leader().await?;
        Ok(running)
    }

    /// Waits until exactly one node says `role:master` and all others follow it.
    ///
    /// Errors: as [`Running::start`].
    pub(crate) async fn leader(&mut self) -> Result<Leader, Failure> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            if let Some(position) = self.find_leader().await {
                return Ok(self.leader_at(position));
            }
            for index in 0..self.nodes.len() {
                self.check(index)?;
            }
            if Instant::now() > deadline {
                let tail = self.nodes.first().map(|node| log_tail(&node.log)).unwrap_or_default();
                let text = format!("{}: no leader after {READY_MAX:?}\n{tail}", self.peer);
                return Err(Failure::new(text));
            }
            tokio::time::sleep(READY_PAUSE).await;
        }
    }

    /// Ends the process of node `index` without warning, as `kill -9` does.
    ///
    /// Errors: it had already ended.
    pub(crate) fn kill(&mut self, index: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[index];
        node.child.kill()?;
        node.child.wait()?;
        Ok(())
    }

    /// Starts node `index` again, on the data that it left.
    ///
    /// Errors: it cannot be started.
    pub(crate) fn restart(&mut self, index: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[index];
        node.child = Node::spawn(&mut node.command, &node.log)?;
        Ok(())
    }

    /// Asks node `index` to end, as SIGTERM does, and waits until it has, at most `longest`.
    ///
    /// Errors: it has ended already, does not end in time, or ends with an error.
    pub(crate) async fn stop(
        &mut self,
        index: usize,
        longest: Duration,
    ) -> Result<Duration, Failure> {
        let node = &mut self.nodes[index];
        let pid = i32::try_from(node.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::new("no process to stop"))?;
        let began = Instant::now();
        kill_process(pid, Signal::TERM)
            .map_err(|error| Failure::new(format!("{}: {error}", node.address)))?;
        while began.elapsed() < longest {
            if let Some(status) = node.child.try_wait()? {
                let tail = || log_tail(&node.log);
                return if status.success() {
                    Ok(began.elapsed())
                } else {
                    Err(Failure::new(format!("{} ended: {status}\n{}", node.address, tail())))
                };
            }
            tokio::time::sleep(STOP_PAUSE).await;
        }
        Err(Failure::new(format!("{} does not end within {longest:?}", node.address)))
    }

    /// Starts one more Kvorum node, which joins the others; its position is the last.
    ///
    /// Errors: it cannot be started.
    pub(crate) fn add_node(&mut self, site: &Site) -> Result<usize, Failure> {
        let index = self.nodes.len();
        let port = site.base_port + JOINER_PORT_OFFSET;
        let data = site.data.join(format!("{}-{index}", self.peer));
        fs::create_dir_all(&data)?;
        let log = site.data.join(format!("{}-{index}.log", self.peer));
        let address = format!("127.0.0.1:{port}");
        let mut command = commands::joiner(site, &data, &address, &self.addresses());
        let child = Node::spawn(&mut command, &log)?;
        self.nodes.push(Node { address, child, log, data, command });
        Ok(index)
    }

    /// The process of node `index`, under this name.
    pub(crate) fn watched(&self, index: usize, name: &str) -> Watched {
        Watched { name: name.to_owned(), pid: self.nodes[index].child.id() }
    }

    /// The ids of all its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.child.id()).collect()
    }

    /// An error that holds the end of its log when node `index` has ended.
    pub(crate) fn check(&mut self, index: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[index];
        let Some(status) = node.child.try_wait()? else { return Ok(()) };
        Err(Failure::new(format!("{} ended: {status}\n{}", node.address, log_tail(&node.log))))
    }

    /// `host:port` of every node.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// The data directory of every node, in the order of [`Running::addresses`].
    pub(crate) fn data_directories(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| node.data.clone()).collect()
    }

    /// The data directory of one node; all are on the same disk.
    pub(crate) fn directory(&self) -> &Path {
        &self.nodes[0].data
    }

    /// The position of the leader when all nodes agree that there is one.
    async fn find_leader(&self) -> Option<usize> {
        let mut roles = Vec::new();
        for node in &self.nodes {
            if self.peer == Peer::EtcdThree {
                roles.push(match etcd::leads(&node.address).await.ok()? {
                    Some(true) => Role::Leader,
                    Some(false) => Role::Follower,
                    None => Role::Unsettled,
                });
                continue;
            }
            let reply = control::ask(&node.address, None, &[b"INFO", b"replication"]).await.ok()?;
            roles.push(Role::of(&control::text(&reply)?));
        }
        leader_of(&roles)
    }

    fn leader_at(&self, position: usize) -> Leader {
        let name = |index: usize| match (index == position, self.nodes.len()) {
            (true, 1) => "server".to_owned(),
            (true, _) => "leader".to_owned(),
            (false, _) => "follower".to_owned(),
        };
        let mut processes: Vec<Watched> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| Watched { name: name(index), pid: node.child.id() })
            .collect();
        // The others keep their order, so that the first of them is the one named `follower`.
        processes[..=position].rotate_right(1);
        let follower = (0..self.nodes.len()).find(|&index| index != position);
        Leader {
            address: self.nodes[position].address.clone(),
            follower: follower.map(|index| self.nodes[index].address.clone()),
            position,
            processes,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // It fails only for a process that has already ended, which is what is wanted.
            drop(node.child.kill());
        }
        for node in &mut self.nodes {
            drop(node.child.wait());
        }
    }
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Leader,
    Follower,
    Unsettled,
}

impl Role {
    fn of(info: &str) -> Self {
        match (control::field(info, "role"), control::field(info, "master_link_status")) {
            (Some("master"), _) => Role::Leader,
            (Some("slave"), Some("up")) => Role::Follower,
            _ => Role::Unsettled,
        }
    }
}

/// The only leader, when every other node follows.
fn leader_of(roles: &[Role]) -> Option<usize> {
    let leader = roles.iter().position(|&role| role == Role::Leader)?;
    let followers = roles.iter().filter(|&&role| role == Role::Follower).count();
    (followers + 1 == roles.len()).then_some(leader)
}

/// The last lines of a log, for the message of a failure.
fn log_tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let tail = &bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..];
    String::from_utf8_lossy(tail).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_counts_when_all_others_follow() {
        use Role::{Follower, Leader, Unsettled};
        assert_eq!(leader_of(&[Leader]), Some(0));
        assert_eq!(leader_of(&[Follower, Leader, Follower]), Some(1));
        assert_eq!(leader_of(&[Leader, Leader, Follower]), None);
        assert_eq!(leader_of(&[Leader, Unsettled, Follower]), None);
        assert_eq!(leader_of(&[Follower, Follower]), None);
        assert_eq!(leader_of(&[]), None);
    }

    #[test]
    fn roles_are_read_from_info() {
        assert_eq!(Role::of("# Replication\r\nrole:master\r\n"), Role::Leader);
        assert_eq!(Role::of("role:slave\r\nmaster_link_status:up\r\n"), Role::Follower);
        assert_eq!(Role::of("role:slave\r\nmaster_link_status:down\r\n"), Role::Unsettled);
        assert_eq!(Role::of("loading\r\n"), Role::Unsettled);
    }

    #[test]
    fn ports_of_peers_do_not_overlap() {
        let mut ports: Vec<u16> = Peer::ALL
            .iter()
            .flat_map(|peer| peer.port_offset()..peer.port_offset() + peer.ports())
            .collect();
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), count);
    }

    #[test]
    fn processes_end_with_the_comparison_that_started_them_even_in_a_panic() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let command = Command::new("sleep");
        let (log, data) = (PathBuf::new(), PathBuf::new());
        let node = Node { address: String::new(), child, log, data, command };
        let running = Running { peer: Peer::KvorumOne, nodes: vec![node] };
        assert!(process.exists());
        let panicked = std::thread::spawn(move || {
            let _running = running;
            panic!("this is the panic that the test is about");
        });
        assert!(panicked.join().is_err());
        assert!(!process.exists());
    }
}
