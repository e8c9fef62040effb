//! Bounds that are not settings: every queue, batch and wait that has a fixed size, with its unit.
//!
//! Sizes an operator may want to change are settings ([`crate::config`]); those of the protocol are
//! `protocol::limits`, those of the layout `storage::limits`.

use std::time::Duration;

/// Bytes of the name of a user.
pub const USER_NAME_BYTES_MAX: usize = 512;

/// Bytes of the rules of a user, as ACL LIST prints them.
pub const USER_BYTES_MAX: usize = 64 * 1024;

/// Entries of ACL LOG.
pub const ACL_LOG_ENTRIES_MAX: usize = 128;

/// Names a client may give itself: longest, in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 64 * 1024;

/// Lines that may wait for one MONITOR client; a slower one is disconnected.
pub const MONITOR_QUEUE_LINES: usize = 4096;

/// Bytes of the lines that may wait for one MONITOR client; a slower one is disconnected.
pub const MONITOR_QUEUE_BYTES: usize = 16 << 20;

/// Bytes of one argument, and about those of a line, that MONITOR shows.
pub const MONITOR_LINE_BYTES: usize = 64 << 10;

/// Arguments of a command that SLOWLOG keeps, the note about the rest included.
pub const SLOWLOG_ARGS_MAX: usize = 32;

/// Bytes of one argument that SLOWLOG keeps, before the note about the rest.
pub const SLOWLOG_ARG_BYTES_MAX: usize = 128;

/// Different error prefixes that INFO errorstats counts; further ones are counted together.
pub const ERROR_PREFIXES_MAX: usize = 128;

/// Samples over which the figures "per second" of INFO are averaged.
pub const RATE_SAMPLES: usize = 16;

/// Time between two of these samples, in milliseconds.
pub const RATE_SAMPLE_MS: u64 = 100;

/// Commands queued in one MULTI block.
pub const MULTI_COMMANDS_MAX: usize = 1_000_000;

/// Bytes queued in one MULTI block: it becomes one log entry.
pub const MULTI_BYTES_MAX: usize = 512 << 20;

/// Keys under WATCH on one connection.
pub const WATCHED_KEYS_MAX: usize = 1_000_000;

/// Bytes of the keys under WATCH on one connection: they become part of a log entry.
pub const WATCHED_BYTES_MAX: usize = 64 << 20;

/// Writes of one connection that may answer with a value each (GETSET, GETDEL, ...) and go into one
/// log entry: their replies are in memory together until the entry is applied and they are written.
pub const RUN_VALUES_MAX: usize = 16;

/// Bytes of replies after which a pipeline's answers are written, though more requests wait.
pub const REPLY_BATCH_BYTES: usize = 1 << 20;

/// Bytes of a value from which on its reply is written from where it is, not copied first.
pub const LONG_VALUE_BYTES: usize = 32 << 10;

/// Bytes of replies that one connection writes before others have a turn.
pub const WRITE_TURN_BYTES: usize = 256 << 10;

/// How long replies that are ready may wait for the rest of their pipeline before it waits again.
pub const REPLY_DELAY_MAX: Duration = Duration::from_millis(20);

/// Bytes read from a client at once.
pub const READ_CHUNK_BYTES: usize = 64 << 10;

/// Room to read into, in bytes, below which a chunk is used up.
pub const READ_ROOM_BYTES_MIN: usize = 4 << 10;

/// Chunks that a thread keeps for the next connections that read.
pub const READ_ROOMS_SPARE_MAX: usize = 64;

/// Connections accepted in a row before those that are there have a turn.
pub const ACCEPTS_PER_TURN: usize = 16;

/// Connections closed in a row before those that stay have a turn.
pub const CLOSED_PER_TURN: usize = 8;

/// Bytes that a client sends at once, beyond which the others have a turn before they are executed.
pub const TURN_BYTES: usize = READ_CHUNK_BYTES / 4;

/// Requests of one connection that are executed before its replies are written.
pub const PIPELINE_BATCH_REQUESTS: usize = 10_000;

/// Requests at once that make a pipeline, for which a client may be served by another thread.
pub const PIPELINE_REQUESTS_MIN: usize = 4;

/// Arguments up to which a read runs on the connections' threads; longer ones run beside them, so that
/// an MGET of a million keys holds up nobody else.
pub const READ_INLINE_ARGS_MAX: usize = 256;

/// Bytes of the values of one MGET: they are in memory together.
pub const MGET_BYTES_MAX: usize = 1 << 30;

/// Bytes of writes that may wait to be gathered into entries or to be answered; beyond it the node
/// answers an overload at once. A longer one is taken alone.
pub const WRITES_WAITING_BYTES_MAX: usize = 1 << 30;

/// Pause between two looks at the memory of all clients together.
pub const CLIENT_MEMORY_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Descriptors kept for files, peers and listeners when clients take the others.
pub const DESCRIPTORS_RESERVED: u64 = 640;

/// Reads that may wait for one read barrier.
pub const READS_WAITING_MAX: usize = 65_536;

/// Pipelines of clients that may wait to be gathered into an entry; beyond it the node answers an
/// overload at once.
pub const SUBMISSIONS_QUEUED_MAX: usize = 65_536;

