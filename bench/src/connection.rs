//! One connection: send a round, read its replies, send the next when its turn has come.
//!
//! In a closed loop every reply is timed from the moment its round was handed to the kernel, in an
//! open loop from the moment its round was due, to the moment its bytes were read here; so the queue
//! inside this generator counts as latency. A reply is a success only when its type is the one the
//! request should get; with WAIT, only when enough replicas answered.
//!
//! Invariants: nothing sent before the window begins is counted, everything sent inside it is, as a
//! success or as a failure. A request is never sent twice: after a redirect the *next* round goes
//! to the node that was named.
//!
//! Writing and reading overlap when a round does not fit the socket, so a server that stops reading
//! until its replies are taken cannot block the run.

use crate::control::{SlotOwners, redirect_target};
use crate::load::{Plan, Shared};
use crate::pacing::Turns;
use crate::replies::{Reply, ReplyScanner};
use crate::stats::{Class, Tally};
use crate::workload::{Expect, RoundEncoder};
use bytes::BytesMut;
use protocol::encode_request;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

/// Bytes read at once.
const INPUT_BYTES: usize = 64 * 1024;
/// Longest that connecting and its first requests may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before another attempt to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a redirect is followed, so that two nodes that name each other are not flooded.
const REDIRECT_PAUSE: Duration = Duration::from_millis(2);

/// What a null counts as where the key was filled.
pub(crate) const MISS: &str = "MISS a key that was written has no value";

/// How far the replies of the current round have come.
#[derive(Default)]
struct Progress {
    counted: bool,
    answered: usize,
    reads: u64,
    writes: u64,
    /// Whether WAIT named enough replicas, once it has been answered.
    waited: Option<bool>,
    surplus: bool,
    redirect: Option<String>,
}

impl Progress {
    /// Judges the next reply; failures are counted at once, successes by [`Progress::settle`].
    fn take(
        &mut self,
        reply: Reply<'_>,
        expected: &[Expect],
        wait_replicas: u32,
        tally: &mut Tally,
    ) {
        let Some(&expect) = expected.get(self.answered) else {
            self.surplus = true;
            return;
        };
        self.answered += 1;
        if expect == Expect::Replicas {
            let enough = |count| matches!(reply, Reply::Integer(n) if n >= i64::from(count));
            self.waited = Some(enough(wait_replicas));
        }
        match (expect, reply) {
            (Expect::Stored, Reply::Ok) | (Expect::Counter, Reply::Integer(_)) => self.writes += 1,
            (Expect::Value | Expect::Present, Reply::Bulk) | (Expect::Absent, Reply::Null) => {
                self.reads += 1;
            }
            (Expect::Value, Reply::Null) => {
                self.reads += 1;
                tally.misses += u64::from(self.counted);
            }
            (Expect::Present, Reply::Null) if self.counted => {
                tally.misses += 1;
                tally.record_error(MISS);
            }
            (Expect::Replicas, Reply::Integer(_)) => {}
            (_, Reply::Error(text)) => self.take_error(&String::from_utf8_lossy(text), tally),
            (expect, other) if self.counted => {
                tally.record_error(&format!("UNEXPECTED {other:?} where {expect:?} was due"));
            }
            _ => {}
        }
    }

    fn take_error(&mut self, text: &str, tally: &mut Tally) {
        let redirect = redirect_target(text, "");
        if self.counted {
            match redirect {
                Some(_) => tally.redirects += 1,
                None => tally.record_error(text),
            }
        }
        if redirect.is_some() {
            self.redirect = Some(text.to_owned());
        }
    }

