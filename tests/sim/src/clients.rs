//! Clients that write unique values and read them back, linearizably, on any node.
//!
//! The history goes to the search of `tests/src/linearizability.rs`; what reads used, to the
//! invariant of read barriers, which needs no search. Keys that expire by themselves are written
//! too, and not looked at: they make the leader mark the time.

use crate::cluster::Cluster;
use crate::dice::Dice;
use kvorum::simulation::{Seen, Written};
use kvorum_tests::history::{Action, Operation};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Registers that clients share.
pub const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// What a read was answered from.
#[derive(Clone, Debug)]
pub struct ReadUse {
    /// Who read what, where.
    pub what: String,
    /// The highest log index that was acknowledged to anybody before the read was asked.
    pub acked: u64,
    /// The index of its barrier, and of the state it saw.
    pub barrier: u64,
    pub log_index: u64,
}

#[derive(Default)]
struct State {
    history: Vec<Operation>,
    /// Counts invocations and returns: an order of them, finer than time.
    moment: u64,
    next_value: u64,
    /// The highest log index of an acknowledged write.
    acked: u64,
    reads: u64,
    /// Reads that no invariant has looked at.
    reads_new: Vec<ReadUse>,
}

/// What all clients did; clones share it.
#[derive(Clone, Default)]
pub struct Clients {
    state: Arc<Mutex<State>>,
}

impl Clients {
    /// What was done and seen so far.
    pub fn history(&self) -> Vec<Operation> {
        self.state.lock().history.clone()
    }

    /// Writes and reads that were answered, so far.
    pub fn answered(&self) -> u64 {
        let state = self.state.lock();
        state.history.iter().filter(|operation| operation.returned.is_some()).count() as u64
    }

    /// Reads that were answered, so far.
    pub fn reads(&self) -> u64 {
        self.state.lock().reads
    }

    /// Reads since the last call.
    pub fn take_reads(&self) -> Vec<ReadUse> {
        std::mem::take(&mut self.state.lock().reads_new)
    }

    /// One client, until `stop`.
    pub async fn run(self, client: usize, cluster: Cluster, dice: Dice, stop: CancellationToken) {
        loop {
            sleep(Duration::from_millis(dice.between(5, 150))).await;
            if stop.is_cancelled() {
                return;
            }
            let (id, key) = (dice.pick(&cluster.ids()), dice.pick(&KEYS));
            match dice.below(100) {
                0..45 => drop(self.write(client, &cluster, id, key).await),
                45..95 => drop(self.read(client, &cluster, id, key).await),
                _ => write_expiring(&cluster, id, &dice).await,
            };
        }
    }

    fn invoke(&self, client: usize, key: &str, action: Action) -> usize {
        let mut state = self.state.lock();
        state.moment += 1;
        let (invoked, key) = (state.moment, key.to_owned());
        state.history.push(Operation { key, client, action, invoked, returned: None });
        state.history.len() - 1
    }

    /// Writes a new value through a node; whether that is known to have happened.
    pub async fn write(&self, client: usize, cluster: &Cluster, id: u64, key: &str) -> bool {
        let Some(node) = cluster.get(id) else { return false };
        let value = {
            let mut state = self.state.lock();
            state.next_value += 1;
            state.next_value
        };
        let at = self.invoke(client, key, Action::Write(value));
        let text = value.to_string();
        let words = ["SET", key, &text];
        let written = tokio::select! {
            biased;
            () = node.dead.cancelled() => Written::Unknown,
            written = node.replica.write(&words) => written,
        };
        cluster.trace.note("write", format_args!("{client} {id} {key}={value} {written:?}"));
        let mut state = self.state.lock();
        state.moment += 1;
        let returned = state.moment;
        match written {
            Written::At(index) => {
                state.history[at].returned = Some(returned);
                state.acked = state.acked.max(index);
                true
            }
            Written::Unknown => false,
            Written::Refused => {
                // A write that never happened: nobody may read its value, and nobody can, because
                // a read of a value that nothing wrote is impossible in any history.
                state.history[at].action = Action::Read(None);
                state.history[at].returned = None;
                false
            }
        }
    }

    /// Reads on a node; whether it answered.
    pub async fn read(&self, client: usize, cluster: &Cluster, id: u64, key: &str) -> bool {
        let Some(node) = cluster.get(id) else { return false };
        let at = self.invoke(client, key, Action::Read(None));
        let acked = self.state.lock().acked;
        let seen = tokio::select! {
            biased;
            () = node.dead.cancelled() => None,
            seen = node.replica.get(key) => seen,
        };
        let Some(Seen { barrier, log_index, value }) = seen else { return false };
        let value = value.map(|value| String::from_utf8_lossy(&value).into_owned());
        let shown = value.as_deref().unwrap_or("nothing");
        let what = format!("{client} {id} {key}: {shown} at {log_index}, barrier {barrier}");
        cluster.trace.note("read", &what);
        let mut state = self.state.lock();
        state.moment += 1;
        state.reads += 1;
        let returned = state.moment;
        let number = value.map(|value| value.parse().unwrap_or(0));
        state.history[at].action = Action::Read(number);
        state.history[at].returned = Some(returned);
        state.reads_new.push(ReadUse { what, acked, barrier, log_index });
        true
    }
}

/// Writes a key that is gone soon.
async fn write_expiring(cluster: &Cluster, id: u64, dice: &Dice) {
    let Some(node) = cluster.get(id) else { return };
    let (key, ttl) = (format!("brief {}", dice.below(20)), dice.between(1, 3000).to_string());
    let words = ["SET", &key, "gone soon", "PX", &ttl];
    let written = tokio::select! {
        biased;
        () = node.dead.cancelled() => Written::Unknown,
        written = node.replica.write(&words) => written,
    };
    cluster.trace.note("brief write", format_args!("{id} {key} {ttl} {written:?}"));
}
