//! What this node denied lately: ACL LOG. Bounded; denials that are alike are counted together.

use crate::limits::ACL_LOG_ENTRIES_MAX;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Denials this far apart are told apart, in milliseconds.
const ALIKE_WITHIN_MS: u64 = 60_000;

/// How many of the newest entries a denial is compared with.
const ALIKE_AMONG: usize = 10;

/// A denial, in the words of ACL LOG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// `command`, `key` or `auth`.
    pub reason: &'static str,
    /// `toplevel` or `multi`.
    pub context: &'static str,
    /// The command or key.
    pub object: Bytes,
    /// Whose it was.
    pub user: Bytes,
}

/// Denials that are alike.
#[derive(Clone, Debug)]
pub struct AclEntry {
    /// What was denied.
    pub denial: Denial,
    /// How often.
    pub count: u64,
    /// When last, in milliseconds since 1970.
    pub last_ms: u64,
    /// The client, as CLIENT LIST shows it.
    pub client: String,
}

/// The last denials.
#[derive(Debug, Default)]
pub struct AclLog {
    /// Newest first.
    entries: Mutex<VecDeque<AclEntry>>,
}

impl AclLog {
    /// Notes a denial.
    pub fn add(&self, denial: Denial, client: String, now_ms: u64) {
        let mut entries = self.entries.lock();
        let alike = |entry: &AclEntry| {
            entry.denial == denial && now_ms.saturating_sub(entry.last_ms) <= ALIKE_WITHIN_MS
        };
        let known = entries.iter().take(ALIKE_AMONG).position(alike);
        let count = known.and_then(|at| entries.remove(at)).map_or(0, |known| known.count) + 1;
        entries.push_front(AclEntry { denial, count, last_ms: now_ms, client });
        entries.truncate(ACL_LOG_ENTRIES_MAX);
    }

    /// The newest `count` entries, newest first.
    pub fn newest(&self, count: usize) -> Vec<AclEntry> {
        self.entries.lock().iter().take(count).cloned().collect()
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.entries.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_denials_are_counted_together_and_the_rest_is_bounded() {
        let log = AclLog::default();
        let denial = |object: String| Denial {
            reason: "key",
            context: "toplevel",
            object: object.into(),
            user: "u".into(),
        };
        log.add(denial("a".into()), String::new(), 1000);
        log.add(denial("b".into()), String::new(), 1001);
        log.add(denial("a".into()), String::new(), 61_000);
        log.add(denial("a".into()), String::new(), 121_001);
        let counts: Vec<u64> = log.newest(9).iter().map(|entry| entry.count).collect();
        assert_eq!(counts, [1, 2, 1]);
        for number in 0..2 * ACL_LOG_ENTRIES_MAX {
            log.add(denial(number.to_string()), String::new(), 200_000);
        }
        assert_eq!(log.newest(usize::MAX).len(), ACL_LOG_ENTRIES_MAX);
        log.clear();
        assert!(log.newest(1).is_empty());
    }
}
