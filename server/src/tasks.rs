//! The only place that starts tasks: each is counted, so that shutdown can wait for them.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

static TRACKER: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Starts a task.
pub(crate) fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    TRACKER.spawn(task)
}

/// Runs a function that may block beside the connections' threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Waits until every task has ended, at most `wait`.
pub(crate) async fn drain(wait: Duration) {
    TRACKER.close();
    // Tasks that outlive the wait are ended with the process; nothing is left to do for them.
    drop(tokio::time::timeout(wait, TRACKER.wait()).await);
}
