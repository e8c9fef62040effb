//! Connected clients: who they are, what they do, and how others stop, pause or watch them.
//!
//! A connection registers itself, updates its [`Client`] by relaxed atomics on the hot path, and
//! removes itself. Others act on it only by having it end. Nothing here reads from or
//! writes to a socket.

mod ending;
mod filter;
mod monitor;
mod pause;
#[cfg(test)]
mod tests;

pub use filter::{ClientFilter, ClientKind};
pub use monitor::MonitorFeed;
pub use pause::PauseMode;

use crate::commands::acl::DEFAULT_USER;
use crate::commands::numbering;
use crate::commands::spec::CommandSpec;
use crate::users::Account;
use bytes::Bytes;
use ending::Ending;
use monitor::Monitors;
use parking_lot::Mutex;
use pause::Pause;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering,
};

const NO_COMMAND: u16 = u16::MAX;

/// One connected client. Counters are written by its connection alone and read by anybody.
#[derive(Debug)]
pub struct Client {
    /// Counts up, never reused in this process.
    pub id: u64,
    /// Address of the client.
    pub address: String,
    /// Address it connected to.
    pub local_address: String,
    /// Descriptor of the socket, for CLIENT LIST only.
    pub descriptor: i32,
    /// When it connected, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it last sent something, in milliseconds since 1970.
    pub last_active_ms: AtomicU64,
    /// Database selected.
    pub database: AtomicU8,
    /// Version of the protocol of its replies: 2 or 3.
    pub protocol_version: AtomicU8,
    /// Commands queued in its MULTI block; -1 outside of one.
    pub multi_commands: AtomicI64,
    /// Bytes of the commands queued.
    pub multi_bytes: AtomicU64,
    /// Keys it watches.
    pub watched_keys: AtomicU64,
    /// Bytes of input not yet executed.
    pub input_bytes: AtomicU64,
    /// Room left in the input buffer, in bytes.
    pub input_free_bytes: AtomicU64,
    /// Bytes of replies not yet written.
    pub output_bytes: AtomicU64,
    /// Bytes received since it connected.
    pub total_input_bytes: AtomicU64,
    /// Bytes sent since it connected.
    pub total_output_bytes: AtomicU64,
    /// Commands executed since it connected.
    pub total_commands: AtomicU64,
    /// MONITOR was called.
    pub is_monitor: AtomicBool,
    /// READONLY was called.
    pub is_readonly: AtomicBool,
    /// CLIENT NO-EVICT is on.
    pub no_evict: AtomicBool,
    /// CLIENT NO-TOUCH is on.
    pub no_touch: AtomicBool,
    /// It waits for something other than its turn (WAIT, CLIENT PAUSE).
    pub is_blocked: AtomicBool,
    /// It waits for a change of users that it asked for.
    pub changes_users: AtomicBool,
    /// It closes once its replies are written.
    pub is_closing: AtomicBool,
    last_command: AtomicU16,
    details: Mutex<Details>,
    ending: Ending,
}

/// What changes rarely.
#[derive(Debug, Default)]
struct Details {
    name: String,
    library_name: String,
    library_version: String,
    monitor_feed: Option<MonitorFeed>,
    /// None: the default user.
    account: Option<Arc<Account>>,
}

impl Client {
    /// Notes a command and the moment it came.
    pub fn note_command(&self, spec: &'static CommandSpec, now_ms: u64) {
        self.last_command.store(numbering::number(spec) as u16, Ordering::Relaxed);
        self.last_active_ms.store(now_ms, Ordering::Relaxed);
        self.total_commands.fetch_add(1, Ordering::Relaxed);
    }

