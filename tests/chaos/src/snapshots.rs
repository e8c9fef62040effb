//! What befalls a snapshot while it is sent, received and installed.

use crate::faults::Arena;
use crate::proxy::Rule;
use crate::rot::{files_below, files_in_use, what_came};
use crate::world::HEAL_WAIT;
use kvorum_tests::client::Client;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// What a node says about itself.
const RECEIVING: &str = "receiving a snapshot";
const INSTALLED: &str = "snapshot installed";

/// Written before a snapshot is wanted: more than `log-max-bytes` of the nodes.
const FAT_BYTES: usize = 3 << 20;
const FAT_KEYS: usize = 12;
/// So many more for a heavy snapshot, of which a receiver has loaded a part before it has all (32 MiB,
/// `PART_BYTES` of `storage`).
const HEAVY_TIMES: usize = 13;
/// Bytes in files of a new generation that show that a part is loaded.
const PART_LOADED_BYTES: u64 = 4 << 20;

/// How long a snapshot may take to begin, and to be installed once links are good.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(20);

/// A node that was emptied and joins.
struct Receiver {
    at: usize,
    /// Where the output of its new life began.
    before: usize,
    /// Whether it was met while it received a snapshot.
    met: bool,
    is_heavy: bool,
}

impl Arena {
    /// Empties a follower and lets it join anew over slow links, until it receives a snapshot; a heavy
    /// one until a part of it is on its disk.
    fn receiver(&mut self, leader: usize) -> Result<Receiver, String> {
        self.world.settle(HEAL_WAIT)?;
        let at = self.other_than(leader);
        let is_heavy = self.random.percent(30);
        self.fatten(at, if is_heavy { FAT_KEYS * HEAVY_TIMES } else { FAT_KEYS });
        self.empty(at)?;
        let before = self.world.members[at].node.output().len();
        // A slow link, so that the snapshot takes long enough to be met.
        let slow = Rule { delay_ms: if is_heavy { 3 } else { 60 }, ..Rule::default() };
        self.everybody().iter().for_each(|from| self.world.net.rule(*from, at, slow));
        self.world.members[at].node.spawn();
        let state = self.state_of(at);
        let (begun, mut met) = (Instant::now(), false);
        while begun.elapsed() < SNAPSHOT_WAIT && !self.says(at, before, INSTALLED) {
            let is_there = || !is_heavy || unfinished_bytes(&state) >= PART_LOADED_BYTES;
            if self.says(at, before, RECEIVING) && is_there() {
                met = true;
                break;
            }
            let info = self.world.members[at].node.info("raft");
            if info.get("raft_is_voting").is_some_and(|voting| voting == "yes") {
                // The log was enough for it.
                break;
            }
            thread::sleep(Duration::from_millis(3));
        }
        if is_heavy && met {
            self.count("Snapshot of which a part was loaded", 1);
        }
        Ok(Receiver { at, before, met, is_heavy })
    }

    fn says(&self, at: usize, before: usize, what: &str) -> bool {
        self.world.members[at].node.output_since(before).contains(what)
    }

    fn state_of(&self, at: usize) -> PathBuf {
        self.world.members[at].node.dir.join("state")
    }

    /// Writes more than logs may hold, so that who joins needs a snapshot.
    fn fatten(&mut self, but: usize, keys: usize) {
        let value = "b".repeat(FAT_BYTES / FAT_KEYS);
        let set = |number| vec!["SET".to_owned(), fat_key(number), value.clone()];
        let at = self.other_than(but);
        // Where it fails, the snapshot may not be needed, and the fault has no effect.
        let _ = Client::connect(&self.world.members[at].node.addr).and_then(|mut client| {
            (0..keys).try_for_each(|number| client.call(&set(number)).map(drop))
        });
    }

    /// The end of a fault that met this receiver: all nodes run and agree, the state is small again.
    fn finish(&mut self, receiver: &Receiver) -> Result<(), String> {
        self.world.net.heal(false);
        self.windows.close();
        let leader = self.world.settle(HEAL_WAIT)?;
        self.remember();
        if receiver.is_heavy {
            let mut request = vec!["DEL".to_owned()];
            request.extend((FAT_KEYS..FAT_KEYS * HEAVY_TIMES).map(fat_key));
            // Where it fails, later snapshots are heavy, too.
            let _ = Client::connect(&self.world.members[leader].node.addr)
                .and_then(|mut client| client.call(&request));
        }
        Ok(())
    }

