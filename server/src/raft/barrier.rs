//! The read barrier: a log index that covers every write acknowledged before the read arrived.
//!
//! All reads that wait share one round. A read that arrives during a round waits for the next one,
//! because a round speaks only for reads that were there when it began (Raft dissertation, 6.4).
//! On the leader a round confirms its leadership with a majority; on another node it asks the
//! leader for the index and waits until that is applied here.

use crate::limits::{GATHER_TURNS_MAX, READS_WAITING_MAX};
use crate::raft::error::ReplicationError;
use storage::mutants::{self, Mutant};
use tokio::sync::{mpsc, oneshot};

type Waiter = oneshot::Sender<Result<u64, ReplicationError>>;

/// The shared barrier of a node.
#[derive(Clone)]
pub(crate) struct Barrier {
    queue: mpsc::Sender<Waiter>,
}

impl Barrier {
    /// Starts the barrier; `round` yields an index that is applied on this node.
    pub(crate) fn start<F, Fut>(round: F) -> Self
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<u64, ReplicationError>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(READS_WAITING_MAX);
        crate::tasks::spawn(run(waiting, round));
        Barrier { queue }
    }

    /// Waits until this node's applied state covers every write acknowledged before the call;
    /// returns the log index that says so.
    pub(crate) async fn wait(&self) -> Result<u64, ReplicationError> {
        let (waiter, passed) = oneshot::channel();
        self.queue.try_send(waiter).map_err(|_| ReplicationError::Overloaded)?;
        passed.await.unwrap_or(Err(ReplicationError::NotServing("the node is stopping")))
    }
}

async fn run<F, Fut>(mut waiting: mpsc::Receiver<Waiter>, round: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<u64, ReplicationError>>,
{
    let mut waiters = Vec::new();
    while waiting.recv_many(&mut waiters, READS_WAITING_MAX).await > 0 {
        for _ in 0..GATHER_TURNS_MAX {
            // On an idle node this costs a look at the sockets; on a busy one the reads that came
            // meanwhile share the round.
            tokio::task::yield_now().await;
            let before = waiters.len();
            while let Ok(waiter) = waiting.try_recv() {
                waiters.push(waiter);
            }
            if waiters.len() == before {
                break;
            }
        }
        let outcome = round().await;
        while mutants::on(Mutant::BarrierJoinedLate)
            && let Ok(late) = waiting.try_recv()
        {
            waiters.push(late);
        }
        for waiter in waiters.drain(..) {
            // A reader that is gone no longer wants the answer.
            drop(waiter.send(outcome.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn reads_that_come_within_a_turn_share_a_round() {
        let begun = Arc::new(AtomicU64::new(0));
        let counter = begun.clone();
        let barrier = Barrier::start(move || {
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            std::future::ready(Ok(number))
        });
        let early = barrier.wait();
        let late = async {
            tokio::task::yield_now().await;
            barrier.wait().await
        };
        assert_eq!(tokio::join!(early, late), (Ok(1), Ok(1)));
    }

    #[tokio::test]
    async fn a_read_never_joins_a_round_that_began_before_it() {
        let begun = Arc::new(AtomicU64::new(0));
        let counter = begun.clone();
        let barrier = Barrier::start(move || {
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(number)
            }
        });
        let first = tokio::spawn({
            let barrier = barrier.clone();
            async move { barrier.wait().await }
        });
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let late: Vec<_> = (0..5)
            .map(|_| {
                let barrier = barrier.clone();
                tokio::spawn(async move { barrier.wait().await })
            })
            .collect();
        assert_eq!(first.await.unwrap(), Ok(1));
        for read in late {
            assert_eq!(read.await.unwrap(), Ok(2));
        }
    }
}
