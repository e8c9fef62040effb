//! The one table of settings: name, default, bounds, unit, meaning, and whether it can change while
//! the node runs.
//!
//! To add a setting: a field in [`Values`], a line in [`Values::blank`], a row here. CONFIG GET and SET,
//! the environment, the file, the flags and the sample file all follow from the row.

mod tls;

use super::kind::Kind;
use super::setting::{Setting, row};
use super::values::*;

const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;
const INT_MAX: u64 = i32::MAX as u64;

const fn count(min: u64, max: u64, field: fn(&mut Values) -> &mut u64) -> Kind {
    Kind::Integer { min, max, field }
}

const fn memory(min: u64, max: u64, field: fn(&mut Values) -> &mut u64) -> Kind {
    Kind::Memory { min, max, field }
}

const fn fixed(value: &'static str, why: &'static str) -> Kind {
    Kind::Fixed { value, why }
}

/// A `Kind::Choice` over an enum with `ALL` and `NAMES`.
macro_rules! choice {
    ($field:ident: $variants:ident) => {
        Kind::Choice {
            names: &$variants::NAMES,
            get: |values| values.$field as usize,
            set: |values, position| values.$field = $variants::ALL[position],
        }
    };
}

/// All settings, by theme.
pub static SETTINGS: &[&[Setting]] =
    &[NETWORK, tls::TLS, CLIENTS, OBSERVATION, CLUSTER, LOG, STATE, COMPAT];

static NETWORK: &[Setting] = &[
    row(
        "listen",
        "127.0.0.1:6379",
        Kind::Address {
            optional: false,
            field: |v| &mut v.listen,
        },
        "Where clients connect.",
    )
    .at_start(),
    row(
        "advertise",
        "",
        Kind::Address {
            optional: true,
            field: |v| &mut v.advertise,
        },
        "The address that clients and members are told, when it is not 'listen'.",
    )
    .at_start(),
    row(
        "peer-listen",
        "",
        Kind::Address {
            optional: true,
            field: |v| &mut v.peer_listen,
        },
        "Where members of the cluster connect; empty: the client port plus 10000.",
    )
    .at_start(),
    row(
        "data-dir",
        "./kvorum-data",
        Kind::Text {
            field: |v| &mut v.data_dir,
        },
        "Directory of the log and the state.",
    )
    .at_start(),
    row(
        "join",
        "",
        Kind::Addresses {
            field: |v| &mut v.join,
        },
        "Client addresses of members of the cluster that an empty node enters.",
    )
    .at_start(),
    row(
        "bootstrap-expect",
        "0",
        count(0, 99, |v| &mut v.bootstrap_expect),
        "Form a cluster once this many nodes of 'join' have met; 0: do not.",
    )
    .at_start()
    .unit("nodes"),
    row(
        "bootstrap",
        "yes",
        Kind::Boolean {
            field: |v| &mut v.bootstrap,
        },
        "Whether an empty node without 'join' becomes a cluster of its own; if not, it waits for RAFT.CLUSTER INIT or JOIN, or for RAFT.NODE ADD.",
    )
    .at_start(),
    row(
        "io-threads",
        "0",
        count(0, 128, |v| &mut v.io_threads),
        "Threads that serve connections. The first of them runs Raft too. 0: half as many as there are cores, two to four, or one where there is one core; with two or three cores the second thread serves clients that send pipelines or use TLS.",
    )
    .at_start()
    .unit("threads"),
    row(
        "tcp-backlog",
        "511",
        count(1, 65_535, |v| &mut v.tcp_backlog),
        "Connections that may wait to be accepted.",
    )
    .at_start()
    .unit("connections"),
    row(
        "tcp-keepalive",
        "300",
        count(0, INT_MAX, |v| &mut v.tcp_keepalive_s),
        "Idle time before the kernel probes a client; 0: never. For connections made from then on.",
    )
    .unit("seconds"),
];

