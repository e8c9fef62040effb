//! `kvorum start`: opens the data directory, starts the node, serves until told to stop.

use crate::cli::args::StartArgs;
use crate::cli::{lifeline, tracing_setup};
use crate::config::{AppendFsync, Settings, StorageEngine, Values};
use crate::net::listener;
use crate::net::threads::ConnectionThreads;
use crate::node_control::Order;
use crate::raft::NodeAddress;
use crate::raft::applier::Machine;
use crate::raft::bootstrap::Bootstrap;
use crate::raft::damage;
use crate::raft::disk_room;
use crate::raft::duties;
use crate::raft::identity::Identity;
use crate::raft::node::{Leadership, Node, Shared};
use crate::raft::peer_server::PeerServer;
use crate::raft::start_over;
use crate::random::random_u64;
use crate::server::Server;
use crate::surroundings::Surroundings;
use crate::tls::Tls;
use crate::transport::Secured;
use openraft::async_runtime::WatchReceiver;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage::disk::{BeforeDurable, DiskEngine, DiskOptions};
use storage::log::{LogHooks, LogOptions, RaftLog, SyncPolicy};
use storage::memory::MemoryEngine;
use storage::mutants::{self, Mutant};
use storage::removal::Removed;
use storage::space::Space;
use storage::txn::Engine;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long a stop waits until what is committed is applied.
const APPLY_AT_STOP_WAIT: Duration = Duration::from_secs(1);
/// Exit code after a failure of the disk or of Raft: nothing is acknowledged any more.
const EXIT_BROKEN: i32 = 70;
/// The state engine's folder, in the data directory.
pub(super) const STATE_DIR: &str = "state";

/// Says so where anybody may speak as a peer.
fn warn_of_open_peer_port(values: &Values, at: SocketAddr) {
    if !values.tls_replication && !at.ip().is_loopback() {
        let why = "peers are not authenticated: who reaches this port can write; keep it to a private \
                   network, or set 'tls-replication'";
        tracing::warn!(peer_listen = %at, "{why}");
    }
}

/// Runs a node until it is told to stop.
pub(crate) fn run(args: &StartArgs) -> ExitCode {
    let flags = match args.settings() {
        Ok(flags) => flags,
        Err(error) => return fail(&error),
    };
    let environment = std::env::vars_os();
    let settings = match Settings::from_sources(args.config.as_deref(), environment, &flags) {
        Ok(settings) => Arc::new(settings),
        Err(error) => return fail(&error.to_string()),
    };
    if args.print_config {
        print(&settings.to_toml());
        return ExitCode::SUCCESS;
    }
    tracing_setup::start(&settings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shutdown = CancellationToken::new();
    let served = runtime.and_then(|runtime| {
        if args.exit_with_stdin {
            let wait = Duration::from_secs(settings.load().shutdown_timeout_s);
            lifeline::watch(shutdown.clone(), wait, EXIT_BROKEN)?;
        }
        let served = runtime.block_on(serve(settings, shutdown));
        runtime.shutdown_timeout(Duration::from_millis(200));
        served
    });
    match served {
        // Everything is on disk: what still runs (a compaction of tables) need not be waited for.
        Ok(End::Stop) => std::process::exit(0),
        Ok(End::StartAgain) => {
            let error = start_again();
            fail(&format!("cannot start again: {error}"))
        }
        Err(error) => {
            tracing::error!(%error, "the node stopped");
            fail(&error.to_string())
        }
    }
}

/// Why a node ends.
enum End {
    /// It was told to.
    Stop,
    /// It goes on as another node; see `raft/start_over`.
    StartAgain,
}

/// Puts a new process in the place of this one, with the same arguments, environment and process
/// id: who started it need not know. Returns only when that fails.
fn start_again() -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    std::process::Command::new("/proc/self/exe").arg0(name).args(arguments).exec()
}

#[expect(clippy::print_stderr, reason = "the command line speaks to people")]
pub(crate) fn fail(why: &str) -> ExitCode {
    eprintln!("kvorum: {why}");
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "the command line speaks to people")]
fn print(text: &str) {
    println!("{text}");
}

