//! The clients: registers, MULTI blocks on texts, a bank, leases, and a ledger with a counter.
//!
//! A client works on one node, one operation (or one pipeline) at a time, follows redirects, and
//! never repeats what may have taken effect. Keys of registers and texts change with time, so that
//! each has few enough operations to be searched through; each is read once more later (`closed`).

mod closed;

use self::closed::Closed;
use crate::journal::{Block, Journal, Lease, Look, Seen, Sight, Span};
use crate::world::Addresses;
use kvorum_tests::client::{Client, Fate, redirected_to, text};
use kvorum_tests::history::{Action, Operation, text_value};
use kvorum_tests::random::Random;
use protocol::Reply;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a client waits for a reply.
const REPLY_WAIT: Duration = Duration::from_secs(4);
/// Asks where in the log the command before it took effect.
const INDEX: &str = "RAFT.INDEX";
/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(25);
/// Operations on registers before new keys are taken.
const EPOCH_OPERATIONS: u64 = 1200;
/// Blocks before new keys are taken.
const EPOCH_BLOCKS: u64 = 200;
/// Registers and texts of an epoch.
const REGISTERS: usize = 6;
const TEXTS: u64 = 4;
/// Accounts of the bank, and what each holds at first.
pub const ACCOUNTS: usize = 6;
pub const DEPOSIT: i64 = 1000;
/// Writes of the ledger in one pipeline.
const PIPELINE: u64 = 8;
/// So many pauses follow a pipeline, or most operations would be of the ledger.
const LEDGER_PAUSES: u32 = 8;

/// What the clients share.
pub struct Shared {
    pub journal: Arc<Journal>,
    pub addresses: Addresses,
    pub seed: u64,
    /// Pause between two operations of a client.
    pub pause: Duration,
    numbers: AtomicU64,
    registers: AtomicU64,
    blocks: AtomicU64,
    closed: Mutex<Closed>,
}

impl Shared {
    /// Clients of these nodes that write to this journal.
    pub fn new(
        journal: Arc<Journal>,
        addresses: Addresses,
        seed: u64,
        pause: Duration,
    ) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let (numbers, registers, blocks) = (AtomicU64::new(1), zero(), zero());
        let closed = Mutex::default();
        Arc::new(Shared { journal, addresses, seed, pause, numbers, registers, blocks, closed })
    }

    /// Starts `sets` sets of clients, one of each kind in a set.
    pub fn start(self: &Arc<Self>, sets: usize) -> Vec<JoinHandle<()>> {
        type Work = fn(&mut Worker);
        let kinds: [Work; 7] = [
            Worker::register,
            Worker::register,
            Worker::block,
            Worker::transfer,
            Worker::sum,
            Worker::lease,
            Worker::ledger,
        ];
        let mut threads = Vec::new();
        for number in 0..sets * kinds.len() {
            let (shared, work) = (self.clone(), kinds[number % kinds.len()]);
            threads.push(thread::spawn(move || Worker::new(number, shared).run(work)));
        }
        threads
    }
}

struct Worker {
    number: usize,
    shared: Arc<Shared>,
    random: Random,
    addr: String,
    connection: Option<Client>,
    turn: u64,
    leases: Vec<String>,
    pauses: u32,
}

impl Worker {
    fn new(number: usize, shared: Arc<Shared>) -> Self {
        let random = Random::new(shared.seed ^ ((number as u64 + 1) << 32));
        let addr = shared.addresses.some(number);
        let (connection, leases) = (None, Vec::new());
        Worker { number, shared, random, addr, connection, turn: 0, leases, pauses: 1 }
    }

    fn run(mut self, work: fn(&mut Worker)) {
        let shared = self.shared.clone();
        while !shared.journal.is_stopped() {
            {
                let _open = shared.journal.gate.read().expect("no client panicked");
                work(&mut self);
            }
            thread::sleep(shared.pause * self.pauses);
        }
    }

