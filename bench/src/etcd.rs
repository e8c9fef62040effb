//! etcd by its gRPC API: the few calls a comparison needs, as a client of the load generator.
//!
//! gRPC is one HTTP/2 stream for each call, with a header of five bytes before each message; the
//! messages used have two to four fields, written and read here by hand. So no code generator is
//! needed to build, and the client costs little beside the server.
//!
//! A connection is one HTTP/2 connection. A pipeline of n is n calls at once, which etcd may handle
//! in any order. Reads are linearizable, or `serializable` (from the node asked) with READONLY.
//! Every reply is timed. A call whose connection breaks is counted as unanswered, never sent again.

use crate::connection::MISS;
use crate::error::Failure;
use crate::keys::{KeyPicker, Random, push_digits};
use crate::load::{Plan, Shared};
use crate::pacing::Turns;
use crate::stats::Class;
use crate::workload::{Presence, Verb};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Uri};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before another attempt to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Most puts in one transaction: etcd's default for `--max-txn-ops`.
const TXN_OPS_MAX: u64 = 128;
/// Most bytes in one transaction, below etcd's default of 1.5 MiB for a request.
const TXN_BYTES_MAX: u64 = 1 << 20;
/// Bytes of answers that may arrive before they are taken, for each connection and each call.
const WINDOW_BYTES: u32 = 8 << 20;
/// Connections that fill the key space.
const PRELOAD_CONNECTIONS: u64 = 8;

/// Why a call failed.
#[derive(Debug)]
enum CallError {
    /// The connection is of no further use.
    Broken(String),
    /// etcd answered with an error.
    Refused(String),
}

impl From<h2::Error> for CallError {
    fn from(error: h2::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Broken(text) | CallError::Refused(text) => Failure::new(text),
        }
    }
}

/// One HTTP/2 connection.
#[derive(Clone)]
struct Channel {
    sender: SendRequest<Bytes>,
    put: Uri,
    range: Uri,
    txn: Uri,
    status: Uri,
}

impl Channel {
    async fn connect(address: &str) -> Result<Self, CallError> {
        let broken = |error: &dyn std::fmt::Display| CallError::Broken(error.to_string());
        let attempt = async {
            let stream = TcpStream::connect(address).await.map_err(|error| broken(&error))?;
            stream.set_nodelay(true).map_err(|error| broken(&error))?;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            let (sender, connection) = builder.handshake(stream).await?;
            // It ends when the last sender is dropped; its error also reaches every call.
            tokio::spawn(async move { drop(connection.await) });
            Ok::<_, CallError>(sender)
        };
        let sender = tokio::time::timeout(CONNECT_TIMEOUT, attempt)
            .await
            .map_err(|_| CallError::Broken("connecting took too long".to_owned()))??;
        let uri = |path: &str| {
            Uri::builder().scheme("http").authority(address).path_and_query(path).build()
        };
        let uri = |path| uri(path).map_err(|error| broken(&error));
        Ok(Self {
            sender,
            put: uri("/etcdserverpb.KV/Put")?,
            range: uri("/etcdserverpb.KV/Range")?,
            txn: uri("/etcdserverpb.KV/Txn")?,
            status: uri("/etcdserverpb.Maintenance/Status")?,
        })
    }

    /// One unary call; the answer is the message without its header.
    async fn call(&self, uri: &Uri, message: Bytes) -> Result<Bytes, CallError> {
        let mut request = Request::post(uri.clone());
        if let Some(headers) = request.headers_mut() {
            headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
            headers.insert("te", http::HeaderValue::from_static("trailers"));
        }
        let request = request.body(()).map_err(|error| CallError::Broken(error.to_string()))?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(request, false)?;
        stream.send_data(message, true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut answer = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            answer.extend_from_slice(&chunk);
        }
        // An answer without a message has its status in the only headers there are.
        let trailers = body.trailers().await?;
        check_status(trailers.as_ref().unwrap_or(&head.headers))?;
        if answer.len() < GRPC_HEADER_BYTES {
            return Err(CallError::Broken("an answer without a message".to_owned()));
        }
        Ok(answer.freeze().slice(GRPC_HEADER_BYTES..))
    }
}

fn check_status(headers: &HeaderMap) -> Result<(), CallError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    match text("grpc-status") {
        "0" => Ok(()),
        status => Err(CallError::Refused(format!("GRPC-{status} {}", text("grpc-message")))),
    }
}

/// Length of the header of a gRPC message: not compressed, and the length.
const GRPC_HEADER_BYTES: usize = 5;

