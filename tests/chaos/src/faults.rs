//! The faults. Each is injected, lasts, and is ended by the same function, which counts what took
//! effect (a process that was running and is gone, bytes that were held, an fsync that failed), not
//! what was tried.

use crate::proxy::Rule;
use crate::world::{World, number};
use kvorum_tests::client::{Client, text};
use kvorum_tests::random::Random;
use protocol::Reply;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillOne,
    KillLeader,
    KillAll,
    Pause,
    PauseLeader,
    PowerOne,
    PowerAll,
    Isolate,
    IsolateLeader,
    Halves,
    Ring,
    OneWayIn,
    OneWayOut,
    Pair,
    Flapping,
    Slow,
    Lossy,
    Corrupt,
    SyncError,
    DiskFull,
    SyncStall,
    RotLog,
    RotState,
    RotIdentity,
    Clock,
    Transfer,
    Replace,
    SnapshotKill,
    Flood,
    SlowReader,
    HalfOpen,
}

use Fault::*;

/// Faults that need no root and no tools.
pub const SHALLOW: [Fault; 19] = [
    KillOne,
    KillLeader,
    KillAll,
    Pause,
    PauseLeader,
    Isolate,
    IsolateLeader,
    Halves,
    OneWayIn,
    OneWayOut,
    Pair,
    Flapping,
    Slow,
    Lossy,
    Corrupt,
    Transfer,
    Flood,
    SlowReader,
    HalfOpen,
];

/// Faults that need a shim, a file system of their own, or a snapshot.
pub const DEEP: [Fault; 11] = [
    PowerOne,
    PowerAll,
    SyncError,
    DiskFull,
    SyncStall,
    RotLog,
    RotState,
    RotIdentity,
    Clock,
    Replace,
    SnapshotKill,
];

const EIO: i32 = 5;

/// The world under faults.
pub struct Arena {
    pub world: World,
    pub random: Random,
    /// What took effect, by name.
    pub effects: BTreeMap<String, u64>,
    /// How often each class was injected.
    pub injected: BTreeMap<Fault, u64>,
    /// Longest and shortest time a fault lasts, in milliseconds.
    pub lasts_ms: (u64, u64),
    /// Ids of the nodes, as far as they were seen.
    pub ids: Vec<u64>,
}

impl Arena {
    /// An arena for a cluster that is settled.
    pub fn new(mut world: World, random: Random, lasts_ms: (u64, u64)) -> Self {
        let ids = world.infos().iter().map(|info| number(info, "raft_node_id")).collect();
        let (effects, injected) = (BTreeMap::new(), BTreeMap::new());
        Arena { world, random, effects, injected, lasts_ms, ids }
    }

    /// Injects a fault and ends it. The cluster may still have to settle.
    ///
    /// # Errors
    /// The cluster cannot do what it must while only a minority is disturbed.
    pub fn inject(&mut self, fault: Fault) -> Result<(), String> {
        *self.injected.entry(fault).or_default() += 1;
        let leader = self.world.leader().unwrap_or(0);
        let any = self.random.below(self.world.members.len());
        let name = format!("{fault:?}");
        let effect = match fault {
            KillOne => self.kill(&[any]),
            KillLeader => self.kill(&[leader]),
            KillAll => self.kill(&self.everybody()),
            Pause => self.pause(any),
            PauseLeader => self.pause(leader),
            PowerOne => {
                let one = if self.random.percent(50) { leader } else { any };
                self.power(&[one])
            }
            PowerAll => self.power(&self.everybody()),
            Isolate | IsolateLeader | Halves | Ring | OneWayIn | OneWayOut | Pair | Flapping => {
                self.partition(fault, leader, any)
            }
            Slow | Lossy | Corrupt => self.bad_links(fault),
            SyncError | SyncStall => self.sync_fault(fault, leader, any),
            DiskFull => self.disk_full(any),
            RotLog | RotState | RotIdentity => self.rot(fault, any)?,
            Clock => self.clock(),
            Transfer => self.transfer(leader),
            Replace => {
                let other = self.other_than(leader);
                self.replace(other)?
            }
            SnapshotKill => self.snapshot_kill(leader)?,
            Flood => self.flood(any),
            SlowReader => self.slow_reader(leader),
            HalfOpen => self.half_open(any),
        };
        self.count(&name, effect);
        Ok(())
    }

    fn count(&mut self, name: &str, effect: u64) {
        *self.effects.entry(name.to_owned()).or_default() += effect;
    }

    fn everybody(&self) -> Vec<usize> {
        (0..self.world.members.len()).collect()
    }

    fn other_than(&mut self, but: usize) -> usize {
        let count = self.world.members.len();
        (but + 1 + self.random.below(count - 1)) % count
    }