    /// The full name of the last command, if there was one.
    pub fn last_command(&self) -> Option<&'static str> {
        match self.last_command.load(Ordering::Relaxed) {
            NO_COMMAND => None,
            number => Some(numbering::full_name(usize::from(number))),
        }
    }

    /// The name given by CLIENT SETNAME or HELLO; empty: none.
    pub fn name(&self) -> String {
        self.details.lock().name.clone()
    }

    /// Sets the name.
    pub fn set_name(&self, name: &str) {
        name.clone_into(&mut self.details.lock().name);
    }

    /// Sets the name of the client library (CLIENT SETINFO).
    pub fn set_library_name(&self, name: &str) {
        name.clone_into(&mut self.details.lock().library_name);
    }

    /// Sets the version of the client library (CLIENT SETINFO).
    pub fn set_library_version(&self, version: &str) {
        version.clone_into(&mut self.details.lock().library_version);
    }

    /// Sets the user.
    pub fn set_account(&self, account: Arc<Account>) {
        self.details.lock().account = Some(account);
    }

    /// The name of the user.
    pub fn user(&self) -> Bytes {
        let details = self.details.lock();
        let named = details.account.as_ref().map(|account| account.name().clone());
        named.unwrap_or(Bytes::from_static(DEFAULT_USER))
    }

    /// Memory of its input, its MULTI block and its replies, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let counters =
            [&self.input_bytes, &self.input_free_bytes, &self.output_bytes, &self.multi_bytes];
        counters.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// Whether the user was deleted.
    fn is_of_removed_user(&self) -> bool {
        self.details.lock().account.as_ref().is_some_and(|account| account.is_removed())
    }

    /// Asks the connection to close now.
    pub fn kill(&self) {
        self.ending.now();
    }

    /// Whether the connection was asked to close.
    pub fn is_killed(&self) -> bool {
        self.ending.is_now()
    }

    /// Waits until the connection must close. For the connection's own task.
    pub async fn killed(&self) {
        self.ending.wait_for_now().await;
    }

    /// Waits until the connection must close, or has to when it is idle. For its own task.
    pub async fn ended(&self) {
        self.ending.wait_for_any().await;
    }

    /// The lines that a MONITOR client gets: taken once by its connection, after MONITOR.
    pub fn take_monitor_feed(&self) -> Option<MonitorFeed> {
        self.details.lock().monitor_feed.take()
    }

    /// What kind of client it is, for CLIENT LIST TYPE and CLIENT KILL TYPE.
    pub fn kind(&self) -> ClientKind {
        ClientKind::Normal
    }

    /// Redis's letters for its state.
    pub fn flags(&self) -> String {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let letters = [
            (is_set(&self.is_monitor), 'O'),
            (self.multi_commands.load(Ordering::Relaxed) >= 0, 'x'),
            (is_set(&self.is_blocked), 'b'),
            (is_set(&self.is_closing), 'c'),
            (is_set(&self.is_readonly), 'r'),
            (is_set(&self.no_evict), 'e'),
            (is_set(&self.no_touch), 'T'),
        ];
        let flags: String = letters.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
        if flags.is_empty() { "N".to_owned() } else { flags }
    }

    /// The line that CLIENT LIST and CLIENT INFO print, without its end.
    pub fn describe(&self, now_ms: u64) -> String {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds_since = |then_ms: u64| now_ms.saturating_sub(then_ms) / 1000;
        let details = self.details.lock();
        let user = details.account.as_ref().map_or(DEFAULT_USER, |account| account.name());
        let (input, free) = (load(&self.input_bytes), load(&self.input_free_bytes));
        let (output, queued) = (load(&self.output_bytes), load(&self.multi_bytes));
        let mut line = format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={}",
            self.id,
            self.address,
            self.local_address,
            self.descriptor,
            details.name,
            seconds_since(self.created_ms),
            seconds_since(load(&self.last_active_ms)),
            self.flags(),
            self.database.load(Ordering::Relaxed),
        );
        let multi = self.multi_commands.load(Ordering::Relaxed);
        let total = size_of::<Self>() as u64 + input + free + output + queued;
        // Arguments are slices of the input buffer: argv-mem, rbs and rbp are part of qbuf and omem.
        let written = write!(
            line,
            " sub=0 psub=0 ssub=0 multi={multi} qbuf={input} qbuf-free={free} argv-mem=0 \
             multi-mem={queued} rbs=0 rbp=0 obl=0 oll={} omem={output} tot-mem={total} events={} \
             cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={}",
            u64::from(output > 0),
            if output > 0 { "rw" } else { "r" },
            self.last_command().unwrap_or("NULL"),
            String::from_utf8_lossy(user),
            self.protocol_version.load(Ordering::Relaxed),
            details.library_name,
            details.library_version,
        );
        written.expect("writing to a string cannot fail");
        line
    }
}

/// All connected clients.
#[derive(Debug, Default)]
pub struct ClientRegistry {
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    count: AtomicUsize,
    /// All are to end when they are idle, those that are still to come, too.
    are_ending: AtomicBool,
    /// Connections that are not yet clients: their TLS handshake is not done.
    pub shaking_hands: AtomicUsize,
    last_id: AtomicU64,
    pause: Pause,
    monitors: Monitors,
}

impl ClientRegistry {
    /// Adds a connection that was just accepted.
    pub fn register(
        &self,
        address: String,
        local_address: String,
        descriptor: i32,
        now_ms: u64,
    ) -> Arc<Client> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let client = Arc::new(Client {
            id,
            address,
            local_address,
            descriptor,
            created_ms: now_ms,
            last_active_ms: AtomicU64::new(now_ms),
            database: AtomicU8::new(0),
            protocol_version: AtomicU8::new(2),
            multi_commands: AtomicI64::new(-1),
            multi_bytes: AtomicU64::new(0),
            watched_keys: AtomicU64::new(0),
            input_bytes: AtomicU64::new(0),
            input_free_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            total_input_bytes: AtomicU64::new(0),
            total_output_bytes: AtomicU64::new(0),
            total_commands: AtomicU64::new(0),
            is_monitor: AtomicBool::new(false),
            is_readonly: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
            changes_users: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            last_command: AtomicU16::new(NO_COMMAND),
            details: Mutex::default(),
            ending: Ending::default(),
        });
        self.clients.lock().insert(id, Arc::clone(&client));
        // After that: who ends all sees this client, or this client sees that all end.
        if self.are_ending.load(Ordering::SeqCst) {
            client.ending.when_idle();
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        client
    }

