//! The network between nodes: every connection between two peers runs through a proxy that can hold
//! it, delay it, stall or break it at random, and damage bytes; each direction of each pair by
//! itself.
//!
//! Nodes advertise an address of the proxy (`127.0.2.x`, ports as their own). Who calls is read from
//! the first frame: the sender's node id stands at offset 16. A held direction keeps its bytes, as a
//! network that retransmits does; they arrive late, or the connection is broken at the heal.
//! Counters tell effects: bytes held, chunks delayed, bytes damaged, connections broken.

use kvorum_tests::random::Random;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What happens to bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Nothing passes.
    pub held: bool,
    /// Each chunk waits for up to this many milliseconds.
    pub delay_ms: u64,
    /// In so many of a thousand chunks the direction stalls for 250 ms, or the connection breaks.
    pub loss_permille: u64,
    /// In so many of a thousand chunks a byte is damaged.
    pub damage_permille: u64,
}

/// Effects so far.
#[derive(Debug, Default)]
pub struct Effects {
    pub held_bytes: AtomicU64,
    pub delayed_chunks: AtomicU64,
    pub lost_chunks: AtomicU64,
    pub damaged_bytes: AtomicU64,
    pub broken_connections: AtomicU64,
}

#[derive(Default)]
struct State {
    rules: HashMap<(usize, usize), Rule>,
    /// Position of the node with this id.
    ids: HashMap<u64, usize>,
    connections: Vec<(u64, TcpStream, TcpStream)>,
}

/// The network of one cluster.
#[derive(Default)]
pub struct Net {
    state: Mutex<State>,
    changed: Condvar,
    closing: AtomicBool,
    next_connection: AtomicU64,
    pub effects: Effects,
}

/// Bytes of a frame that say who sends it.
const SENDER: std::ops::Range<usize> = 16..24;

impl Net {
    /// Says which node has this id.
    pub fn learn(&self, id: u64, node: usize) {
        self.state.lock().expect("no panic").ids.insert(id, node);
    }

    /// Sets the rule for bytes from one node to another.
    pub fn rule(&self, from: usize, to: usize, rule: Rule) {
        self.state.lock().expect("no panic").rules.insert((from, to), rule);
        self.changed.notify_all();
    }

    /// Lets everything pass; `breaks`: connections are broken rather than continued.
    pub fn heal(&self, breaks: bool) {
        let mut state = self.state.lock().expect("no panic");
        state.rules.clear();
        if breaks {
            for (_, one, other) in state.connections.drain(..) {
                close(&one, &other);
                self.effects.broken_connections.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.changed.notify_all();
    }

    /// Ends all connections and their threads.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.heal(true);
    }

    /// Listens at `listen` for `upstream`, which belongs to node `to`.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn serve(self: &Arc<Self>, listen: &str, upstream: &str, to: usize) -> io::Result<()> {
        let listener = TcpListener::bind(listen)?;
        let upstream: SocketAddr = upstream.parse().map_err(io::Error::other)?;
        let net = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if net.closing.load(Ordering::Relaxed) {
                    return;
                }
                let net = net.clone();
                // A connection that cannot be made is closed, which is an answer, too.
                thread::spawn(move || net.connect(stream, upstream, to));
            }
        });
        Ok(())
    }

    fn connect(
        self: Arc<Self>,
        near: TcpStream,
        upstream: SocketAddr,
        to: usize,
    ) -> io::Result<()> {
        let far = TcpStream::connect_timeout(&upstream, Duration::from_secs(1))?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let pair = (id, near.try_clone()?, far.try_clone()?);
        self.state.lock().expect("no panic").connections.push(pair);
        let sender = Arc::new(AtomicU64::new(0));
        let (net, back) = (self.clone(), (far.try_clone()?, near.try_clone()?, sender.clone()));
        thread::spawn(move || net.pump(back.0, back.1, &back.2, to, false, id));
        self.pump(near, far, &sender, to, true, id);
        self.state.lock().expect("no panic").connections.retain(|(other, ..)| *other != id);
        Ok(())
    }

    /// Carries bytes of one direction until either side is gone.
    fn pump(
        &self,
        mut from: TcpStream,
        mut into: TcpStream,
        sender: &AtomicU64,
        to: usize,
        forth: bool,
        id: u64,
    ) {
        let mut random = Random::new(id * 2 + u64::from(forth));
        let mut chunk = vec![0; 64 << 10];
        let mut is_first = forth;
        while let Ok(count) = from.read(&mut chunk) {
            if count == 0 {
                break;
            }
            if is_first && count >= SENDER.end {
                let bytes = chunk[SENDER].try_into().expect("eight bytes");
                sender.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
            }
            is_first = false;
            let rule = self.wait_until_open(sender, to, forth, count as u64);
            if !self.disturb(rule, &mut chunk[..count], &mut random)
                || into.write_all(&chunk[..count]).is_err()
            {
                break;
            }
        }
        close(&from, &into);
    }

    fn wait_until_open(&self, sender: &AtomicU64, to: usize, forth: bool, bytes: u64) -> Rule {
        let mut state = self.state.lock().expect("no panic");
        let mut is_counted = false;
        loop {
            let node = state.ids.get(&sender.load(Ordering::Relaxed)).copied();
            let way = node.map(|node| if forth { (node, to) } else { (to, node) });
            let rule = way.and_then(|way| state.rules.get(&way).copied()).unwrap_or_default();
            if !rule.held || self.closing.load(Ordering::Relaxed) {
                return rule;
            }
            if !is_counted {
                self.effects.held_bytes.fetch_add(bytes, Ordering::Relaxed);
                is_counted = true;
            }
            state = self.changed.wait(state).expect("no panic");
        }
    }

    /// False: the connection breaks.
    fn disturb(&self, rule: Rule, bytes: &mut [u8], random: &mut Random) -> bool {
        let effects = &self.effects;
        if rule.delay_ms > 0 {
            effects.delayed_chunks.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(1 + random.number_below(rule.delay_ms)));
        }
        if random.number_below(1000) < rule.loss_permille {
            effects.lost_chunks.fetch_add(1, Ordering::Relaxed);
            if random.percent(30) {
                return false;
            }
            thread::sleep(Duration::from_millis(250));
        }
        if random.number_below(1000) < rule.damage_permille {
            effects.damaged_bytes.fetch_add(1, Ordering::Relaxed);
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        true
    }
}

fn close(one: &TcpStream, other: &TcpStream) {
    // Either may be closed already.
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(sender: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[SENDER].copy_from_slice(&sender.to_le_bytes());
        bytes
    }

    #[test]
    fn one_direction_is_held_and_its_bytes_come_late() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = server.local_addr().unwrap();
        let free = TcpListener::bind("127.0.2.1:0").unwrap().local_addr().unwrap();
        let net = Arc::new(Net::default());
        net.learn(7, 0);
        net.serve(&free.to_string(), &upstream.to_string(), 1).unwrap();
        net.rule(0, 1, Rule { held: true, ..Rule::default() });
        let mut near = TcpStream::connect(free).unwrap();
        near.write_all(&frame(7)).unwrap();
        let (mut far, _) = server.accept().unwrap();
        far.write_all(b"other way").unwrap();
        let mut got = [0; 9];
        near.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"other way");
        far.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(far.read(&mut [0; 1]).is_err(), "held");
        assert_eq!(net.effects.held_bytes.load(Ordering::Relaxed), 32);
        net.heal(false);
        far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut late = [0; 32];
        far.read_exact(&mut late).unwrap();
        assert_eq!(late, frame(7));
        net.close();
    }
}
