//! A real redis-server to compare with, in tests only.
//!
//! There is one when `KVORUM_REDIS_SERVER` names the binary of redis-server 7.0.15. It listens on a
//! Unix socket in a directory of its own, so no port is taken.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A running redis-server; ended when dropped.
pub(crate) struct RedisServer {
    process: Child,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl RedisServer {
    /// Starts one with the given further arguments, if the environment names a binary.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let binary = std::env::var_os("KVORUM_REDIS_SERVER")?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("redis.sock");
        let process = Command::new(binary)
            .args(["--port", "0", "--save", "", "--daemonize", "no"])
            .args(arguments)
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary that KVORUM_REDIS_SERVER names starts");
        let server = Self { process, socket, _directory: directory };
        for _ in 0..200 {
            if UnixStream::connect(&server.socket).is_ok() {
                return Some(server);
            }
            sleep(Duration::from_millis(20));
        }
        panic!("redis-server did not listen on {}", server.socket.display());
    }

    /// Sends `input`; returns everything that comes back and whether the connection was closed.
    ///
    /// An open connection is known by its silence after the expected number of bytes.
    pub(crate) fn exchange(&self, input: &[u8], expected_bytes: usize) -> (Vec<u8>, bool) {
        let mut stream = UnixStream::connect(&self.socket).expect("redis-server accepts");
        stream.write_all(input).expect("redis-server reads");
        let mut received = Vec::new();
        loop {
            let patience = if received.len() < expected_bytes { 2_000 } else { 40 };
            stream.set_read_timeout(Some(Duration::from_millis(patience))).expect("a timeout");
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) => return (received, true),
                Ok(length) => received.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return (received, false),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return (received, true);
                }
                Err(error) => panic!("reading from redis-server: {error}"),
            }
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.process.kill().expect("redis-server was running");
        self.process.wait().expect("redis-server ends");
    }
}
