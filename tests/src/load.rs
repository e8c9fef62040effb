//! Writers that keep a ledger: what was acknowledged must be there afterwards, and nothing may
//! happen twice.
//!
//! Each writer has its own keys and its own counter, pipelines a SET and an INCR for each number,
//! and notes what the reply to each said. It stays with a node until that node is lost or redirects
//! it, then goes to the next.

use crate::client::{Client, Fate, fate, redirected_to, text};
use protocol::Reply;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Pairs of SET and INCR sent before the first reply is read.
const PIPELINE_PAIRS: u64 = 16;

/// How long a writer waits for a reply before it counts the node as lost.
const REPLY_WAIT: Duration = Duration::from_secs(5);

/// Pause of a writer after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What one writer knows.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub writer: usize,
    /// Numbers whose SET was acknowledged.
    pub acked: Vec<u64>,
    /// Numbers whose SET may have taken effect.
    pub unknown: Vec<u64>,
    pub increments_acked: u64,
    pub increments_unknown: u64,
}

/// Writers at work.
pub struct Load {
    writers: Vec<JoinHandle<Ledger>>,
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
}

impl Load {
    /// Starts `writers` of them on these nodes; writer `n` begins with node `n`.
    pub fn start(addresses: &[String], writers: usize) -> Self {
        let (stop, acked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let begin = |writer: usize| {
            let (addresses, stop, acked) = (addresses.to_vec(), stop.clone(), acked.clone());
            thread::spawn(move || Writer::new(writer, addresses, acked).run(&stop))
        };
        Load { writers: (0..writers).map(begin).collect(), stop, acked }
    }

    /// Acknowledged SETs so far.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Waits until this many more SETs are acknowledged.
    ///
    /// # Panics
    /// They are not within 40 s: the cluster does not serve.
    pub fn wait_for(&self, more: u64) {
        let goal = self.acked() + more;
        let what = format!("{more} more writes are acknowledged");
        crate::node::wait_until(crate::cluster::CLUSTER_WAIT, &what, || self.acked() >= goal);
    }

    /// Ends the writers and returns what they know.
    pub fn finish(self) -> Vec<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        let ledgers = self.writers.into_iter().map(|writer| writer.join().expect("no panic"));
        ledgers.collect()
    }
}

struct Writer {
    ledger: Ledger,
    addresses: Vec<String>,
    /// The node it works with, as a position in `addresses`.
    at: usize,
    next: u64,
    acked: Arc<AtomicU64>,
}

impl Writer {
    fn new(writer: usize, addresses: Vec<String>, acked: Arc<AtomicU64>) -> Self {
        let ledger = Ledger { writer, ..Ledger::default() };
        Writer { ledger, at: writer % addresses.len(), addresses, next: 0, acked }
    }

    fn run(mut self, stop: &AtomicBool) -> Ledger {
        let mut connection: Option<Client> = None;
        while !stop.load(Ordering::Relaxed) {
            let Some(client) = &mut connection else {
                connection = Client::connect(&self.addresses[self.at]).ok();
                match &mut connection {
                    Some(client) => client.set_reply_wait(REPLY_WAIT),
                    None => self.go_elsewhere(None),
                }
                continue;
            };
            if let Err(elsewhere) = self.pipeline(client) {
                connection = None;
                self.go_elsewhere(elsewhere);
            }
        }
        self.ledger
    }

    fn go_elsewhere(&mut self, to: Option<String>) {
        let known = to.and_then(|to| self.addresses.iter().position(|known| *known == to));
        self.at = known.unwrap_or((self.at + 1) % self.addresses.len());
        thread::sleep(RETRY_PAUSE);
    }

    /// Sends a pipeline and notes its replies; `Err`: the node is of no use, another may be.
    fn pipeline(&mut self, client: &mut Client) -> Result<(), Option<String>> {
        let numbers = self.next..self.next + PIPELINE_PAIRS;
        self.next = numbers.end;
        let counter = counter_key(self.ledger.writer);
        let mut requests = Vec::new();
        for number in numbers.clone() {
            let key = key(self.ledger.writer, number);
            requests.push(vec!["SET".to_owned(), key, value(self.ledger.writer, number)]);
            requests.push(vec!["INCR".to_owned(), counter.clone()]);
        }
        let mut alive = client.send(&requests).is_ok();
        let mut elsewhere = None;
        let mut failed = false;
        for number in numbers {
            for is_set in [true, false] {
                let reply = if alive { client.receive().ok() } else { None };
                alive &= reply.is_some();
                elsewhere = elsewhere.or_else(|| reply.as_ref().and_then(redirected_to));
                let fate = reply.as_ref().map_or(Fate::Unknown, fate);
                failed |= fate != Fate::Done;
                self.note(number, is_set, fate, reply);
            }
        }
        if failed { Err(elsewhere) } else { Ok(()) }
    }

