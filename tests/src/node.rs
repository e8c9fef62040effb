//! One real `kvorum` process: started, killed, paused and asked by tests.
//!
//! Invariants: a process ends when its handle is dropped, also by a panic; every wait is bounded;
//! what the process writes about itself is kept in a file and printed when the test fails.

use crate::client::{Client, text};
use kvorum_verify::cargo;
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use storage::mutants;

/// Names a `kvorum` binary to test instead of the one built from this checkout.
pub const BINARY_VARIABLE: &str = "KVORUM_BINARY";

/// How long a process may take to answer its first PING, and to end after a signal. Machines that
/// run tests are busy; a bound is there so that a hanging process fails its test.
pub const PROCESS_WAIT: Duration = Duration::from_secs(30);

/// Pause between two looks at something that is waited for.
pub const POLL: Duration = Duration::from_millis(20);

/// Client ports. The peer port is [`PEER_PORT_OFFSET`] above, so that both are outside the range
/// that systems take the ports of outgoing connections from.
const PORTS: std::ops::Range<u16> = 25_000..25_500;
const PEER_PORT_OFFSET: u16 = 500;

/// Lines of a node's output that a failing test shows.
const OUTPUT_LINES_SHOWN: usize = 60;

/// A node of a test: a data directory with an address, and the process that serves it or none.
pub struct Node {
    /// Where clients connect, `127.0.0.1:<port>`.
    pub addr: String,
    /// Where other nodes connect.
    pub peer_addr: String,
    /// Data directory.
    pub dir: PathBuf,
    /// Arguments besides directory and addresses.
    pub args: Vec<String>,
    /// Where clients are served by TLS only: how to connect. Then `addr` is that of the TLS port.
    pub tls: Option<Arc<ClientConfig>>,
    /// Environment of the process, besides what it inherits.
    pub env: Vec<(String, String)>,
    /// A program and its arguments that become the server, as `nsenter`; empty: started directly.
    pub launcher: Vec<String>,
    output: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// A node with its data below `root`, on a free port; not yet started.
    pub fn new(root: &Path, args: &[String]) -> Self {
        let port = free_port();
        let dir = root.join(format!("node-{port}"));
        fs::create_dir_all(&dir).expect("a directory for the node");
        Node {
            addr: format!("127.0.0.1:{port}"),
            peer_addr: format!("127.0.0.1:{}", port + PEER_PORT_OFFSET),
            output: root.join(format!("node-{port}.output")),
            dir,
            args: args.to_vec(),
            tls: None,
            env: Vec::new(),
            launcher: Vec::new(),
            child: None,
        }
    }

