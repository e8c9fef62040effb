//! The state of one connection: what HELLO, SELECT, MULTI and their kin change.

use crate::clients::Client;
use crate::commands::spec::CommandSpec;
use crate::users::Account;
use protocol::encode::RespVersion;
use protocol::{Reply, Request};
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What CLIENT REPLY asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    /// Replies are sent.
    On,
    /// No reply is sent until CLIENT REPLY ON.
    Off,
    /// The reply of this command (CLIENT REPLY SKIP itself) and of the next one is left out.
    SkipNext,
    /// The reply of this command is left out, then replies are on again.
    SkipThis,
}

/// A command queued in a MULTI block.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Which command.
    pub spec: &'static CommandSpec,
    /// Its arguments.
    pub request: Request,
    /// Its reply, when its user may no longer run it at EXEC.
    pub denied: Option<Reply>,
}

/// An open MULTI block.
#[derive(Clone, Debug, Default)]
pub struct MultiBlock {
    /// Commands in order.
    pub queued: Vec<Queued>,
    /// A command was refused while queuing: EXEC answers EXECABORT.
    pub refused: bool,
}

/// A key under WATCH, with the log index of its last change when it was watched (0: absent).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its database.
    pub database: u8,
    /// The key.
    pub key: Vec<u8>,
    /// Log index of its last change; 0 when it was absent.
    pub version: u64,
}

/// The keys under WATCH on one connection.
#[derive(Debug, Default)]
pub struct WatchedKeys {
    versions: BTreeMap<(u8, Vec<u8>), u64>,
    bytes: usize,
}

impl WatchedKeys {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// Bytes of the keys.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a key; one that is known keeps the version it was first watched at.
    pub fn add(&mut self, key: Watched) {
        let bytes = key.key.len();
        let known = self.versions.entry((key.database, key.key));
        if let Entry::Vacant(place) = known {
            place.insert(key.version);
            self.bytes += bytes;
        }
    }

    /// The keys in order.
    pub fn into_keys(self) -> Vec<Watched> {
        let keys = self.versions.into_iter();
        keys.map(|((database, key), version)| Watched { database, key, version }).collect()
    }
}

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    /// Its entry among the node's clients.
    pub client: Arc<Client>,
    /// Whether it speaks TLS: then it is told the members' TLS ports.
    pub tls: bool,
    /// Database selected.
    pub database: u8,
    /// Protocol of the replies.
    pub version: RespVersion,
    /// Its user.
    pub account: Arc<Account>,
    /// Whether AUTH succeeded or is not needed.
    pub authenticated: bool,
    /// The open MULTI block.
    pub multi: Option<MultiBlock>,
    /// Keys under WATCH.
    pub watched: WatchedKeys,
    /// READONLY: reads are answered from this node's applied state.
    pub readonly: bool,
    /// CLIENT CAPA redirect: `-REDIRECT` instead of `-MOVED`.
    pub redirect_capable: bool,
    /// What CLIENT REPLY asked for.
    pub reply_mode: ReplyMode,
    /// MONITOR was called.
    pub monitor: bool,
    /// The connection closes after the replies that are due.
    pub closing: bool,
    /// Log index of the last write this connection saw acknowledged; 0: none.
    pub last_write_index: u64,
    /// Log index of the last entry that this connection's last command on data saw: its own, for a
    /// write; 0: there was none.
    pub last_index: u64,
}

impl Session {
    /// The state of a new connection.
    pub fn new(client: Arc<Client>, account: Arc<Account>, authenticated: bool) -> Self {
        Self {
            client,
            account,
            tls: false,
            database: 0,
            version: RespVersion::Resp2,
            authenticated,
            multi: None,
            watched: WatchedKeys::default(),
            readonly: false,
            redirect_capable: false,
            reply_mode: ReplyMode::On,
            monitor: false,
            closing: false,
            last_write_index: 0,
            last_index: 0,
        }
    }

    /// Becomes another user.
    pub fn log_in(&mut self, account: Arc<Account>, authenticated: bool) {
        self.client.set_account(account.clone());
        self.account = account;
        self.authenticated = authenticated;
    }

    /// Selects a database that exists.
    pub fn select(&mut self, database: u8) {
        self.database = database;
        self.client.database.store(database, Ordering::Relaxed);
    }

    /// Changes the protocol of the replies, from this one on.
    pub fn speak(&mut self, version: RespVersion) {
        self.version = version;
        let number = if version == RespVersion::Resp3 { 3 } else { 2 };
        self.client.protocol_version.store(number, Ordering::Relaxed);
    }

    /// Opens a MULTI block.
    pub fn begin_multi(&mut self) {
        self.multi = Some(MultiBlock::default());
        self.client.multi_commands.store(0, Ordering::Relaxed);
    }

    /// Queues a command in the open MULTI block, if there is one.
    pub fn queue(&mut self, command: Queued) {
        let Some(block) = &mut self.multi else { return };
        let bytes = command.request.payload_bytes() as u64;
        block.queued.push(command);
        self.client.multi_commands.store(block.queued.len() as i64, Ordering::Relaxed);
        self.client.multi_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends the MULTI block, if one is open, and forgets what was watched. EXEC calls it when it
    /// is done, so that the commands it runs still count as inside the block.
    pub fn end_multi(&mut self) {
        self.multi = None;
        self.client.multi_commands.store(-1, Ordering::Relaxed);
        self.client.multi_bytes.store(0, Ordering::Relaxed);
        self.forget_watched();
    }

    /// Whether a MULTI block is open or being executed.
    pub fn in_multi(&self) -> bool {
        self.client.multi_commands.load(Ordering::Relaxed) >= 0
    }

    /// Forgets the watched keys.
    pub fn forget_watched(&mut self) {
        self.watched = WatchedKeys::default();
        self.client.watched_keys.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_watched_twice_keeps_its_first_version_and_is_counted_once() {
        let mut watched = WatchedKeys::default();
        let key = |database, version| Watched { database, key: b"key".to_vec(), version };
        for key in [key(0, 5), key(0, 9), key(1, 7)] {
            watched.add(key);
        }
        assert_eq!((watched.len(), watched.bytes()), (2, 6));
        assert_eq!(watched.into_keys(), [key(0, 5), key(1, 7)]);
    }
}
