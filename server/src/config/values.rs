//! The typed values of all settings: what hot paths read.
//!
//! Plain fields, units in their names; nothing here parses or prints. The table in
//! [`super::table`] says which name, default, bounds and meaning each field has.

use std::fmt;

/// How long a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFsync {
    /// A write is acknowledged when a majority has it on disk.
    Always,
    /// A write is acknowledged when a majority has it in memory; disks follow each second.
    Everysec,
}

impl AppendFsync {
    /// Every variant, in the order of the names.
    pub const ALL: [Self; 2] = [Self::Always, Self::Everysec];
    /// The names, as settings and INFO spell them.
    pub const NAMES: [&'static str; 2] = ["always", "everysec"];

    /// The name of this variant.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What a follower does with a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerReads {
    /// Asks the leader for its commit index, waits until it is applied, answers here.
    Linearizable,
    /// Answers from what is applied here.
    Stale,
    /// Answers `-MOVED` to the leader.
    Redirect,
}

impl FollowerReads {
    /// Every variant, in the order of the names.
    pub const ALL: [Self; 3] = [Self::Linearizable, Self::Stale, Self::Redirect];
    /// The names, as settings spell them.
    pub const NAMES: [&'static str; 3] = ["linearizable", "stale", "redirect"];
}

/// What a follower does with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerWrites {
    /// Answers `-MOVED` (or `-REDIRECT`) to the leader.
    Redirect,
    /// Sends it to the leader and passes the reply on.
    Forward,
}

impl FollowerWrites {
    /// Every variant, in the order of the names.
    pub const ALL: [Self; 2] = [Self::Redirect, Self::Forward];
    /// The names, as settings spell them.
    pub const NAMES: [&'static str; 2] = ["redirect", "forward"];
}

/// Where the state lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageEngine {
    /// The LSM store on disk.
    Fjall,
    /// A map in memory, rebuilt from the log at each start: for tests.
    Memory,
}

impl StorageEngine {
    /// Every variant, in the order of the names.
    pub const ALL: [Self; 2] = [Self::Fjall, Self::Memory];
    /// The names, as settings spell them.
    pub const NAMES: [&'static str; 2] = ["fjall", "memory"];
}

/// Who may call DEBUG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugCommand {
    /// Nobody.
    No,
    /// Everybody.
    Yes,
    /// Clients of this machine.
    Local,
}

impl DebugCommand {
    /// Every variant, in the order of the names.
    pub const ALL: [Self; 3] = [Self::No, Self::Yes, Self::Local];
    /// The names, as settings spell them.
    pub const NAMES: [&'static str; 3] = ["no", "yes", "local"];
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthClients {
    /// None is asked for.
    No,
    /// A client without a valid one is refused.
    Yes,
    /// One that is shown has to be valid.
    Optional,
}

impl AuthClients {
    /// Every variant, in the order of the names.
    pub const ALL: [Self; 3] = [Self::No, Self::Yes, Self::Optional];
    /// The names, as settings spell them.
    pub const NAMES: [&'static str; 3] = ["no", "yes", "optional"];
}

/// How much the process tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what stops it.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And elections, membership, snapshots, start and stop.
    Info,
    /// And single connections.
    Debug,
    /// And single messages.
    Trace,
}

impl LogLevel {
    /// Every variant, in the order of the names.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
    /// The names, as settings and tracing filters spell them.
    pub const NAMES: [&'static str; 5] = ["error", "warn", "info", "debug", "trace"];

    /// The name of this variant.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Every variant, in the order of the names.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Human, Self::Json];
    /// The names, as settings spell them.
    pub const NAMES: [&'static str; 3] = ["auto", "human", "json"];
}

/// Bounds of the replies that wait for one client; 0 means no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// More than this closes the connection at once.
    pub hard_bytes: u64,
    /// More than this for `soft_seconds` closes it.
    pub soft_bytes: u64,
    /// How long `soft_bytes` may be exceeded.
    pub soft_seconds: u64,
}

/// Bounds of waiting replies by class of client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits {
    /// Ordinary clients, MONITOR included.
    pub normal: OutputLimit,
    /// Redis's replicas. No client is one here: peers have their own links and bounds.
    pub replica: OutputLimit,
    /// Subscribers of channels.
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    /// The classes with the names that are printed for them, in order.
    pub fn classes(&self) -> [(&'static str, OutputLimit); 3] {
        [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)]
    }
}

/// Every setting's value. The table's docs are the fields' docs.
#[derive(Clone, PartialEq)]
#[allow(missing_docs, reason = "each field is documented by its row of the table")]
pub struct Values {
    pub listen: String,
    pub advertise: String,
    pub peer_listen: String,
    pub data_dir: String,
    pub join: String,
    pub bootstrap_expect: u64,
    pub bootstrap: bool,
    pub databases: u64,
    pub maxclients: u64,
    pub timeout_s: u64,
    pub tcp_keepalive_s: u64,
    pub tcp_backlog: u64,
    pub proto_max_bulk_bytes: u64,
    pub client_query_buffer_bytes: u64,
    pub client_output_limits: OutputLimits,
    pub maxmemory_clients_bytes: u64,
    pub requirepass: String,
    pub protected_mode: bool,
    pub enable_debug_command: DebugCommand,
    pub slowlog_log_slower_than_us: i64,
    pub slowlog_max_len: u64,
    pub latency_tracking: bool,
    pub appendfsync: AppendFsync,
    pub follower_reads: FollowerReads,
    pub follower_writes: FollowerWrites,
    pub heartbeat_interval_ms: u64,
    pub election_timeout_min_ms: u64,
    pub election_timeout_max_ms: u64,
    pub group_commit_max_bytes: u64,
    pub group_commit_max_commands: u64,
    pub group_commit_in_flight: u64,
    pub request_hold_ms: u64,
    pub log_segment_bytes: u64,
    pub log_cache_bytes: u64,
    pub log_max_bytes: u64,
    pub overlay_bytes: u64,
    pub cache_bytes: u64,
    pub disk_free_min_bytes: u64,
    pub storage_engine: StorageEngine,
    pub io_threads: u64,
    pub loglevel: LogLevel,
    pub log_format: LogFormat,
    pub expire_batch: u64,
    pub shutdown_timeout_s: u64,
    pub tls_port: u64,
    pub advertise_tls_port: u64,
    pub tls_cert_file: String,
    pub tls_key_file: String,
    pub tls_ca_cert_file: String,
    pub tls_ca_cert_dir: String,
    pub tls_auth_clients: AuthClients,
    pub tls_replication: bool,
    pub tls_protocols: String,
}

/// Without what they are: passwords are among them.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").finish_non_exhaustive()
    }
}

/// Distance of the peer port from the client port when `peer-listen` is not set.
pub const PEER_PORT_OFFSET: u16 = 10_000;

impl Values {
    /// Values before the defaults of the table are parsed into them.
    pub(super) fn blank() -> Values {
        Values {
            listen: String::new(),
            advertise: String::new(),
            peer_listen: String::new(),
            data_dir: String::new(),
            join: String::new(),
            bootstrap_expect: 0,
            bootstrap: true,
            databases: 0,
            maxclients: 0,
            timeout_s: 0,
            tcp_keepalive_s: 0,
            tcp_backlog: 0,
            proto_max_bulk_bytes: 0,
            client_query_buffer_bytes: 0,
            client_output_limits: OutputLimits::default(),
            maxmemory_clients_bytes: 0,
            requirepass: String::new(),
            protected_mode: true,
            enable_debug_command: DebugCommand::No,
            slowlog_log_slower_than_us: 0,
            slowlog_max_len: 0,
            latency_tracking: true,
            appendfsync: AppendFsync::Always,
            follower_reads: FollowerReads::Linearizable,
            follower_writes: FollowerWrites::Redirect,
            heartbeat_interval_ms: 0,
            election_timeout_min_ms: 0,
            election_timeout_max_ms: 0,
            group_commit_max_bytes: 0,
            group_commit_max_commands: 0,
            group_commit_in_flight: 0,
            request_hold_ms: 0,
            log_segment_bytes: 0,
            log_cache_bytes: 0,
            log_max_bytes: 0,
            overlay_bytes: 0,
            cache_bytes: 0,
            disk_free_min_bytes: 0,
            storage_engine: StorageEngine::Fjall,
            io_threads: 0,
            loglevel: LogLevel::Info,
            log_format: LogFormat::Auto,
            expire_batch: 0,
            shutdown_timeout_s: 0,
            tls_port: 0,
            advertise_tls_port: 0,
            tls_cert_file: String::new(),
            tls_key_file: String::new(),
            tls_ca_cert_file: String::new(),
            tls_ca_cert_dir: String::new(),
            tls_auth_clients: AuthClients::Yes,
            tls_replication: false,
            tls_protocols: String::new(),
        }
    }