    /// Records the successes of the chunk that was read at `now`; latency counts from `began`.
    ///
    /// A write under WAIT is a success only with the reply to WAIT, and takes as long.
    fn settle(&mut self, began: Instant, now: Instant, waits: bool, tally: &mut Tally) {
        let (reads, writes) = match (waits, self.waited) {
            (true, None) => (std::mem::take(&mut self.reads), 0),
            _ => (std::mem::take(&mut self.reads), std::mem::take(&mut self.writes)),
        };
        if !self.counted {
            return;
        }
        tally.record(Class::Read, now.saturating_duration_since(began), reads, now);
        if self.waited == Some(false) {
            tally.wait_failed += writes;
        } else {
            tally.record(Class::Write, now.saturating_duration_since(began), writes, now);
        }
    }
}

/// A connection and the rounds it sends.
pub(crate) struct Connection {
    plan: Rc<Plan>,
    node: String,
    stream: Option<TcpStream>,
    encoder: RoundEncoder,
    scanner: ReplyScanner,
    progress: Progress,
    /// From when the latencies of the current round count.
    began: Instant,
    input: Vec<u8>,
}

impl Connection {
    /// Connects to `node` and makes the connection ready for requests.
    pub(crate) async fn open(
        plan: Rc<Plan>,
        node: String,
        encoder: RoundEncoder,
    ) -> io::Result<Self> {
        let stream = connect(&plan, &node).await?;
        Ok(Self {
            plan,
            node,
            stream: Some(stream),
            encoder,
            scanner: ReplyScanner::default(),
            progress: Progress::default(),
            began: Instant::now(),
            input: vec![0; INPUT_BYTES],
        })
    }

    /// Sends a round at each of its `turns`, then waits for the last replies.
    pub(crate) async fn run(mut self, shared: &Shared, mut turns: Turns) {
        let hard_end = tokio::time::Instant::from_std(shared.window.hard_end);
        let in_time = tokio::time::timeout_at(hard_end, self.drive(shared, &mut turns)).await;
        if in_time.is_err() {
            self.abandon_round(shared);
            turns.abandon(shared, self.plan.pipeline);
        }
    }

    async fn drive(&mut self, shared: &Shared, turns: &mut Turns) {
        while turns.are_left(shared) {
            if self.stream.is_none() {
                self.reconnect(shared).await;
                continue;
            }
            let due = turns.next(shared).await;
            self.encoder.encode(shared.take(self.plan.pipeline, due.unwrap_or_else(Instant::now)));
            if self.round(due, shared).await.is_err() {
                self.abandon_round(shared);
                self.stream = None;
                if self.progress.counted {
                    shared.tally.borrow_mut().connection_errors += 1;
                }
            } else if self.plan.cluster
                && let Some(error) = self.progress.redirect.take()
                && let Some(node) = redirect_target(&error, &self.node)
            {
                tokio::time::sleep(REDIRECT_PAUSE).await;
                self.node = node;
                self.stream = None;
            }
        }
    }

    /// Sends the encoded round and reads all its replies.
    async fn round(&mut self, due: Option<Instant>, shared: &Shared) -> io::Result<()> {
        self.began = due.unwrap_or_else(Instant::now);
        let counted = self.began >= shared.window.start;
        self.progress = Progress { counted, ..Progress::default() };
        self.send(shared).await?;
        while self.progress.answered < self.encoder.expected.len() {
            let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let received = stream.read(&mut self.input).await?;
            self.absorb(received, shared)?;
        }
        Ok(())
    }

