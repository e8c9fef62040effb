//! Raft's messages over peer links: openraft's client side.
//!
//! Append streams are pipelined: requests go out as they are made, answers come in order.
//! Heartbeats and votes, and snapshots, have links of their own.

use crate::limits::{
    APPEND_ANSWER_WAIT, APPEND_WINDOW, HEARTBEAT_ANSWER_WAIT, SNAPSHOT_ANSWER_WAIT,
    SNAPSHOT_CHUNK_BYTES, VOTE_ANSWER_WAIT,
};
use crate::raft::applier::SnapshotData;
use crate::raft::codec::{CodecError, Wire};
use crate::raft::frame::Kind;
use crate::raft::identity::Identity;
use crate::raft::peer_link::{CallError, PeerLink};
use crate::raft::peers::Peers;
use crate::raft::types::*;
use crate::tasks::{Workers, work};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use std::sync::Arc;
use storage::mutants::{self, Mutant};
use tokio::time::Instant;

/// Makes the network client of each peer.
pub(crate) struct PeerNetworkFactory {
    pub(crate) shard: u16,
    pub(crate) identity: Arc<Identity>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) workers: Arc<dyn Workers>,
}

impl PeerNetworkFactory {
    fn client(&self, target: u64, address: &NodeAddress) -> PeerNetwork {
        let identity = self.identity.clone();
        let peers = self.peers.clone();
        let link = PeerLink::new(address.peer.clone(), target, self.shard, identity, peers.clone());
        PeerNetwork { target, link: Arc::new(link), peers, workers: self.workers.clone() }
    }
}

impl RaftNetworkFactory<TypeConfig> for PeerNetworkFactory {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: u64, node: &NodeAddress) -> PeerNetwork {
        self.client(target, node)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &NodeAddress) -> PeerNetwork {
        self.client(target, node)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &NodeAddress) -> PeerNetwork {
        self.client(target, node)
    }
}

/// The network client of one peer for one purpose.
pub(crate) struct PeerNetwork {
    target: u64,
    link: Arc<PeerLink>,
    peers: Arc<Peers>,
    workers: Arc<dyn Workers>,
}

impl PeerNetwork {
    async fn ask<Q: Wire, A: Wire>(
        &self,
        kind: Kind,
        request: &Q,
        wait: std::time::Duration,
    ) -> Result<A, RpcError> {
        let answer = self.link.call(kind, request.to_bytes(), wait).await;
        decode(answer)
    }

    /// Sends every chunk of a state; answers are awaited one chunk behind.
    async fn send_chunks(&self, source: SnapshotData) -> Result<(), CallError> {
        let connection = self.link.connect().await?;
        let mut source = source;
        let mut in_flight = None;
        loop {
            let (chunk, rest) = work(&*self.workers, move || {
                let chunk = source.next_chunk(SNAPSHOT_CHUNK_BYTES);
                (chunk, source)
            })
            .await;
            source = rest;
            let chunk = chunk.map_err(|error| CallError::NotSent(error.to_string()))?;
            if let Some(answer) = in_flight.take() {
                connection.wait(answer, SNAPSHOT_ANSWER_WAIT).await?;
            }
            let Some(chunk) = chunk else { return Ok(()) };
            self.peers.count_snapshot_bytes(chunk.len());
            in_flight = Some(connection.start(Kind::SnapshotChunk, chunk)?);
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse, RpcError> {
        let mut head = BytesMut::new();
        vote.put(&mut head);
        snapshot.meta.put(&mut head);
        let call = |kind, payload: Bytes| self.link.call(kind, payload, SNAPSHOT_ANSWER_WAIT);
        call(Kind::SnapshotBegin, head.freeze()).await.map_err(rpc_error)?;
        self.send_chunks(snapshot.snapshot).await.map_err(rpc_error)?;
        let response = decode(call(Kind::SnapshotEnd, Bytes::new()).await)?;
        self.peers.count_snapshot_sent();
        Ok(response)
    }
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendRequest,
        _option: RPCOption,
    ) -> Result<AppendResponse, RpcError> {
        let started = Instant::now();
        let answer = self.ask(Kind::Append, &rpc, HEARTBEAT_ANSWER_WAIT).await;
        match &answer {
            Ok(_) => self.peers.answered(self.target, started.elapsed()),
            Err(_) => self.peers.lost(self.target),
        }
        answer
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let (peers, target) = (self.peers.clone(), self.target);
            let connection = self.link.connect().await.map_err(|error| {
                peers.lost(target);
                rpc_error(error)
            })?;
            let answers = input.map(move |request| {
                // Sent here, in order; only the wait for the answer is deferred.
                let (sent_at, is_heartbeat) = (Instant::now(), request.entries.is_empty());
                let last = request.entries.last().map(|entry| entry.log_id);
                let started = connection.start(Kind::AppendStream, request.to_bytes());
                let peers = peers.clone();
                let connection = connection.clone();
                async move {
                    if mutants::on(Mutant::AckBeforeQuorum) && last.is_some() {
                        return Ok(Ok(last));
                    }
                    let answer = match started {
                        Ok(receiver) => connection.wait(receiver, APPEND_ANSWER_WAIT).await,
                        Err(error) => Err(error),
                    };
                    match &answer {
                        Ok(_) if is_heartbeat => peers.answered(target, sent_at.elapsed()),
                        Ok(_) => peers.heard(target),
                        Err(_) => peers.lost(target),
                    }
                    decode(answer)
                }
            });
            Ok(answers.buffered(APPEND_WINDOW).boxed())
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest,
        _option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        self.ask(Kind::Vote, &rpc, VOTE_ANSWER_WAIT).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest,
        _option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        self.ask(Kind::PreVote, &rpc, VOTE_ANSWER_WAIT).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => sent.map_err(streaming_error),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferRequest,
        _option: RPCOption,
    ) -> Result<TransferResponse, RpcError> {
        self.ask(Kind::Transfer, &request, VOTE_ANSWER_WAIT).await
    }
}

fn decode<A: Wire>(answer: Result<Bytes, CallError>) -> Result<A, RpcError> {
    let bytes = answer.map_err(rpc_error)?;
    A::from_bytes(bytes).map_err(|error: CodecError| RpcError::Network(NetworkError::new(&error)))
}

fn rpc_error(error: CallError) -> RpcError {
    match error {
        CallError::NotSent(_) | CallError::Refused(_) => {
            RpcError::Unreachable(Unreachable::new(&error))
        }
        CallError::Lost(_) => RpcError::Network(NetworkError::new(&error)),
    }
}

fn streaming_error(error: RpcError) -> StreamingError<TypeConfig> {
    match error {
        RpcError::Unreachable(unreachable) => unreachable.into(),
        RpcError::Network(network) => network.into(),
        RpcError::Timeout(timeout) => timeout.into(),
        other => {
            StreamingError::Unreachable(Unreachable::new(&std::io::Error::other(other.to_string())))
        }
    }
}
