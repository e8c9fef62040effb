//! A connection to one peer for one purpose: requests are pipelined, answers matched by id.
//!
//! Bulk, heartbeats and forwarded requests each have a link of their own, so that a large entry
//! never delays a heartbeat. A link connects when it is first used and again after it broke. The
//! outcome of a call says whether the request can have been acted on: `NotSent` and `Refused` mean
//! no, `Lost` means perhaps. A connection that owes answers and stays silent is given up: behind a
//! partition TCP would keep it, with all that waits to be sent, for a quarter of an hour, and would be
//! slow to notice that the partition healed.

use crate::limits::{PEER_CONNECT_WAIT, PEER_WRITE_BATCH_BYTES};
use crate::raft::frame::{Frame, FrameCodec, Kind, next_frame};
use crate::raft::identity::Identity;
use crate::raft::peers::Peers;
use crate::transport::{Incoming, Outgoing};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::codec::{Encoder, FramedRead};

/// A connection that owes answers and says nothing for so long is given up at the next timeout.
const SILENCE_MAX: Duration = Duration::from_secs(5);

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
type Pending = Arc<Mutex<Option<FxHashMap<u64, oneshot::Sender<Answer>>>>>;

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
        let connecting = self.peers.transport.connect(&self.address);
        let halves = tokio::time::timeout(PEER_CONNECT_WAIT, connecting)
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
            .map_err(|error| {
                self.peers.lost(self.target);
                CallError::NotSent(format!("{}: {error}", self.address))
            })?;
        let connection = Arc::new(Connection::new(halves, self));
        *slot = Some(connection.clone());
        Ok(connection)
    }
}

/// One connection of a link.
pub(crate) struct Connection {
    frames: mpsc::UnboundedSender<Frame>,
    pending: Pending,
    next_id: AtomicU64,
    shard: u16,
    target: u64,
    identity: Arc<Identity>,
    peers: Arc<Peers>,
    /// When the first request was sent since the peer last said anything.
    silent_since: Arc<Mutex<Option<Instant>>>,
    reader: tokio::task::JoinHandle<()>,
    writer: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

impl Connection {
    fn new((read, write): (Incoming, Outgoing), link: &PeerLink) -> Self {
        let pending: Pending = Arc::new(Mutex::new(Some(FxHashMap::default())));
        // Unbounded, yet bounded by its users: each keeps a fixed number of requests in flight, and
        // after timeouts the connection is given up.
        let (frames, outgoing) = mpsc::unbounded_channel();
        let silent_since = Arc::new(Mutex::new(None));
        let writer = crate::tasks::spawn(write_frames(write, outgoing, pending.clone()));
        let answers = read_answers(read, pending.clone(), silent_since.clone());
        let (peers, target) = (link.peers.clone(), link.target);
        let reader = crate::tasks::spawn(async move {
            answers.await;
            peers.lost(target);
        });
        Self {
            frames,
            pending,
            next_id: AtomicU64::new(1),
            shard: link.shard,
            target: link.target,
            identity: link.identity.clone(),
            peers: link.peers.clone(),
            silent_since,
            reader,
            writer,
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
        self.silent_since.lock().get_or_insert_with(Instant::now);
        self.frames.send(frame).map_err(|_| CallError::NotSent("connection closed".to_owned()))?;
        Ok(receiver)
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(&self, kind: Kind, payload: Bytes, wait: Duration) -> Answer {
        self.wait(self.start(kind, payload)?, wait).await
    }

    /// Waits for the answer of a request that was started.
    pub(crate) async fn wait(&self, receiver: oneshot::Receiver<Answer>, wait: Duration) -> Answer {
        match tokio::time::timeout(wait, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::Lost("connection closed".to_owned())),
            Err(_) => {
                self.give_up_if_silent();
                Err(CallError::Lost(format!("no answer within {} ms", wait.as_millis())))
            }
        }
    }

    fn give_up_if_silent(&self) {
        let since = *self.silent_since.lock();
        if since.is_some_and(|since| since.elapsed() >= SILENCE_MAX) {
            close(&self.pending, "the peer is silent");
            self.reader.abort();
            self.writer.abort();
        }
    }
}

fn close(pending: &Pending, why: &str) {
    for (_, waiter) in pending.lock().take().into_iter().flatten() {
        // A receiver that is gone no longer wants the answer.
        drop(waiter.send(Err(CallError::Lost(why.to_owned()))));
    }
}

async fn write_frames(
    mut write: Outgoing,
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
        let written = match write.write_all(&buffer).await {
            Ok(()) => write.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            return close(&pending, &error.to_string());
        }
        match buffer.capacity() > 2 * PEER_WRITE_BATCH_BYTES {
            true => buffer = BytesMut::new(),
            false => buffer.clear(),
        }
    }
}

async fn read_answers(read: Incoming, pending: Pending, silent_since: Arc<Mutex<Option<Instant>>>) {
    let mut frames = FramedRead::new(read, FrameCodec);
    let why = loop {
        match next_frame(&mut frames).await {
            Some(Ok(frame)) => {
                *silent_since.lock() = None;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_peer_is_given_up_and_a_slow_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity::open(dir.path(), 17, 1, false).unwrap());
        // Connections are accepted by the kernel, and nobody answers.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let link = PeerLink::new(address, 2, 0, identity, Arc::default());
        let call = || link.call(Kind::Append, Bytes::new(), Duration::from_millis(20));
        assert!(matches!(call().await, Err(CallError::Lost(_))));
        let connection = link.connect().await.unwrap();
        assert!(connection.is_alive(), "it may only be slow");
        *connection.silent_since.lock() = Instant::now().checked_sub(SILENCE_MAX);
        assert!(matches!(call().await, Err(CallError::Lost(_))));
        assert!(!connection.is_alive());
        assert!(link.connect().await.unwrap().is_alive(), "the next call connects anew");
    }

    #[tokio::test]
    async fn a_peer_that_closes_or_refuses_is_no_longer_connected() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity::open(dir.path(), 17, 1, false).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peers: Arc<Peers> = Arc::default();
        let link = PeerLink::new(address, 2, 0, identity, peers.clone());
        let connection = link.connect().await.unwrap();
        peers.heard(2);
        assert!(peers.figures(2).connected);
        // Its process dies: the connection ends, and the port is free.
        drop(listener.accept().await.unwrap());
        drop(listener);
        let noticed = async {
            while peers.figures(2).connected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), noticed).await.expect("the end is noticed");
        assert!(!connection.is_alive());
        peers.heard(2);
        assert!(link.connect().await.is_err());
        assert!(!peers.figures(2).connected, "it refused");
    }
}
