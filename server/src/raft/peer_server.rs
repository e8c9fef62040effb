//! What peers ask of this node: Raft's messages, forwarded writes, read indexes, orders.
//!
//! A frame of a wrong cluster or for another node is refused and traced; a frame that is no frame
//! ends its connection. Each connection works on a bounded number of requests at a time. Streamed
//! appends are answered in order, everything else as it is done. Who connects and sends no frame that is
//! taken keeps no peer out.

use crate::limits::{PEER_CONNECTIONS_MAX, PEER_REQUESTS_MAX, PEER_WRITE_BATCH_BYTES};
use crate::raft::append_stream::{AppendStream, Ending};
use crate::raft::applier::{SnapshotData, store_index};
use crate::raft::bootstrap::Bootstrap;
use crate::raft::codec::Wire;
use crate::raft::confirm;
use crate::raft::error::ReplicationError;
use crate::raft::forward::{ForwardAnswer, ForwardRequest};
use crate::raft::frame::{Frame, FrameCodec, Kind, first_frame, next_frame};
use crate::raft::node::Node;
use crate::raft::peers::Refused;
use crate::raft::proposer::Operations;
use crate::raft::strangers::{Stranger, Strangers};
use crate::raft::types::*;
use crate::state_machine::{Checked, Entry as StateEntry};
use crate::tasks::work;
use crate::transport::{Incoming as Reading, Outgoing, Secured};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::StorageError;
use storage::mutants::{self, Mutant};
use storage::snapshot::SnapshotSink;
use storage::space::Room;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::codec::{Encoder, FramedRead};
use tokio_util::sync::CancellationToken;

/// Why a request is refused: it was not acted on.
type Refusal = String;
type Answer = Result<Bytes, Refusal>;

/// The peers' side of a node.
#[derive(Clone)]
pub(crate) struct PeerServer {
    pub(crate) node: Node,
    pub(crate) bootstrap: Arc<Bootstrap>,
    pub(crate) stop: CancellationToken,
}

impl PeerServer {
    /// Accepts peers until the node stops.
    pub(crate) async fn run(self, listener: TcpListener, door: Arc<Secured>) {
        let places = Arc::new(Semaphore::new(PEER_CONNECTIONS_MAX));
        let strangers = Strangers::default();
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, remote)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (server, door) = (self.clone(), door.clone());
            let way_in = WayIn::Stranger(strangers.enter(), places.clone());
            crate::tasks::spawn(async move {
                let (stop, remote) = (server.stop.clone(), remote.to_string());
                let shown_out = way_in.shown_out();
                let served = async {
                    match door.accept(stream).await {
                        Ok((read, write)) => server.serve(read, write, &remote, way_in).await,
                        Err(error) => server.complain(&remote, &error),
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = shown_out.cancelled() => {}
                    () = served => {}
                }
            });
        }
    }

    /// Traces a handshake that failed.
    fn complain(&self, remote: &str, error: &io::Error) {
        if let Some(untraced) = self.node.shared.peers.refuse(Refused::Handshake) {
            let (node, term, index) = self.node.shared.place();
            tracing::warn!(node, term, index, %remote, %error, untraced, "refused peer: no TLS connection");
        }
    }

    /// Serves one peer's connection until it ends; `remote` names the peer in traces.
    pub(crate) async fn serve(
        self,
        read: Reading,
        write: Outgoing,
        remote: &str,
        mut way_in: WayIn,
    ) {
        let (answers, outgoing) = mpsc::channel(PEER_REQUESTS_MAX);
        crate::tasks::spawn(write_answers(write, outgoing));
        let mut connection = Connection {
            server: self,
            answers,
            appends: None,
            snapshot: Mutex::new(None),
            working: Arc::new(Semaphore::new(PEER_REQUESTS_MAX)),
        };
        let mut frames = FramedRead::new(read, FrameCodec);
        loop {
            let frame = match way_in {
                WayIn::Known { .. } => next_frame(&mut frames).await,
                WayIn::Stranger(..) => first_frame(&mut frames).await,
            };
            let Some(frame) = frame else { return };
            match frame {
                Ok(frame) => {
                    if connection.take(frame, remote).await && !way_in.make_known() {
                        return;
                    }
                }
                Err(error) => {
                    let shared = &connection.server.node.shared;
                    if let Some(untraced) = shared.peers.refuse(Refused::Bytes) {
                        let (node, term, index) = shared.place();
                        tracing::warn!(node, term, index, %remote, %error, untraced, "refused peer");
                    }
                    return;
                }
            }
        }
    }
}

/// How far a connection to the peer listener has come in.
pub(crate) enum WayIn {
    /// No frame of it was taken yet; and where the places of the others are.
    Stranger(Stranger, Arc<Semaphore>),
    /// With its place among them, where those are counted.
    Known { _place: Option<OwnedSemaphorePermit> },
}

