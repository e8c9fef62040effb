//! The only place that starts tasks: so that a reader finds every task by its caller. Work that may block
//! is done beside them: on any thread of the runtime, or in turn on the one that applies entries.

use std::future::Future;
use std::pin::Pin;
use std::sync::{OnceLock, mpsc};
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

    /// Does it where all work is done that this is asked for, one after the other: so that memory is
    /// given back by the thread that took it, which is cheaper.
    fn run_in_turn(&self, work: Work) -> Working {
        self.run(work)
    }
}

/// Threads of the runtime beside the connections', and one more for what comes in turn.
#[derive(Debug, Default)]
pub struct Threads {
    in_turn: OnceLock<mpsc::Sender<Work>>,
}

impl Workers for Threads {
    fn run(&self, work: Work) -> Working {
        Box::pin(blocking(work))
    }

    fn run_in_turn(&self, work: Work) -> Working {
        let queue = self.in_turn.get_or_init(start_worker);
        match queue.send(work) {
            Ok(()) => Box::pin(std::future::ready(())),
            // No such thread could be started, or the work before has panicked.
            Err(mpsc::SendError(work)) => self.run(work),
        }
    }
}

/// Starts a thread that does what is sent to it, and ends when nobody can send any more.
fn start_worker() -> mpsc::Sender<Work> {
    let (queue, works) = mpsc::channel::<Work>();
    let thread = std::thread::Builder::new().name("applier".to_owned());
    if let Err(error) = thread.spawn(move || works.into_iter().for_each(|work| work())) {
        tracing::warn!(%error, "no thread of its own for applying entries");
    }
    queue
}

/// Has workers run a function; returns what it did.
pub(crate) async fn work<T: Send + 'static>(
    workers: &dyn Workers,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    result_of(work, |work| workers.run(work)).await
}

/// As [`work`], where all work is done that this is asked for.
pub(crate) async fn work_in_turn<T: Send + 'static>(
    workers: &dyn Workers,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    result_of(work, |work| workers.run_in_turn(work)).await
}

async fn result_of<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    run: impl FnOnce(Work) -> Working,
) -> T {
    let (done, result) = oneshot::channel();
    run(Box::new(move || drop(done.send(work())))).await;
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
