//! The nodes of a run: started, crashed with what their disks lose, started again, added, let go.
//!
//! A crash cuts an incarnation off from network and disk at one moment. Tasks of it that go on for
//! a little while can reach nothing any more, and nobody listens to them.

use crate::clock::SkewedClock;
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::engine::{DurableState, SharedDriver, SimEngine};
use crate::network::{Network, Station};
use crate::trace::Trace;
use crate::workers::SlowWorkers;
use kvorum::simulation::Replica;
use kvorum::surroundings::Surroundings;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use storage::log::{LogOptions, RaftLog};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Length of the log's segments, in bytes: short, so that runs cross many.
const SEGMENT_BYTES: u64 = 16 << 10;
/// Latency of a healthy disk, in microseconds.
pub const DISK_US: (u64, u64) = (100, 4000);

/// How, and why, a node goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends; what it wrote stays with the operating system.
    Kill,
    /// The power is cut: what was not synced may be lost, wholly or in part.
    PowerCut,
    /// The same, for all nodes at once.
    PowerCutAll,
    /// Its log failed, and its process ended itself; the power is cut then, too.
    LogFailed,
    /// It is ended as by a kill, and that is no fault: it was let go, or gets a disk that works.
    Retired,
}

impl Crash {
    /// The event of such a crash, different for each.
    fn event(self) -> &'static str {
        match self {
            Crash::Kill => "killed",
            Crash::PowerCut => "power of one lost",
            Crash::PowerCutAll => "power of all lost",
            Crash::LogFailed => "log failed",
            Crash::Retired => "retired",
        }
    }
}

/// One life of a node, from a start to a crash.
#[derive(Clone)]
pub struct Incarnation {
    pub replica: Replica,
    pub log: RaftLog,
    pub engine: SimEngine,
    pub dead: CancellationToken,
    /// Counts the lives of this node.
    pub life: u64,
}

/// Latency of a disk, in microseconds; clones share it.
#[derive(Clone)]
struct Latency(Arc<(AtomicU64, AtomicU64)>);

/// A node: what outlives a crash, and its life if it runs.
struct Node {
    disk: SimDisk,
    state: DurableState,
    clock: Arc<SkewedClock>,
    latency: Latency,
    founder: bool,
    /// It was let go, and never starts again.
    retired: bool,
    /// What its disk is told to fail for.
    doom: Crash,
    life: u64,
    running: Option<Incarnation>,
}

/// All nodes; clones share them.
#[derive(Clone)]
pub struct Cluster {
    nodes: Arc<Mutex<BTreeMap<u64, Node>>>,
    pub network: Network,
    pub trace: Trace,
    /// Orders that are being carried out.
    pub orders: Arc<AtomicU64>,
    begun: Instant,
    dice: Dice,
    dirs: Arc<TempDir>,
}

impl Cluster {
    /// So many founders, not yet started.
    ///
    /// # Errors
    /// There is no place for temporary files.
    pub fn new(count: u64, dice: &Dice, trace: Trace) -> io::Result<Cluster> {
        // In memory where that is possible: identities are files, and their fsync takes real time.
        let shared = Path::new("/dev/shm");
        let dirs = match shared.is_dir() {
            true => tempfile::tempdir_in(shared)?,
            false => tempfile::tempdir()?,
        };
        let cluster = Cluster {
            nodes: Arc::default(),
            network: Network::new(dice.fork(), trace.clone()),
            trace,
            orders: Arc::default(),
            begun: Instant::now(),
            dice: dice.fork(),
            dirs: Arc::new(dirs),
        };
        for _ in 0..count {
            cluster.new_node(true);
        }
        Ok(cluster)
    }

    /// Another node, not yet started; its id. Ids are never used again.
    pub fn new_node(&self, founder: bool) -> u64 {
        let mut nodes = self.nodes.lock();
        let id = nodes.keys().next_back().map_or(1, |last| last + 1);
        let node = Node {
            disk: SimDisk::new(id, self.trace.clone()),
            state: DurableState::default(),
            clock: Arc::new(SkewedClock::new(self.begun, self.trace.clone())),
            latency: Latency(Arc::new((AtomicU64::new(DISK_US.0), AtomicU64::new(DISK_US.1)))),
            founder,
            retired: false,
            doom: Crash::LogFailed,
            life: 0,
            running: None,
        };
        nodes.insert(id, node);
        id
    }

