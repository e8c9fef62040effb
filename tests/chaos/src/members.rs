//! Members that join, are removed while they serve or after they were lost, and join anew.

use crate::faults::Arena;
use crate::world::{HEAL_WAIT, Member, number};
use kvorum_tests::client::{Client, text};
use std::thread;
use std::time::{Duration, Instant};

/// How long an order may be refused, and a removed node unaware of it.
const ORDER_WAIT: Duration = Duration::from_secs(40);

impl Arena {
    pub(crate) fn remember(&mut self) {
        for (at, info) in self.world.infos().iter().enumerate() {
            if number(info, "raft_node_id") > 0 {
                self.ids[at] = number(info, "raft_node_id");
            }
        }
    }

    /// Removes nodes, empties their disks, and lets them join under new ids. How many did, which is
    /// all of them.
    pub(crate) fn replace(&mut self, nodes: &[usize]) -> Result<u64, String> {
        let old = nodes.iter().map(|at| self.empty(*at)).collect::<Result<Vec<u64>, String>>()?;
        nodes.iter().for_each(|at| self.world.members[*at].node.spawn());
        self.windows.close();
        self.world.settle(HEAL_WAIT)?;
        self.remember();
        let anew = nodes.iter().zip(old).filter(|(at, old)| self.ids[**at] != *old).count();
        self.count("Join", anew as u64);
        Ok(anew as u64)
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
    pub(crate) fn empty(&mut self, at: usize) -> Result<u64, String> {
        let old = self.id(at);
        self.world.wipe(at);
        self.remove(at, old)?;
        Ok(old)
    }

    /// The id of a node, asked while it may still answer.
    fn id(&mut self, at: usize) -> u64 {
        let old = self.ids[at];
        self.remember();
        if self.ids[at] == 0 { old } else { self.ids[at] }
    }

    /// Has the node with this id removed by an order to another node.
    fn remove(&mut self, at: usize, id: u64) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let answer = self.order(at, &["RAFT.NODE", "REMOVE", &id.to_string()]);
            // An outcome that was unknown before shows in the next answer.
            if answer == "OK" || answer.contains("there is no node") {
                self.count("Remove", 1);
                return Ok(());
            }
            if begun.elapsed() > ORDER_WAIT {
                return Err(format!("node {at} (id {id}) cannot be removed: {answer}"));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Removes a node that serves; it has to notice, and then to serve nobody. Whether it ran all the
    /// time.
    fn remove_live(&mut self, at: usize) -> Result<bool, String> {
        let id = self.id(at);
        let is_leader = self.world.leader() == Some(at);
        let did_run = self.world.members[at].node.is_running();
        self.remove(at, id)?;
        let begun = Instant::now();
        while !is_out(&self.world.members[at]) {
            if begun.elapsed() > ORDER_WAIT {
                return Err(format!("node {at} (id {id}) was removed and does not say so"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        for request in [["GET", "large"], ["INCR", "removed"]] {
            let answer = Client::connect(&self.world.members[at].node.addr)
                .and_then(|mut client| client.call(&request));
            let answer = answer.map_or_else(|error| error.to_string(), |reply| text(&reply));
            if !answer.starts_with("CLUSTERDOWN") {
                return Err(format!("node {at} (id {id}) was removed and serves: {answer}"));
            }
        }
        let runs = did_run && self.world.members[at].node.is_running();
        let role = if is_leader { "a leader" } else { "a follower" };
        self.count(&format!("{role} removed while it served"), u64::from(runs));
        Ok(runs)
    }

    /// Removes a node while it serves; then a new one joins in its place.
    pub(crate) fn replace_live(&mut self, at: usize) -> Result<u64, String> {
        self.world.settle(HEAL_WAIT)?;
        let old = self.id(at);
        self.windows.open();
        let was_live = self.remove_live(at)?;
        self.windows.close();
        self.world.wipe(at);
        self.world.members[at].node.spawn();
        self.world.settle(HEAL_WAIT)?;
        self.remember();
        let is_new = self.ids[at] != old;
        self.count("Join", u64::from(is_new));
        Ok(u64::from(was_live && is_new))
    }

    /// One more node joins the cluster and becomes a voter; the next time, it is removed while it
    /// serves. Other faults come between.
    pub(crate) fn grow(&mut self) -> Result<u64, String> {
        self.world.settle(HEAL_WAIT)?;
        if self.world.is_grown() {
            self.windows.open();
            let was_live = self.remove_live(self.world.members.len() - 1)?;
            self.windows.close();
            self.world.shrink();
            self.ids.pop();
            self.world.settle(HEAL_WAIT)?;
            self.count("Grow: left", u64::from(was_live));
            return Ok(u64::from(was_live));
        }
        self.windows.open();
        let at = self.world.grow()?;
        self.ids.push(0);
        // With the new one among those who have to agree that all of them are voters.
        self.world.settle(HEAL_WAIT)?;
        self.windows.close();
        self.remember();
        self.rest();
        let joined = u64::from(self.ids[at] != 0 && self.world.members[at].node.is_running());
        self.count("Grow: joined", joined);
        Ok(joined)
    }
}

fn is_out(member: &Member) -> bool {
    member.node.info("raft").get("raft_state").is_some_and(|state| state == "removed")
}