    /// Writes the round; takes replies meanwhile if the socket does not accept it at once.
    async fn send(&mut self, shared: &Shared) -> io::Result<()> {
        let mut written = 0;
        loop {
            let stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            match stream.try_write(&self.encoder.bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if written == self.encoder.bytes.len() {
                return Ok(());
            }
            let ready = stream.ready(Interest::READABLE | Interest::WRITABLE).await?;
            if ready.is_readable() {
                match stream.try_read(&mut self.input) {
                    Ok(received) => self.absorb(received, shared)?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Takes the first `received` bytes of the input buffer; none means that the server hung up.
    fn absorb(&mut self, received: usize, shared: &Shared) -> io::Result<()> {
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let now = Instant::now();
        let Self { scanner, progress, encoder, input, .. } = self;
        let wait_replicas = self.plan.wait.unwrap_or(0);
        let mut tally = shared.tally.borrow_mut();
        let scanned = scanner.feed(&input[..received], |reply| {
            progress.take(reply, &encoder.expected, wait_replicas, &mut tally);
        });
        progress.settle(self.began, now, self.plan.wait.is_some(), &mut tally);
        match scanned {
            Ok(()) if !progress.surplus => Ok(()),
            Ok(()) => Err(io::Error::other("more replies than requests")),
            Err(malformed) => Err(io::Error::other(malformed.to_string())),
        }
    }

    /// Counts what is still missing from a round that will not be finished.
    fn abandon_round(&mut self, shared: &Shared) {
        if self.progress.counted {
            let missing = (self.encoder.expected.len() - self.progress.answered) as u64;
            // Writes whose WAIT has not been answered are not known to be safe.
            shared.tally.borrow_mut().unanswered += missing + self.progress.writes;
        }
        self.encoder.expected.clear();
        self.progress = Progress { counted: self.progress.counted, ..Progress::default() };
    }

    /// Connects again: to the node that was named last, then to the addresses of the plan.
    async fn reconnect(&mut self, shared: &Shared) {
        self.scanner = ReplyScanner::default();
        let mut candidates = vec![self.node.clone()];
        if self.plan.cluster {
            candidates.extend(self.plan.addresses.iter().cloned());
        }
        for node in candidates {
            if let Ok(stream) = connect(&self.plan, &node).await {
                if self.plan.cluster {
                    self.encoder.restrict(owned_slots(&self.plan, &node).await);
                }
                self.node = node;
                self.stream = Some(stream);
                return;
            }
            if Instant::now() >= shared.window.start {
                shared.tally.borrow_mut().connection_errors += 1;
            }
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// The slots of `node` as it says itself; no restriction when it cannot tell now.
async fn owned_slots(plan: &Plan, node: &str) -> Option<crate::workload::OwnedSlots> {
    let owners = SlotOwners::fetch(node, plan.password.as_deref()).await.ok()?;
    owners.slots_of(node).map(Into::into)
}

/// Opens a socket and sends what must come first (HELLO 3, AUTH, READONLY).
async fn connect(plan: &Plan, node: &str) -> io::Result<TcpStream> {
    let attempt = async {
        let mut stream = TcpStream::connect(node).await?;
        stream.set_nodelay(true)?;
        let (requests, count) = greeting(plan);
        stream.write_all(&requests).await?;
        let mut scanner = ReplyScanner::default();
        let (mut answered, mut refused) = (0, None);
        let mut input = [0; 4096];
        while answered < count {
            let received = stream.read(&mut input).await?;
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            scanner
                .feed(&input[..received], |reply| {
                    answered += 1;
                    if let Reply::Error(text) = reply {
                        refused = Some(String::from_utf8_lossy(text).into_owned());
                    }
                })
                .map_err(|malformed| io::Error::other(malformed.to_string()))?;
        }
        match refused {
            Some(text) => Err(io::Error::other(text)),
            None => Ok(stream),
        }
    };
    tokio::time::timeout(CONNECT_TIMEOUT, attempt).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// The first requests of a connection and how many they are.
fn greeting(plan: &Plan) -> (BytesMut, usize) {
    let mut requests: Vec<Vec<&[u8]>> = Vec::new();
    match (&plan.password, plan.resp3) {
        (Some(password), true) => {
            requests.push(vec![b"HELLO", b"3", b"AUTH", b"default", password.as_bytes()]);
        }
        (Some(password), false) => requests.push(vec![b"AUTH", password.as_bytes()]),
        (None, true) => requests.push(vec![b"HELLO", b"3"]),
        (None, false) => {}
    }
    if plan.readonly {
        requests.push(vec![b"READONLY"]);
    }
    let mut bytes = BytesMut::new();
    for parts in &requests {
        encode_request(parts, &mut bytes);
    }
    (bytes, requests.len())
}