async fn serve(settings: Arc<Settings>, shutdown: CancellationToken) -> io::Result<End> {
    let values = settings.load().clone();
    let dir = Path::new(&values.data_dir);
    std::fs::create_dir_all(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))?;
    let space = Arc::new(Space::new(dir, values.disk_free_min_bytes));
    disk_room::wait_to_start(&space, &removed_of(dir)).await;
    let rejoin = start_over::resume(dir)?;
    let started = Arc::new(OnceLock::new());
    let log = open_log(&values, dir, started.clone())?;
    let log_used = log.shards().into_iter().any(|shard| log.shard(shard).is_used());
    let identity = Arc::new(Identity::open(dir, fresh_node_id(&values), log.id(), log_used)?);
    let engine = open_engine(&values, dir, &log, space.clone())?;
    let tls = Tls::start(&settings).map_err(|error| io::Error::other(format!("TLS: {error}")))?;
    let clients = bind_clients(&values).await?;
    let (peer_host, peer_port) = values.peer_listen_address();
    let peer_listen = format!("{peer_host}:{peer_port}");
    let peers = listener::bind(&peer_listen, values.tcp_backlog as u32).await?;
    warn_of_open_peer_port(&values, peers.local_addr()?);
    let address = addresses(&values, clients.plain_port()?, peers.local_addr()?.port());
    let door = Arc::new(Secured::new(tls.clone(), &values));
    let around = Surroundings { transport: door.clone(), ..Surroundings::default() };
    let workers = around.workers.clone();
    let machine = Machine::open(engine.clone(), workers, 0).map_err(io::Error::other)?;
    let (own, files) = (address.clone(), log.clone());
    let node =
        Node::start(settings.clone(), identity.clone(), machine, files, space, own, around).await?;
    // Set once, here.
    drop(started.set(node.shared.clone()));
    let bootstrap = Bootstrap::new(&settings, identity.clone());
    let bootstrap = Arc::new(match rejoin {
        Some(addresses) => bootstrap.starting_over(addresses),
        None => bootstrap,
    });
    let restart = bootstrap.restart.clone();
    let stop = CancellationToken::new();
    let server = Arc::new(Server::new(
        settings.clone(),
        node.clone(),
        bootstrap.clone(),
        tls.clone(),
        stop.clone(),
        shutdown.clone(),
        listener::clients_with_descriptors(values.maxclients),
    ));
    let peer_stop = CancellationToken::new();
    let peer_server =
        PeerServer { node: node.clone(), bootstrap: bootstrap.clone(), stop: peer_stop.clone() };
    crate::tasks::spawn(peer_server.run(peers, door));
    clients.run(&server, ConnectionThreads::start(&values, &node)?);
    crate::tasks::spawn(tls.watch(settings.clone(), stop.clone()));
    crate::tasks::spawn(server.clone().sample());
    crate::tasks::spawn(server.clone().evict_clients());
    crate::tasks::spawn(server.clone().end_removed_users());
    duties::start(&node, &bootstrap, &peer_stop);
    crate::tasks::spawn(become_member(node.clone(), bootstrap, peer_stop.clone()));
    crate::tasks::spawn(end_when_broken(node.clone()));
    crate::tasks::spawn(end_when_damaged(node.clone()));
    let version = env!("CARGO_PKG_VERSION");
    let fsync = values.appendfsync.name();
    tracing::info!(version, node = identity.node_id(), %address, fsync, "ready for clients");
    let end = wait_for_end(&shutdown, &restart).await?;
    tracing::info!(node = identity.node_id(), "stopping");
    let limit = Duration::from_secs(values.shutdown_timeout_s);
    let stopped = tokio::time::timeout(limit, shut_down(&server, &peer_stop, &log)).await;
    if stopped.is_err() {
        tracing::warn!("not everything could be finished in time; the log keeps it");
    }
    Ok(end)
}

/// Hands leadership over, answers what is in flight, makes everything durable.
async fn shut_down(server: &Arc<Server>, peer_stop: &CancellationToken, log: &RaftLog) {
    let others = server.node.status().voters() > 1;
    if server.node.leadership() == Leadership::Here && others {
        let order = server.node.order(Order::TransferLeader { to: None });
        // Without it the others elect a leader by themselves, only later.
        drop(tokio::time::timeout(Duration::from_millis(1500), order).await);
    }
    server.stop.cancel();
    server.clients.end_when_idle();
    for _ in 0..100 {
        if server.clients.count() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.clients.kill_all();
    peer_stop.cancel();
    // Raft's end does not wait for what is answered and not applied. The log keeps it anyway.
    drop(server.node.apply_committed(APPLY_AT_STOP_WAIT).await);
    if let Err(error) = server.node.shared.raft.shutdown().await {
        tracing::warn!(%error, "raft did not stop cleanly");
    }
    let (engine, log) = (server.node.shared.machine.engine.clone(), log.clone());
    let closed = crate::tasks::blocking(move || {
        let flushed = engine.flush().map_err(io::Error::other);
        log.close().and(flushed)
    })
    .await;
    match closed {
        Ok(index) => tracing::info!(index, "the state is on disk"),
        Err(error) => tracing::warn!(%error, "the state was not flushed; the log keeps it"),
    }
}

async fn wait_for_end(
    shutdown: &CancellationToken,
    restart: &CancellationToken,
) -> io::Result<End> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = shutdown.cancelled() => {}
        () = restart.cancelled() => return Ok(End::StartAgain),
    }
    Ok(End::Stop)
}

async fn become_member(node: Node, bootstrap: Arc<Bootstrap>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = async {
            if let Err(error) = bootstrap.run(&node).await {
                tracing::error!(%error, "this node cannot become a member");
                std::process::exit(EXIT_BROKEN);
            }
            bootstrap.announce(&node).await;
        } => {}
    }
}