/// Encoded commands of one client's run, in bytes: it is never split, so together with the groups it
/// joins (64 MiB each: its thread's, its node's, and the leader's when it is forwarded) it has to fit a
/// log entry and a peer's frame (1 GiB).
pub const SUBMISSION_BYTES_MAX: usize = 768 << 20;

/// Turns of the thread that a group of writes, or a round of the read barrier, waits for more to join
/// it; it goes as soon as a turn brings nothing new.
pub const GATHER_TURNS_MAX: usize = 4;

/// Entries up to this size, in bytes, may be applied on the thread that learns of their commit; larger
/// ones, and those expected to take longer than [`APPLY_INLINE_MAX`], beside it.
pub const APPLY_INLINE_BYTES_MAX: usize = 1 << 20;

/// Time that an entry may be expected to take on the thread that serves connections.
pub const APPLY_INLINE_MAX: Duration = Duration::from_micros(250);

/// Bytes of committed entries after which no further ones are applied together with them.
pub const APPLY_RUN_BYTES_MAX: usize = 1 << 20;

/// Time that they may be expected to take together: who waits for one of them waits for all.
pub const APPLY_RUN_MAX: Duration = Duration::from_millis(4);

/// Committed entries that may wait to be applied while writes are answered that need not wait for
/// that: fewer than the Raft library's queue holds.
pub const BACKLOG_ENTRIES_MAX: usize = 512;

/// Their bytes.
pub const BACKLOG_BYTES_MAX: usize = 2 << 20;

/// How long the oldest of them may have waited.
pub const BACKLOG_AGE_MAX: Duration = Duration::from_millis(100);

/// Entries of this size at least, in bytes, say how long others will take.
pub const PACE_BYTES_MIN: usize = 16 << 10;

/// Writes up to this size, in bytes, are put together on the thread that has them; larger ones
/// beside it.
pub const ENCODE_INLINE_BYTES_MAX: usize = 1 << 20;

/// Piece of a snapshot sent at once, in bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;

/// Append requests to one peer that may wait for their answers.
pub const APPEND_WINDOW: usize = 8;

/// Bytes of entries in one append request, unless a single entry is longer.
pub const APPEND_REQUEST_BYTES_MAX: usize = 2 << 20;

/// Bytes of frames gathered for one write to a peer.
pub const PEER_WRITE_BATCH_BYTES: usize = 256 << 10;

/// Requests of one peer connection that are worked on at a time.
pub const PEER_REQUESTS_MAX: usize = 1024;

/// Peers that may be connected to the peer listener at a time, not counting strangers.
pub const PEER_CONNECTIONS_MAX: usize = 1024;

/// Connections to the peer listener of which no frame was taken yet; the oldest makes way for another.
pub const STRANGERS_MAX: usize = 256;

/// Time for the first frame of a connection to the peer listener.
pub const FIRST_FRAME_WAIT: Duration = Duration::from_secs(10);

/// Time for a connection to a peer to be made.
pub const PEER_CONNECT_WAIT: Duration = Duration::from_millis(1000);

/// Time for a TLS handshake with a client or a peer, beginning when it connects.
pub const TLS_HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// Handshakes of clients that go on at a time, not counting clients that have sent nothing yet;
/// further ones wait.
pub const TLS_HANDSHAKES_MAX: usize = 256;

/// Time for saying goodbye on a TLS connection that ends.
pub const TLS_GOODBYE_WAIT: Duration = Duration::from_millis(500);

/// Pause between two looks at whether the files of certificates have changed.
pub const TLS_FILES_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Bytes of one file of certificates or of a key.
pub const TLS_FILE_BYTES_MAX: u64 = 4 << 20;

/// Files of certificates in one directory.
pub const TLS_FILES_MAX: usize = 1024;

/// Time in which a frame of a peer that has begun must go on.
pub const FRAME_STALL_WAIT: Duration = Duration::from_secs(5);

/// Time a peer has to answer a heartbeat.
pub const HEARTBEAT_ANSWER_WAIT: Duration = Duration::from_millis(1000);

/// Time a peer has to answer a vote request.
pub const VOTE_ANSWER_WAIT: Duration = Duration::from_millis(1000);

/// Time a peer has to put appended entries on its disk.
pub const APPEND_ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Time a peer has to take a piece of a snapshot, or to install the whole.
pub const SNAPSHOT_ANSWER_WAIT: Duration = Duration::from_secs(120);

/// Time after which a client that waits for a write is told that its outcome is unknown.
pub const WRITE_OUTCOME_WAIT: Duration = Duration::from_secs(10);

/// Pause between two looks at whether there is a leader, for requests that wait for one.
pub const LEADER_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Time the leader has to answer a forwarded group of writes.
pub const FORWARD_ANSWER_WAIT: Duration = Duration::from_secs(30);

/// Time the leader has to answer a request for a read index.
pub const READ_INDEX_ANSWER_WAIT: Duration = Duration::from_millis(2000);

/// Time for an administrative command (a membership change, a transfer of leadership).
pub const ORDER_WAIT: Duration = Duration::from_secs(60);

/// Pause between two looks at the room on the disk.
pub const DISK_LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Pause between two attempts of a leader without room to hand over.
pub const DISK_HANDOVER_INTERVAL: Duration = Duration::from_secs(5);

/// Pause between two looks at what the leader's regular duties are.
pub const DUTY_INTERVAL: Duration = Duration::from_millis(100);