static CLIENTS: &[Setting] = &[
    row(
        "databases",
        "16",
        count(1, 256, |v| &mut v.databases),
        "Number of databases; the leader's number decides.",
    )
    .at_start()
    .unit("databases"),
    row(
        "maxclients",
        "10000",
        count(1, u32::MAX as u64, |v| &mut v.maxclients),
        "Clients connected at once; more are told so and closed.",
    )
    .unit("clients"),
    row(
        "timeout",
        "0",
        count(0, INT_MAX, |v| &mut v.timeout_s),
        "A client idle for longer is closed; 0: never.",
    )
    .unit("seconds"),
    row(
        "proto-max-bulk-len",
        "512mb",
        memory(MB, i64::MAX as u64, |v| &mut v.proto_max_bulk_bytes),
        "Longest argument and longest string. The protocol itself takes no more than 2 GB.",
    )
    .unit("bytes"),
    row(
        "client-query-buffer-limit",
        "1gb",
        memory(MB, 2 * GB, |v| &mut v.client_query_buffer_bytes),
        "A client with more unparsed input than this is closed.",
    )
    .unit("bytes"),
    row(
        "client-output-buffer-limit",
        "normal 1gb 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60",
        Kind::OutputLimits,
        "Replies that may wait, by class of client: above hard a client is closed, above soft after \
         that many seconds; 0: no bound. Redis leaves normal clients unbounded; here one client that \
         does not read cannot take the node's memory. No client is of class slave here: members have \
         links and bounds of their own.",
    ),
    row(
        "maxmemory-clients",
        "2gb",
        memory(0, 1024 * GB, |v| &mut v.maxmemory_clients_bytes),
        "Input, MULTI blocks and replies of all clients together; above it those with most are closed, \
         but for CLIENT NO-EVICT. 0: no bound.",
    )
    .unit("bytes"),
    row(
        "requirepass",
        "",
        Kind::Text { field: |v| &mut v.requirepass },
        "Password that clients give by AUTH or HELLO; empty: none.",
    )
    .secret(),
    row(
        "protected-mode",
        "yes",
        Kind::Boolean { field: |v| &mut v.protected_mode },
        "Without a password, serve clients of this machine only.",
    ),
    row(
        "enable-debug-command",
        "no",
        choice!(enable_debug_command: DebugCommand),
        "Who may call DEBUG: nobody, everybody, or clients of this machine.",
    )
    .at_start(),
    row(
        "shutdown-timeout",
        "5",
        count(0, 3600, |v| &mut v.shutdown_timeout_s),
        "How long a node that stops may take to hand over and to answer what is in flight.",
    )
    .unit("seconds"),
];

static OBSERVATION: &[Setting] = &[
    row(
        "slowlog-log-slower-than",
        "10000",
        Kind::Signed { min: -1, max: i64::MAX, field: |v| &mut v.slowlog_log_slower_than_us },
        "Commands that take at least this long are in SLOWLOG; 0: all; negative: none.",
    )
    .unit("microseconds"),
    row(
        "slowlog-max-len",
        "128",
        count(0, i64::MAX as u64, |v| &mut v.slowlog_max_len),
        "Commands that SLOWLOG remembers.",
    )
    .unit("commands"),
    row(
        "latency-tracking",
        "yes",
        Kind::Boolean { field: |v| &mut v.latency_tracking },
        "Keep a latency histogram of each command (INFO latencystats, LATENCY HISTOGRAM).",
    ),
    row("loglevel", "info", choice!(loglevel: LogLevel), "What the process writes about itself."),
    row(
        "log-format",
        "auto",
        choice!(log_format: LogFormat),
        "How it writes: for people, as JSON, or by whether it writes to a terminal.",
    )
    .at_start(),
];

static CLUSTER: &[Setting] = &[
    row(
        "follower-reads",
        "linearizable",
        choice!(follower_reads: FollowerReads),
        "What a follower does with a read: answer with the leader's consent, answer with what it \
         has, or redirect.",
    ),
    row(
        "follower-writes",
        "redirect",
        choice!(follower_writes: FollowerWrites),
        "What a follower does with a write: redirect the client, or forward it to the leader.",
    ),
    row(
        "request-hold-ms",
        "5000",
        count(0, 60_000, |v| &mut v.request_hold_ms),
        "How long a request waits for a leader before -CLUSTERDOWN.",
    )
    .unit("milliseconds"),
    row(
        "heartbeat-interval-ms",
        "100",
        count(10, 60_000, |v| &mut v.heartbeat_interval_ms),
        "How often a leader shows that it lives.",
    )
    .at_start()
    .unit("milliseconds"),
    row(
        "election-timeout-min-ms",
        "1000",
        count(20, 600_000, |v| &mut v.election_timeout_min_ms),
        "Shortest silence after which a follower asks for votes; more than half of the longest and \
         a heartbeat.",
    )
    .at_start()
    .unit("milliseconds"),
    row(
        "election-timeout-max-ms",
        "1600",
        count(21, 600_000, |v| &mut v.election_timeout_max_ms),
        "Longest silence after which a follower asks for votes.",
    )
    .at_start()
    .unit("milliseconds"),
    row(
        "group-commit-max-bytes",
        "1mb",
        memory(1024, 64 * MB, |v| &mut v.group_commit_max_bytes),
        "Bytes of commands after which no more join a log entry; a single longer command is an entry of its own.",
    )
    .unit("bytes"),
    row(
        "group-commit-max-commands",
        "4096",
        count(1, 65_536, |v| &mut v.group_commit_max_commands),
        "Commands after which no more join a log entry.",
    )
    .unit("commands"),
    row(
        "group-commit-in-flight",
        "2",
        count(1, 64, |v| &mut v.group_commit_in_flight),
        "Log entries proposed and not yet answered, before further writes are gathered.",
    )
    .unit("entries"),
    row(
        "expire-batch",
        "200",
        count(1, 100_000, |v| &mut v.expire_batch),
        "Overdue keys that one log entry removes.",
    )
    .unit("keys"),
];

