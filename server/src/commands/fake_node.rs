//! A node for tests and fuzz targets of commands: registries that are real, a cluster that is made up.

use crate::clients::ClientRegistry;
use crate::clock::{Clock, ManualClock};
use crate::commands::context::{NodeContext, SessionContext};
use crate::commands::spec::{CommandSpec, Run};
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::node_control::{DigestOf, DiskSpace, NodeControl, Order, OrderDone, OrderResult};
use crate::session::Session;
use crate::slowlog::SlowLog;
use crate::status::{ClusterStatus, Member, Role};
use crate::users::Users;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use protocol::{Reply, Request};
use std::time::Duration;
use storage::log::LogStats;
use storage::meta::KeyCounts;
use storage::space::Room;
use storage::txn::EngineStats;

/// Node 1 of a cluster of three, at 2023-11-14 22:13:20.
pub(crate) struct FakeNode {
    pub(crate) settings: Settings,
    pub(crate) clients: ClientRegistry,
    pub(crate) metrics: Metrics,
    pub(crate) slowlog: SlowLog,
    pub(crate) users: Users,
    pub(crate) status: ClusterStatus,
    pub(crate) clock: ManualClock,
    pub(crate) orders: Mutex<Vec<Order>>,
}

pub(crate) fn member(id: u64) -> Member {
    Member {
        id,
        host: format!("10.0.0.{id}"),
        port: 6379,
        tls_port: 0,
        peer_port: 16379,
        voter: true,
        match_index: Some(90 + id),
        last_contact_ms: Some(id * 1000),
        round_trip_us: Some(200),
        connected: true,
    }
}

impl FakeNode {
    /// Leads when `leader` is 1.
    pub(crate) fn new(leader: Option<u64>) -> Self {
        let status = ClusterStatus {
            cluster_id: 0xc0ffee,
            node_id: 1,
            role: if leader == Some(1) { Role::Leader } else { Role::Follower },
            term: 7,
            voted_for: leader,
            leader_id: leader,
            members: (1..=3).map(member).collect(),
            last_log_index: 100,
            commit_index: 99,
            applied_index: 98,
            durable_index: 50,
            snapshot_index: 40,
            purged_index: 30,
            membership_changing: false,
            transferring: false,
            snapshot_receiving: false,
            elections_started: 2,
            leader_changes: 3,
            snapshots_created: 4,
            snapshots_sent: 5,
            snapshots_received: 6,
            forwarded_requests: 7,
            forwarded_failed: 8,
            entries_proposed: 10,
            commands_proposed: 25,
            group_commit_max: 9,
            append_requests_received: 11,
        };
        FakeNode {
            settings: Settings::default(),
            clients: ClientRegistry::default(),
            metrics: Metrics::default(),
            slowlog: SlowLog::default(),
            users: Users::default(),
            status,
            clock: ManualClock::new(1_700_000_000_000_000),
            orders: Mutex::default(),
        }
    }

    pub(crate) fn session(&self) -> Session {
        let client = self.clients.register("127.0.0.1:5000".into(), "127.0.0.1:6379".into(), 8, 0);
        Session::new(client, self.users.default_account(), true)
    }

    /// Runs a command of a session or of the node, as dispatch does once all checks are passed. None:
    /// it is another, or would wait.
    pub(crate) fn answer(
        &self,
        session: &mut Session,
        spec: &'static CommandSpec,
        request: &Request,
    ) -> Option<Reply> {
        session.client.note_command(spec, self.clock.unix_ms());
        match spec.run {
            Run::Session(run) => Some(run(&mut SessionContext { session, node: self }, request)),
            Run::Node(run) => run(NodeContext { session, node: self }, request).now_or_never(),
            _ => None,
        }
    }
}

#[cfg(test)]
impl FakeNode {
    /// Runs a command given as words on `session`.
    pub(crate) fn run(&self, session: &mut Session, line: &str) -> Reply {
        self.start(session, line).expect("a reply without waiting")
    }

    /// As [`Self::run`]; None when the command would wait.
    pub(crate) fn start(&self, session: &mut Session, line: &str) -> Option<Reply> {
        let parts: Vec<&str> = line.split(' ').collect();
        let request = Request::from_parts(&parts);
        let spec = crate::commands::numbering::resolve(&request);
        let spec = spec.unwrap_or_else(|| panic!("{line}: unknown"));
        assert!(spec.arity.accepts(request.len()), "{line}: arity");
        assert!(matches!(spec.run, Run::Session(_) | Run::Node(_)), "{line}: not for a node");
        self.answer(session, spec, &request)
    }

    /// The reply to a command on a new session.
    pub(crate) fn reply(&self, line: &str) -> Reply {
        self.run(&mut self.session(), line)
    }

    /// The text of the reply to a command on a new session.
    pub(crate) fn text(&self, line: &str) -> String {
        text_of(&self.reply(line))
    }
}

/// The text of a reply that is one.
#[cfg(test)]
pub(crate) fn text_of(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Error(text) => text.to_string(),
        Reply::Bulk(bytes) | Reply::Verbatim(_, bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        other => panic!("no text: {other:?}"),
    }
}

impl NodeControl for FakeNode {
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
        bytes.fill(0xa5);
        Ok(())
    }
    fn users(&self) -> &Users {
        &self.users
    }
    fn slowlog(&self) -> &SlowLog {
        &self.slowlog
    }
    fn status(&self) -> ClusterStatus {
        self.status.clone()
    }
    fn engine_stats(&self) -> EngineStats {
        EngineStats { engine: "memory", overlay_bytes: 5, ..EngineStats::default() }
    }
    fn disk_space(&self) -> DiskSpace {
        DiskSpace { room: Room::Enough, free_bytes: 1 << 30 }
    }
    fn log_stats(&self) -> LogStats {
        LogStats { bytes: 4096, fsync_count: 12, ..LogStats::default() }
    }
    fn key_counts(&self) -> Vec<(u8, KeyCounts)> {
        vec![
            (0, KeyCounts { keys: 2, with_deadline: 1, deadlines_sum_ms: 1_700_000_005_000 }),
            (3, KeyCounts { keys: 1, with_deadline: 0, deadlines_sum_ms: 0 }),
        ]
    }
    fn digest(&self, of: DigestOf) -> BoxFuture<'_, Result<u128, String>> {
        let digest = if of == DigestOf::Data { 0xabc } else { 0xdef };
        std::future::ready(Ok(digest)).boxed()
    }
    fn last_save_ms(&self) -> u64 {
        1_699_999_999_999
    }
    fn clock(&self) -> &dyn Clock {
        &self.clock
    }
    fn raft_figures(&self) -> crate::status::RaftFigures {
        crate::status::RaftFigures::default()
    }
    fn order(&self, order: Order) -> BoxFuture<'_, OrderResult> {
        self.orders.lock().push(order);
        std::future::ready(Ok(OrderDone::Ok)).boxed()
    }
    fn wait_replicated(&self, _: u64, count: usize, _: Option<Duration>) -> BoxFuture<'_, usize> {
        std::future::ready(count.min(2)).boxed()
    }
}

#[test]
fn every_name_of_the_table_is_found() {
    for spec in super::all() {
        assert!(std::ptr::eq(super::lookup(spec.name.as_bytes()).unwrap(), spec), "{}", spec.name);
    }
}
