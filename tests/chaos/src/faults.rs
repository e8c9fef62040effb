//! The faults. Each is injected, lasts, and is ended by the same function, which counts what took
//! effect (a process that was running and is gone, bytes that were held, an fsync that failed), not
//! what was tried.

use crate::journal::Journal;
use crate::windows::Windows;
use crate::world::{Ended, World, number};
use kvorum_tests::random::Random;
use std::collections::BTreeMap;
use std::fs;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillOne,
    KillLeader,
    KillMinority,
    KillAll,
    Pause,
    PauseLeader,
    PauseMinority,
    PowerOne,
    PowerMinority,
    PowerAll,
    Isolate,
    IsolateLeader,
    Halves,
    Ring,
    Bridge,
    OneWayIn,
    OneWayOut,
    Pair,
    Flapping,
    Slow,
    Lossy,
    Corrupt,
    SyncEio,
    SyncEnospc,
    DiskFull,
    SyncStall,
    RotLog,
    RotState,
    RotIdentity,
    RotVote,
    RotRecord,
    Clock,
    Transfer,
    Replace,
    Grow,
    RemoveLive,
    SnapshotKill,
    SnapshotPowerCut,
    SnapshotRot,
    SnapshotDamage,
    Flood,
    SlowReader,
    HalfOpen,
    Unplugged,
    UnpluggedLeader,
    Narrow,
    DeafOneWay,
    PacketLoss,
}

use Fault::*;

/// Faults that need no root and no tools.
pub const SHALLOW: [Fault; 21] = [
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
    Grow,
    RemoveLive,
    Flood,
    SlowReader,
    HalfOpen,
];

/// Faults that need a shim, a file system of their own, or a snapshot.
pub const DEEP: [Fault; 17] = [
    PowerOne,
    PowerAll,
    SyncEio,
    SyncEnospc,
    DiskFull,
    SyncStall,
    RotLog,
    RotState,
    RotIdentity,
    RotVote,
    RotRecord,
    Clock,
    Replace,
    SnapshotKill,
    SnapshotPowerCut,
    SnapshotRot,
    SnapshotDamage,
];

/// Faults that need a network of its own for every node.
pub const NETWORKS: [Fault; 3] = [Unplugged, UnpluggedLeader, Narrow];

/// Faults that need rules for packets, too.
pub const PACKETS: [Fault; 2] = [DeafOneWay, PacketLoss];

/// Faults that differ from others, or do not end all service, with five nodes or more only.
pub const OF_FIVE: [Fault; 4] = [Ring, Bridge, KillMinority, PauseMinority];

/// The same, of faults that need a file system of their own.
pub const DEEP_OF_FIVE: [Fault; 1] = [PowerMinority];

/// Every class there is.
pub fn all() -> impl Iterator<Item = Fault> {
    let of_some = SHALLOW.into_iter().chain(DEEP).chain(NETWORKS).chain(PACKETS);
    of_some.chain(OF_FIVE).chain(DEEP_OF_FIVE)
}

/// What a node says at its end that has a good reason, where its disk was disturbed: a log that cannot
/// be written, and damage.
const GOOD_ENDS: [&str; 4] = ["the log failed", "damaged", "unreadable", "ChecksumMismatch"];

impl Fault {
    /// Whether a node may have ended by itself because of this, which befell the disks of the `struck`
    /// ones. A disk without power ends its node, too; that is not noted (`World::power_cut`).
    pub fn may_end(self, end: &Ended, struck: &[usize]) -> bool {
        let says_why = GOOD_ENDS.iter().any(|good| end.last.contains(good));
        let fails_syncs = matches!(self, SyncEio | SyncEnospc);
        end.has_old_damage() || struck.contains(&end.at) && (fails_syncs || says_why)
    }
}

impl Ended {
    /// Whether it ended because of bits that were flipped, be it long before.
    pub fn has_old_damage(&self) -> bool {
        self.was_damaged && GOOD_ENDS.iter().any(|good| self.last.contains(good))
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let is_it = |fault: &Fault| format!("{fault:?}").eq_ignore_ascii_case(name);
        all().find(is_it).ok_or_else(|| {
            let all: Vec<String> = all().map(|fault| format!("{fault:?}")).collect();
            format!("the classes are {}", all.join(", "))
        })
    }
}

/// The classes that a world of this size can be given.
pub fn classes(world: &World, deep: bool) -> Vec<Fault> {
    let mut classes = SHALLOW.to_vec();
    if deep {
        classes.extend(DEEP);
    }
    if let Some(wires) = &world.wires {
        classes.extend(NETWORKS);
        classes.extend(wires.can_drop().then_some(PACKETS).into_iter().flatten());
    }
    if world.members.len() > 4 {
        classes.extend(OF_FIVE);
        classes.extend(DEEP_OF_FIVE.into_iter().filter(|_| deep));
    }
    classes
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

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
    /// Nodes whose syncs and room the last fault disturbed.
    pub struck: Vec<usize>,
    /// When faults are active.
    pub windows: Windows,
}