impl WayIn {
    /// Cancelled when it has to make way.
    fn shown_out(&self) -> CancellationToken {
        match self {
            WayIn::Stranger(stranger, _) => stranger.shown_out.clone(),
            WayIn::Known { .. } => CancellationToken::new(),
        }
    }

    /// A frame of it was taken. False: there is no place for it.
    fn make_known(&mut self) -> bool {
        let WayIn::Stranger(_, places) = self else { return true };
        let place = places.clone().try_acquire_owned().ok();
        let has_place = place.is_some();
        *self = WayIn::Known { _place: place };
        has_place
    }
}

/// One peer's connection.
struct Connection {
    server: PeerServer,
    answers: mpsc::Sender<Frame>,
    /// Where streamed appends go, once there are any.
    appends: Option<AppendStream>,
    /// The snapshot being received.
    snapshot: Mutex<Option<Incoming>>,
    working: Arc<Semaphore>,
}

struct Incoming {
    vote: Vote,
    meta: SnapshotMeta,
    sink: Box<dyn SnapshotSink>,
    /// Received so far.
    bytes: u64,
}

impl Connection {
    /// Does, or begins, what a frame asks. False: it is refused.
    async fn take(&mut self, frame: Frame, remote: &str) -> bool {
        let peers = self.server.node.shared.peers.clone();
        peers.received.fetch_add(1, Ordering::Relaxed);
        if let Err(why) = self.check(&frame) {
            if let Some(untraced) = peers.refuse(Refused::Frame) {
                let (from, kind) = (frame.from, frame.kind);
                let (node, term, index) = self.server.node.shared.place();
                tracing::warn!(node, term, index, %remote, from, ?kind, why, untraced, "refused peer");
            }
            self.answer(&frame, Err(why)).await;
            return false;
        }
        peers.heard(frame.from);
        match frame.kind {
            Kind::AppendStream => self.append(frame).await,
            Kind::SnapshotBegin | Kind::SnapshotChunk | Kind::SnapshotEnd => {
                let payload = frame.payload.clone();
                let answer = self.snapshot(frame.kind, payload).await;
                if answer.is_err() {
                    let machine = &self.server.node.shared.machine;
                    machine.snapshot_receiving.store(false, Ordering::Relaxed);
                }
                self.answer(&frame, answer.map_err(|error| error.to_string())).await;
            }
            _ => {
                let Ok(permit) = self.working.clone().acquire_owned().await else { return true };
                let (server, answers) = (self.server.clone(), self.answers.clone());
                crate::tasks::spawn(async move {
                    let answer = server.work(&frame).await;
                    send(&answers, &server, &frame, answer).await;
                    drop(permit);
                });
            }
        }
        true
    }