    /// The ids of all nodes that were not let go.
    pub fn ids(&self) -> Vec<u64> {
        let nodes = self.nodes.lock();
        nodes.iter().filter(|(_, node)| !node.retired).map(|(id, _)| *id).collect()
    }

    /// The nodes that run.
    pub fn running(&self) -> BTreeMap<u64, Incarnation> {
        let nodes = self.nodes.lock();
        let running = |(id, node): (&u64, &Node)| Some((*id, node.running.clone()?));
        nodes.iter().filter_map(running).collect()
    }

    /// A node, if it runs.
    pub fn get(&self, id: u64) -> Option<Incarnation> {
        self.nodes.lock().get(&id)?.running.clone()
    }

    /// Who leads, by the newest term.
    pub fn leader(&self) -> Option<(u64, Incarnation)> {
        let leads = |node: &Incarnation| Some(node.replica.observe()).filter(|seen| seen.leads);
        let running = self.running().into_iter();
        let leaders = running.filter_map(|(id, node)| Some((leads(&node)?.term, id, node)));
        leaders.max_by_key(|(term, ..)| *term).map(|(_, id, node)| (id, node))
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// What the node finds wrong with its disk, which is always an error of the product.
    pub async fn start(&self, id: u64) -> io::Result<()> {
        let (disk, state, clock, latency, founder, life) = {
            let mut nodes = self.nodes.lock();
            let startable = |node: &&mut Node| node.running.is_none() && !node.retired;
            let Some(node) = nodes.get_mut(&id).filter(startable) else { return Ok(()) };
            node.life += 1;
            node.doom = Crash::LogFailed;
            let (disk, state, clock) = (node.disk.clone(), node.state.clone(), node.clock.clone());
            (disk, state, clock, node.latency.clone(), node.founder, node.life)
        };
        let dead = CancellationToken::new();
        let work = Arc::new(Notify::new());
        let ring = work.clone();
        let options = LogOptions {
            segment_bytes: SEGMENT_BYTES,
            cache_bytes_max: 4096,
            clock: || Instant::now().into_std(),
            ..LogOptions::new("simulated")
        };
        let wake = Arc::new(move || ring.notify_one());
        let opened = RaftLog::open_driven(Arc::new(disk), options, wake);
        let (log, driver) = opened.map_err(io::Error::other)?;
        let driver: SharedDriver = Arc::new(Mutex::new(Some(driver)));
        let turns = Turns { driver: driver.clone(), work, latency, dice: self.dice.fork() };
        tokio::spawn(turns.give(dead.clone(), self.trace.clone()));
        let engine = SimEngine::open(id, state, driver, self.trace.clone(), self.dice.fork());
        let engine = engine.map_err(io::Error::other)?;
        let dir = self.dirs.path().join(id.to_string());
        std::fs::create_dir_all(&dir)?;
        let transport = Arc::new(self.network.way(id, dead.clone()));
        let workers = Arc::new(SlowWorkers::new(self.dice.fork()));
        let around = Surroundings { transport, clock, workers };
        let store = Arc::new(engine.clone());
        let replica = Replica::start(id, &dir, log.clone(), store, around, founder).await?;
        self.trace.note("start", format_args!("{id} life {life}"));
        self.network.enter(id, Station { replica: replica.clone(), dead: dead.clone() });
        let incarnation = Incarnation { replica, log, engine, dead, life };
        if let Some(node) = self.nodes.lock().get_mut(&id) {
            node.running = Some(incarnation);
        }
        Ok(())
    }

    /// Ends a node, if it runs.
    pub fn crash(&self, id: u64, how: Crash) {
        let mut nodes = self.nodes.lock();
        let Some(node) = nodes.get_mut(&id) else { return };
        let Some(incarnation) = node.running.take() else { return };
        self.trace.note(how.event(), id);
        node.disk = match how {
            Crash::Kill | Crash::Retired => node.disk.kill(),
            Crash::PowerCut | Crash::PowerCutAll | Crash::LogFailed => node.disk.crash(&self.dice),
        };
        incarnation.dead.cancel();
        self.network.leave(id);
        tokio::spawn(async move { incarnation.replica.shut_down().await });
    }

    /// Ends a node that was let go, for ever.
    pub fn retire(&self, id: u64) {
        self.crash(id, Crash::Retired);
        if let Some(node) = self.nodes.lock().get_mut(&id) {
            node.retired = true;
        }
    }

    /// Makes a node's disk slow, or as fast as usual.
    pub fn set_disk_latency(&self, id: u64, (low_us, high_us): (u64, u64)) {
        if let Some(node) = self.nodes.lock().get(&id) {
            node.latency.0.0.store(low_us, Ordering::Relaxed);
            node.latency.0.1.store(high_us, Ordering::Relaxed);
        }
    }

    /// Lets the disk of a node that runs fail after so many operations: in the midst of what its log
    /// writes. The node crashes this way then.
    pub fn fail_disk(&self, id: u64, after: u64, how: Crash) {
        if let Some(node) = self.nodes.lock().get_mut(&id).filter(|node| node.running.is_some()) {
            node.disk.fail_after(after);
            node.doom = how;
        }
    }

    /// Sets the error of a node's date.
    pub fn skew(&self, id: u64, error_us: i64) {
        if let Some(node) = self.nodes.lock().get(&id) {
            node.clock.skew(error_us);
        }
    }

    /// Moves the dates of all nodes on.
    pub fn advance_dates(&self, by: Duration) {
        for node in self.nodes.lock().values() {
            node.clock.advance(by.as_micros() as i64);
        }
    }

    /// Crashes the nodes whose log has failed: their process would have ended, or their power is
    /// cut. Their disks work again afterwards.
    pub fn crash_failed(&self) {
        for (id, incarnation) in self.running() {
            if incarnation.log.failure().is_some() {
                let doom = self.nodes.lock().get(&id).map(|node| node.doom);
                self.crash(id, doom.unwrap_or(Crash::LogFailed));
            }
        }
    }

    /// Crashes the nodes whose disk was told to fail and has not yet.
    pub fn crash_failing(&self) {
        for id in self.running().into_keys() {
            let failing = self.nodes.lock().get(&id).is_some_and(|node| node.disk.is_failing());
            if failing {
                self.crash(id, Crash::Retired);
            }
        }
    }
}

/// Gives a log its turns: each takes as long as the disk does.
struct Turns {
    driver: SharedDriver,
    work: Arc<Notify>,
    latency: Latency,
    dice: Dice,
}

impl Turns {
    /// Until the node is dead; then nothing is written any more.
    async fn give(self, dead: CancellationToken, trace: Trace) {
        tokio::select! {
            biased;
            () = dead.cancelled() => {}
            () = self.turn_by_turn(&trace) => {}
        }
        drop(self.driver.lock().take());
    }

    async fn turn_by_turn(&self, trace: &Trace) {
        loop {
            let due = self.driver.lock().as_ref().and_then(|driver| driver.due());
            match due {
                Some(due) => {
                    tokio::select! {
                        biased;
                        () = self.work.notified() => {}
                        () = sleep_until(Instant::from_std(due)) => {}
                    }
                }
                None => self.work.notified().await,
            }
            let (low, high) = (&self.latency.0.0, &self.latency.0.1);
            let (low, high) = (low.load(Ordering::Relaxed), high.load(Ordering::Relaxed));
            if low > DISK_US.1 {
                trace.note("slow turn", low);
            }
            sleep(Duration::from_micros(self.dice.between(low, high))).await;
            let goes_on = self.driver.lock().as_mut().is_some_and(|driver| driver.turn());
            if !goes_on {
                return;
            }
        }
    }
}