    /// Threads that serve connections.
    pub fn connection_threads(&self) -> usize {
        match self.io_threads {
            0 => connection_threads_on(cores()),
            count => count as usize,
        }
    }

    /// Whether every thread serves clients of all kinds; else those beside the first serve busy ones.
    pub fn spreads_all_clients(&self) -> bool {
        self.io_threads != 0 || spreads_all_clients_on(cores())
    }

    /// Host and port of the client listener.
    pub fn listen_address(&self) -> (String, u16) {
        split_address(&self.listen).unwrap_or_default()
    }

    /// Host and port that clients and members are told.
    pub fn advertise_address(&self) -> (String, u16) {
        match split_address(&self.advertise) {
            Some(address) => address,
            None => self.listen_address(),
        }
    }

    /// Host and port of the peer listener.
    pub fn peer_listen_address(&self) -> (String, u16) {
        split_address(&self.peer_listen).unwrap_or_else(|| {
            let (host, port) = self.listen_address();
            let port = if self.plain_is_off() { self.tls_port as u16 } else { port };
            (host, port.saturating_add(PEER_PORT_OFFSET))
        })
    }

    /// Whether anything of this node speaks TLS.
    pub fn uses_tls(&self) -> bool {
        self.tls_port != 0 || self.tls_replication
    }

