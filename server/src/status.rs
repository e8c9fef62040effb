//! What a node knows of itself and its cluster at one moment: the source of INFO, ROLE, CLUSTER.

/// What a node is in its Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Decides the order of writes.
    Leader,
    /// Votes and replicates.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Replicates without a vote.
    Learner,
    /// Is not yet a member of any cluster.
    Joining,
    /// Was removed from the cluster; serves nothing.
    Removed,
}

impl Role {
    /// The word INFO prints.
    pub fn name(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
            Role::Joining => "joining",
            Role::Removed => "removed",
        }
    }
}

/// A member of the cluster, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Node id.
    pub id: u64,
    /// Host that clients reach it at.
    pub host: String,
    /// Port that clients reach it at; where none is served without TLS, the same as `tls_port`.
    pub port: u16,
    /// Port that clients reach it at by TLS; 0: none.
    pub tls_port: u16,
    /// Port that peers reach it at.
    pub peer_port: u16,
    /// Whether it votes.
    pub voter: bool,
    /// On the leader: the last log index known to be on its disk.
    pub match_index: Option<u64>,
    /// On the leader: milliseconds since it last answered; on a follower, only for the leader.
    pub last_contact_ms: Option<u64>,
    /// Round trip of the last heartbeat, in microseconds.
    pub round_trip_us: Option<u64>,
    /// Whether it was heard of late and no connection to it broke since (always true for itself).
    pub connected: bool,
}

impl Member {
    /// The port for clients without TLS, if there is one.
    pub fn plain_port(&self) -> Option<u16> {
        (self.port != self.tls_port).then_some(self.port)
    }

    /// The 40 hexadecimal digits that CLUSTER commands print for it.
    pub fn cluster_name(&self, cluster_id: u64) -> String {
        cluster_name(cluster_id, self.id)
    }
}

/// The 40 hexadecimal digits that CLUSTER commands print for a node; node 0 is the cluster itself,
/// as `master_replid` prints it.
pub fn cluster_name(cluster_id: u64, node_id: u64) -> String {
    format!("{cluster_id:016x}{node_id:024x}")
}

/// A node's view of its Raft group.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// Generated when the cluster was formed; 0 while joining.
    pub cluster_id: u64,
    /// This node.
    pub node_id: u64,
    /// What it is now.
    pub role: Role,
    /// Current term.
    pub term: u64,
    /// Candidate voted for in this term.
    pub voted_for: Option<u64>,
    /// Leader, when known and alive.
    pub leader_id: Option<u64>,
    /// All members, by id.
    pub members: Vec<Member>,
    /// Last index in the log.
    pub last_log_index: u64,
    /// Last index known to be committed.
    pub commit_index: u64,
    /// Last index applied here.
    pub applied_index: u64,
    /// Index up to which the state is in tables on disk.
    pub durable_index: u64,
    /// Index of the last snapshot built or installed (0: none).
    pub snapshot_index: u64,
    /// Index up to which the log was purged.
    pub purged_index: u64,
    /// Whether a membership change is under way.
    pub membership_changing: bool,
    /// Whether a leadership transfer is under way.
    pub transferring: bool,
    /// Whether a snapshot is being received.
    pub snapshot_receiving: bool,
    /// Elections this node started, and leader changes it saw, since its start.
    pub elections_started: u64,
    /// Leader changes seen since the start.
    pub leader_changes: u64,
    /// Snapshots built, sent and received since the start.
    pub snapshots_created: u64,
    /// Snapshots sent to peers since the start.
    pub snapshots_sent: u64,
    /// Snapshots received since the start.
    pub snapshots_received: u64,
    /// Requests forwarded to the leader, and those whose forwarding failed.
    pub forwarded_requests: u64,
    /// Forwarded requests that failed.
    pub forwarded_failed: u64,
    /// Entries proposed here, and commands in them, since the start.
    pub entries_proposed: u64,
    /// Commands in those entries.
    pub commands_proposed: u64,
    /// Commands in the largest entry proposed.
    pub group_commit_max: u64,
    /// Append requests received from leaders since the start.
    pub append_requests_received: u64,
}

/// Figures of the Raft group that decide nothing and are only shown.
#[derive(Clone, Debug, Default)]
pub struct RaftFigures {
    /// Term of the last entry of the log.
    pub last_log_term: u64,
    /// Term of the last snapshot built or installed (0: none).
    pub snapshot_term: u64,
    /// Bytes of that snapshot, as far as they are known.
    pub snapshot_bytes: u64,
    /// When it was made, in milliseconds since 1970 (0: none).
    pub snapshot_ms: u64,
    /// Whether a snapshot is being built or sent.
    pub snapshot_building: bool,
    /// Append requests received that carried entries.
    pub append_requests_with_entries: u64,
    /// Pieces of snapshots received.
    pub snapshot_requests_received: u64,
    /// Messages sent to peers since the start, of any kind.
    pub peer_messages_sent: u64,
    /// Messages received from peers since the start, of any kind.
    pub peer_messages_received: u64,
    /// Connections and messages of peers that were refused (other cluster, other node, damaged).
    pub peers_refused: u64,
    /// Commands that wait to be gathered into an entry.
    pub proposals_waiting: u64,
    /// Entries proposed and not yet answered.
    pub entries_in_flight: u64,
    /// Median of the commands in an entry.
    pub group_commit_p50: u64,
    /// 99th percentile of the commands in an entry.
    pub group_commit_p99: u64,
    /// Requests forwarded to the leader whose answer is due.
    pub forwards_outstanding: u64,
    /// Times a proposal had to wait because the state store had no room.
    pub throttled: u64,
}

impl ClusterStatus {
    /// As a client is told, that speaks TLS or not: a member's `port` is the one to connect to.
    pub fn told(mut self, tls: bool) -> Self {
        for member in self.members.iter_mut().filter(|member| tls && member.tls_port != 0) {
            member.port = member.tls_port;
        }
        self
    }

    /// This node's own entry.
    pub fn this(&self) -> Option<&Member> {
        self.member(self.node_id)
    }

    /// The leader's entry.
    pub fn leader(&self) -> Option<&Member> {
        self.leader_id.and_then(|id| self.member(id))
    }

    /// A member by id.
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// All members but the leader; but this node when no leader is known.
    pub fn replicas(&self) -> impl Iterator<Item = &Member> {
        let leader_id = self.leader_id.unwrap_or(self.node_id);
        self.members.iter().filter(move |member| member.id != leader_id)
    }

    /// How many voters the group has.
    pub fn voters(&self) -> usize {
        self.members.iter().filter(|member| member.voter).count()
    }
}