/// Ends the process when Raft has failed for good (a failed disk, a broken invariant): what was
/// acknowledged is safe, and nothing more is.
async fn end_when_broken(node: Node) {
    let mut metrics = node.shared.raft.metrics();
    loop {
        let state = metrics.borrow_watched().running_state.clone();
        if let Err(error) = state {
            if matches!(error, openraft::errors::Fatal::Stopped) {
                return;
            }
            tracing::error!(%error, "replication failed for good; the process ends");
            std::process::exit(EXIT_BROKEN);
        }
        if metrics.changed().await.is_err() {
            // A stop or a failure is announced before Raft's task ends; a panic is not.
            tracing::error!("Raft's task panicked; the process ends");
            std::process::exit(EXIT_BROKEN);
        }
    }
}

/// Ends the process when a read has found damage in the state and others can serve.
async fn end_when_damaged(node: Node) {
    damage::until_to_be_replaced(&node).await;
    std::process::exit(EXIT_BROKEN);
}

/// Opens the log; what it reports names the node once it has started.
fn open_log(
    values: &Values,
    dir: &Path,
    started: Arc<OnceLock<Arc<Shared>>>,
) -> io::Result<RaftLog> {
    let hooks = LogHooks {
        on_slow_sync: Some(Arc::new(move |took| {
            let (node, term, index) = started.get().map_or((0, 0, 0), |shared| shared.place());
            tracing::warn!(node, term, index, ms = took.as_millis() as u64, "slow fsync");
        })),
        on_failure: Some(Arc::new(|error| {
            tracing::error!(%error, "the log failed; the process ends, nothing more is acknowledged");
            std::process::exit(EXIT_BROKEN);
        })),
    };
    let options = LogOptions {
        segment_bytes: values.log_segment_bytes,
        cache_bytes_max: values.log_cache_bytes as usize,
        sync: match values.appendfsync {
            AppendFsync::Always => SyncPolicy::Always,
            AppendFsync::Everysec => SyncPolicy::EverySecond,
        },
        hooks,
        removed: (values.storage_engine == StorageEngine::Fjall).then(|| removed_of(dir)),
        ..LogOptions::new(dir.join("log"))
    };
    RaftLog::open(options).map_err(io::Error::other)
}

/// Where large files wait for their removal, which the state engine does.
fn removed_of(dir: &Path) -> Removed {
    Removed::of_engine(&dir.join(STATE_DIR))
}

fn open_engine(
    values: &Values,
    dir: &Path,
    log: &RaftLog,
    space: Arc<Space>,
) -> io::Result<Arc<dyn Engine>> {
    match values.storage_engine {
        StorageEngine::Memory => Ok(Arc::new(MemoryEngine::new())),
        StorageEngine::Fjall => {
            let log = log.clone();
            let options = DiskOptions {
                before_durable: BeforeDurable(Some(Arc::new(move || log.sync()))),
                overlay_bytes_max: values.overlay_bytes,
                cache_bytes: values.cache_bytes,
                space: Some(space),
                ..DiskOptions::new(dir.join(STATE_DIR))
            };
            Ok(Arc::new(DiskEngine::open(options).map_err(io::Error::other)?))
        }
    }
}

/// A short id for a new node: people type it. The chance that a cluster's nodes share one is
/// checked when a node joins.
fn fresh_node_id(values: &Values) -> u64 {
    if mutants::on(Mutant::WipedRejoin) {
        return u64::from(crc32c::crc32c(values.listen.as_bytes()));
    }
    (random_u64() >> 33).max(1)
}

/// Where clients are accepted.
struct ClientListeners {
    plain: Option<TcpListener>,
    encrypted: Option<TcpListener>,
}

impl ClientListeners {
    /// The port for clients without TLS; 0: there is none.
    fn plain_port(&self) -> io::Result<u16> {
        self.plain.as_ref().map_or(Ok(0), |plain| Ok(plain.local_addr()?.port()))
    }

    /// Accepts clients until the node stops.
    fn run(self, server: &Arc<Server>, threads: ConnectionThreads) {
        let threads = Arc::new(threads);
        if let Some(plain) = self.plain {
            crate::tasks::spawn(listener::run(server.clone(), plain, threads.clone()));
        }
        if let Some(encrypted) = self.encrypted {
            crate::tasks::spawn(listener::run_tls(server.clone(), encrypted, threads));
        }
    }
}

async fn bind_clients(values: &Values) -> io::Result<ClientListeners> {
    let backlog = values.tcp_backlog as u32;
    let plain = match values.plain_is_off() {
        true => None,
        false => Some(listener::bind(&values.listen, backlog).await?),
    };
    let encrypted = match values.tls_listen() {
        None => None,
        Some(address) => Some(listener::bind(&address, backlog).await?),
    };
    Ok(ClientListeners { plain, encrypted })
}

/// Where this node is told to be reached.
fn addresses(values: &Values, client_port: u16, peer_port: u16) -> NodeAddress {
    let tls_port = values.announced_tls_port();
    let client = match values.advertise.is_empty() {
        true => {
            let (host, _) = crate::raft::split_address(&values.listen);
            format!("{host}:{client_port}")
        }
        false => values.advertise.clone(),
    };
    let (host, _) = crate::raft::split_address(&client);
    let client = if values.plain_is_off() { format!("{host}:{tls_port}") } else { client };
    NodeAddress { client, peer: format!("{host}:{peer_port}"), tls_port }
}

#[cfg(test)]
mod tests;