    fn rest(&mut self) {
        let (shortest, longest) = self.lasts_ms;
        thread::sleep(Duration::from_millis(
            shortest + self.random.number_below(longest - shortest + 1),
        ));
    }

    fn kill(&mut self, nodes: &[usize]) -> u64 {
        let mut killed = 0;
        for at in nodes {
            let node = &mut self.world.members[*at].node;
            killed += u64::from(node.is_running());
            node.kill();
        }
        if nodes.len() == 1 {
            self.rest();
        }
        nodes.iter().for_each(|at| self.world.revive(*at));
        if nodes.len() > 1 { killed / nodes.len() as u64 } else { killed }
    }

    fn pause(&mut self, at: usize) -> u64 {
        if !self.world.members[at].node.is_running() {
            return 0;
        }
        self.world.members[at].node.pause();
        let pid = self.world.members[at].node.pid().unwrap_or(0);
        self.rest();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        self.world.members[at].node.resume();
        u64::from(stat.contains(") T ") || stat.contains(") t ") || cfg!(not(target_os = "linux")))
    }

    fn power(&mut self, nodes: &[usize]) -> u64 {
        let process_first = self.random.percent(50);
        let cut = self.world.power_cut(nodes, process_first);
        if nodes.len() == 1 {
            self.rest();
        }
        nodes.iter().for_each(|at| self.world.revive(*at));
        u64::from(cut)
    }

    fn hold(&self, from: usize, to: usize) {
        self.world.net.rule(from, to, Rule { held: true, ..Rule::default() });
    }

    fn isolate(&self, one: usize, from: &[usize]) {
        for other in from.iter().filter(|other| **other != one) {
            self.hold(one, *other);
            self.hold(*other, one);
        }
    }

    /// Installs a partition; [`Self::partition`] ends it.
    pub fn part(&mut self, shape: Fault, leader: usize, any: usize) {
        let all = self.everybody();
        match shape {
            Isolate => self.isolate(any, &all),
            IsolateLeader | Flapping => self.isolate(leader, &all),
            Halves => {
                let (small, large) = all.split_at(all.len() / 2);
                small.iter().for_each(|one| self.isolate(*one, large));
            }
            // Each sees a majority, no two the same one.
            Ring => {
                for one in &all {
                    let opposite = (one + all.len() / 2) % all.len();
                    self.isolate(*one, &[opposite]);
                }
            }
            OneWayIn => {
                all.iter().filter(|at| **at != leader).for_each(|at| self.hold(*at, leader))
            }
            OneWayOut => {
                all.iter().filter(|at| **at != leader).for_each(|at| self.hold(leader, *at))
            }
            _ => {
                let other = self.other_than(leader);
                self.isolate(leader, &[other]);
            }
        }
    }

    fn partition(&mut self, shape: Fault, leader: usize, any: usize) -> u64 {
        let held = |arena: &Arena| arena.world.net.effects.held_bytes.load(Ordering::Relaxed);
        let before = held(self);
        let times = if shape == Flapping { 6 } else { 1 };
        for _ in 0..times {
            self.part(shape, leader, any);
            if shape == Flapping {
                thread::sleep(Duration::from_millis(60 + self.random.number_below(400)));
            } else {
                self.rest();
            }
            let breaks = self.random.percent(50);
            self.world.net.heal(breaks);
            if shape == Flapping {
                thread::sleep(Duration::from_millis(60 + self.random.number_below(400)));
            }
        }
        u64::from(held(self) > before)
    }

    fn bad_links(&mut self, kind: Fault) -> u64 {
        let rule = match kind {
            Slow => Rule { delay_ms: 20 + self.random.number_below(200), ..Rule::default() },
            Lossy => Rule { loss_permille: 10 + self.random.number_below(60), ..Rule::default() },
            _ => Rule { damage_permille: 5 + self.random.number_below(60), ..Rule::default() },
        };
        let effects = |arena: &Arena| {
            let effects = &arena.world.net.effects;
            let counter = match kind {
                Slow => &effects.delayed_chunks,
                Lossy => &effects.lost_chunks,
                _ => &effects.damaged_bytes,
            };
            counter.load(Ordering::Relaxed)
        };
        let before = effects(self);
        for from in self.everybody() {
            for to in self.everybody() {
                self.world.net.rule(from, to, rule);
            }
        }
        self.rest();
        let breaks = self.random.percent(30);
        self.world.net.heal(breaks);
        let happened = effects(self) - before;
        self.count(&format!("{kind:?}: chunks"), happened);
        u64::from(happened > 0)
    }