static LOG: &[Setting] = &[
    row(
        "appendfsync",
        "always",
        choice!(appendfsync: AppendFsync),
        "When a write counts: on the disks of a majority, or in its memory and on disk within a \
         second. Only 'always' keeps acknowledged writes through a power cut.",
    )
    .at_start(),
    row(
        "log-segment-bytes",
        "64mb",
        memory(MB, GB, |v| &mut v.log_segment_bytes),
        "Size of one file of the Raft log.",
    )
    .at_start()
    .unit("bytes"),
    row(
        "log-cache-bytes",
        "64mb",
        memory(MB, 16 * GB, |v| &mut v.log_cache_bytes),
        "Tail of the Raft log kept in memory for followers and apply.",
    )
    .at_start()
    .unit("bytes"),
    row(
        "log-max-bytes",
        "1gb",
        memory(MB, 1024 * GB, |v| &mut v.log_max_bytes),
        "Raft log kept for followers that lag; beyond it half is purged, and they get a snapshot.",
    )
    .unit("bytes"),
];

static STATE: &[Setting] = &[
    row(
        "storage-engine",
        "fjall",
        choice!(storage_engine: StorageEngine),
        "Where the state lives. 'memory' is for tests: no data larger than memory, and every start \
         needs the whole log.",
    )
    .at_start(),
    row(
        "overlay-bytes",
        "64mb",
        memory(MB, 16 * GB, |v| &mut v.overlay_bytes),
        "Changes held in memory before they are moved into tables; twice this while that goes on.",
    )
    .at_start()
    .unit("bytes"),
    row(
        "disk-free-min",
        "256mb",
        memory(0, 1024 * GB, |v| &mut v.disk_free_min_bytes),
        "Room to keep free on the disk of 'data-dir'. With less, this node takes no write that adds \
         data and hands leadership to a node with room; with less than half, no write at all, and \
         nothing is started. Reads go on. All of it ends by itself when there is room. More than \
         twice 'overlay-bytes' and 'log-segment-bytes' together; 0: never look.",
    )
    .unit("bytes"),
    row(
        "cache-bytes",
        "256mb",
        memory(MB, 1024 * GB, |v| &mut v.cache_bytes),
        "Block cache of the tables.",
    )
    .at_start()
    .unit("bytes"),
];

/// Names of Redis's that tools read, with what is true here.
static COMPAT: &[Setting] = &[
    row(
        "port",
        "",
        Kind::Derived { show: |v| v.listen_address().1.to_string(), from: "listen" },
        "Port of the client listener.",
    )
    .at_start(),
    row(
        "bind",
        "",
        Kind::Derived { show: |v| v.listen_address().0, from: "listen" },
        "Host of the client listener.",
    )
    .at_start(),
    row(
        "repl-backlog-size",
        "",
        Kind::Derived { show: |v| v.log_max_bytes.to_string(), from: "log-max-bytes" },
        "Bytes of changes kept for followers that lag.",
    )
    .at_start(),
    row("save", "", fixed("", "every write is in the log"), "No snapshots on a schedule."),
    row("appendonly", "yes", fixed("yes", "the Raft log cannot be off"), "Every write is logged."),
    row(
        "maxmemory",
        "0",
        fixed("0", "data may be larger than memory; caches have limits of their own"),
        "No limit of the data.",
    ),
    row(
        "maxmemory-policy",
        "noeviction",
        fixed("noeviction", "no key is ever evicted"),
        "What is evicted.",
    ),
    row(
        "replica-read-only",
        "yes",
        fixed("yes", "only the leader decides the order of writes"),
        "Followers take no writes of their own.",
    )
    .alias("slave-read-only"),
    row(
        "cluster-enabled",
        "no",
        fixed("no", "one group owns all slots; see INFO cluster_enabled"),
        "Redis Cluster mode. The CLUSTER commands and redirections work without it.",
    )
    .at_start(),
    row(
        "notify-keyspace-events",
        "",
        fixed("", "keyspace events are not supported"),
        "Keyspace events.",
    ),
];
