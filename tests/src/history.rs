//! What clients did and saw, each operation with the times between which it took effect.
//!
//! Clients read and write a few registers (string keys whose values are numbers, each written
//! once). A client works on one node, one operation at a time; when the outcome of a write is
//! unknown it goes on, and the operation stays open for ever.

use crate::client::{Client, Fate, fate};
use protocol::Reply;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What an operation did to its register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// SET to this value.
    Write(u64),
    /// GET of a number, or of nothing; what was there.
    Read(Option<u64>),
    /// GET of a text; what was there.
    ReadText(String),
    /// INCRBY, and the number after it where the reply came.
    Add { by: u64, result: Option<u64> },
    /// APPEND, and the length after it where the reply came. Values of such registers are
    /// [`text_value`]s.
    Append { text: String, length: Option<usize> },
}

/// A text as the value of a register: 16 bits of its length and 48 of a hash that continues when
/// the text does.
pub fn text_value(text: &str) -> u64 {
    appended(0, text)
}

/// Length of a text in bytes, from its value.
pub fn text_length(value: u64) -> usize {
    (value >> 48) as usize
}

/// The value of a text that is `value` followed by `text`.
pub fn appended(value: u64, text: &str) -> u64 {
    const HASH_BITS: u32 = 48;
    const MASK: u64 = (1 << HASH_BITS) - 1;
    let length = (value >> HASH_BITS) + text.len() as u64;
    assert!(length < 1 << (64 - HASH_BITS), "texts of registers are short");
    let continued = |hash: u64, byte: u8| {
        let mixed = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).wrapping_add(1);
        (mixed ^ (mixed >> 29)) & MASK
    };
    (length << HASH_BITS) | text.bytes().fold(value & MASK, continued)
}

impl Action {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self, Action::Read(_) | Action::ReadText(_))
    }
}

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub key: String,
    pub client: usize,
    pub action: Action,
    /// Nanoseconds since the history began, taken before the request was sent.
    pub invoked: u64,
    /// The same after the reply was read; none when the outcome is unknown.
    pub returned: Option<u64>,
}

/// A history in the making.
pub struct Recorder {
    begun: Instant,
    operations: Mutex<Vec<Operation>>,
    next_value: AtomicU64,
    stop: AtomicBool,
}

/// How long a recording client waits for a reply: short, so that it does not sleep through a fault.
const REPLY_WAIT: Duration = Duration::from_secs(4);

/// Pause of a client after an operation that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl Default for Recorder {
    fn default() -> Self {
        Recorder {
            begun: Instant::now(),
            operations: Mutex::default(),
            next_value: AtomicU64::new(1),
            stop: AtomicBool::new(false),
        }
    }
}

impl Recorder {
    /// Ends the clients after the operation they are at.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// All that was recorded.
    pub fn into_history(self) -> Vec<Operation> {
        self.operations.into_inner().expect("no client panicked")
    }

    /// Operations whose outcome is known, so far.
    pub fn known(&self) -> usize {
        let operations = self.operations.lock().expect("no client panicked");
        operations.iter().filter(|operation| operation.returned.is_some()).count()
    }

    /// Reads and writes `keys` on the node at `addr`, in turns that depend on `client`, until
    /// [`Recorder::stop`]. `pause` between two operations keeps histories short enough to check.
    pub fn run_client(&self, client: usize, addr: &str, keys: &[String], pause: Duration) {
        let mut connection: Option<Client> = None;
        let mut turn = client as u64;
        while !self.stop.load(Ordering::Relaxed) {
            turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(client as u64 * 2 + 1);
            let key = &keys[(turn >> 33) as usize % keys.len()];
            let writes = (turn >> 13) % 5 < 2;
            let done = match connection.as_mut() {
                Some(connection) => self.operate(client, connection, key, writes),
                None => {
                    connection = Client::connect(addr).ok();
                    if let Some(connection) = &mut connection {
                        connection.set_reply_wait(REPLY_WAIT);
                    }
                    connection.is_some()
                }
            };
            if done {
                thread::sleep(pause);
            } else {
                connection = None;
                thread::sleep(RETRY_PAUSE);
            }
        }
    }

    /// One operation; false when the connection is of no more use, or the node cannot serve.
    fn operate(&self, client: usize, connection: &mut Client, key: &str, writes: bool) -> bool {
        let value = self.next_value.fetch_add(1, Ordering::Relaxed);
        let invoked = self.now();
        let reply = match writes {
            true => connection.call(&["SET", key, &value.to_string()]),
            false => connection.call(&["GET", key]),
        };
        let returned = self.now();
        let (action, known) = match (writes, &reply) {
            (true, Err(_)) => (Action::Write(value), false),
            (true, Ok(reply)) => match fate(reply) {
                Fate::Done => (Action::Write(value), true),
                Fate::Unknown => (Action::Write(value), false),
                Fate::Refused => return false,
            },
            (false, Ok(Reply::Null)) => (Action::Read(None), true),
            (false, Ok(Reply::Bulk(bytes))) => {
                let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
                (Action::Read(Some(number.expect("registers hold numbers"))), true)
            }
            // A read that failed changed nothing and saw nothing.
            (false, _) => return false,
        };
        let operation = Operation {
            key: key.to_owned(),
            client,
            action,
            invoked,
            returned: known.then_some(returned),
        };
        self.operations.lock().expect("no client panicked").push(operation);
        known
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).expect("a test is shorter than centuries")
    }
}