    /// Whether clients are served by TLS only: port 0 of 'listen' beside a 'tls-port'.
    pub fn plain_is_off(&self) -> bool {
        self.tls_port != 0 && self.listen_address().1 == 0
    }

    /// Where clients connect by TLS, if they can.
    pub fn tls_listen(&self) -> Option<String> {
        let (host, _) = self.listen.rsplit_once(':')?;
        (self.tls_port != 0).then(|| format!("{host}:{}", self.tls_port))
    }

    /// The port that clients and members are told for TLS; 0: none.
    pub fn announced_tls_port(&self) -> u16 {
        match self.advertise_tls_port {
            _ if self.tls_port == 0 => 0,
            0 if self.plain_is_off() && !self.advertise.is_empty() => self.advertise_address().1,
            0 => self.tls_port as u16,
            port => port as u16,
        }
    }

    /// Whether the client addresses of members ('join', RAFT.NODE ADD) are those of their TLS ports.
    pub fn joins_by_tls(&self) -> bool {
        self.tls_port != 0 && (self.tls_replication || self.plain_is_off())
    }

    /// Whether certificates of others can be verified.
    pub fn has_authorities(&self) -> bool {
        !self.tls_ca_cert_file.is_empty() || !self.tls_ca_cert_dir.is_empty()
    }

    /// The client addresses of members to join, in the order given.
    pub fn join_addresses(&self) -> Vec<String> {
        let addresses = self.join.split(',').map(str::trim);
        addresses.filter(|address| !address.is_empty()).map(str::to_owned).collect()
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// One core has nothing left for a second thread; with two, what one thread waits for another does.
pub(super) const fn connection_threads_on(cores: usize) -> usize {
    match cores {
        0 | 1 => 1,
        2..=5 => 2,
        6 | 7 => 3,
        8.. => 4,
    }
}

/// With more threads than half of the cores there are no others for Raft, the log and clients of this machine.
pub(super) const fn spreads_all_clients_on(cores: usize) -> bool {
    connection_threads_on(cores) <= cores / 2
}

/// Splits `host:port`; the host of an IPv6 address may stand in brackets, which are removed.
pub fn split_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty() && !host.contains(char::is_whitespace))
        .then_some((host.to_owned(), port.parse().ok()?))
}
