//! A connection to one peer for one purpose: requests are pipelined, answers matched by id.
//!
//! Bulk, heartbeats and forwarded requests each have a link of their own, so that a large entry
//! never delays a heartbeat. A link connects when it is first used and again after it broke. The
//! outcome of a call says whether the request can have been acted on: `NotSent` and `Refused` mean
//! no, `Lost` means perhaps.

use crate::limits::{PEER_CONNECT_WAIT, PEER_WRITE_BATCH_BYTES};
use crate::raft::frame::{Frame, FrameCodec, Kind};
use crate::raft::identity::Identity;
use crate::raft::peers::Peers;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{Encoder, FramedRead};

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The request was not sent; it was not acted on.
    #[error("peer not reached: {0}")]
    NotSent(String),
    /// The peer refused to act on the request.
    #[error("peer refused: {0}")]
    Refused(String),
    /// The connection broke or time ran out after the request was sent.
    #[error("no answer from peer: {0}")]
    Lost(String),
}

type Answer = Result<Bytes, CallError>;
type Pending = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

/// A link; see the module.
pub(crate) struct PeerLink {
    address: String,
    target: u64,
    shard: u16,
    identity: Arc<Identity>,
    peers: Arc<Peers>,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
}

impl PeerLink {
    /// A link to the peer listener at `address`, for node `target` (0: whoever listens there).
    pub(crate) fn new(
        address: String,
        target: u64,
        shard: u16,
        identity: Arc<Identity>,
        peers: Arc<Peers>,
    ) -> Self {
        let connection = tokio::sync::Mutex::new(None);
        Self { address, target, shard, identity, peers, connection }
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(&self, kind: Kind, payload: Bytes, wait: Duration) -> Answer {
        self.connect().await?.call(kind, payload, wait).await
    }

    /// The live connection, made anew when there is none.
    pub(crate) async fn connect(&self) -> Result<Arc<Connection>, CallError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(connection.clone());
        }
        let connecting = TcpStream::connect(&self.address);
        let stream = tokio::time::timeout(PEER_CONNECT_WAIT, connecting)
            .await
            .map_err(|_| CallError::NotSent(format!("{}: connect timed out", self.address)))?
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| CallError::NotSent(format!("{}: {error}", self.address)))?;
        let connection = Arc::new(Connection::new(stream, self));
        *slot = Some(connection.clone());
        Ok(connection)
    }
}

/// One TCP connection of a link.
pub(crate) struct Connection {
    frames: mpsc::UnboundedSender<Frame>,
    pending: Pending,
    next_id: AtomicU64,
    shard: u16,
    target: u64,
    identity: Arc<Identity>,
    peers: Arc<Peers>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Connection {
    fn new(stream: TcpStream, link: &PeerLink) -> Self {
        let (read, write) = stream.into_split();
        let pending: Pending = Arc::new(Mutex::new(Some(HashMap::new())));
        // Unbounded, yet bounded by its users: each keeps a fixed number of requests in flight.
        let (frames, outgoing) = mpsc::unbounded_channel();
        crate::tasks::spawn(write_frames(write, outgoing, pending.clone()));
        let reader = crate::tasks::spawn(read_answers(read, pending.clone()));
        Self {
            frames,
            pending,
            next_id: AtomicU64::new(1),
            shard: link.shard,
            target: link.target,
            identity: link.identity.clone(),
            peers: link.peers.clone(),
            reader,
        }
    }

    /// Whether requests can still be sent on it.
    pub(crate) fn is_alive(&self) -> bool {
        self.pending.lock().is_some()
    }

    /// Sends a request at once, in the order of calls; the answer comes later.
    pub(crate) fn start(
        &self,
        kind: Kind,
        payload: Bytes,
    ) -> Result<oneshot::Receiver<Answer>, CallError> {
        let request_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        match self.pending.lock().as_mut() {
            Some(pending) => pending.insert(request_id, answer),
            None => return Err(CallError::NotSent("connection closed".to_owned())),
        };
        let state = self.identity.state();
        let cluster_id = match (state.cluster_id, state.pledge) {
            (0, Some(pledge)) => pledge.cluster_id,
            (cluster_id, _) => cluster_id,
        };
        let (shard, from, to) = (self.shard, state.node_id, self.target);
        let frame = Frame { kind, shard, cluster_id, from, to, request_id, payload };
        self.peers.sent.fetch_add(1, Ordering::Relaxed);
        self.frames
            .send(frame)
            .map_err(|_| CallError::NotSent("connection closed".to_owned()))?;
        Ok(receiver)
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(&self, kind: Kind, payload: Bytes, wait: Duration) -> Answer {
        wait_answer(self.start(kind, payload)?, wait).await
    }
}

/// Waits for the answer of a request that was started.
pub(crate) async fn wait_answer(receiver: oneshot::Receiver<Answer>, wait: Duration) -> Answer {
    match tokio::time::timeout(wait, receiver).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(CallError::Lost("connection closed".to_owned())),
        Err(_) => Err(CallError::Lost(format!("no answer within {} ms", wait.as_millis()))),
    }
}

fn close(pending: &Pending, why: &str) {
    for (_, waiter) in pending.lock().take().into_iter().flatten() {
        // A receiver that is gone no longer wants the answer.
        drop(waiter.send(Err(CallError::Lost(why.to_owned()))));
    }
}

async fn write_frames(
    mut write: OwnedWriteHalf,
    mut frames: mpsc::UnboundedReceiver<Frame>,
    pending: Pending,
) {
    let mut buffer = BytesMut::new();
    while let Some(first) = frames.recv().await {
        let mut next = Some(first);
        while let Some(frame) = next.take() {
            if FrameCodec.encode(frame, &mut buffer).is_err() {
                return close(&pending, "a frame could not be encoded");
            }
            if buffer.len() < PEER_WRITE_BATCH_BYTES {
                next = frames.try_recv().ok();
            }
        }
        if let Err(error) = write.write_all(&buffer).await {
            return close(&pending, &error.to_string());
        }
        match buffer.capacity() > 2 * PEER_WRITE_BATCH_BYTES {
            true => buffer = BytesMut::new(),
            false => buffer.clear(),
        }
    }
}

async fn read_answers(read: OwnedReadHalf, pending: Pending) {
    let mut frames = FramedRead::new(read, FrameCodec);
    let why = loop {
        match frames.next().await {
            Some(Ok(frame)) => {
                let waiter =
                    pending.lock().as_mut().and_then(|pending| pending.remove(&frame.request_id));
                let answer = match frame.kind {
                    Kind::Answer => Ok(frame.payload),
                    _ => Err(CallError::Refused(
                        String::from_utf8_lossy(&frame.payload).into_owned(),
                    )),
                };
                if let Some(waiter) = waiter {
                    // A receiver that is gone no longer wants the answer.
                    drop(waiter.send(answer));
                }
            }
            Some(Err(error)) => break error.to_string(),
            None => break "closed by peer".to_owned(),
        }
    };
    close(&pending, &why);
}