    fn sync_fault(&mut self, kind: Fault, leader: usize, any: usize) -> u64 {
        let at = if self.random.percent(60) { leader } else { any };
        let Some(control) = &self.world.members[at].control else { return 0 };
        let before = control.effects();
        match kind {
            SyncError => control.sync_error(EIO),
            _ => control.stall(300 + self.random.below(3000) as i64),
        }
        self.rest();
        let Some(control) = &self.world.members[at].control else { return 0 };
        control.calm();
        let after = control.effects();
        let ended = self.world.members[at].node.exited().is_some();
        self.world.revive(at);
        let happened = match kind {
            SyncError => after.failed_syncs > before.failed_syncs,
            _ => after.stalled_syncs > before.stalled_syncs,
        };
        if kind == SyncError && happened {
            self.count("SyncError: node ended", u64::from(ended));
        }
        u64::from(happened)
    }

    fn disk_full(&mut self, at: usize) -> u64 {
        let before = self.world.members[at].node.output().len();
        let Some(disk) = &self.world.members[at].disk else { return 0 };
        let is_full = disk.fill();
        self.rest();
        self.rest();
        let output = self.world.members[at].node.output().split_off(before);
        let ended = self.world.members[at].node.exited().is_some();
        if let Some(disk) = &self.world.members[at].disk {
            disk.make_room();
        }
        self.world.revive(at);
        self.count("DiskFull: node ended", u64::from(ended));
        u64::from(is_full && (ended || output.contains("the disk is nearly full")))
    }

    /// Damages a file of a stopped node, and starts it. It must refuse, or serve what is right; a
    /// node that refuses is replaced.
    fn rot(&mut self, kind: Fault, at: usize) -> Result<u64, String> {
        self.world.settle(crate::world::HEAL_WAIT)?;
        self.remember();
        self.world.members[at].node.kill();
        let dir = self.world.members[at].node.dir.clone();
        let files = match kind {
            RotLog => files_below(&dir.join("log")),
            RotState => files_below(&dir.join("state")),
            _ => vec![dir.join("identity")],
        };
        let file = self.random.pick(&files).clone();
        let flipped = self.flip(&file);
        self.world.members[at].node.spawn();
        let begun = Instant::now();
        let mut refused = false;
        while begun.elapsed() < Duration::from_secs(8) && !refused {
            refused = self.world.members[at].node.exited().is_some();
            let info = self.world.members[at].node.info("raft");
            if !info.is_empty() && info.get("raft_is_voting").is_some_and(|voting| voting == "yes")
            {
                break;
            }
            thread::sleep(Duration::from_millis(30));
        }
        self.count(if refused { "Rot: refused" } else { "Rot: served" }, u64::from(flipped > 0));
        if refused {
            self.replace(at)?;
        }
        Ok(u64::from(flipped > 0))
    }

    fn flip(&mut self, file: &Path) -> u64 {
        let Ok(mut bytes) = fs::read(file) else { return 0 };
        let written: Vec<usize> =
            bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
        if written.is_empty() {
            return 0;
        }
        let count = *self.random.pick(&[1, 1, 3, 20]);
        for _ in 0..count {
            let at = written[self.random.below(written.len())];
            bytes[at] ^= 1 << self.random.below(8);
        }
        let name = file.display().to_string();
        eprintln!("rot: {count} bits of {name}");
        fs::write(file, bytes).map_or(0, |()| count)
    }

    fn remember(&mut self) {
        for (at, info) in self.world.infos().iter().enumerate() {
            if number(info, "raft_node_id") > 0 {
                self.ids[at] = number(info, "raft_node_id");
            }
        }
    }

    /// Removes a node, empties its disk, and lets it join under a new id.
    fn replace(&mut self, at: usize) -> Result<u64, String> {
        let old = self.ids[at];
        self.remember();
        let old = if self.ids[at] == 0 { old } else { self.ids[at] };
        self.world.wipe(at);
        self.remove(at, old)?;
        self.world.members[at].node.spawn();
        self.world.settle(crate::world::HEAL_WAIT)?;
        self.remember();
        self.count("Join", u64::from(self.ids[at] != old));
        Ok(u64::from(self.ids[at] != old))
    }

