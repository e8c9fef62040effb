//! Turns: a thread does long work for one connection at a time, and looks after all others between.
//!
//! The tasks of a thread are served in the order in which they were woken. A hundred clients that each
//! ask for megabytes would all come before the one that asks for ten bytes: so what takes long is done
//! in pieces, a connection waits for its turn before each, and there is one turn in each round of the
//! thread over its sockets. Short work never waits here.

use std::sync::Arc;
use tokio::sync::Semaphore;

thread_local! {
    static OF_THREAD: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// The turns of one thread.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    /// Those of the calling thread.
    pub(crate) fn of_this_thread() -> Self {
        Turns(OF_THREAD.with(Arc::clone))
    }

    /// Waits until it is this connection's turn: in the order of asking, and after everybody who is
    /// ready now.
    pub(crate) async fn wait(&self) {
        // It is never closed; without a place work would go on all the same.
        let place = self.0.acquire().await;
        tokio::task::yield_now().await;
        drop(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;
    use tokio::task::{LocalSet, spawn_local};

    /// Most pieces of long work between two turns of somebody with short work.
    async fn most_in_a_row(connections: usize) -> usize {
        let (done, seen, most) = (Rc::new(Cell::new(0)), Cell::new(0), Cell::new(0));
        let long = |_| {
            let done = done.clone();
            spawn_local(async move {
                for _ in 0..10 {
                    Turns::of_this_thread().wait().await;
                    done.set(done.get() + 1);
                }
            })
        };
        let running: Vec<_> = (0..connections).map(long).collect();
        while done.get() < 10 * connections {
            tokio::task::yield_now().await;
            most.set(most.get().max(done.get() - seen.get()));
            seen.set(done.get());
        }
        for task in running {
            task.await.unwrap();
        }
        most.get()
    }

    #[tokio::test]
    async fn who_has_little_to_do_waits_for_one_piece_of_long_work() {
        let most = LocalSet::new().run_until(most_in_a_row(100)).await;
        assert!((1..=2).contains(&most), "{most} pieces in a row");
    }
}
