//! How others have a connection end: at once, or when it has answered what it was sent.
//!
//! Every connection looks at it with every request, so it is one flag and one waker, which only the
//! connection's own task waits on.

use futures_util::task::AtomicWaker;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

const GOES_ON: u8 = 0;
const IDLE: u8 = 1;
const NOW: u8 = 2;

/// Whether a connection is to end.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Only grows.
    when: AtomicU8,
    waker: AtomicWaker,
}

impl Ending {
    /// It is to end at once.
    pub(super) fn now(&self) {
        self.set(NOW);
    }

    /// It is to end when it has nothing to do.
    pub(super) fn when_idle(&self) {
        self.set(IDLE);
    }

    /// Whether it is to end at once.
    pub(super) fn is_now(&self) -> bool {
        self.when.load(Ordering::Acquire) == NOW
    }

    fn set(&self, when: u8) {
        self.when.fetch_max(when, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Waits until it is to end at once. One task at a time waits for this or the other.
    pub(super) async fn wait_for_now(&self) {
        self.wait(NOW).await;
    }

    /// Waits until it is to end, at once or when idle.
    pub(super) async fn wait_for_any(&self) {
        self.wait(IDLE).await;
    }

    async fn wait(&self, least: u8) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            // After that: who sets it in between wakes this task.
            match self.when.load(Ordering::Acquire) >= least {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

const _: () = assert!(GOES_ON < IDLE && IDLE < NOW);

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::Arc;

    #[tokio::test]
    async fn who_waits_is_woken_by_what_it_waits_for_or_more() {
        let ending = Arc::new(Ending::default());
        let own = ending.clone();
        let waiting = tokio::spawn(async move {
            own.wait_for_any().await;
            own.wait_for_now().await;
        });
        tokio::task::yield_now().await;
        ending.when_idle();
        assert!(!ending.is_now() && ending.wait_for_any().now_or_never().is_some());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        ending.now();
        ending.when_idle();
        assert!(ending.is_now() && ending.wait_for_now().now_or_never().is_some());
        waiting.await.unwrap();
    }
}