    /// Has the others remove the node that was `at`.
    fn remove(&mut self, at: usize, id: u64) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let answer = self.order(at, &["RAFT.NODE", "REMOVE", &id.to_string()]);
            // An outcome that was unknown before shows in the next answer.
            if answer == "OK" || answer.contains("there is no node") {
                self.count("Remove", 1);
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(40) {
                return Err(format!("node {at} (id {id}) cannot be removed: {answer}"));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// An order, given to some other node than `but`.
    fn order(&mut self, but: usize, words: &[&str]) -> String {
        let at = self.other_than(but);
        let asked = Client::connect(&self.world.members[at].node.addr).and_then(|mut client| {
            client.set_reply_wait(Duration::from_secs(10));
            client.call(words)
        });
        asked.map_or_else(|error| error.to_string(), |reply| text(&reply))
    }

    /// Replaces a node, and kills it, or the leader, once it receives a snapshot.
    fn snapshot_kill(&mut self, leader: usize) -> Result<u64, String> {
        self.world.settle(crate::world::HEAL_WAIT)?;
        self.remember();
        let at = self.other_than(leader);
        let old = self.ids[at];
        self.world.wipe(at);
        self.remove(at, old)?;
        let before = self.world.members[at].node.output().len();
        // A slow link, so that the snapshot takes long enough to be met.
        let slow = Rule { delay_ms: 60, ..Rule::default() };
        self.everybody().iter().for_each(|from| self.world.net.rule(*from, at, slow));
        self.world.members[at].node.spawn();
        let begun = Instant::now();
        let mut met = false;
        while !met && begun.elapsed() < Duration::from_secs(10) {
            let output = self.world.members[at].node.output().split_off(before);
            met = output.contains("receiving a snapshot") && !output.contains("snapshot installed");
            if output.contains("snapshot installed") {
                break;
            }
            thread::sleep(Duration::from_millis(3));
        }
        let victim = if self.random.percent(50) { at } else { leader };
        self.world.members[victim].node.kill();
        self.world.net.heal(false);
        self.world.revive(victim);
        self.world.settle(crate::world::HEAL_WAIT)?;
        self.remember();
        Ok(u64::from(met))
    }

    fn clock(&mut self) -> u64 {
        let readings = |arena: &Arena| -> u64 {
            let controls = arena.world.members.iter().filter_map(|member| member.control.as_ref());
            controls.map(|control| control.effects().shifted_clock_readings).sum()
        };
        let before = readings(self);
        for _ in 0..8 {
            let at = self.random.below(self.world.members.len());
            let jump = *self.random.pick(&[5, 40, 300, 2000, 5000]) * 1_000_000;
            let forth = self.random.percent(50);
            if let Some(control) = &self.world.members[at].control {
                control.clock(if forth { jump } else { -jump });
            }
            thread::sleep(Duration::from_millis(self.lasts_ms.0 / 4));
        }
        for control in self.world.members.iter().filter_map(|member| member.control.as_ref()) {
            control.calm();
        }
        u64::from(readings(self) > before)
    }

    fn transfer(&mut self, leader: usize) -> u64 {
        let answer = self.order(usize::MAX / 2, &["RAFT.TRANSFER_LEADER"]);
        thread::sleep(Duration::from_millis(300));
        let moved = self.world.leader().is_some_and(|now| now != leader);
        u64::from(answer == "OK" && moved)
    }

    fn flood(&mut self, at: usize) -> u64 {
        let addr = self.world.members[at].node.addr.clone();
        let mut connections = Vec::new();
        for number in 0..400 {
            let Ok(mut client) = Client::connect(&addr) else { break };
            let sent = client.send(&[["SET", "flood", &"x".repeat(number)].to_vec()]);
            if sent.is_ok() {
                connections.push(client);
            }
        }
        let answered = connections.iter_mut().filter_map(|client| client.receive().ok()).count();
        self.count("Flood: connections", connections.len() as u64);
        u64::from(answered > 100)
    }

    /// Asks for far more than it reads.
    fn slow_reader(&mut self, at: usize) -> u64 {
        let addr = self.world.members[at].node.addr.clone();
        let Ok(mut client) = Client::connect(&addr) else { return 0 };
        let value = "v".repeat(300_000);
        let set = client.call(&["SET", "large", &value]);
        if !matches!(set, Ok(Reply::Simple(_))) {
            return 0;
        }
        let requests = vec![vec!["GET", "large"]; 400];
        let sent = client.send(&requests).is_ok();
        self.rest();
        u64::from(sent)
    }

    /// Requests that never end, and connections that are left.
    fn half_open(&mut self, at: usize) -> u64 {
        let addr = self.world.members[at].node.addr.clone();
        let mut open = Vec::new();
        for part in ["*3\r\n$3\r\nSET\r\n$1\r\nk", "*1\r\n$5\r\nMULTI\r\n*2\r\n", "PIN", "*100\r\n"]
        {
            let Ok(mut stream) = TcpStream::connect(&addr) else { continue };
            if stream.write_all(part.as_bytes()).is_ok() {
                open.push(stream);
            }
        }
        self.rest();
        u64::from(open.len() == 4)
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => open.push(path),
                false if entry.metadata().is_ok_and(|meta| meta.len() > 0) => files.push(path),
                false => {}
            }
        }
    }
    files.sort();
    files
}