    /// Starts the process; it may not be ready when this returns.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "node {} runs already", self.addr);
        self.child = Some(self.command().spawn().expect("kvorum starts"));
    }

    /// Starts the process and waits for its first PONG.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts a process that is expected to end by itself, and returns how it ended and all that
    /// it wrote.
    pub fn run_to_its_end(&self) -> (ExitStatus, String) {
        let before = self.output().len();
        let mut child = self.command().spawn().expect("kvorum starts");
        let status = wait_for_exit(&mut child);
        if status.is_none() {
            // It is ended before the test fails.
            let _ = child.kill();
            let _ = child.wait();
        }
        let output = self.output().split_off(before);
        let status = status.unwrap_or_else(|| panic!("{} did not end:\n{output}", self.addr));
        (status, output)
    }

    fn command(&self) -> Command {
        let output = OpenOptions::new().create(true).append(true).open(&self.output);
        let output: File = output.expect("a file for the node's output");
        let mut command = match self.launcher.split_first() {
            None => Command::new(binary()),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary());
                command
            }
        };
        command
            .args(["start", "--peer-listen", &self.peer_addr])
            .args(self.listen_args())
            .arg("--data-dir")
            .arg(&self.dir)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the file"))
            .stderr(output);
        // What is set for the tests is not meant for the node, which reads such names as settings.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("KVORUM_") && name != mutants::VARIABLE {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().cloned());
        command
    }

    fn listen_args(&self) -> Vec<String> {
        match (&self.tls, self.addr.rsplit_once(':')) {
            (Some(_), Some((host, port))) => {
                let words =
                    ["--listen", &format!("{host}:0"), "--set", &format!("tls-port={port}")];
                words.map(str::to_owned).to_vec()
            }
            _ => vec!["--listen".to_owned(), self.addr.clone()],
        }
    }

    /// A new connection, of the kind that clients of this node have.
    ///
    /// # Errors
    /// Nobody listens, or the handshake fails.
    pub fn connect(&self) -> io::Result<Client> {
        match &self.tls {
            None => Client::connect(&self.addr),
            Some(config) => Client::connect_tls(&self.addr, config.clone()),
        }
    }

    /// Waits until the node answers PING.
    pub fn wait_ready(&mut self) {
        wait_until(PROCESS_WAIT, &format!("{} answers", self.addr), || {
            if let Some(status) = self.exited() {
                panic!("kvorum at {} ended with {status}:\n{}", self.addr, self.output());
            }
            let pong = self.connect().and_then(|mut client| client.call(&["PING"]));
            pong.is_ok()
        });
    }

    /// Whether a process serves this node, paused or not.
    pub fn is_running(&mut self) -> bool {
        self.child.is_some() && self.exited().is_none()
    }

    /// How the process ended by itself, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("the process can be asked"))
    }

    /// Id of the process, paused or not; none when the node was not started.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process can be killed");
            child.wait().expect("the process can be waited for");
        }
    }

    /// SIGTERM; returns how the process ended and after what time.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal("TERM");
        let mut child = self.child.take().expect("the node runs");
        let status = wait_for_exit(&mut child);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        (status.expect("the process ends after SIGTERM"), begun.elapsed())
    }

    /// SIGSTOP: the process keeps its connections and does nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("the node runs").id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
    }

    /// A new connection.
    ///
    /// # Panics
    /// Nobody listens.
    pub fn client(&self) -> Client {
        self.connect().unwrap_or_else(|error| panic!("{}: {error}", self.addr))
    }

    /// The fields of a section of INFO; empty when the node does not answer.
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        let Ok(mut client) = self.connect() else { return BTreeMap::new() };
        client.set_reply_wait(Duration::from_secs(2));
        let Ok(reply) = client.call(&["INFO", section]) else { return BTreeMap::new() };
        let fields = text(&reply);
        let pairs = fields.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    }

    /// A field of INFO raft as a number; 0 when the node does not answer.
    pub fn raft_figure(&self, name: &str) -> u64 {
        self.info("raft").get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// This node's id.
    pub fn id(&self) -> u64 {
        self.raft_figure("raft_node_id")
    }

    /// All that the node's processes wrote.
    pub fn output(&self) -> String {
        fs::read(&self.output)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// What the node's processes wrote after the first `bytes` bytes.
    pub fn output_since(&self, bytes: usize) -> String {
        let mut rest = Vec::new();
        let read = File::open(&self.output).and_then(|mut file| {
            file.seek(SeekFrom::Start(bytes as u64))?;
            file.read_to_end(&mut rest)
        });
        read.map(|_| String::from_utf8_lossy(&rest).into_owned()).unwrap_or_default()
    }

    /// Ends the process and empties the data directory.
    pub fn wipe(&mut self) {
        self.kill();
        fs::remove_dir_all(&self.dir).expect("the data directory can be removed");
        fs::create_dir_all(&self.dir).expect("a new data directory");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let shown = &lines[lines.len().saturating_sub(OUTPUT_LINES_SHOWN)..];
            eprintln!("---- the end of {}\n{}", self.output.display(), shown.join("\n"));
        }
    }
}

/// Waits until `reached` says so.
///
/// # Panics
/// It does not within `limit`.
pub fn wait_until(limit: Duration, what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain until {what}");
        thread::sleep(POLL);
    }
}

fn wait_for_exit(child: &mut Child) -> Option<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < PROCESS_WAIT {
        if let Some(status) = child.try_wait().expect("the process can be asked") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// The binary under test, built once for each test binary, in the same profile.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os(BINARY_VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// Cargo built this test binary below `<target>/<profile>`; kvorum goes there. When
/// it is fresh, this costs a fraction of a second.
fn build() -> PathBuf {
    let own = env::current_exe().expect("the path of the test binary");
    let own_dir = own.parent().expect("a file has a directory");
    // A test is in `deps`, a program beside it.
    let profile_dir = if own_dir.ends_with("deps") { own_dir.parent() } else { Some(own_dir) };
    let profile_dir = profile_dir.expect("the test binary is in a target directory");
    let target_dir = profile_dir.parent().expect("a profile has a target directory");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let built = cargo()
        .args(["build", "--quiet", "-p", "kvorum", "--bin", "kvorum", "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .status()
        .expect("cargo can be run");
    assert!(built.success(), "kvorum could not be built");
    profile_dir.join("kvorum")
}

/// A client port that is free, with a free peer port; no two calls of one process return the same
/// until the range is used up.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    let spread = (std::process::id() % u32::from(count)) as u16;
    for _ in 0..count {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let port = PORTS.start + (spread + turn) % count;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + PEER_PORT_OFFSET) {
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}
