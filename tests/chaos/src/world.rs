//! The nodes of a run, each with its disk, its control file and its place in the network.
//!
//! Real processes; all connections between them run through [`Net`]. Where the machine allows, each
//! has an ext4 and a network of its own; otherwise their addresses are those of loopback.

use crate::disk::Disk;
use crate::proxy::Net;
use crate::shim::{Control, Tools};
use crate::wires::Wires;
use kvorum_tests::client::{Client, text};
use kvorum_tests::node::Node;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

/// How long a cluster may take to be one again after all faults have ended.
pub const HEAL_WAIT: Duration = Duration::from_secs(60);

/// Settings that make logs and overlays small, so that snapshots and purges happen.
const SETTINGS: [&str; 6] = [
    "log-segment-bytes=1mb",
    "log-max-bytes=2mb",
    "overlay-bytes=1mb",
    "cache-bytes=8mb",
    // A fault fills the disk at once and to the last byte: the reserve is noticed, not used up.
    "disk-free-min=32mb",
    "follower-writes=forward",
];
/// Clients that may compare states and give orders: those of this machine, or, where nodes have
/// networks that only this machine reaches, all.
const LOOPBACK: [&str; 1] = ["enable-debug-command=local"];
const NETWORK: [&str; 2] = ["enable-debug-command=yes", "protected-mode=no"];

/// What [`World::digest`] begins with where there is one.
const DIGEST: &str = "digest ";

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(40);

/// One node.
pub struct Member {
    pub node: Node,
    /// Where others are told to connect: to the proxy before it.
    pub advertised: String,
    pub disk: Option<Disk>,
    pub control: Option<Control>,
    /// Whether bits of its files were flipped since its directory was empty: that may be found long
    /// after.
    pub is_damaged: bool,
}

/// A node that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub at: usize,
    pub was_damaged: bool,
    /// How it ended, and what it said last.
    pub last: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "node {}: {}", self.at, self.last)
    }
}

/// Where clients reach the nodes that are members now.
#[derive(Clone, Default)]
pub struct Addresses(Arc<RwLock<Vec<String>>>);

impl Addresses {
    /// All of them.
    pub fn all(&self) -> Vec<String> {
        self.0.read().expect("no panic").clone()
    }

    /// One of them, whatever the number.
    pub fn some(&self, number: usize) -> String {
        let all = self.0.read().expect("no panic");
        all[number % all.len()].clone()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<String>)) {
        change(&mut self.0.write().expect("no panic"));
    }
}

/// All of them.
pub struct World {
    pub members: Vec<Member>,
    pub addresses: Addresses,
    /// How many there were at first; one more may have joined, and is the last one then.
    size: usize,
    /// The one more, while it is no member.
    spare: Option<Member>,
    pub net: Arc<Net>,
    pub tools: Option<Tools>,
    /// A network for each node; none: they share loopback.
    pub wires: Option<Wires>,
    /// Nodes that ended by themselves.
    pub ended: Vec<Ended>,
    root: PathBuf,
}

impl World {
    /// Starts `count` nodes below `root` and waits until they are a cluster. `deep`: with disks of
    /// their own, and the shim; `networks`: with networks of their own; where that is possible.
    ///
    /// # Errors
    /// They do not become a cluster.
    pub fn start(root: &Path, count: usize, deep: bool, networks: bool) -> Result<Self, String> {
        let tools = if deep { Tools::build(root) } else { None };
        let wires = if networks { Wires::create(count + 1) } else { None };
        let mut world = World {
            members: Vec::new(),
            addresses: Addresses::default(),
            size: count,
            spare: None,
            net: Arc::default(),
            tools,
            wires,
            ended: Vec::new(),
            root: root.to_owned(),
        };
        (0..count).try_for_each(|at| world.add(at))?;
        let all = world.to_join();
        for member in &mut world.members {
            let expect = ["--bootstrap-expect".into(), count.to_string()];
            member.node.args.extend(expect);
            member.node.args.extend(["--join".into(), all.clone()]);
            member.node.spawn();
        }
        world.settle(HEAL_WAIT)?;
        Ok(world)
    }

    /// Whether one more node than at first is a member.
    pub fn is_grown(&self) -> bool {
        self.members.len() > self.size
    }

