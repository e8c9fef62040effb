//! A node among peers that do what no peer of ours would.

use super::*;
use crate::raft::frame::{Frame, FrameCodec};
use crate::raft::identity::Pledge;
use crate::raft::types::{AppendRequest, StreamAppendResult, VoteRequest, VoteResponse};
use crate::state_machine::entry::encode_command;
use crate::state_machine::{Checked, check_operations};
use bytes::BytesMut;
use futures_util::StreamExt;
use parking_lot::Condvar;
use protocol::{Reply, Request};
use std::path::Path;
use storage::StorageError;
use storage::log::LogOptions;
use storage::memory::MemoryEngine;
use storage::snapshot::{SnapshotSink, SnapshotSource};
use storage::txn::{Engine, EngineStats, ReadTxn, WriteTxn};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Encoder, FramedRead};

const OWN: u64 = 1;
const OTHER: u64 = 2;
const CLUSTER: u64 = 7;

/// A node with a store in memory and a log in `dir`, which listens nowhere.
pub(crate) async fn start(dir: &Path, flags: &[(&str, &str)]) -> Node {
    start_on(Arc::new(MemoryEngine::new()), dir, flags).await
}

/// As [`start`], with a store of the test's choice.
async fn start_on(engine: Arc<dyn Engine>, dir: &Path, flags: &[(&str, &str)]) -> Node {
    let flags: Vec<(String, String)> =
        flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let settings = Arc::new(Settings::from_sources(None, [], &flags).unwrap());
    let log = RaftLog::open(LogOptions::new(dir.join("log"))).unwrap();
    let identity = Arc::new(Identity::open(dir, OWN, log.id(), false).unwrap());
    identity.set_pledge(Some(Pledge { cluster_id: CLUSTER, initiator: OWN })).unwrap();
    identity.adopt_cluster(CLUSTER).unwrap();
    let around = Surroundings::default();
    let machine = Machine::open(engine, around.workers.clone(), 0).unwrap();
    let space = Arc::new(Space::new(dir, 0));
    let own = address("127.0.0.1:1");
    Node::start(settings, identity, machine, log, space, own, around).await.unwrap()
}

/// As [`start`], for a node that leads a cluster of its own.
pub(crate) async fn start_alone(dir: &Path) -> Node {
    let node = start(dir, &[]).await;
    lead_alone(&node).await;
    node
}

async fn lead_alone(node: &Node) {
    let members = BTreeMap::from([(OWN, node.shared.address.clone())]);
    node.shared.raft.initialize(members).await.unwrap();
    wait_to_lead(node).await;
}

async fn wait_to_lead(node: &Node) {
    let deadline = Instant::now() + Duration::from_secs(20);
    assert_eq!(node.wait_for_leader(deadline).await, Leadership::Here);
}

fn address(peer: &str) -> NodeAddress {
    NodeAddress { client: "127.0.0.1:2".to_owned(), peer: peer.to_owned(), tls_port: 0 }
}

fn is_heartbeat(payload: &Bytes) -> bool {
    AppendRequest::from_bytes(payload.clone()).unwrap().entries.is_empty()
}

/// Votes for whoever asks and follows every leader, but never stores an entry.
async fn stores_nothing(stream: TcpStream) {
    let (read, mut write) = stream.into_split();
    let mut frames = FramedRead::new(read, FrameCodec);
    while let Some(Ok(frame)) = frames.next().await {
        let payload = match frame.kind {
            Kind::PreVote | Kind::Vote => {
                let request = VoteRequest::from_bytes(frame.payload.clone()).unwrap();
                VoteResponse::new(request.vote, None, true).to_bytes()
            }
            Kind::AppendStream if is_heartbeat(&frame.payload) => {
                let followed: StreamAppendResult = Ok(None);
                followed.to_bytes()
            }
            _ => continue,
        };
        let (to, kind) = (frame.from, Kind::Answer);
        let mut answer = BytesMut::new();
        let frame = Frame { kind, from: OTHER, to, payload, ..frame };
        FrameCodec.encode(frame, &mut answer).unwrap();
        if write.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Such a leader hears from a majority and has committed nothing of its term: it cannot know what
/// was acknowledged before.
#[tokio::test]
async fn a_leader_that_can_commit_nothing_refuses_reads_in_bounded_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = address(&listener.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(stores_nothing(stream));
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &[("request-hold-ms", "200")]).await;
    let members = BTreeMap::from([(OWN, node.shared.address.clone()), (OTHER, other)]);
    node.shared.raft.initialize(members).await.unwrap();
    for _ in 0..2 {
        wait_to_lead(&node).await;
        let limit = 2 * READ_INDEX_ANSWER_WAIT + Duration::from_secs(2);
        let read = tokio::time::timeout(limit, node.read_barrier()).await;
        let outcome = read.expect("the read is answered in bounded time");
        assert_eq!(outcome, Err(ReplicationError::NoLeader));
        assert_eq!(node.shared.machine.applied().log_index, 0, "nothing can be committed");
    }
}

#[tokio::test]
async fn a_node_alone_reads_what_it_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_alone(dir.path()).await;
    let index = node.read_barrier().await.unwrap();
    assert!(index > 0 && node.shared.machine.applied().log_index >= index);
}