    /// Removes a connection that ended, its MONITOR feed included.
    pub fn remove(&self, id: u64) {
        if self.clients.lock().remove(&id).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        self.monitors.remove(id);
    }

    /// How many clients are connected.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many connections of clients there are, those that still shake hands included.
    pub fn connected(&self) -> usize {
        self.count() + self.shaking_hands.load(Ordering::Relaxed)
    }

    /// All clients, by id.
    pub fn list(&self) -> Vec<Arc<Client>> {
        self.clients.lock().values().cloned().collect()
    }

    /// A client by id.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.clients.lock().get(&id).cloned()
    }

    /// Asks every client that `filter` names to close; returns how many. The caller's own client
    /// is only counted: it closes by itself once its reply is written.
    pub fn kill(&self, filter: &ClientFilter, caller: u64) -> (usize, bool) {
        let named = self.list().into_iter().filter(|client| filter.names(client, caller));
        let (own, others): (Vec<_>, Vec<_>) = named.partition(|client| client.id == caller);
        others.iter().for_each(|client| client.kill());
        (own.len() + others.len(), !own.is_empty())
    }

    /// Asks every client of a deleted user to close, but not one that is deleting users: it closes by
    /// itself once its reply is written.
    pub fn kill_removed_users(&self) {
        let removed = |client: &Arc<Client>| {
            client.is_of_removed_user() && !client.changes_users.load(Ordering::Acquire)
        };
        self.list().iter().filter(|client| removed(client)).for_each(|client| client.kill());
    }

    /// Asks the clients with most memory to close until the others have `bytes_max` at most; returns
    /// how many. Those with CLIENT NO-EVICT count, and stay.
    pub fn evict(&self, bytes_max: u64) -> usize {
        let clients = self.clients.lock();
        let mut bytes: u64 = clients.values().map(|client| client.memory_bytes()).sum();
        if bytes <= bytes_max {
            return 0;
        }
        let may_go = |client: &&Arc<Client>| {
            !client.no_evict.load(Ordering::Relaxed) && client.memory_bytes() > 0
        };
        let mut largest: Vec<Arc<Client>> = clients.values().filter(may_go).cloned().collect();
        drop(clients);
        largest.sort_by_cached_key(|client| std::cmp::Reverse(client.memory_bytes()));
        let mut evicted = 0;
        for client in largest {
            if bytes <= bytes_max {
                break;
            }
            bytes = bytes.saturating_sub(client.memory_bytes());
            evicted += usize::from(!client.is_killed());
            client.kill();
        }
        evicted
    }

    /// Has every client, and whoever comes, end when it is idle.
    pub fn end_when_idle(&self) {
        self.are_ending.store(true, Ordering::SeqCst);
        self.list().iter().for_each(|client| client.ending.when_idle());
    }

    /// Asks every client to close.
    pub fn kill_all(&self) {
        self.list().iter().for_each(|client| client.kill());
    }

    /// CLIENT PAUSE: holds clients back until `until_ms` (since 1970). The longer time and the
    /// stricter mode win over a pause that is on.
    pub fn pause(&self, mode: PauseMode, until_ms: u64, now_ms: u64) {
        self.pause.start(mode, until_ms, now_ms);
    }

    /// CLIENT UNPAUSE: ends a pause.
    pub fn unpause(&self) {
        self.pause.end();
    }

    /// Until when (milliseconds since 1970) a command must wait, if it must. Cheap when nothing is
    /// paused.
    pub fn paused_until(&self, is_write: bool, now_ms: u64) -> Option<u64> {
        self.pause.until(is_write, now_ms)
    }

    /// Waits until a command may run.
    pub async fn wait_unpaused(&self, is_write: bool, clock: &dyn crate::clock::Clock) {
        self.pause.wait(is_write, clock).await;
    }

    /// Makes `client` a MONITOR; its connection then takes the feed from it.
    pub fn monitor(&self, client: &Arc<Client>) {
        let feed = self.monitors.add(client);
        client.is_monitor.store(true, Ordering::Relaxed);
        client.details.lock().monitor_feed = Some(feed);
    }

    /// Ends MONITOR (RESET).
    pub fn end_monitor(&self, client: &Client) {
        self.monitors.remove(client.id);
        client.is_monitor.store(false, Ordering::Relaxed);
        client.details.lock().monitor_feed = None;
    }

    /// Whether anybody monitors: one relaxed load, to be asked before [`Self::monitor_feed`].
    pub fn has_monitors(&self) -> bool {
        self.monitors.any()
    }

    /// Shows a command to every MONITOR, secrets replaced; a monitor too slow to keep up is closed.
    pub fn monitor_feed(
        &self,
        unix_us: u64,
        database: u8,
        address: &str,
        request: &protocol::Request,
    ) {
        self.monitors.feed(unix_us, database, address, request);
    }
}