    /// Starts one more node, which joins; it may not be a member when this returns. Its place.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn grow(&mut self) -> Result<usize, String> {
        assert!(!self.is_grown(), "there is room for one more");
        let (at, all) = (self.size, self.to_join());
        match self.spare.take() {
            Some(member) => {
                self.addresses.change(|all| all.push(member.node.addr.clone()));
                self.members.push(member);
            }
            None => {
                self.add(at)?;
                self.members[at].node.args.extend(["--join".into(), all]);
            }
        }
        self.members[at].node.spawn();
        Ok(at)
    }

    /// Ends the one more node, which is no member any more, and empties its disk.
    pub fn shrink(&mut self) {
        assert!(self.is_grown(), "one more joined");
        self.addresses.change(|all| drop(all.pop()));
        self.wipe(self.size);
        self.spare = self.members.pop();
    }

    fn to_join(&self) -> String {
        let all: Vec<&str> = self.members.iter().map(|member| member.advertised.as_str()).collect();
        all.join(",")
    }

    /// Prepares one more node; it is not started.
    ///
    /// # Errors
    /// The proxy cannot listen, or the control file cannot be made.
    fn add(&mut self, at: usize) -> Result<(), String> {
        let own = if self.wires.is_some() { &NETWORK[..] } else { &LOOPBACK[..] };
        let settings = SETTINGS.iter().chain(own);
        let args: Vec<String> =
            settings.flat_map(|setting| ["--set".into(), (*setting).into()]).collect();
        let mut node = Node::new(&self.root, &args);
        let mut outside = format!("127.0.2.{}", at + 1);
        if let Some(wires) = &self.wires {
            outside = wires.gateway();
            node.launcher = wires.launcher(at);
            node.addr = format!("{}:{}", wires.address(at), port(&node.addr));
            node.peer_addr = format!("{}:{}", wires.address(at), port(&node.peer_addr));
        }
        let advertised = format!("{outside}:{}", port(&node.addr));
        let peer = format!("{outside}:{}", port(&node.peer_addr));
        node.args.extend(["--advertise".into(), advertised.clone()]);
        for (listen, upstream) in [(&advertised, &node.addr), (&peer, &node.peer_addr)] {
            let served = self.net.serve(listen, upstream, at);
            served.map_err(|error| format!("the proxy cannot listen on {listen}: {error}"))?;
        }
        let mut member = Member { node, advertised, disk: None, control: None, is_damaged: false };
        if let Some(tools) = &self.tools {
            member.disk = Disk::create(self.root.join(format!("disk-{at}")), &member.node.dir);
            let control = Control::create(self.root.join(format!("control-{at}")));
            let control = control.map_err(|error| error.to_string())?;
            let preload = ("LD_PRELOAD".to_owned(), tools.shim.display().to_string());
            let path = ("CHAOS_CONTROL".to_owned(), control.path.display().to_string());
            member.node.env = vec![preload, path];
            member.control = Some(control);
        }
        self.addresses.change(|all| all.push(member.node.addr.clone()));
        self.members.push(member);
        Ok(())
    }

    /// Starts a node whose process is gone.
    pub fn revive(&mut self, at: usize) {
        if !self.members[at].node.is_running() {
            self.kill(at);
            self.members[at].node.spawn();
        }
    }

    /// kill -9, where it did not end by itself before: that is noted.
    pub fn kill(&mut self, at: usize) {
        self.note_end(at);
        self.members[at].node.kill();
    }

    fn note_end(&mut self, at: usize) {
        let member = &mut self.members[at];
        let Some(status) = member.node.exited() else { return };
        let output = member.node.output();
        let last: Vec<&str> = output.lines().rev().take(3).collect();
        let (last, was_damaged) = (format!("{status}, {last:?}"), member.is_damaged);
        self.ended.push(Ended { at, was_damaged, last });
    }

    /// The leader, as far as the nodes that answer agree on one.
    pub fn leader(&mut self) -> Option<usize> {
        let infos = self.infos();
        let mut leaders: Vec<(u64, usize)> = infos
            .iter()
            .enumerate()
            .filter(|(_, info)| info.get("raft_role").is_some_and(|role| role == "leader"))
            .map(|(at, info)| (number(info, "raft_current_term"), at))
            .collect();
        leaders.sort_unstable();
        leaders.last().map(|(_, at)| *at)
    }

    /// INFO raft of each node; empty where there is no answer.
    pub fn infos(&mut self) -> Vec<BTreeMap<String, String>> {
        let running: Vec<bool> =
            self.members.iter_mut().map(|member| member.node.is_running()).collect();
        let ask = |(member, runs): (&Member, bool)| {
            if runs { member.node.info("raft") } else { BTreeMap::new() }
        };
        let infos: Vec<_> = self.members.iter().zip(running).map(ask).collect();
        for (at, info) in infos.iter().enumerate() {
            if number(info, "raft_node_id") > 0 {
                self.net.learn(number(info, "raft_node_id"), at);
            }
        }
        infos
    }

    /// Waits until all nodes run, are voters, and agree on who leads; starts those that end.
    ///
    /// # Errors
    /// They do not; or a node ends again and again.
    pub fn settle(&mut self, limit: Duration) -> Result<usize, String> {
        let begun = Instant::now();
        let mut ends = vec![0; self.members.len()];
        let mut last = Vec::new();
        while begun.elapsed() < limit {
            for (at, ended) in ends.iter_mut().enumerate() {
                if self.members[at].node.is_running() {
                    continue;
                }
                *ended += 1;
                if *ended > 3 {
                    let output = self.members[at].node.output();
                    let tail: Vec<&str> = output.lines().rev().take(6).collect();
                    return Err(format!("node {at} ends again and again: {tail:#?}"));
                }
                self.revive(at);
            }
            last = self.infos();
            if let Some(leader) = agreed(&last) {
                return Ok(leader);
            }
            thread::sleep(POLL);
        }
        let said: Vec<String> = last.iter().map(brief).collect();
        Err(format!("no agreement within {limit:?}: {said:#?}"))
    }

    /// Waits until all nodes have applied the same last entry, and compares their states; nobody
    /// may write meanwhile. Entries of the leader's own (time marks) are waited for, too.
    ///
    /// # Errors
    /// They do not come together, or differ at one index.
    pub fn compare(&mut self, limit: Duration) -> Result<String, String> {
        let begun = Instant::now();
        loop {
            let before = applied(&self.infos());
            if let Some(index) = before {
                let digests: Vec<String> =
                    (0..self.members.len()).map(|at| self.digest(at)).collect();
                if applied(&self.infos()) == Some(index) {
                    return same_state(index, &digests);
                }
            }
            if begun.elapsed() > limit {
                let infos = self.infos();
                let said: Vec<String> = infos.iter().map(brief).collect();
                return Err(format!("not together within {limit:?}: {said:#?}"));
            }
            thread::sleep(POLL);
        }
    }

    /// What DEBUG STATE-DIGEST says of a node's state as it is, and how many keys it has.
    pub(crate) fn digest(&self, at: usize) -> String {
        let asked = Client::connect(&self.members[at].node.addr).and_then(|mut client| {
            client.set_reply_wait(Duration::from_secs(20));
            client.call(&["READONLY"])?;
            let digest = text(&client.call(&["DEBUG", "STATE-DIGEST"])?);
            let keys = text(&client.call(&["DBSIZE"])?);
            Ok(format!("{DIGEST}{digest} of {keys} keys"))
        });
        asked.unwrap_or_else(|error| format!("no answer: {error}"))
    }

    /// kill -9, and everything in the node's directory is gone.
    pub fn wipe(&mut self, at: usize) {
        self.kill(at);
        self.members[at].is_damaged = false;
        let node = &self.members[at].node;
        for entry in fs::read_dir(&node.dir).expect("the node's directory").flatten() {
            let path = entry.path();
            if entry.file_name() != "lost+found" {
                let gone =
                    if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                gone.expect("a stopped node's data can be removed");
            }
        }
    }

    /// Whether there is a power to be cut: every node has a disk of its own, and there is the tool.
    pub fn has_power(&self) -> bool {
        self.tools.is_some() && self.members.iter().all(|member| member.disk.is_some())
    }

    /// Takes the power from the disks of nodes and ends their processes; the disks come back as they
    /// were synced. Whether all were cut, and all lost what was not synced.
    pub fn power_cut(&mut self, nodes: &[usize], process_first: bool) -> bool {
        if !self.has_power() {
            return false;
        }
        nodes.iter().for_each(|at| self.note_end(*at));
        let Some(tools) = &self.tools else { return false };
        let mut is_cut = true;
        for at in nodes {
            let member = &mut self.members[*at];
            if process_first && member.node.is_running() {
                member.node.pause();
            }
            is_cut &= member.disk.as_ref().is_some_and(|disk| disk.cut(&tools.cut));
        }
        // Also where one was not cut: none stays paused, or without its disk.
        for at in nodes {
            let member = &mut self.members[*at];
            // It may have ended by itself meanwhile: the cut is why.
            member.node.kill();
            is_cut &= member.disk.as_mut().is_some_and(Disk::restore);
        }
        is_cut
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.net.close();
        self.members.iter_mut().for_each(|member| member.node.kill());
    }
}