/// A store in memory that takes no batches while it is closed.
#[derive(Default)]
struct Gated {
    store: MemoryEngine,
    closed: Mutex<bool>,
    opened: Condvar,
    /// For how long it wants a rest, once.
    rest: Mutex<Duration>,
}

impl Gated {
    fn close(&self) {
        *self.closed.lock() = true;
    }

    fn open(&self) {
        *self.closed.lock() = false;
        self.opened.notify_all();
    }
}

/// Opens it at the end of a test, also of one that fails: who waits for it ends with the test.
struct Opened(Arc<Gated>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Engine for Gated {
    fn read(&self) -> Box<dyn ReadTxn + Send + Sync> {
        self.store.read()
    }

    fn write(&self, log_index: u64) -> Box<dyn WriteTxn + '_> {
        self.store.write(log_index)
    }

    fn has_room(&self) -> bool {
        !*self.closed.lock()
    }

    fn wait_for_room(&self) -> Result<(), StorageError> {
        self.opened.wait_while(&mut self.closed.lock(), |closed| *closed);
        Ok(())
    }

    fn rest(&self) -> Duration {
        std::mem::take(&mut self.rest.lock())
    }

    fn durable_index(&self) -> u64 {
        self.store.durable_index()
    }

    fn flush(&self) -> Result<u64, StorageError> {
        self.store.flush()
    }

    fn export(&self) -> Result<Box<dyn SnapshotSource>, StorageError> {
        self.store.export()
    }

    fn import(&self) -> Result<Box<dyn SnapshotSink>, StorageError> {
        self.store.import()
    }

    fn stats(&self) -> EngineStats {
        self.store.stats()
    }
}

fn operations(words: &[&str]) -> Operations {
    let mut encoded = BytesMut::new();
    encode_command(0, &Request::from_parts(words), &mut encoded);
    let encoded = encoded.freeze();
    let Checked { certain, .. } = check_operations(&encoded).unwrap();
    Operations::new(encoded, 1, certain)
}

#[tokio::test]
async fn what_is_applied_waits_as_long_as_the_store_wants_to_rest() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), Arc::new(Gated::default()));
    let node = Arc::new(start_on(engine.clone(), dir.path(), &[]).await);
    lead_alone(&node).await;
    let long = "x".repeat(1 << 20);
    for words in [["APPEND", "key", "1"], ["APPEND", "key", &long]] {
        let rest = Duration::from_millis(300);
        *engine.rest.lock() = rest;
        let begun = std::time::Instant::now();
        node.write(operations(&words)).await.unwrap();
        assert!(begun.elapsed() >= rest, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_certain_write_is_answered_before_it_is_applied_and_reads_wait_for_it() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), Arc::new(Gated::default()));
    let _opened = Opened(engine.clone());
    let node = Arc::new(start_on(engine.clone(), dir.path(), &[]).await);
    lead_alone(&node).await;
    let write = |words: &[&str]| {
        let (node, operations) = (node.clone(), operations(words));
        tokio::spawn(async move { node.write(operations).await })
    };
    node.read_barrier().await.unwrap();
    engine.close();
    let first = node.shared.machine.applied().log_index + 1;
    // More than may be in flight: those that are answered are not.
    for index in first..first + 5 {
        let answered = write(&["SET", "key", "1"]).await.unwrap();
        assert_eq!(answered, Ok((index, vec![Reply::OK])));
    }
    let index = first + 4;
    assert!(node.shared.machine.applied().log_index < first);
    let increment = write(&["INCR", "key"]);
    let read = node.clone();
    let read = tokio::spawn(async move { read.read_barrier().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let late = write(&["SET", "other", "2"]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!increment.is_finished(), "its reply depends on the data");
    assert!(!read.is_finished(), "it covers what was answered");
    assert!(!late.is_finished(), "somebody waits for what is applied");
    engine.open();
    assert!(read.await.unwrap().unwrap() >= index);
    assert_eq!(increment.await.unwrap().unwrap(), (index + 1, vec![Reply::Integer(2)]));
    assert_eq!(late.await.unwrap().unwrap(), (index + 2, vec![Reply::OK]));
}
