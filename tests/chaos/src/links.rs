//! Faults of links: between peers through the proxy, byte by byte and frame by frame; and, where
//! every node has a network of its own, of the packets of all its connections.

use crate::faults::Arena;
use crate::faults::Fault::{self, *};
use crate::proxy::Rule;
use crate::wires::Way;
use kvorum_tests::client::Client;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

impl Arena {
    pub(crate) fn hold(&self, from: usize, to: usize) {
        self.world.net.rule(from, to, Rule { held: true, ..Rule::default() });
    }

    pub(crate) fn isolate(&self, one: usize, from: &[usize]) {
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
                let mut all = all;
                all.rotate_left(self.random.below(self.world.members.len()));
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
            // Two sides that hear nothing of each other, and one node that hears both.
            Bridge => {
                let mut sides: Vec<usize> = all.into_iter().filter(|at| *at != any).collect();
                let count = sides.len();
                sides.rotate_left(self.random.below(count));
                let (one, other) = sides.split_at(count / 2);
                one.iter().for_each(|at| self.isolate(*at, other));
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

    pub(crate) fn partition(&mut self, shape: Fault, leader: usize, any: usize) -> u64 {
        let held = |arena: &Arena| arena.world.net.effects.held_bytes.load(Ordering::Relaxed);
        let before = held(self);
        let times = if shape == Flapping { 6 } else { 1 };
        for _ in 0..times {
            self.windows.open();
            self.part(shape, leader, any);
            if shape == Flapping {
                thread::sleep(Duration::from_millis(60 + self.random.number_below(400)));
            } else {
                self.rest();
            }
            let breaks = self.random.percent(50);
            self.world.net.heal(breaks);
            self.windows.close();
            if shape == Flapping {
                thread::sleep(Duration::from_millis(60 + self.random.number_below(400)));
            }
        }
        u64::from(held(self) > before)
    }

    pub(crate) fn bad_links(&mut self, kind: Fault) -> u64 {
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
        self.windows.open();
        for from in self.everybody() {
            for to in self.everybody() {
                self.world.net.rule(from, to, rule);
            }
        }
        self.rest();
        let breaks = self.random.percent(30);
        self.world.net.heal(breaks);
        self.windows.close();
        let happened = effects(self) - before;
        self.count(&format!("{kind:?}: chunks"), happened);
        u64::from(happened > 0)
    }

    /// Pulls a node's cable: what was connected stays so and is silent, which is the effect.
    pub(crate) fn unplug(&mut self, at: usize) -> u64 {
        let client = Client::connect(&self.world.members[at].node.addr);
        let Some(wires) = &self.world.wires else { return 0 };
        self.windows.open();
        let is_down = wires.plug(at, false);
        self.rest();
        let is_silent = client.is_ok_and(|mut client| {
            client.set_reply_wait(Duration::from_millis(100));
            let silent = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
            client.call(&["PING"]).is_err_and(|error| silent.contains(&error.kind()))
        });
        self.plug_in(at);
        self.windows.close();
        u64::from(is_down && is_silent)
    }

    fn plug_in(&mut self, at: usize) {
        if let Some(wires) = &self.world.wires {
            wires.heal(at);
        }
        let breaks = self.random.percent(30);
        self.world.net.heal(breaks);
    }

    /// Disturbs the packets of one node, or those of every node.
    pub(crate) fn packets(&mut self, kind: Fault, at: usize) -> u64 {
        let nodes = match kind {
            PacketLoss if self.random.percent(50) => self.everybody(),
            _ => vec![at],
        };
        let percent = 5 + self.random.number_below(16);
        let kilobits = 100 + self.random.number_below(400);
        let way = *self.random.pick(&[Way::In, Way::Out]);
        let Some(wires) = &self.world.wires else { return 0 };
        self.windows.open();
        for at in &nodes {
            match kind {
                Narrow => wires.narrow(*at, kilobits),
                DeafOneWay => wires.lose(*at, way, 100),
                _ => wires.lose(*at, Way::Both, percent),
            };
        }
        self.rest();
        let Some(wires) = &self.world.wires else { return 0 };
        let happened = nodes.iter().map(|at| match kind {
            Narrow => wires.waited(*at),
            _ => wires.lost(*at),
        });
        let happened = happened.sum();
        nodes.iter().for_each(|at| self.plug_in(*at));
        self.windows.close();
        self.count(&format!("{kind:?}: packets"), happened);
        u64::from(happened > 0)
    }
}