    /// Sends requests as one pipeline, and behind them the question for their log index; the replies
    /// up to the first that did not come.
    fn call(&mut self, requests: &[Vec<String>]) -> (Span, Vec<Reply>) {
        if self.connection.is_none() {
            self.connection = Client::connect(&self.addr).ok();
            if let Some(connection) = &mut self.connection {
                connection.set_reply_wait(REPLY_WAIT);
            }
        }
        let invoked = self.shared.journal.now();
        let mut replies = Vec::new();
        let Some(connection) = &mut self.connection else {
            self.move_on(None);
            return (Span { invoked: u64::MAX, returned: None, index: None }, replies);
        };
        let mut asked = requests.to_vec();
        asked.push(vec![INDEX.to_owned()]);
        let mut alive = connection.send(&asked).is_ok();
        while alive && replies.len() < requests.len() {
            match connection.receive() {
                Ok(reply) => replies.push(reply),
                Err(_) => alive = false,
            }
        }
        let returned = Some(self.shared.journal.now());
        let index = match alive.then(|| connection.receive()) {
            Some(Ok(Reply::Integer(index))) => u64::try_from(index).ok(),
            Some(Ok(_)) | None => None,
            Some(Err(_)) => {
                alive = false;
                None
            }
        };
        let elsewhere = replies.iter().find_map(redirected_to);
        let is_refused = replies.iter().any(|reply| matches!(reply, Reply::Error(_)));
        let span = Span { invoked, returned, index };
        if !alive || is_refused {
            self.shared.journal.trouble(self.number, span, requests, &replies);
            self.connection = None;
            self.move_on(elsewhere);
        }
        (span, replies)
    }

    fn move_on(&mut self, to: Option<String>) {
        let number = self.random.number() as usize;
        self.addr = to.unwrap_or_else(|| self.shared.addresses.some(number));
        thread::sleep(RETRY_PAUSE);
    }

    /// What became of a write; of none that was not sent.
    fn fate(&self, span: Span, reply: Option<&Reply>) -> Fate {
        if span.invoked == u64::MAX {
            return Fate::Refused;
        }
        let Some(reply) = reply else { return Fate::Unknown };
        let Reply::Error(error) = reply else { return Fate::Done };
        match error.split(' ').next() {
            Some("MOVED" | "REDIRECT" | "CLUSTERDOWN" | "TRYAGAIN" | "EXECABORT" | "MISCONF") => {
                Fate::Refused
            }
            Some("UNKNOWN") => Fate::Unknown,
            _ => {
                let mut history = self.shared.journal.history.lock().expect("no client panicked");
                history.odd.push(error.to_string());
                Fate::Unknown
            }
        }
    }

    fn register(&mut self) {
        if self.read_closed() {
            return;
        }
        let turn = self.shared.registers.fetch_add(1, Ordering::Relaxed);
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
        let (epoch, place) = (turn / EPOCH_OPERATIONS, self.random.below(REGISTERS));
        if turn % EPOCH_OPERATIONS == EPOCH_OPERATIONS / 2 {
            self.shared.close(|closed| closed.registers(epoch));
        }
        let key = format!("r{epoch}:{place}");
        let word = format!("{number},");
        let (action, request) = match (self.random.below(10), place) {
            (0..5, _) => (Action::Read(None), vec!["GET", &key]),
            (_, 0..2) => (Action::Write(number), vec!["SET", &key, &word[..word.len() - 1]]),
            (5..9, 2..4) => (Action::Add { by: 1, result: None }, vec!["INCR", &key]),
            (_, 2..4) => {
                // Far from what increments reach, so that each value tells its writer.
                (Action::Add { by: 1_000_000, result: None }, vec!["INCRBY", &key, "1000000"])
            }
            _ => {
                let append = Action::Append { text: word.clone(), length: None };
                (append, vec!["APPEND", &key, &word])
            }
        };
        let request = request.iter().map(|word| (*word).to_owned()).collect();
        self.operate(key, place, action, request);
    }

    /// One operation on a register; whether its outcome is known.
    fn operate(&mut self, key: String, place: usize, action: Action, request: Vec<String>) -> bool {
        let (span, replies) = self.call(&[request]);
        let reply = replies.first();
        let is_read = action.is_read();
        let (returned, action) = match (self.fate(span, reply), reply) {
            (Fate::Refused, _) => return false,
            (Fate::Unknown, _) if is_read => return false,
            (Fate::Done, Some(reply)) => (span.returned, completed(action, reply, place >= 4)),
            _ => (None, action),
        };
        let span = Span { returned, ..span };
        let sights = sight(&key, place, &action).into_iter().collect();
        let what = json!([key, format!("{action:?}"), reply.map(text)]);
        self.shared.journal.note(self.number, "register", span, (!is_read, sights), what);
        let operation =
            Operation { key, client: self.number, action, invoked: span.invoked, returned };
        self.history(|history| history.registers.push(operation));
        returned.is_some()
    }

    fn history(&self, change: impl FnOnce(&mut crate::journal::History)) {
        change(&mut self.shared.journal.history.lock().expect("no client panicked"));
    }