/// A gRPC message that `fields` writes.
fn message(fields: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    out.put_bytes(0, GRPC_HEADER_BYTES);
    fields(&mut out);
    let length = (out.len() - GRPC_HEADER_BYTES) as u32;
    out[1..GRPC_HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// A field of type `bytes`, or a nested message.
fn put_bytes(out: &mut BytesMut, field: u8, bytes: &[u8]) {
    out.put_u8(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// `PutRequest`.
fn put_put(out: &mut BytesMut, key: &[u8], value: &[u8]) {
    put_bytes(out, 1, key);
    put_bytes(out, 2, value);
}

/// `RangeRequest` of one key.
fn put_range(out: &mut BytesMut, key: &[u8], serializable: bool) {
    put_bytes(out, 1, key);
    if serializable {
        out.put_slice(&[7 << 3, 1]);
    }
}

/// One field of a received message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers; ends early where the bytes are no message.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        let tag = take_varint(&mut bytes)?;
        let field = match tag & 7 {
            0 => Field::Number(take_varint(&mut bytes)?),
            1 => Field::Bytes(bytes.split_off(..8)?),
            2 => {
                let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
                Field::Bytes(bytes.split_off(..length)?)
            }
            5 => Field::Bytes(bytes.split_off(..4)?),
            _ => return None,
        };
        Some((tag >> 3, field))
    })
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Whether the node at `address` leads; `None` while it knows no leader.
///
/// Errors: it does not answer.
pub(crate) async fn leads(address: &str) -> Result<Option<bool>, Failure> {
    let conversation = async {
        let channel = Channel::connect(address).await?;
        channel.call(&channel.status, message(|_| {})).await
    };
    let answer = tokio::time::timeout(CONNECT_TIMEOUT, conversation)
        .await
        .map_err(|_| Failure::new(format!("{address}: no answer")))??;
    Ok(leads_by(&answer))
}

/// Reads `StatusResponse`: the member asked is field 2 of its header, the leader is field 4.
fn leads_by(status: &[u8]) -> Option<bool> {
    let (mut member, mut leader) = (0, 0);
    for (number, field) in fields(status) {
        match (number, field) {
            (1, Field::Bytes(header)) => {
                member = fields(header)
                    .find_map(|(number, field)| match field {
                        Field::Number(id) if number == 2 => Some(id),
                        _ => None,
                    })
                    .unwrap_or(0);
            }
            (4, Field::Number(id)) => leader = id,
            _ => {}
        }
    }
    (leader != 0).then_some(member == leader)
}

/// A connection and the calls it makes.
pub(crate) struct EtcdConnection {
    plan: Rc<Plan>,
    node: String,
    channel: Option<Channel>,
    picker: KeyPicker,
    random: Random,
    pool: Rc<[u8]>,
    /// Calls of the current round that are counted and have no answer yet.
    pending: Cell<u64>,
}

impl EtcdConnection {
    /// Whether etcd has calls for `verb`.
    pub(crate) fn can(verb: Verb) -> bool {
        matches!(verb, Verb::Set | Verb::Get | Verb::Mix)
    }

    /// Connects to `node`.
    ///
    /// Errors: no connection, or the workload has requests that etcd does not know.
    pub(crate) async fn open(
        plan: Rc<Plan>,
        node: String,
        seed: u64,
        pool: Rc<[u8]>,
    ) -> Result<Self, Failure> {
        if !Self::can(plan.workload.verb) {
            return Err(Failure::new("etcd knows SET, GET and their mix only"));
        }
        Ok(Self {
            channel: Some(Channel::connect(&node).await?),
            node,
            picker: KeyPicker::new(plan.workload.distribution, plan.workload.keys),
            random: Random::new(seed),
            pool,
            pending: Cell::new(0),
            plan,
        })
    }

    /// Makes a round of calls at each of its `turns`, then waits for the last answers.
    pub(crate) async fn run(mut self, shared: &Shared, mut turns: Turns) {
        let hard_end = tokio::time::Instant::from_std(shared.window.hard_end);
        let in_time = tokio::time::timeout_at(hard_end, self.drive(shared, &mut turns)).await;
        if in_time.is_err() {
            shared.tally.borrow_mut().unanswered += self.pending.get();
            turns.abandon(shared, self.plan.pipeline);
        }
    }

    async fn drive(&mut self, shared: &Shared, turns: &mut Turns) {
        while turns.are_left(shared) {
            if self.channel.is_none() {
                self.channel = Channel::connect(&self.node).await.ok();
                if self.channel.is_none() {
                    shared.tally.borrow_mut().connection_errors += 1;
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
                continue;
            }
            let due = turns.next(shared).await;
            let count = shared.take(self.plan.pipeline, due.unwrap_or_else(Instant::now));
            let calls: Vec<(Class, Bytes)> = (0..count).map(|_| self.next_request()).collect();
            let Some(channel) = &self.channel else { continue };
            let began = due.unwrap_or_else(Instant::now);
            let counted = began >= shared.window.start;
            self.pending.set(if counted { count as u64 } else { 0 });
            let answers = calls
                .into_iter()
                .map(|(class, message)| self.one(channel, class, message, began, counted, shared));
            let whole = join_all(answers).await.into_iter().all(|whole| whole);
            if !whole {
                self.channel = None;
                shared.tally.borrow_mut().connection_errors += u64::from(counted);
            }
        }
    }

    /// Makes one call and counts it; `false` when the connection is broken.
    async fn one(
        &self,
        channel: &Channel,
        class: Class,
        message: Bytes,
        began: Instant,
        counted: bool,
        shared: &Shared,
    ) -> bool {
        let uri = if class == Class::Read { &channel.range } else { &channel.put };
        let answer = channel.call(uri, message).await;
        let now = Instant::now();
        if !counted {
            return !matches!(answer, Err(CallError::Broken(_)));
        }
        self.pending.set(self.pending.get() - 1);
        let mut tally = shared.tally.borrow_mut();
        match answer {
            Ok(message) => {
                let found = fields(&message).any(|(number, _)| number == 2);
                let missed = class == Class::Read && !found;
                tally.misses += u64::from(missed);
                if missed && self.plan.workload.presence == Presence::Filled {
                    tally.record_error(MISS);
                } else {
                    tally.record(class, now.saturating_duration_since(began), 1, now);
                }
                true
            }
            Err(CallError::Refused(text)) => {
                tally.record_error(&text);
                true
            }
            Err(CallError::Broken(_)) => {
                tally.unanswered += 1;
                false
            }
        }
    }

    fn next_request(&mut self) -> (Class, Bytes) {
        let read = match self.plan.workload.verb {
            Verb::Get => true,
            Verb::Mix => self.random.below(100) < u64::from(self.plan.workload.read_percent),
            Verb::Set | Verb::Incr | Verb::Mset => false,
        };
        let key = key(self.picker.pick(&mut self.random));
        if read {
            let serializable = self.plan.readonly;
            return (Class::Read, message(|out| put_range(out, &key, serializable)));
        }
        let size = self.plan.workload.value_bytes;
        let start = self.random.below((self.pool.len() - size) as u64 + 1) as usize;
        let value = &self.pool[start..start + size];
        (Class::Write, message(|out| put_put(out, &key, value)))
    }
}

/// The key of a number, as the other peers get it.
fn key(number: u64) -> Vec<u8> {
    let mut key = b"key:".to_vec();
    push_digits(&mut key, number);
    key
}

/// Writes every key of the workload's key space once, in transactions of many.
///
/// Errors: no connection, or a transaction fails.
pub(crate) fn preload(plan: &Plan, pool: &[u8]) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = plan.addresses.first().ok_or_else(|| Failure::new("no address given"))?;
    let size = plan.workload.value_bytes;
    let keys = plan.workload.keys;
    let in_one = TXN_OPS_MAX.min(TXN_BYTES_MAX / (size as u64 + 64)).max(1);
    let fill = async |first: u64| -> Result<(), Failure> {
        let channel = Channel::connect(address).await?;
        let mut random = Random::new(plan.seed.wrapping_add(first));
        for begin in (first * in_one..keys).step_by((in_one * PRELOAD_CONNECTIONS) as usize) {
            let request = message(|out| {
                for number in begin..keys.min(begin + in_one) {
                    let start = random.below((pool.len() - size) as u64 + 1) as usize;
                    let mut put = BytesMut::new();
                    put_put(&mut put, &key(number), &pool[start..start + size]);
                    let mut operation = BytesMut::new();
                    put_bytes(&mut operation, 2, &put);
                    put_bytes(out, 2, &operation);
                }
            });
            channel.call(&channel.txn, request).await?;
        }
        Ok(())
    };
    runtime.block_on(async {
        join_all((0..PRELOAD_CONNECTIONS).map(fill)).await.into_iter().collect()
    })
}

#[cfg(test)]
mod tests;
