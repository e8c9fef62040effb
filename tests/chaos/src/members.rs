//! Members that are removed, emptied, and join anew; and what befalls the snapshot they need.

use crate::faults::Arena;
use crate::proxy::Rule;
use crate::world::{HEAL_WAIT, number};
use kvorum_tests::client::{Client, text};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// What a node says about itself.
const RECEIVING: &str = "receiving a snapshot";
const INSTALLED: &str = "snapshot installed";

/// Written before a snapshot is wanted: more than `log-max-bytes` of the nodes.
const FAT_BYTES: usize = 3 << 20;
const FAT_KEYS: usize = 12;

impl Arena {
    pub(crate) fn remember(&mut self) {
        for (at, info) in self.world.infos().iter().enumerate() {
            if number(info, "raft_node_id") > 0 {
                self.ids[at] = number(info, "raft_node_id");
            }
        }
    }

    /// Removes a node, empties its disk, and lets it join under a new id.
    pub(crate) fn replace(&mut self, at: usize) -> Result<u64, String> {
        let old = self.empty(at)?;
        self.world.members[at].node.spawn();
        self.world.settle(HEAL_WAIT)?;
        self.remember();
        self.count("Join", u64::from(self.ids[at] != old));
        Ok(u64::from(self.ids[at] != old))
    }

    /// An order, given to some other node than `but`.
    pub(crate) fn order(&mut self, but: usize, words: &[&str]) -> String {
        let at = self.other_than(but);
        let asked = Client::connect(&self.world.members[at].node.addr).and_then(|mut client| {
            client.set_reply_wait(Duration::from_secs(10));
            client.call(words)
        });
        asked.map_or_else(|error| error.to_string(), |reply| text(&reply))
    }

    /// Empties a stopped node's disk, and has it removed from the cluster.
    fn empty(&mut self, at: usize) -> Result<u64, String> {
        let old = self.ids[at];
        self.remember();
        let old = if self.ids[at] == 0 { old } else { self.ids[at] };
        self.world.wipe(at);
        let begun = Instant::now();
        loop {
            let answer = self.order(at, &["RAFT.NODE", "REMOVE", &old.to_string()]);
            // An outcome that was unknown before shows in the next answer.
            if answer == "OK" || answer.contains("there is no node") {
                self.count("Remove", 1);
                return Ok(old);
            }
            if begun.elapsed() > Duration::from_secs(40) {
                return Err(format!("node {at} (id {old}) cannot be removed: {answer}"));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Empties a follower and lets it join anew over slow links, until it receives a snapshot: the
    /// node, where its output began, and whether it was met while it received.
    fn receiver(&mut self, leader: usize) -> Result<(usize, usize, bool), String> {
        self.world.settle(HEAL_WAIT)?;
        let at = self.other_than(leader);
        self.fatten(at);
        self.empty(at)?;
        let before = self.world.members[at].node.output().len();
        // A slow link, so that the snapshot takes long enough to be met.
        let slow = Rule { delay_ms: 60, ..Rule::default() };
        self.everybody().iter().for_each(|from| self.world.net.rule(*from, at, slow));
        self.world.members[at].node.spawn();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            let output = self.world.members[at].node.output_since(before);
            if output.contains(INSTALLED) {
                break;
            }
            if output.contains(RECEIVING) {
                return Ok((at, before, true));
            }
            let info = self.world.members[at].node.info("raft");
            if info.get("raft_is_voting").is_some_and(|voting| voting == "yes") {
                // The log was enough for it.
                break;
            }
            thread::sleep(Duration::from_millis(3));
        }
        Ok((at, before, false))
    }

    /// Writes more than logs may hold, so that who joins needs a snapshot.
    fn fatten(&mut self, but: usize) {
        let value = "b".repeat(FAT_BYTES / FAT_KEYS);
        let key = |number| format!("fat:{number}");
        let set = |number| vec!["SET".to_owned(), key(number), value.clone()];
        let at = self.other_than(but);
        // Where it fails, the snapshot may not be needed, and the fault has no effect.
        let _ = Client::connect(&self.world.members[at].node.addr).and_then(|mut client| {
            (0..FAT_KEYS).try_for_each(|number| client.call(&set(number)).map(drop))
        });
    }

    /// Replaces a node, and kills it, or the leader, once it receives a snapshot.
    pub(crate) fn snapshot_kill(&mut self, leader: usize) -> Result<u64, String> {
        let (at, _, met) = self.receiver(leader)?;
        let victim = if self.random.percent(50) { at } else { leader };
        self.world.members[victim].node.kill();
        self.world.net.heal(false);
        self.world.revive(victim);
        self.world.settle(HEAL_WAIT)?;
        self.remember();
        Ok(u64::from(met))
    }

    /// Replaces a node, and damages bytes on the way to it while it receives a snapshot. It joins in
    /// the end, and must then equal the others.
    pub(crate) fn snapshot_damage(&mut self, leader: usize) -> Result<u64, String> {
        let (at, before, met) = self.receiver(leader)?;
        let damaged = |arena: &Arena| arena.world.net.effects.damaged_bytes.load(Ordering::Relaxed);
        let (first, mut hits) = (damaged(self), 0);
        if met {
            let bad = Rule { delay_ms: 30, damage_permille: 300, ..Rule::default() };
            self.everybody().iter().for_each(|from| self.world.net.rule(*from, at, bad));
            let begun = Instant::now();
            let lasts = Duration::from_millis(self.lasts_ms.0);
            while begun.elapsed() < lasts {
                // Counted before the look: only what was damaged while it still received.
                let now = damaged(self) - first;
                if self.world.members[at].node.output_since(before).contains(INSTALLED) {
                    break;
                }
                hits = now;
                thread::sleep(Duration::from_millis(3));
            }
        }
        self.world.net.heal(false);
        self.count("SnapshotDamage: bytes", hits);
        self.world.settle(HEAL_WAIT)?;
        self.remember();
        Ok(u64::from(hits > 0))
    }
}
