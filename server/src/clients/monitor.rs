//! MONITOR: every command as a line, to whoever asked.
//!
//! A monitor has a queue that is bounded in lines and bytes. One that does not keep up is disconnected,
//! so that an open monitor never slows the others nor takes the node's memory. Long commands are shown
//! shortened.

use super::Client;
use crate::limits::{MONITOR_LINE_BYTES, MONITOR_QUEUE_BYTES, MONITOR_QUEUE_LINES};
use crate::redact;
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::Request;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// Lines for one monitor, each a whole reply (`+...\r\n`).
#[derive(Debug)]
pub struct MonitorFeed {
    lines: mpsc::Receiver<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
}

impl MonitorFeed {
    /// The next line; None when the monitor was given up as too slow.
    pub async fn recv(&mut self) -> Option<Bytes> {
        let line = self.lines.recv().await?;
        self.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        Some(line)
    }
}

#[derive(Debug)]
struct Subscriber {
    client: Arc<Client>,
    lines: mpsc::Sender<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
}

impl Subscriber {
    /// Queues a line; false when there is no room for it.
    fn send(&self, line: &Bytes) -> bool {
        let queued = self.queued_bytes.fetch_add(line.len(), Ordering::Relaxed);
        queued + line.len() <= MONITOR_QUEUE_BYTES && self.lines.try_send(line.clone()).is_ok()
    }
}

#[derive(Debug, Default)]
pub(super) struct Monitors {
    any: AtomicBool,
    subscribers: Mutex<Vec<Subscriber>>,
}

impl Monitors {
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, client: &Arc<Client>) -> MonitorFeed {
        let (sender, lines) = mpsc::channel(MONITOR_QUEUE_LINES);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let feed = MonitorFeed { lines, queued_bytes: queued_bytes.clone() };
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|known| known.client.id != client.id);
        subscribers.push(Subscriber { client: Arc::clone(client), lines: sender, queued_bytes });
        self.any.store(true, Ordering::Relaxed);
        feed
    }

    pub(super) fn remove(&self, id: u64) {
        if !self.any() {
            return;
        }
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|subscriber| subscriber.client.id != id);
        self.any.store(!subscribers.is_empty(), Ordering::Relaxed);
    }

    pub(super) fn feed(&self, unix_us: u64, database: u8, address: &str, request: &Request) {
        let line = Bytes::from(render(unix_us, database, address, request));
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|subscriber| {
            let kept = subscriber.send(&line);
            if !kept {
                subscriber.client.kill();
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
        if line.len() >= MONITOR_LINE_BYTES {
            line.extend_from_slice(b" ...");
            break;
        }
        line.push(b' ');
        let shown = arg.len().min(MONITOR_LINE_BYTES);
        quote(&mut line, &arg[..shown]);
        if shown < arg.len() {
            line.extend_from_slice(format!(" ... ({} more bytes)", arg.len() - shown).as_bytes());
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ClientRegistry;

    #[tokio::test]
    async fn a_monitor_that_does_not_read_costs_a_bounded_memory_and_is_closed() {
        let registry = ClientRegistry::default();
        let client = registry.register("127.0.0.1:1".into(), "127.0.0.1:2".into(), 3, 0);
        registry.monitor(&client);
        let mut feed = client.take_monitor_feed().expect("it was just made");
        let value = "v".repeat(3 * MONITOR_LINE_BYTES);
        let long = Request::from_parts(&["SET", "k", &value, "more"]);
        let show = || registry.monitor_feed(1, 0, "127.0.0.1:5", &long);
        // One that reads may go on for ever.
        for _ in 0..2 * MONITOR_QUEUE_BYTES / MONITOR_LINE_BYTES {
            show();
            let line = feed.recv().await.expect("a line");
            assert!(line.len() < 2 * MONITOR_LINE_BYTES, "{}", line.len());
            let end = format!(" ... ({} more bytes) ...\r\n", 2 * MONITOR_LINE_BYTES);
            assert!(line.ends_with(end.as_bytes()));
        }
        let mut shown = 0;
        while !client.is_killed() {
            show();
            shown += 1;
            assert!(shown * MONITOR_LINE_BYTES <= 2 * MONITOR_QUEUE_BYTES, "it is given up");
        }
        assert!(shown > 8);
        assert!(!registry.has_monitors());
    }
}
