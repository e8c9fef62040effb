//! The slow log: the last commands that took long, trimmed as Redis trims them.
//!
//! Bounded in entries (`slowlog-max-len`), arguments and bytes of each. Secrets are replaced before
//! anything is kept.

use crate::limits::{SLOWLOG_ARG_BYTES_MAX, SLOWLOG_ARGS_MAX};
use crate::redact;
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::Request;
use std::collections::VecDeque;

/// A command that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowEntry {
    /// Counts up since the start of the process.
    pub id: u64,
    /// When it ran, in seconds since 1970.
    pub unix_seconds: u64,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// Its arguments, trimmed.
    pub args: Vec<Bytes>,
    /// Address of the client.
    pub client_address: String,
    /// Name the client gave itself.
    pub client_name: String,
}

/// A command to be considered.
#[derive(Clone, Copy, Debug)]
pub struct SlowCommand<'a> {
    /// The request.
    pub request: &'a Request,
    /// When it ran, in milliseconds since 1970.
    pub unix_ms: u64,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// Who sent it.
    pub client: &'a crate::clients::Client,
}

/// The last slow commands.
#[derive(Debug, Default)]
pub struct SlowLog {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    /// Newest first.
    entries: VecDeque<SlowEntry>,
}

impl SlowLog {
    /// Keeps a command that took at least `threshold_us` (negative: keeps none); forgets the
    /// oldest beyond `entries_max`.
    pub fn record(&self, command: SlowCommand<'_>, threshold_us: i64, entries_max: u64) {
        if threshold_us < 0 || command.micros < threshold_us as u64 {
            return;
        }
        let args = trim(command.request);
        let mut inner = self.inner.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        inner.entries.push_front(SlowEntry {
            id,
            unix_seconds: command.unix_ms / 1000,
            micros: command.micros,
            args,
            client_address: command.client.address.clone(),
            client_name: command.client.name(),
        });
        let entries_max = usize::try_from(entries_max).unwrap_or(usize::MAX);
        inner.entries.truncate(entries_max);
    }

    /// The newest `count` entries, newest first.
    pub fn newest(&self, count: usize) -> Vec<SlowEntry> {
        self.inner.lock().entries.iter().take(count).cloned().collect()
    }

    /// How many entries are kept.
    pub fn len(&self) -> usize {
        self.inner.lock().entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all entries; ids go on counting.
    pub fn clear(&self) {
        self.inner.lock().entries.clear();
    }
}

/// Redis's trimming: 32 arguments, the last one then saying how many more there were; 128 bytes of
/// each, then how many more.
fn trim(request: &Request) -> Vec<Bytes> {
    let total = request.len();
    let kept = if total > SLOWLOG_ARGS_MAX { SLOWLOG_ARGS_MAX - 1 } else { total };
    let mut args: Vec<Bytes> = redact::shown(request)
        .take(kept)
        .map(|arg| match arg.len().checked_sub(SLOWLOG_ARG_BYTES_MAX) {
            None | Some(0) => Bytes::copy_from_slice(arg),
            Some(more) => {
                let note = format!("... ({more} more bytes)");
                [&arg[..SLOWLOG_ARG_BYTES_MAX], note.as_bytes()].concat().into()
            }
        })
        .collect();
    if kept < total {
        args.push(format!("... ({} more arguments)", total - kept).into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ClientRegistry;

    fn record(slowlog: &SlowLog, parts: &[&str], micros: u64, threshold_us: i64, max: u64) {
        let request = Request::from_parts(parts);
        let client = ClientRegistry::default().register("1.2.3.4:5".into(), "l:1".into(), 7, 0);
        let command = SlowCommand { request: &request, unix_ms: 12_345, micros, client: &client };
        slowlog.record(command, threshold_us, max);
    }

    #[test]
    fn only_slow_commands_are_kept_newest_first_and_few() {
        let slowlog = SlowLog::default();
        record(&slowlog, &["fast"], 9, 10, 2);
        record(&slowlog, &["never"], 9, -1, 2);
        for name in ["a", "b", "c"] {
            record(&slowlog, &[name], 10, 10, 2);
        }
        let ids: Vec<u64> = slowlog.newest(10).iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [2, 1]);
        let newest = &slowlog.newest(1)[0];
        assert_eq!((newest.unix_seconds, newest.micros), (12, 10));
        assert_eq!(newest.client_address, "1.2.3.4:5");
        slowlog.clear();
        assert!(slowlog.is_empty());
        record(&slowlog, &["d"], 0, 0, 2);
        assert_eq!(slowlog.newest(1)[0].id, 3);
        record(&slowlog, &["e"], 1, 0, 0);
        assert_eq!(slowlog.len(), 0, "a length of 0 keeps none");
    }

    #[test]
    fn long_commands_are_trimmed_and_secrets_hidden() {
        let slowlog = SlowLog::default();
        let long = "x".repeat(130);
        record(&slowlog, &["set", "k", &long], 1, 0, 1);
        let expected = format!("{}... (2 more bytes)", "x".repeat(128));
        assert_eq!(slowlog.newest(1)[0].args[2], expected.as_bytes());
        record(&slowlog, &["k"; 32], 1, 0, 1);
        assert_eq!(slowlog.newest(1)[0].args.len(), 32);
        record(&slowlog, &["k"; 33], 1, 0, 1);
        let args = slowlog.newest(1).remove(0).args;
        assert_eq!((args.len(), &args[31][..]), (32, &b"... (2 more arguments)"[..]));
        record(&slowlog, &["auth", "hush"], 1, 0, 1);
        assert_eq!(slowlog.newest(1)[0].args, [&b"auth"[..], b"(redacted)"]);
    }
}
