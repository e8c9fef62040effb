//! A running node, assembled: registries, Raft group, and what commands see of both.

use crate::clients::ClientRegistry;
use crate::commands::context::ReadContext;
use crate::complaints::Complaints;
use crate::config::Settings;
use crate::limits::{CLIENT_MEMORY_LOOK_INTERVAL, CLOSED_PER_TURN};
use crate::metrics::Metrics;
use crate::node_control::{DigestOf, DiskSpace, NodeControl, Order, OrderDone, OrderResult};
use crate::raft::bootstrap::Bootstrap;
use crate::raft::node::Node;
use crate::random::random_u64;
use crate::slowlog::SlowLog;
use crate::state_machine::AppliedState;
use crate::status::{ClusterStatus, RaftFigures, Role};
use crate::tls::Tls;
use crate::users::Users;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft::async_runtime::WatchReceiver;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use storage::StorageError;
use storage::keyspace::Reader;
use storage::log::LogStats;
use storage::meta::{KeyCounts, KeyspaceMap};
use storage::mutants::{self, Mutant};
use storage::txn::{EngineStats, ReadTxn};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A running node.
pub(crate) struct Server {
    pub(crate) settings: Arc<Settings>,
    pub(crate) clients: ClientRegistry,
    /// Connections that may be closed at a time: the others have turns between.
    pub(crate) closing: Semaphore,
    pub(crate) metrics: Metrics,
    pub(crate) slowlog: SlowLog,
    pub(crate) node: Node,
    pub(crate) bootstrap: Arc<Bootstrap>,
    /// Clients that there are descriptors for.
    pub(crate) clients_max: u64,
    pub(crate) tls: Arc<Tls>,
    /// Of clients that speak HTTP.
    pub(crate) http: Complaints,
    /// Ends accepting and all connections.
    pub(crate) stop: CancellationToken,
    /// Cancelled by SHUTDOWN; the process then stops as for SIGTERM.
    pub(crate) shutdown: CancellationToken,
    last_save: AtomicU64,
}

/// One consistent version of the data with its time.
pub(crate) struct View {
    txn: Box<dyn ReadTxn + Send + Sync>,
    shard: u16,
    state: AppliedState,
    keyspaces: Arc<(u64, KeyspaceMap)>,
}

impl View {
    /// Log index of the last entry in this version.
    pub(crate) fn log_index(&self) -> u64 {
        self.txn.log_index()
    }

    /// A reader of this version.
    pub(crate) fn reader(&self) -> Reader<'_> {
        let now_ms = match mutants::on(Mutant::LocalExpiry) {
            true => crate::clock::unix_ms(),
            false => self.state.now_ms,
        };
        let reader = Reader::new(&*self.txn, self.shard, now_ms);
        match self.keyspaces.0 <= self.txn.log_index() {
            true => reader.with_keyspaces(&self.keyspaces.1),
            false => reader,
        }
    }

    /// The context of a read command on this version.
    pub(crate) fn context(&self, database: u8, databases: u16) -> ReadContext<'_> {
        let clock_ms = crate::clock::unix_ms().max(self.state.now_ms);
        ReadContext::new(self.reader(), database, databases, clock_ms, random_u64())
    }
}

impl Server {
    /// Puts a node and its registries together.
    pub(crate) fn new(
        settings: Arc<Settings>,
        node: Node,
        bootstrap: Arc<Bootstrap>,
        tls: Arc<Tls>,
        stop: CancellationToken,
        shutdown: CancellationToken,
        clients_max: u64,
    ) -> Self {
        Server {
            clients_max,
            settings,
            clients: ClientRegistry::default(),
            closing: Semaphore::new(CLOSED_PER_TURN),
            http: Complaints::default(),
            metrics: Metrics::default(),
            slowlog: SlowLog::default(),
            node,
            bootstrap,
            tls,
            stop,
            shutdown,
            last_save: AtomicU64::new(crate::clock::unix_ms()),
        }
    }

    /// The state applied here now.
    pub(crate) fn view(&self) -> Result<View, StorageError> {
        let machine = &self.node.shared.machine;
        let txn = machine.engine.read();
        let keyspaces = machine.keyspaces.load_full();
        let applied = machine.applied();
        let state = match applied.log_index == txn.log_index() {
            true => applied,
            false => AppliedState::load(&*txn, machine.shard)?,
        };
        Ok(View { txn, shard: machine.shard, state, keyspaces })
    }

    /// Ends the connections of users that were deleted; runs until the node stops.
    pub(crate) async fn end_removed_users(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.node.shared.machine.users.removed() => self.clients.kill_removed_users(),
            }
        }
    }

    /// Keeps the memory of clients within its bound; runs until the node stops.
    pub(crate) async fn evict_clients(self: Arc<Self>) {
        let mut interval = tokio::time::interval(CLIENT_MEMORY_LOOK_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            let bytes_max = self.settings.load().maxmemory_clients_bytes;
            let evicted = if bytes_max > 0 { self.clients.evict(bytes_max) } else { 0 };
            if evicted > 0 {
                self.metrics.evicted_clients.add(evicted as u64);
                tracing::warn!(evicted, "clients closed: all together had too much memory");
            }
        }
    }

    /// Takes the samples that figures per second come from; runs until the node stops.
    pub(crate) async fn sample(self: Arc<Self>) {
        let mut interval =
            tokio::time::interval(Duration::from_millis(crate::limits::RATE_SAMPLE_MS));
        let mut durable = 0;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            self.metrics.tick(crate::clock::monotonic_ns() / 1000);
            let machine = &self.node.shared.machine;
            let expired = machine.expired_keys.swap(0, Ordering::Relaxed);
            self.metrics.expired_keys.add(expired);
            let rounds = self.node.shared.counters.read_rounds.swap(0, Ordering::Relaxed);
            self.metrics.read_barriers.add(rounds);
            let index = machine.engine.durable_index();
            if index != durable {
                durable = index;
                self.last_save.store(crate::clock::unix_ms(), Ordering::Relaxed);
            }
        }
    }
}