    /// Lets a snapshot arrive over good links; whether it was installed.
    fn let_install(&mut self, receiver: &Receiver) -> bool {
        self.world.net.heal(false);
        let begun = Instant::now();
        while begun.elapsed() < SNAPSHOT_WAIT {
            if self.says(receiver.at, receiver.before, INSTALLED) {
                return true;
            }
            thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// Replaces a node, and kills it, or the leader, once it receives a snapshot.
    pub(crate) fn snapshot_kill(&mut self, leader: usize) -> Result<u64, String> {
        let receiver = self.receiver(leader)?;
        let victim = if self.random.percent(50) { receiver.at } else { leader };
        self.windows.open();
        self.world.kill(victim);
        self.world.net.heal(false);
        self.world.revive(victim);
        self.finish(&receiver)?;
        Ok(u64::from(receiver.met))
    }

    /// Replaces a node, and cuts its power (or the sender's) while it receives a snapshot, at any
    /// moment of its arrival, or just after it was installed. What was not synced is gone.
    pub(crate) fn snapshot_power_cut(&mut self, leader: usize) -> Result<u64, String> {
        let receiver = self.receiver(leader)?;
        let (mut victim, mut moment) = (receiver.at, "while it was received");
        match self.random.below(4) {
            0 => {}
            1 => {
                victim = leader;
                moment = "of the sender";
            }
            2 => {
                self.world.net.heal(false);
                thread::sleep(Duration::from_millis(self.random.number_below(400)));
            }
            _ => drop(self.let_install(&receiver)),
        }
        let process_first = self.random.percent(50);
        self.windows.open();
        let is_cut = self.world.power_cut(&[victim], process_first);
        // Asked now that nothing more is said: it may have been installed at the last moment.
        let is_installed = self.says(receiver.at, receiver.before, INSTALLED);
        if is_installed && victim == receiver.at {
            moment = "after it was installed";
        }
        self.world.net.heal(false);
        self.world.revive(victim);
        self.finish(&receiver)?;
        let in_effect = is_cut && (receiver.met || is_installed);
        self.count(&format!("SnapshotPowerCut: {moment}"), u64::from(in_effect));
        Ok(u64::from(in_effect))
    }

    /// Replaces a node, kills it while it receives a snapshot, and damages what has arrived, or what
    /// says that it counts. What does not count yet must not be taken for the state: the node comes
    /// up by a new snapshot, or refuses. Sometimes just after the installation: then damage must be
    /// an error, or be without one.
    pub(crate) fn snapshot_rot(&mut self, leader: usize) -> Result<u64, String> {
        let receiver = self.receiver(leader)?;
        let at = receiver.at;
        if self.random.percent(25) {
            self.let_install(&receiver);
        }
        // Its new id: it may have to be removed.
        self.remember();
        self.windows.open();
        self.world.kill(at);
        self.world.net.heal(false);
        let counts = self.says(at, receiver.before, INSTALLED);
        let flipped = if counts {
            self.flip_any(&files_in_use(&self.state_of(at)))
        } else if receiver.met {
            self.flip_unfinished(at)
        } else {
            0
        };
        self.world.members[at].is_damaged |= flipped > 0;
        if flipped == 0 {
            self.world.revive(at);
            self.finish(&receiver)?;
            return Ok(0);
        }
        let refused = self.start_refuses(at);
        self.windows.close();
        if !refused && !counts {
            self.world.settle(HEAL_WAIT)?;
        }
        let found = !refused && self.reading_finds_damage(at);
        if found && !counts {
            return Err(format!("node {at} took what it had half received for its state"));
        }
        let which = if counts { "installed" } else { "half received" };
        let came = what_came(refused, found);
        self.count(&format!("SnapshotRot: {which}, {came}"), 1);
        if refused || found {
            self.replace(&[at])?;
        }
        self.finish(&receiver)?;
        Ok(1)
    }

    /// Damages files of the generation that a stopped node was receiving, and in half of the cases
    /// the CURRENT that would name it, as far as that was prepared.
    fn flip_unfinished(&mut self, at: usize) -> u64 {
        let state = self.state_of(at);
        let Some(generation) = unfinished(&state) else { return 0 };
        let files = files_below(&generation);
        let mut flipped = 0;
        if !files.is_empty() {
            flipped += (0..3).map(|_| self.flip_any(&files)).sum::<u64>();
        }
        if self.random.percent(50) {
            let prepared = state.join("CURRENT.tmp");
            let is_there = prepared.exists() || fs::copy(state.join("CURRENT"), &prepared).is_ok();
            flipped += if is_there { self.flip(&prepared) } else { 0 };
        }
        flipped
    }

    /// Replaces a node, and damages bytes on the way to it while it receives a snapshot. It joins in
    /// the end, and must then equal the others.
    pub(crate) fn snapshot_damage(&mut self, leader: usize) -> Result<u64, String> {
        let receiver = self.receiver(leader)?;
        let Receiver { at, before, met, .. } = receiver;
        let damaged = |arena: &Arena| arena.world.net.effects.damaged_bytes.load(Ordering::Relaxed);
        let (first, mut hits) = (damaged(self), 0);
        if met {
            let bad = Rule { delay_ms: 30, damage_permille: 300, ..Rule::default() };
            self.windows.open();
            self.everybody().iter().for_each(|from| self.world.net.rule(*from, at, bad));
            let begun = Instant::now();
            let lasts = Duration::from_millis(self.lasts_ms.0);
            while begun.elapsed() < lasts {
                // Counted before the look: only what was damaged while it still received.
                let now = damaged(self) - first;
                if self.says(at, before, INSTALLED) {
                    break;
                }
                hits = now;
                thread::sleep(Duration::from_millis(3));
            }
        }
        self.count("SnapshotDamage: bytes", hits);
        self.finish(&receiver)?;
        Ok(u64::from(hits > 0))
    }
}

fn fat_key(number: usize) -> String {
    format!("fat:{number}")
}

const GENERATION: &str = "state.g";

/// The number of the generation that CURRENT names.
fn current(state: &Path) -> Option<u64> {
    let current = fs::read_to_string(state.join("CURRENT")).ok()?;
    current.split(' ').find_map(|field| field.strip_prefix("generation="))?.parse().ok()
}

/// The folder of the generation that CURRENT names.
pub(crate) fn current_generation(state: &Path) -> Option<PathBuf> {
    current(state).map(|number| state.join(format!("{GENERATION}{number}")))
}

/// The folder of the newest generation that CURRENT does not name.
fn unfinished(state: &Path) -> Option<PathBuf> {
    let counts = current(state)?;
    let names = fs::read_dir(state).ok()?.flatten().map(|entry| entry.file_name());
    let number = |name: &str| name.strip_prefix(GENERATION)?.parse::<u64>().ok();
    let numbers = names.filter_map(|name| number(name.to_str()?));
    let newest = numbers.filter(|number| *number != counts).max()?;
    Some(state.join(format!("{GENERATION}{newest}")))
}

fn unfinished_bytes(state: &Path) -> u64 {
    let files = unfinished(state).map(|dir| files_below(&dir)).unwrap_or_default();
    let bytes = files.iter().filter_map(|file| fs::metadata(file).ok());
    bytes.map(|meta| meta.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_current_does_not_name_is_unfinished() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(unfinished(state.path()), None, "no CURRENT");
        let current = "kvorum-state format=2 generation=3 phase=ready crc32c=00000000\n";
        fs::write(state.path().join("CURRENT"), current).unwrap();
        fs::create_dir(state.path().join("state.g3")).unwrap();
        assert_eq!(unfinished(state.path()), None);
        let new = state.path().join("state.g11");
        fs::create_dir_all(new.join("keyspaces/1")).unwrap();
        fs::write(new.join("keyspaces/1/table"), [1; 70]).unwrap();
        fs::write(new.join("version"), [1; 5]).unwrap();
        assert_eq!(unfinished(state.path()), Some(new));
        assert_eq!(current_generation(state.path()), Some(state.path().join("state.g3")));
        assert_eq!(unfinished_bytes(state.path()), 75);
    }
}