    fn block(&mut self) {
        if self.read_closed() {
            return;
        }
        let number = self.shared.blocks.fetch_add(1, Ordering::Relaxed);
        let epoch = number / EPOCH_BLOCKS;
        if number % EPOCH_BLOCKS == EPOCH_BLOCKS / 2 {
            self.shared.close(|closed| closed.texts(epoch));
        }
        let key = |place: u64| format!("t{epoch}:{place}");
        let word = format!("{number},");
        let first = self.random.number_below(TEXTS);
        let mut appends = vec![(key(first), word.clone())];
        if self.random.percent(60) {
            appends.push((key((first + 1 + self.random.number_below(TEXTS - 1)) % TEXTS), word));
        }
        let keys: Vec<String> = vec![key(self.random.number_below(TEXTS)), appends[0].0.clone()];
        self.run_block(appends, keys);
    }

    /// A MULTI block that appends and reads; whether its outcome is known.
    fn run_block(&mut self, appends: Vec<(String, String)>, keys: Vec<String>) -> bool {
        let mut requests = vec![vec!["MULTI".to_owned()]];
        for (key, word) in &appends {
            requests.push(vec!["APPEND".to_owned(), key.clone(), word.clone()]);
        }
        for key in &keys {
            requests.push(vec!["GET".to_owned(), key.clone()]);
        }
        requests.push(vec!["EXEC".to_owned()]);
        let (span, replies) = self.call(&requests);
        let exec = replies.get(requests.len() - 1);
        let mut reads = Vec::new();
        let returned = match (self.fate(span, exec), exec) {
            (Fate::Refused, _) => return false,
            (Fate::Unknown, _) if appends.is_empty() => return false,
            (Fate::Done, Some(Reply::Array(items))) => {
                let found = items.iter().skip(appends.len()).map(present);
                reads = keys.into_iter().zip(found).collect();
                span.returned
            }
            _ => None,
        };
        let span = Span { returned, ..span };
        let sight = |(key, text): &(String, String)| {
            let wrote = appends.iter().any(|(appended, _)| appended == key);
            Sight { key: key.clone(), seen: Seen::Size(text.len() as u64), wrote }
        };
        let seen = (!appends.is_empty(), reads.iter().map(sight).collect());
        self.shared.journal.note(self.number, "block", span, seen, json!([appends, reads]));
        self.history(|history| history.blocks.push(Block { span, appends, reads }));
        returned.is_some()
    }

    fn transfer(&mut self) {
        let from = self.random.number_below(ACCOUNTS as u64);
        let into = (from + 1 + self.random.number_below(ACCOUNTS as u64 - 1)) % ACCOUNTS as u64;
        let (from, into) = (account(from), account(into));
        let watch = vec!["WATCH".to_owned(), from.clone(), into.clone()];
        let get = |key: &String| vec!["GET".to_owned(), key.clone()];
        let (span, replies) = self.call(&[watch, get(&from), get(&into)]);
        let amount = |at: usize| replies.get(at).and_then(|reply| text(reply).parse::<i64>().ok());
        let (Some(one), Some(other)) = (amount(1), amount(2)) else { return };
        // Another connection would watch nothing.
        let is_watched = replies.first().is_some_and(|reply| text(reply) == "OK");
        if !is_watched || self.connection.is_none() {
            return;
        }
        let moved = 1 + self.random.below(20) as i64;
        let set = |key: String, amount: i64| vec!["SET".to_owned(), key, amount.to_string()];
        let (last, replies) = self.call(&[
            vec!["MULTI".to_owned()],
            set(from, one - moved),
            set(into, other + moved),
            vec!["EXEC".to_owned()],
        ]);
        let exec = replies.get(3);
        let returned = match (self.fate(last, exec), exec) {
            (Fate::Refused, _) => return,
            (Fate::Done, Some(Reply::Array(_))) => {
                self.history(|history| history.transfers += 1);
                last.returned
            }
            // Somebody else changed an account.
            (Fate::Done, _) => return,
            _ => None,
        };
        let span = Span { returned, index: last.index, ..span };
        let seen = (true, Vec::new());
        self.shared.journal.note(self.number, "transfer", span, seen, json!(moved));
    }

    fn sum(&mut self) {
        let mut requests = vec![vec!["MULTI".to_owned()]];
        requests.extend((0..ACCOUNTS as u64).map(|at| vec!["GET".to_owned(), account(at)]));
        requests.push(vec!["EXEC".to_owned()]);
        let (span, replies) = self.call(&requests);
        let Some(Reply::Array(items)) = replies.get(requests.len() - 1) else { return };
        let amounts: Vec<i64> =
            items.iter().map(|item| text(item).parse().unwrap_or(i64::MIN / 100)).collect();
        let seen = Seen::Value(Some(text_value(&format!("{amounts:?}"))));
        let sights = vec![Sight { key: "bank".to_owned(), seen, wrote: false }];
        self.shared.journal.note(self.number, "sum", span, (false, sights), json!(amounts));
        self.history(|history| history.sums.push((span, amounts)));
    }