impl Arena {
    /// An arena for a cluster that is settled.
    pub fn new(
        mut world: World,
        random: Random,
        lasts_ms: (u64, u64),
        journal: Arc<Journal>,
    ) -> Self {
        let ids = world.infos().iter().map(|info| number(info, "raft_node_id")).collect();
        let (effects, injected) = (BTreeMap::new(), BTreeMap::new());
        let (struck, windows) = (Vec::new(), Windows::new(journal));
        Arena { world, random, effects, injected, lasts_ms, ids, struck, windows }
    }

    /// Injects a fault and ends it. The cluster may still have to settle.
    ///
    /// # Errors
    /// The cluster cannot do what it must while only a minority is disturbed.
    pub fn inject(&mut self, fault: Fault) -> Result<(), String> {
        *self.injected.entry(fault).or_default() += 1;
        self.struck.clear();
        let leader = self.world.leader().unwrap_or(0);
        let any = self.random.below(self.world.members.len());
        let name = format!("{fault:?}");
        let effect = match fault {
            KillOne => self.kill(&[any]),
            KillLeader => self.kill(&[leader]),
            KillMinority => {
                let some = self.minority();
                self.kill(&some)
            }
            KillAll => self.kill(&self.everybody()),
            Pause => self.pause(&[any]),
            PauseLeader => self.pause(&[leader]),
            PauseMinority => {
                let some = self.minority();
                self.pause(&some)
            }
            PowerOne => {
                let one = if self.random.percent(50) { leader } else { any };
                self.power(&[one])
            }
            PowerMinority => {
                let some = self.minority();
                self.power(&some)
            }
            PowerAll => self.power(&self.everybody()),
            Isolate | IsolateLeader | Halves | Ring | Bridge | OneWayIn | OneWayOut | Pair
            | Flapping => self.partition(fault, leader, any),
            Slow | Lossy | Corrupt => self.bad_links(fault),
            SyncEio | SyncEnospc | SyncStall => self.sync_fault(fault, leader, any),
            DiskFull => self.disk_full(any),
            RotLog | RotState | RotIdentity | RotVote | RotRecord => {
                let some = if self.random.percent(40) { self.minority() } else { vec![any] };
                self.rot(fault, &some)?
            }
            Clock => self.clock(),
            Transfer => self.transfer(leader),
            Replace => {
                let other = self.other_than(leader);
                self.windows.open();
                self.replace(&[other])?
            }
            Grow => self.grow()?,
            RemoveLive => {
                let one = if self.random.percent(50) { leader } else { any };
                self.replace_live(one)?
            }
            SnapshotKill => self.snapshot_kill(leader)?,
            SnapshotPowerCut => self.snapshot_power_cut(leader)?,
            SnapshotRot => self.snapshot_rot(leader)?,
            SnapshotDamage => self.snapshot_damage(leader)?,
            Flood => self.flood(any),
            SlowReader => self.slow_reader(leader),
            HalfOpen => self.half_open(any),
            Unplugged => self.unplug(any),
            UnpluggedLeader => self.unplug(leader),
            Narrow | DeafOneWay | PacketLoss => {
                let at = if self.random.percent(50) { leader } else { any };
                self.packets(fault, at)
            }
        };
        self.count(&name, effect);
        self.windows.end(&name, effect > 0);
        Ok(())
    }

    pub(crate) fn count(&mut self, name: &str, effect: u64) {
        *self.effects.entry(name.to_owned()).or_default() += effect;
    }

    pub(crate) fn everybody(&self) -> Vec<usize> {
        (0..self.world.members.len()).collect()
    }

    pub(crate) fn other_than(&mut self, but: usize) -> usize {
        let count = self.world.members.len();
        (but + 1 + self.random.below(count - 1)) % count
    }

    /// As many nodes as may be lost, at random: one of three, two of five.
    pub(crate) fn minority(&mut self) -> Vec<usize> {
        let mut some = self.everybody();
        let count = (some.len() - 1) / 2;
        for at in 0..count {
            let other = at + self.random.below(some.len() - at);
            some.swap(at, other);
        }
        some.truncate(count);
        some
    }

    pub(crate) fn rest(&mut self) {
        let (shortest, longest) = self.lasts_ms;
        thread::sleep(Duration::from_millis(
            shortest + self.random.number_below(longest - shortest + 1),
        ));
    }

    fn kill(&mut self, nodes: &[usize]) -> u64 {
        let mut killed = 0;
        self.windows.open();
        for at in nodes {
            killed += u64::from(self.world.members[*at].node.is_running());
            self.world.kill(*at);
        }
        if nodes.len() < self.world.members.len() {
            self.rest();
        }
        nodes.iter().for_each(|at| self.world.revive(*at));
        self.windows.close();
        killed / nodes.len() as u64
    }