    /// Whether a frame is for this node and of its cluster.
    fn check(&self, frame: &Frame) -> Result<(), Refusal> {
        let shared = &self.server.node.shared;
        let identity = &shared.identity;
        let state = identity.state();
        if mutants::on(Mutant::StrangersAdmitted) {
            return Ok(());
        }
        if frame.to != 0 && frame.to != state.node_id {
            return Err(format!("this is node {}, not {}", state.node_id, frame.to));
        }
        let before_membership = [
            Kind::Identify,
            Kind::Join,
            Kind::Invite,
            Kind::Promise,
            Kind::Release,
            Kind::StartOver,
        ];
        if before_membership.contains(&frame.kind) {
            return Ok(());
        }
        if state.removed {
            return Err(format!("node {} was removed from its cluster", state.node_id));
        }
        if frame.shard != shared.machine.shard {
            return Err(format!("there is no shard {} here", frame.shard));
        }
        match identity.admits(frame.cluster_id) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!(
                "wrong cluster {:016x}, not {:016x}",
                frame.cluster_id, state.cluster_id
            )),
            Err(error) => Err(format!("identity cannot be saved: {error}")),
        }
    }

    async fn answer(&self, frame: &Frame, answer: Answer) {
        send(&self.answers, &self.server, frame, answer).await;
    }

    /// Feeds the connection's append stream, which answers in order.
    async fn append(&mut self, frame: Frame) {
        let counters = &self.server.node.shared.counters;
        counters.append_requests.fetch_add(1, Ordering::Relaxed);
        let mut request = match AppendRequest::from_bytes(frame.payload.clone()) {
            Ok(request) => request,
            Err(error) => return self.answer(&frame, Err(error.to_string())).await,
        };
        if mutants::on(Mutant::ApplyBeforeCommit) {
            let last = request.entries.last().map(|entry| entry.log_id);
            request.leader_commit = last.max(request.leader_commit);
        }
        if !request.entries.is_empty() {
            let shared = &self.server.node.shared;
            if shared.space.room() == Room::Exhausted {
                // The others go on without this node, which catches up when it has room.
                return self.answer(&frame, Err(NO_ROOM.to_owned())).await;
            }
            let peers = &shared.peers;
            peers.appends_with_entries.fetch_add(1, Ordering::Relaxed);
        }
        if self.appends.as_ref().is_none_or(AppendStream::has_ended) {
            let (stream, requests, ending) = AppendStream::new(PEER_REQUESTS_MAX);
            let (server, answers) = (self.server.clone(), self.answers.clone());
            crate::tasks::spawn(append_stream(server, answers, requests, ending));
            self.appends = Some(stream);
        }
        if let Some(stream) = &self.appends
            && let Err(late) = stream.send(head_of(frame), request).await
        {
            self.answer(&late, Err(AFTER_CONFLICT.to_owned())).await;
        }
    }

    async fn snapshot(&mut self, kind: Kind, payload: Bytes) -> io::Result<Bytes> {
        let shared = &self.server.node.shared;
        match kind {
            Kind::SnapshotBegin => {
                if shared.space.room() != Room::Enough {
                    return Err(io::Error::other(NO_ROOM));
                }
                let mut payload = payload;
                let vote = Vote::read(&mut payload)?;
                let meta = SnapshotMeta::read(&mut payload)?;
                let engine = shared.machine.engine.clone();
                let sink = work(&*shared.machine.workers, move || engine.import()).await;
                let sink = sink.map_err(io::Error::other)?;
                shared.machine.snapshot_receiving.store(true, Ordering::Relaxed);
                let (node, term, index) = shared.place();
                let upto = meta.last_log_id.as_ref().map_or(0, store_index);
                tracing::info!(node, term, index, upto, "receiving a snapshot");
                *self.snapshot.lock() = Some(Incoming { vote, meta, sink, bytes: 0 });
                Ok(Bytes::new())
            }
            Kind::SnapshotChunk => {
                shared.peers.snapshot_pieces.fetch_add(1, Ordering::Relaxed);
                let bytes = payload.len() as u64;
                let incoming = self.snapshot.lock().take();
                let mut incoming = incoming.ok_or_else(|| io::Error::other("no snapshot began"))?;
                // What failed is dropped there, too: that removes files.
                let written = work(&*shared.machine.workers, move || {
                    incoming.sink.write_chunk(payload)?;
                    Ok::<_, StorageError>(incoming)
                })
                .await;
                let mut incoming = written.map_err(io::Error::other)?;
                incoming.bytes += bytes;
                *self.snapshot.lock() = Some(incoming);
                Ok(Bytes::new())
            }
            _ => {
                let incoming = self.snapshot.lock().take();
                let mut incoming = incoming.ok_or_else(|| io::Error::other("no snapshot began"))?;
                // Before Raft's library takes over, which would end the node for want of room.
                let completed = work(&*shared.machine.workers, move || {
                    let last = incoming.meta.last_log_id.as_ref();
                    incoming.sink.complete(last.map_or(0, store_index))?;
                    Ok::<_, StorageError>(incoming)
                })
                .await;
                let incoming = completed.map_err(io::Error::other)?;
                let (vote, meta, bytes) = (incoming.vote, incoming.meta, incoming.bytes);
                let log_index = meta.last_log_id;
                let data = SnapshotData::Received(incoming.sink);
                let installed =
                    shared.raft.install_full_snapshot(vote, Snapshot { meta, snapshot: data });
                let response = installed.await.map_err(io::Error::other)?;
                shared.machine.snapshot_receiving.store(false, Ordering::Relaxed);
                shared.machine.note_snapshot(log_index.as_ref().map_or(0, term_of), bytes);
                let (node, term, index) = shared.place();
                tracing::info!(node, term, index, bytes, "snapshot installed");
                Ok(response.to_bytes())
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.snapshot.lock().is_some() {
            let machine = &self.server.node.shared.machine;
            machine.snapshot_receiving.store(false, Ordering::Relaxed);
        }
    }
}

impl PeerServer {
    /// Does what one request asks.
    async fn work(&self, frame: &Frame) -> Answer {
        let payload = frame.payload.clone();
        let raft = &self.node.shared.raft;
        match frame.kind {
            Kind::Append => {
                let request = AppendRequest::from_bytes(payload).map_err(text)?;
                Ok(raft.append_entries(request).await.map_err(text)?.to_bytes())
            }
            Kind::Vote => {
                let request = VoteRequest::from_bytes(payload).map_err(text)?;
                Ok(raft.vote(request).await.map_err(text)?.to_bytes())
            }
            Kind::PreVote => {
                let request = VoteRequest::from_bytes(payload).map_err(text)?;
                Ok(raft.pre_vote(request).await.map_err(text)?.to_bytes())
            }
            Kind::Transfer => {
                let request = TransferRequest::from_bytes(payload).map_err(text)?;
                Ok(raft.handle_transfer_leader(request).await.map_err(text)?.to_bytes())
            }
            Kind::Forward => {
                let request = ForwardRequest::from_bytes(payload).map_err(text)?;
                if StateEntry::count_operations(&request.operations) != Some(request.count) {
                    return Err("unreadable operations".to_owned());
                }
                // A follower of a newer version must not get the older nodes stopped.
                let ForwardRequest { operations: encoded, count } = request;
                let Checked { may_grow, certain } =
                    crate::state_machine::check_operations(&encoded).map_err(text)?;
                let operations = Operations::new(encoded, count, certain);
                let outcome = match self.node.shared.space.room() {
                    Room::Low | Room::Exhausted if may_grow => Err(ReplicationError::NoRoom),
                    _ => self.node.write_here(operations).await,
                };
                Ok(ForwardAnswer::from_outcome(outcome).to_bytes())
            }
            Kind::Room => Ok((self.node.shared.space.room() as u8).to_bytes()),
            Kind::SavedVote => {
                let vote = Vote::from_bytes(payload).map_err(text)?;
                Ok(confirm::is_saved(&self.node.shared.log, &vote).to_bytes())
            }
            Kind::ReadIndex => Ok(self.node.read_index_for_peer().await.map_err(text)?.to_bytes()),
            Kind::Order => self.node.order_from_peer(payload).await.map_err(text),
            Kind::Identify
            | Kind::Join
            | Kind::Invite
            | Kind::Promise
            | Kind::Release
            | Kind::Removed
            | Kind::Membership
            | Kind::StartOver => self.bootstrap.work(&self.node, frame).await,
            Kind::AppendStream
            | Kind::SnapshotBegin
            | Kind::SnapshotChunk
            | Kind::SnapshotEnd
            | Kind::Answer
            | Kind::Refusal => Err("unexpected request".to_owned()),
        }
    }
}

fn text(error: impl ToString) -> Refusal {
    error.to_string()
}

/// The frame without its payload: enough to answer it.
fn head_of(frame: Frame) -> Frame {
    Frame { payload: Bytes::new(), ..frame }
}

/// Why entries and snapshots are refused on a full disk.
const NO_ROOM: &str = "the disk is nearly full";

/// Why requests behind a conflict are refused: nobody looked at them.
const AFTER_CONFLICT: &str = "an append before it in the stream was in conflict";

/// Runs one append stream; answers go out in the order of the requests.
async fn append_stream(
    server: PeerServer,
    answers: mpsc::Sender<Frame>,
    requests: impl Stream<Item = AppendRequest> + Send + 'static,
    mut ending: Ending,
) {
    let mut results = Box::pin(server.node.shared.raft.stream_append(requests));
    while let Some(result) = results.next().await {
        let Some(head) = ending.next().await else { return };
        let (answer, last) = match result {
            Ok(result) => (Ok(result.to_bytes()), result.is_err()),
            Err(fatal) => (Err(fatal.to_string()), true),
        };
        if last {
            ending.end();
        }
        send(&answers, &server, &head, answer).await;
        if last {
            break;
        }
    }
    drop(results);
    while let Some(head) = ending.next().await {
        send(&answers, &server, &head, Err(AFTER_CONFLICT.to_owned())).await;
    }
}

async fn send(answers: &mpsc::Sender<Frame>, server: &PeerServer, frame: &Frame, answer: Answer) {
    let (kind, payload) = match answer {
        Ok(payload) => (Kind::Answer, payload),
        Err(why) => (Kind::Refusal, Bytes::from(why)),
    };
    let state = server.node.shared.identity.state();
    let frame = Frame {
        kind,
        shard: frame.shard,
        cluster_id: state.cluster_id,
        from: state.node_id,
        to: frame.from,
        request_id: frame.request_id,
        payload,
    };
    // A peer that hung up needs no answer.
    drop(answers.send(frame).await);
}

async fn write_answers(mut write: Outgoing, mut frames: mpsc::Receiver<Frame>) {
    let mut buffer = BytesMut::new();
    while let Some(first) = frames.recv().await {
        let mut next = Some(first);
        while let Some(frame) = next.take() {
            if FrameCodec.encode(frame, &mut buffer).is_err() {
                return;
            }
            if buffer.len() < PEER_WRITE_BATCH_BYTES {
                next = frames.try_recv().ok();
            }
        }
        if write.write_all(&buffer).await.is_err() || write.flush().await.is_err() {
            return;
        }
        buffer.clear();
    }
}