impl NodeControl for Server {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn clients(&self) -> &ClientRegistry {
        &self.clients
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn fill_secret(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        crate::random::fill_secret(bytes)
    }

    fn users(&self) -> &Users {
        &self.node.shared.machine.users
    }

    fn slowlog(&self) -> &SlowLog {
        &self.slowlog
    }

    fn status(&self) -> ClusterStatus {
        self.node.status()
    }

    fn engine_stats(&self) -> EngineStats {
        self.node.shared.machine.engine.stats()
    }

    fn disk_space(&self) -> DiskSpace {
        let space = &self.node.shared.space;
        DiskSpace { room: space.room(), free_bytes: space.free_bytes() }
    }

    fn log_stats(&self) -> LogStats {
        self.node.log_stats()
    }

    fn key_counts(&self) -> Vec<(u8, KeyCounts)> {
        let databases = self.settings.load().databases;
        let Ok(view) = self.view() else { return Vec::new() };
        let counts = |database: u64| {
            let database = database as u8;
            let counts = view.reader().counts(database).ok()?;
            (counts.keys > 0).then_some((database, counts))
        };
        (0..databases).filter_map(counts).collect()
    }

    fn digest(&self, of: DigestOf) -> BoxFuture<'_, Result<u128, String>> {
        let view = self.view();
        async move {
            let digest = move || {
                let view = view?;
                match of {
                    DigestOf::Data => view.reader().digest(),
                    DigestOf::State => view.reader().state_digest(),
                }
            };
            let digest = tokio::task::spawn_blocking(digest).await;
            let digest = digest.map_err(|error| error.to_string())?;
            digest.map_err(|error| {
                self.node.shared.damage.report(&error);
                error.to_string()
            })
        }
        .boxed()
    }

    fn last_save_ms(&self) -> u64 {
        self.last_save.load(Ordering::Relaxed)
    }

    fn raft_figures(&self) -> RaftFigures {
        self.node.figures()
    }

    fn order(&self, order: Order) -> BoxFuture<'_, OrderResult> {
        async move {
            match order {
                Order::Init => {
                    let formed = self.bootstrap.form_alone(&self.node).await;
                    formed.map(|()| OrderDone::Ok).map_err(|error| format!("ERR {error}"))
                }
                Order::Join { addresses } => self.join(addresses).await,
                Order::Identify => {
                    Ok(OrderDone::Text(self.bootstrap.introduction(&self.node).to_text()))
                }
                Order::Shutdown => {
                    self.shutdown.cancel();
                    Ok(OrderDone::Ok)
                }
                Order::Membership(_) | Order::TransferLeader { .. } | Order::Snapshot => {
                    self.node.order(order).await
                }
            }
        }
        .boxed()
    }

    fn wait_replicated(
        &self,
        log_index: u64,
        count: usize,
        timeout: Option<Duration>,
    ) -> BoxFuture<'_, usize> {
        let mut metrics = self.node.shared.raft.metrics();
        async move {
            let own = self.node.shared.identity.node_id();
            let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
            loop {
                let reached = {
                    let metrics = metrics.borrow_watched();
                    let others = metrics.replication.iter().flatten();
                    let has = |matched: &Option<crate::raft::types::LogId>| {
                        matched.as_ref().map_or(0, |id| id.index + 1) >= log_index
                    };
                    match metrics.replication {
                        Some(_) => {
                            others.filter(|(id, matched)| **id != own && has(matched)).count()
                        }
                        // Only the leader knows who has it; acknowledged means a majority has.
                        None => metrics.membership_config.voter_ids().count() / 2,
                    }
                };
                if reached >= count {
                    return reached;
                }
                let changed = metrics.changed();
                let over = match deadline {
                    Some(deadline) => tokio::time::timeout_at(deadline, changed).await.is_err(),
                    None => changed.await.is_err(),
                };
                if over {
                    return reached;
                }
            }
        }
        .boxed()
    }
}

impl Server {
    async fn join(&self, addresses: Vec<String>) -> OrderResult {
        let role = self.node.status().role;
        if role != Role::Joining {
            // The process starts again: the answer is that it will join.
            let given_up = self.bootstrap.join_another(&self.node, addresses).await;
            let refused = |why| format!("ERR this node already belongs to a cluster: {why}");
            return given_up.map(|()| OrderDone::Ok).map_err(refused);
        }
        self.bootstrap.join_through(addresses);
        let deadline = tokio::time::Instant::now() + crate::limits::ORDER_WAIT;
        while tokio::time::Instant::now() < deadline {
            let status = self.node.status();
            if status.this().is_some_and(|member| member.voter) {
                return Ok(OrderDone::NodeId(status.node_id));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("ERR the node has not joined yet; it goes on trying".to_owned())
    }
}