    fn pause(&mut self, nodes: &[usize]) -> u64 {
        let mut all_run = true;
        nodes.iter().for_each(|at| all_run &= self.world.members[*at].node.is_running());
        if !all_run {
            return 0;
        }
        self.windows.open();
        nodes.iter().for_each(|at| self.world.members[*at].node.pause());
        self.rest();
        let all_stand = nodes.iter().all(|at| {
            let pid = self.world.members[*at].node.pid().unwrap_or(0);
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(") T ") || stat.contains(") t ") || cfg!(not(target_os = "linux"))
        });
        nodes.iter().for_each(|at| self.world.members[*at].node.resume());
        self.windows.close();
        u64::from(all_stand)
    }

    fn power(&mut self, nodes: &[usize]) -> u64 {
        let process_first = self.random.percent(50);
        self.windows.open();
        let cut = self.world.power_cut(nodes, process_first);
        if nodes.len() < self.world.members.len() {
            self.rest();
        }
        nodes.iter().for_each(|at| self.world.revive(*at));
        self.windows.close();
        u64::from(cut)
    }

    fn sync_fault(&mut self, kind: Fault, leader: usize, any: usize) -> u64 {
        let at = if self.random.percent(60) { leader } else { any };
        let Some(control) = &self.world.members[at].control else { return 0 };
        let before = control.effects();
        self.struck.push(at);
        self.windows.open();
        match kind {
            SyncEio => control.sync_error(EIO),
            SyncEnospc => control.sync_error(ENOSPC),
            _ => control.stall(300 + self.random.below(3000) as i64),
        }
        self.rest();
        let Some(control) = &self.world.members[at].control else { return 0 };
        control.calm();
        let after = control.effects();
        let ended = self.world.members[at].node.exited().is_some();
        self.world.revive(at);
        self.windows.close();
        if kind == SyncStall {
            return u64::from(after.stalled_syncs > before.stalled_syncs);
        }
        let happened = after.failed_syncs > before.failed_syncs;
        self.count(&format!("{kind:?}: node ended"), u64::from(happened && ended));
        u64::from(happened)
    }

    fn disk_full(&mut self, at: usize) -> u64 {
        let before = self.world.members[at].node.output().len();
        let Some(disk) = &self.world.members[at].disk else { return 0 };
        self.struck.push(at);
        self.windows.open();
        let is_full = disk.fill();
        self.rest();
        self.rest();
        let output = self.world.members[at].node.output().split_off(before);
        let ended = self.world.members[at].node.exited().is_some();
        if let Some(disk) = &self.world.members[at].disk {
            disk.make_room();
        }
        self.world.revive(at);
        self.windows.close();
        self.count("DiskFull: node ended", u64::from(ended));
        u64::from(is_full && (ended || output.contains("the disk is nearly full")))
    }

    fn clock(&mut self) -> u64 {
        let readings = |arena: &Arena| -> u64 {
            let controls = arena.world.members.iter().filter_map(|member| member.control.as_ref());
            controls.map(|control| control.effects().shifted_clock_readings).sum()
        };
        let before = readings(self);
        self.windows.open();
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
        self.windows.close();
        u64::from(readings(self) > before)
    }

    fn transfer(&mut self, leader: usize) -> u64 {
        self.windows.open();
        let answer = self.order(usize::MAX / 2, &["RAFT.TRANSFER_LEADER"]);
        thread::sleep(Duration::from_millis(300));
        let moved = self.world.leader().is_some_and(|now| now != leader);
        self.windows.close();
        u64::from(answer == "OK" && moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_class_is_there_once_and_is_known_by_its_name() {
        let classes: Vec<Fault> = all().collect();
        assert_eq!(classes.iter().collect::<BTreeSet<_>>().len(), classes.len());
        for class in classes {
            assert_eq!(format!("{class:?}").parse(), Ok(class));
        }
        assert_eq!("removelive".parse(), Ok(RemoveLive));
        assert!("Storm".parse::<Fault>().unwrap_err().contains("KillOne, KillLeader"));
    }

    #[test]
    fn a_node_ends_only_for_what_its_disk_did() {
        let engine = "replication failed for good; the process ends: no space left on device";
        let log = "the log failed; the process ends, nothing more is acknowledged";
        let rot = "the state is damaged; the process ends, replace this node";
        let replayed = "the node stopped: when Write Apply: Storage(ChecksumMismatch { got: ..";
        let may = |fault: Fault, last: &str, at: usize, was_damaged: bool| {
            fault.may_end(&Ended { at, was_damaged, last: last.to_owned() }, &[1])
        };
        for fault in all() {
            for last in [log, rot, replayed] {
                assert!(may(fault, last, 1, false) && !may(fault, last, 2, false), "{fault:?}");
                assert!(may(fault, last, 2, true), "{fault:?}");
            }
            assert!(!may(fault, engine, 2, true) && !may(fault, "", 2, true), "{fault:?}");
        }
        for fault in [DiskFull, KillOne, PowerAll, SnapshotDamage, Clock, RotLog] {
            assert!(!may(fault, engine, 1, false) && !may(fault, "", 1, false), "{fault:?}");
        }
        assert!(may(SyncEio, engine, 1, false) && may(SyncEnospc, engine, 1, false));
    }
}