    fn note(&mut self, number: u64, is_set: bool, fate: Fate, reply: Option<Reply>) {
        let ledger = &mut self.ledger;
        match (is_set, fate) {
            (true, Fate::Done) => {
                assert_eq!(reply.as_ref().map(text).as_deref(), Some("OK"), "the reply to a SET");
                ledger.acked.push(number);
                self.acked.fetch_add(1, Ordering::Relaxed);
            }
            (true, Fate::Unknown) => ledger.unknown.push(number),
            (false, Fate::Done) => {
                let Some(Reply::Integer(_)) = reply else { panic!("an INCR got {reply:?}") };
                ledger.increments_acked += 1;
            }
            (false, Fate::Unknown) => ledger.increments_unknown += 1,
            (_, Fate::Refused) => {}
        }
    }
}

fn key(writer: usize, number: u64) -> String {
    format!("w{writer}:{number}")
}

fn value(writer: usize, number: u64) -> String {
    format!("value {number} of writer {writer}")
}

fn counter_key(writer: usize) -> String {
    format!("w{writer}:counter")
}

/// Checks on one connection that all the ledgers say is true.
///
/// # Panics
/// A write was lost, happened twice, or holds something nobody wrote.
pub fn verify(ledgers: &[Ledger], client: &mut Client) {
    let faults = faults(ledgers, client);
    assert!(faults.is_empty(), "{}: {:#?}", faults.len(), &faults[..faults.len().min(20)]);
}

/// What the ledgers say and the node does not: one line for each key.
///
/// # Panics
/// The node does not answer.
pub fn faults(ledgers: &[Ledger], client: &mut Client) -> Vec<String> {
    let mut faults = Vec::new();
    for ledger in ledgers {
        let writer = ledger.writer;
        for (numbers, is_acked) in [(&ledger.acked, true), (&ledger.unknown, false)] {
            for numbers in numbers.chunks(500) {
                let requests: Vec<Vec<String>> =
                    numbers.iter().map(|number| vec!["GET".into(), key(writer, *number)]).collect();
                client.send(&requests).expect("the node takes reads");
                for number in numbers {
                    let found = client.receive().expect("the node answers reads");
                    faults.extend(wrong_value(writer, *number, is_acked, &found));
                }
            }
        }
        let counted = client.ask(&format!("GET {}", counter_key(writer)));
        faults.extend(wrong_count(ledger, &counted));
    }
    faults
}

/// What is wrong with the value that was found where a writer has set one.
fn wrong_value(writer: usize, number: u64, is_acked: bool, found: &Reply) -> Option<String> {
    let is_absent = !is_acked && *found == Reply::Null;
    let (key, found) = (key(writer, number), text(found));
    let is_wrong = !is_absent && found != value(writer, number);
    is_wrong.then(|| format!("{key} (acknowledged: {is_acked}) holds {found:?}"))
}

/// What is wrong with a writer's counter.
fn wrong_count(ledger: &Ledger, counted: &Reply) -> Option<String> {
    let (acked, unknown) = (ledger.increments_acked, ledger.increments_unknown);
    let bounds = acked..=acked + unknown;
    let (writer, is_absent) = (ledger.writer, *counted == Reply::Null);
    let counted = text(counted);
    let number = if is_absent { Some(0) } else { counted.parse().ok() };
    let is_right = number.is_some_and(|number| bounds.contains(&number));
    (!is_right).then(|| format!("the counter of writer {writer} is {counted:?}, not in {bounds:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::bulk(text)
    }

    #[test]
    fn an_acknowledged_value_must_be_there_and_an_unknown_one_may() {
        let found = |is_acked, reply: &Reply| wrong_value(3, 7, is_acked, reply).is_some();
        for is_acked in [true, false] {
            assert!(!found(is_acked, &bulk("value 7 of writer 3")));
            assert!(found(is_acked, &bulk("value 8 of writer 3")), "of another write");
            assert!(found(is_acked, &bulk("")));
        }
        assert!(found(true, &Reply::Null), "lost");
        assert!(!found(false, &Reply::Null), "never happened");
    }

    #[test]
    fn a_counter_is_within_what_is_known_and_what_may_have_happened() {
        let ledger = |increments_acked, increments_unknown| Ledger {
            writer: 1,
            increments_acked,
            increments_unknown,
            ..Ledger::default()
        };
        let is_wrong = |ledger: &Ledger, reply: &Reply| wrong_count(ledger, reply).is_some();
        for (counted, wrong) in [("4", true), ("5", false), ("7", false), ("8", true), ("x", true)]
        {
            assert_eq!(is_wrong(&ledger(5, 2), &bulk(counted)), wrong, "{counted}");
        }
        assert!(is_wrong(&ledger(5, 2), &Reply::Null), "lost");
        assert!(!is_wrong(&ledger(0, 2), &Reply::Null));
        assert!(is_wrong(&ledger(0, 0), &bulk("1")), "nobody's");
    }
}
