//! A real `redis-server` for as long as a test needs one: the arbiter of the golden scripts.
//!
//! It is started only where the environment names a binary. Data stay in a temporary directory
//! and nothing is saved. Invariant: the process ends when its handle is dropped.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::golden::wire::{Connection, Element, Received, encode_request};

/// Names the redis-server binary; without it comparison with a real server is off.
pub const BINARY_VARIABLE: &str = "KVORUM_REDIS_SERVER";

/// Where Debian puts redis-server.
pub const DEFAULT_BINARY: &str = "/usr/bin/redis-server";

/// Ports that are tried; a server in cluster mode also takes the port 10,000 above.
const PORTS: std::ops::Range<u16> = 21_000..21_100;
const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const CLUSTER_SLOT_LAST: &str = "16383";

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// A running redis-server.
pub struct RedisServer {
    child: Child,
    dir: PathBuf,
    /// `127.0.0.1:<port>`.
    pub addr: String,
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Nothing can be done about a process that is already gone or a directory that stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Starts a redis-server with `extra_args` and waits until it answers; none where
/// [`BINARY_VARIABLE`] is not set. A server in cluster mode gets all slots.
///
/// # Panics
/// Where the binary is named but no server can be started: a test that silently ran without its
/// arbiter would prove nothing.
pub fn start_redis_server(extra_args: &[String]) -> Option<RedisServer> {
    Some(start_named_redis_server(&named_binary()?, extra_args))
}

/// The redis-server that the environment names.
pub fn named_binary() -> Option<OsString> {
    env::var_os(BINARY_VARIABLE).filter(|value| !value.is_empty())
}

/// Starts this redis-server with `extra_args` and waits until it answers.
///
/// # Panics
/// It cannot be started.
pub fn start_named_redis_server(binary: &OsStr, extra_args: &[String]) -> RedisServer {
    let attempts = PORTS.len();
    for _ in 0..attempts {
        let Some(port) = next_free_port() else {
            continue;
        };
        let dir = env::temp_dir().join(format!("kvorum-redis-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory for redis-server");
        let child = Command::new(binary)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(&dir)
            .args(extra_args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{binary:?}: {error}"));
        let mut server = RedisServer { child, dir, addr: format!("127.0.0.1:{port}") };
        if server.wait_until_ready() {
            if extra_args.windows(2).any(|pair| pair == ["--cluster-enabled", "yes"]) {
                server.assign_all_slots();
            }
            return server;
        }
    }
    panic!("no redis-server could be started on ports {PORTS:?}");
}

impl RedisServer {
    /// Waits for the first PONG; false when the process ended before (its port was taken).
    fn wait_until_ready(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < START_TIMEOUT {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return false;
            }
            if self.ask(&["PING"]).is_some_and(|reply| reply == b"+PONG\r\n") {
                return true;
            }
            thread::sleep(POLL_INTERVAL);
        }
        false
    }

    fn assign_all_slots(&self) {
        self.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", CLUSTER_SLOT_LAST]);
        let begun = Instant::now();
        while begun.elapsed() < START_TIMEOUT {
            let info = self.ask(&["CLUSTER", "INFO"]).unwrap_or_default();
            if String::from_utf8_lossy(&info).contains("cluster_state:ok") {
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
        panic!("redis-server did not reach cluster_state:ok");
    }

    fn ask(&self, words: &[&str]) -> Option<Vec<u8>> {
        let mut connection = Connection::open(&self.addr).ok()?;
        let args: Vec<_> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        connection.send(&encode_request(&args)).ok()?;
        match connection.receive(START_TIMEOUT) {
            Received::Reply(element) => Some(Element::to_bytes(&element)),
            _ => None,
        }
    }
}

/// The next port of the range that nobody listens on at this moment.
fn next_free_port() -> Option<u16> {
    let spread = u16::try_from(std::process::id() % 97).unwrap_or(0);
    let turn = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
    let len = PORTS.end - PORTS.start;
    let port = PORTS.start + (spread.wrapping_add(turn)) % len;
    TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
}