fn port(addr: &str) -> &str {
    addr.rsplit(':').next().unwrap_or_default()
}

/// A field of INFO as a number, 0 where it is missing.
pub fn number(info: &BTreeMap<String, String>, name: &str) -> u64 {
    info.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn agreed(infos: &[BTreeMap<String, String>]) -> Option<usize> {
    let leads =
        |info: &&BTreeMap<String, String>| info.get("raft_role").is_some_and(|r| r == "leader");
    let [leader] = infos.iter().filter(leads).collect::<Vec<_>>()[..] else { return None };
    let id = number(leader, "raft_node_id");
    let follows = |info: &BTreeMap<String, String>| {
        number(info, "raft_leader_id") == id
            && info.get("raft_is_voting").is_some_and(|voting| voting == "yes")
            && number(info, "raft_num_voting_nodes") == infos.len() as u64
    };
    infos
        .iter()
        .all(follows)
        .then(|| infos.iter().position(|info| number(info, "raft_node_id") == id))?
}

fn applied(infos: &[BTreeMap<String, String>]) -> Option<u64> {
    let index = number(&infos[0], "raft_last_applied_index");
    let same = |info: &BTreeMap<String, String>| {
        number(info, "raft_last_applied_index") == index
            && number(info, "raft_current_index") == index
    };
    (index > 0 && infos.iter().all(same)).then_some(index)
}

/// Whether all nodes have said the same of their states, at one log index, and have said it.
fn same_state(index: u64, digests: &[String]) -> Result<String, String> {
    let is_known = |digest: &String| {
        let hash = digest.strip_prefix(DIGEST).and_then(|rest| rest.split(' ').next());
        hash.is_some_and(|hash| hash.len() == 40 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let is_same = digests.iter().all(|digest| *digest == digests[0]);
    if is_same && digests.iter().all(is_known) {
        return Ok(digests[0].clone());
    }
    Err(format!("states differ at {index}: {digests:?}"))
}

fn brief(info: &BTreeMap<String, String>) -> String {
    let names = [
        "raft_node_id",
        "raft_role",
        "raft_leader_id",
        "raft_current_term",
        "raft_current_index",
        "raft_last_applied_index",
        "raft_is_voting",
        "raft_num_voting_nodes",
    ];
    let fields = names.map(|name| info.get(name).map_or("-", String::as_str).to_owned());
    fields.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: u64, leader: u64, index: u64, voters: u64) -> BTreeMap<String, String> {
        let role = if id == leader { "leader" } else { "follower" };
        let fields = [
            ("raft_node_id", id.to_string()),
            ("raft_leader_id", leader.to_string()),
            ("raft_role", role.to_owned()),
            ("raft_is_voting", "yes".to_owned()),
            ("raft_num_voting_nodes", voters.to_string()),
            ("raft_last_applied_index", index.to_string()),
            ("raft_current_index", index.to_string()),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into()
    }

    #[test]
    fn states_are_the_same_only_where_all_say_so() {
        let digest = |byte: &str, keys: u64| format!("digest {} of {keys} keys", byte.repeat(20));
        let same = |digests: &[String]| same_state(7, digests);
        let one = digest("a0", 3);
        assert_eq!(same(&[one.clone(), one.clone()]), Ok(one.clone()));
        for other in [digest("a1", 3), digest("a0", 4), "no answer: timed out".to_owned()] {
            let said = same(&[one.clone(), one.clone(), other.clone()]).unwrap_err();
            assert!(said.contains("differ at 7") && said.contains(&other), "{said}");
        }
        // All silent, or all with the same error, is no agreement.
        for silent in ["no answer: timed out", "digest ERR state store of 3 keys", "digest  of"] {
            assert!(same(&[silent.to_owned(), silent.to_owned()]).is_err(), "{silent}");
        }
    }

    #[test]
    fn states_are_compared_once_all_have_applied_all() {
        let infos = |indexes: &[u64]| -> Vec<_> {
            indexes.iter().map(|index| info(*index, 1, *index, 3)).collect()
        };
        assert_eq!(applied(&infos(&[9, 9, 9])), Some(9));
        assert_eq!(applied(&infos(&[9, 8, 9])), None);
        assert_eq!(applied(&infos(&[0, 0, 0])), None);
        let mut behind = infos(&[9, 9]);
        behind[1].insert("raft_current_index".to_owned(), "10".to_owned());
        assert_eq!(applied(&behind), None, "an entry is not applied yet");
        assert_eq!(applied(&[info(1, 1, 9, 3), BTreeMap::new()]), None, "one does not answer");
    }

    #[test]
    fn a_settled_cluster_has_one_leader_whom_all_voters_follow() {
        let cluster = || vec![info(1, 2, 9, 3), info(2, 2, 9, 3), info(3, 2, 9, 3)];
        assert_eq!(agreed(&cluster()), Some(1));
        let without = |at: usize, change: BTreeMap<String, String>| {
            let mut infos = cluster();
            infos[at] = change;
            agreed(&infos)
        };
        assert_eq!(without(0, BTreeMap::new()), None, "one does not answer");
        assert_eq!(without(0, info(1, 1, 9, 3)), None, "two lead");
        assert_eq!(without(2, info(3, 1, 9, 3)), None, "one follows another");
        assert_eq!(without(2, info(3, 2, 9, 4)), None, "one knows other members");
        let mut learner = info(3, 2, 9, 3);
        learner.insert("raft_is_voting".to_owned(), "no".to_owned());
        assert_eq!(without(2, learner), None);
    }
}
