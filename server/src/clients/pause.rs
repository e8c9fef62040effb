//! CLIENT PAUSE: a moment until which commands wait.

use crate::clock::Clock;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// What is held back; the later variant is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseMode {
    /// Writes.
    Write,
    /// Every command.
    All,
}

#[derive(Debug, Default)]
pub(super) struct Pause {
    active: AtomicBool,
    state: Mutex<Option<(PauseMode, u64)>>,
    ended: Notify,
}

impl Pause {
    pub(super) fn start(&self, mode: PauseMode, until_ms: u64, now_ms: u64) {
        let mut state = self.state.lock();
        let (mode, until_ms) = match *state {
            Some((old, old_until)) if old_until > now_ms => {
                (old.max(mode), old_until.max(until_ms))
            }
            _ => (mode, until_ms),
        };
        *state = Some((mode, until_ms));
        self.active.store(true, Ordering::Release);
    }

    pub(super) fn end(&self) {
        *self.state.lock() = None;
        self.active.store(false, Ordering::Release);
        self.ended.notify_waiters();
    }

    pub(super) fn until(&self, is_write: bool, now_ms: u64) -> Option<u64> {
        if !self.active.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.state.lock();
        let (mode, until_ms) = (*state)?;
        if until_ms <= now_ms {
            *state = None;
            self.active.store(false, Ordering::Release);
            return None;
        }
        (is_write || mode == PauseMode::All).then_some(until_ms)
    }

    pub(super) async fn wait(&self, is_write: bool, clock: &dyn Clock) {
        loop {
            // Registered before the state is looked at, so that an end in between is not missed.
            let ended = self.ended.notified();
            let now_ms = clock.unix_ms();
            let Some(until_ms) = self.until(is_write, now_ms) else {
                return;
            };
            let rest = Duration::from_millis(until_ms.saturating_sub(now_ms));
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }
}
