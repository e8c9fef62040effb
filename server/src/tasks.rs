//! The only place that starts tasks: so that a reader finds every task by its caller.

use std::future::Future;
use std::pin::Pin;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A function that may block.
pub type Work = Box<dyn FnOnce() + Send>;
/// Ends when the work is done.
pub type Working = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who does work that may block, so that the connections' threads need not.
pub trait Workers: Send + Sync {
    /// Does it.
    fn run(&self, work: Work) -> Working;
}

/// Threads of the runtime beside the connections'.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

impl Workers for Threads {
    fn run(&self, work: Work) -> Working {
        Box::pin(blocking(work))
    }
}

/// Has workers run a function; returns what it did.
pub(crate) async fn work<T: Send + 'static>(
    workers: &dyn Workers,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, result) = oneshot::channel();
    workers.run(Box::new(move || drop(done.send(work())))).await;
    match result.await {
        Ok(result) => result,
        Err(_) => unreachable!("workers end after the work"),
    }
}

/// Starts a task.
pub(crate) fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(task)
}

/// Runs a function that may block beside the connections' threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
