//! MONITOR: every command as a line, to whoever asked.
//!
//! A monitor has a bounded queue of lines. One that does not keep up is disconnected, so that an
//! open monitor never slows the others.

use super::Client;
use crate::limits::MONITOR_QUEUE_LINES;
use crate::redact;
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::Request;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Lines for one monitor, each a whole reply (`+...\r\n`).
pub type MonitorFeed = mpsc::Receiver<Bytes>;

#[derive(Debug, Default)]
pub(super) struct Monitors {
    any: AtomicBool,
    subscribers: Mutex<Vec<(Arc<Client>, mpsc::Sender<Bytes>)>>,
}

impl Monitors {
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, client: &Arc<Client>) -> MonitorFeed {
        let (sender, feed) = mpsc::channel(MONITOR_QUEUE_LINES);
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|(known, _)| known.id != client.id);
        subscribers.push((Arc::clone(client), sender));
        self.any.store(true, Ordering::Relaxed);
        feed
    }

    pub(super) fn remove(&self, id: u64) {
        if !self.any() {
            return;
        }
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|(client, _)| client.id != id);
        self.any.store(!subscribers.is_empty(), Ordering::Relaxed);
    }

    pub(super) fn feed(&self, unix_us: u64, database: u8, address: &str, request: &Request) {
        let line = Bytes::from(render(unix_us, database, address, request));
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|(client, sender)| {
            let kept = sender.try_send(line.clone()).is_ok();
            if !kept {
                client.kill();
            }
            kept
        });
        self.any.store(!subscribers.is_empty(), Ordering::Relaxed);
    }
}

/// `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"\r\n`
fn render(unix_us: u64, database: u8, address: &str, request: &Request) -> Vec<u8> {
    let (seconds, micros) = (unix_us / 1_000_000, unix_us % 1_000_000);
    let mut line = format!("+{seconds}.{micros:06} [{database} {address}]").into_bytes();
    for arg in redact::shown(request) {
        line.push(b' ');
        quote(&mut line, arg);
    }
    line.extend_from_slice(b"\r\n");
    line
}

/// Appends `bytes` in double quotes, unprintable ones escaped, as Redis does.
fn quote(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(*byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}