    /// Sets a key that will expire, or looks whether one of the last is there.
    fn lease(&mut self) {
        self.turn += 1;
        if self.turn % 12 != 1 && !self.leases.is_empty() {
            let at = self.random.below(self.leases.len());
            let key = self.leases[at].clone();
            let (span, replies) = self.call(&[vec!["EXISTS".to_owned(), key.clone()]]);
            let Some(Reply::Integer(count)) = replies.first() else { return };
            let is_there = *count == 1;
            let seen = (false, vec![there(&key, is_there, false)]);
            self.shared.journal.note(self.number, "look", span, seen, json!([key, is_there]));
            self.history(|history| history.looks.push(Look { span, key, is_there }));
            return;
        }
        let key = format!("lease{}:{}", self.number, self.turn);
        let ttl_ms = *self.random.pick(&[150, 700, 3000, 20_000]);
        let set = ["SET", &key, "held", "PX", &ttl_ms.to_string()].map(str::to_owned).to_vec();
        let (span, replies) = self.call(&[set]);
        let fate = self.fate(span, replies.first());
        if fate == Fate::Refused {
            return;
        }
        let span = Span { returned: span.returned.filter(|_| fate == Fate::Done), ..span };
        self.leases.push(key.clone());
        if self.leases.len() > 8 {
            self.leases.remove(0);
        }
        let seen = (true, vec![there(&key, true, true)]);
        self.shared.journal.note(self.number, "lease", span, seen, json!([key, ttl_ms]));
        self.history(|history| history.leases.push(Lease { span, key, ttl_ms }));
    }

    fn ledger(&mut self) {
        self.pauses = LEDGER_PAUSES;
        let counter = format!("counter:{}", self.number);
        let mut requests = Vec::new();
        for _ in 0..PIPELINE {
            self.turn += 1;
            let key = format!("ledger{}:{}", self.number, self.turn);
            requests.push(vec!["SET".to_owned(), key.clone(), key]);
            requests.push(vec!["INCR".to_owned(), counter.clone()]);
        }
        let (span, replies) = self.call(&requests);
        for (at, request) in requests.iter().enumerate() {
            let fate = self.fate(span, replies.get(at));
            if fate == Fate::Refused {
                continue;
            }
            let is_done = fate == Fate::Done;
            let span = Span { returned: span.returned.filter(|_| is_done), ..span };
            let count = match replies.get(at) {
                Some(Reply::Integer(count)) => Some(*count as u64),
                _ => None,
            };
            let counted =
                |count| Sight { key: counter.clone(), seen: Seen::Size(count), wrote: true };
            let seen = (true, count.map(counted).into_iter().collect());
            self.shared.journal.note(self.number, "ledger", span, seen, json!(request[1]));
            self.history(|history| match at % 2 {
                0 => history.ledger.push((request[1].clone(), is_done)),
                _ => {
                    let counts = history.counters.entry(counter.clone()).or_default();
                    *(if is_done { &mut counts.0 } else { &mut counts.1 }) += 1;
                }
            });
        }
    }
}

/// What an operation on a register saw, where it is known; registers below 2 are SET, those from 4
/// are texts.
fn sight(key: &str, place: usize, action: &Action) -> Option<Sight> {
    let seen = match action {
        Action::Write(value) => Seen::Value(Some(*value)),
        Action::Read(value) if place < 2 => Seen::Value(*value),
        Action::Read(value) => Seen::Size(value.unwrap_or(0)),
        Action::ReadText(text) => Seen::Size(text.len() as u64),
        Action::Add { result, .. } => Seen::Size((*result)?),
        Action::Append { length, .. } => Seen::Size((*length)? as u64),
    };
    Some(Sight { key: key.to_owned(), seen, wrote: !action.is_read() })
}

fn there(key: &str, is_there: bool, wrote: bool) -> Sight {
    Sight { key: key.to_owned(), seen: Seen::There(is_there), wrote }
}

/// Name of an account.
pub fn account(number: u64) -> String {
    format!("{{bank}}:{number}")
}

/// The text of a value, empty where there is none.
fn present(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(_) => text(reply),
        _ => String::new(),
    }
}

fn completed(action: Action, reply: &Reply, is_text: bool) -> Action {
    match (action, reply) {
        (Action::Read(_), Reply::Bulk(_)) if is_text => Action::ReadText(text(reply)),
        (Action::Read(_), Reply::Bulk(_)) => {
            Action::Read(Some(text(reply).parse().expect("registers hold numbers")))
        }
        (Action::Add { by, .. }, Reply::Integer(sum)) => {
            Action::Add { by, result: Some(*sum as u64) }
        }
        (Action::Append { text, .. }, Reply::Integer(length)) => {
            Action::Append { text, length: Some(*length as usize) }
        }
        (action, _) => action,
    }
}
