//! What clients did and saw, in memory for the checkers and as JSON lines on disk, with the windows
//! of time in which faults were active.

use crate::faults::Fault;
use kvorum_tests::client::text;
use kvorum_tests::history::Operation;
use protocol::Reply;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Instant;

/// When something was asked and answered, in nanoseconds since the journal began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub invoked: u64,
    /// None: no answer, or one that says that the outcome is unknown.
    pub returned: Option<u64>,
    /// Log index of the last entry that the answer knew of, where the node told it.
    pub index: Option<u64>,
}

/// What was seen of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    pub key: String,
    pub seen: Seen,
    /// Whether the operation itself made it so.
    pub wrote: bool,
}

/// What there is of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A value that is written once at most.
    Value(Option<u64>),
    /// A number, or the length of a text, that only grows.
    Size(u64),
    /// Whether a key is there that is set once.
    There(bool),
}

/// An operation whose outcome is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub invoked: u64,
    pub returned: u64,
    pub index: Option<u64>,
    /// Whether it was an entry of the log.
    pub writes: bool,
    pub sights: Vec<Sight>,
}

/// A MULTI block on append-only texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub span: Span,
    /// Keys and the word (with its comma) appended to each.
    pub appends: Vec<(String, String)>,
    /// Keys and the text found at the end of the block.
    pub reads: Vec<(String, String)>,
}

/// One look at a key with a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub span: Span,
    pub key: String,
    pub is_there: bool,
}

/// A key that was set once, with a time to live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub span: Span,
    pub key: String,
    pub ttl_ms: u64,
}

/// All that happened.
#[derive(Debug, Default)]
pub struct History {
    pub registers: Vec<Operation>,
    pub blocks: Vec<Block>,
    /// Sums of all accounts, as MULTI blocks found them.
    pub sums: Vec<(Span, Vec<i64>)>,
    pub transfers: u64,
    pub leases: Vec<Lease>,
    pub looks: Vec<Look>,
    /// Keys set once: whether that was acknowledged. The value of a key is its name.
    pub ledger: Vec<(String, bool)>,
    /// Keys of the ledger that were found on every node, and removed.
    pub buried: Vec<String>,
    /// Keys of the ledger whose removal has an unknown outcome.
    pub forgotten: u64,
    /// For each counter: increments acknowledged, and of unknown outcome.
    pub counters: BTreeMap<String, (u64, u64)>,
    /// Answers that no node may give.
    pub odd: Vec<String>,
    /// Every operation with a known outcome.
    pub known: Vec<Known>,
    pub unknown: u64,
    /// Fault windows and their names.
    pub windows: Vec<(u64, u64, String)>,
}

/// A history in the making.
pub struct Journal {
    begun: Instant,
    /// Writes every line at once: nothing is lost where the run panics, or is killed.
    file: Mutex<LineWriter<File>>,
    /// Everything so far.
    pub history: Mutex<History>,
    /// Clients hold it while they operate; who takes it for writing finds them at rest.
    pub gate: RwLock<()>,
    known: AtomicU64,
    stop: AtomicBool,
}

impl Journal {
    /// A journal whose lines go to `path`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Journal {
            begun: Instant::now(),
            file: Mutex::new(LineWriter::new(File::create(path)?)),
            history: Mutex::default(),
            gate: RwLock::default(),
            known: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    /// Nanoseconds since the journal began.
    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// Ends the clients.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the clients are to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Operations with a known outcome, so far.
    pub fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed)
    }

    /// Writes a line: who, what kind of operation, when, and what came of it. `sights` are what an
    /// operation that `writes`, or does not, saw.
    pub fn note(
        &self,
        client: usize,
        kind: &str,
        span: Span,
        seen: (bool, Vec<Sight>),
        what: Value,
    ) {
        let line = json!({"client": client, "kind": kind, "invoked": span.invoked,
            "returned": span.returned, "index": span.index, "what": what});
        self.line(&line);
        let mut history = self.history.lock().expect("no client panicked");
        match span.returned {
            Some(returned) => {
                let (invoked, index, (writes, sights)) = (span.invoked, span.index, seen);
                history.known.push(Known { invoked, returned, index, writes, sights });
                self.known.fetch_add(1, Ordering::Relaxed);
            }
            None => history.unknown += 1,
        }
    }

    /// Writes a line for requests of which one was refused or had no answer. What is known of them
    /// beside this line, if anything, has lines of its own.
    pub fn trouble(&self, client: usize, span: Span, requests: &[Vec<String>], replies: &[Reply]) {
        let replies: Vec<String> = replies.iter().map(text).collect();
        self.line(&json!({"client": client, "kind": "trouble", "invoked": span.invoked,
            "returned": span.returned, "requests": requests, "replies": replies}));
    }

    /// Notes that a fault was active between these moments.
    pub fn window(&self, begun: u64, ended: u64, name: &str) {
        self.line(&json!({"fault": name, "begun": begun, "ended": ended}));
        let mut history = self.history.lock().expect("no client panicked");
        history.windows.push((begun, ended, name.to_owned()));
    }

    /// Takes the history, once nobody adds to it any more.
    pub fn finish(&self) -> History {
        std::mem::take(&mut *self.history.lock().expect("no client panicked"))
    }

    fn line(&self, line: &Value) {
        let mut file = self.file.lock().expect("no client panicked");
        writeln!(file, "{line}").expect("the history can be written");
    }
}

impl History {
    /// When faults of a class were active.
    pub fn windows_of(&self, fault: Fault) -> Vec<(u64, u64)> {
        let name = format!("{fault:?}");
        let of_class = self.windows.iter().filter(|window| window.2 == name);
        of_class.map(|window| (window.0, window.1)).collect()
    }

    /// Operations with a known outcome that overlap a fault window.
    pub fn inside_windows(&self) -> usize {
        let mut windows: Vec<(u64, u64)> = self.windows.iter().map(|w| (w.0, w.1)).collect();
        windows.sort_unstable();
        let overlaps = |known: &&Known| {
            windows.iter().any(|(begun, ended)| known.invoked <= *ended && known.returned >= *begun)
        };
        self.known.iter().filter(overlaps).count()
    }
}
