//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection's tasks are woken on its thread and nothing is stolen, so that a request costs no
//! hand-off that it would not cost on one thread. Raft lives on the first thread, the one that accepts;
//! what reaches it from another thread comes in groups, and so does what goes back.
//!
//! Where threads and clients compete for the processors, single requests are served best by one thread,
//! which finds many of them whenever it wakes: the others get what is more than that, the pipelines. A
//! client moves when it sends its first one, once at most. What is deliberately elsewhere: who may
//! connect (`listener`).

use crate::config::Values;
use crate::raft::node::Node;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};

/// Which clients the threads beside the first one serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spread {
    /// All, in turn.
    Everybody,
    /// In turn those that send pipelines, and those whose bytes are encrypted.
    Busy,
}

/// Where connections go.
pub(crate) struct ConnectionThreads {
    /// Those beside the first thread.
    others: Vec<Thread>,
    next: AtomicUsize,
    spread: Spread,
}

/// A thread beside the first one.
#[derive(Clone)]
pub(crate) struct Thread(Handle);

impl ConnectionThreads {
    /// Starts the threads of the settings beside the calling one, which is Raft's; they end with the
    /// process.
    pub(crate) fn start(values: &Values, node: &Node) -> io::Result<Self> {
        let mut others = Vec::new();
        for number in 1..values.connection_threads() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            others.push(Thread(runtime.handle().clone()));
            let node = node.clone();
            std::thread::Builder::new().name(format!("connections-{number}")).spawn(move || {
                runtime.block_on(async {
                    node.relay_this_thread();
                    std::future::pending::<()>().await;
                });
            })?;
        }
        Ok(Self::of(others, values.spreads_all_clients()))
    }

    fn of(others: Vec<Thread>, all: bool) -> Self {
        let spread = if all { Spread::Everybody } else { Spread::Busy };
        ConnectionThreads { others, next: AtomicUsize::new(0), spread }
    }

    /// The thread for a new client, `None`: the first.
    pub(crate) fn of_new_client(&self, encrypted: bool) -> Option<&Thread> {
        if self.spread == Spread::Everybody || encrypted { self.in_turn() } else { None }
    }

    /// The thread for a client that was let in on the first one and sends pipelines, `None`: it stays.
    pub(crate) fn of_pipelines(&self) -> Option<&Thread> {
        if self.spread == Spread::Busy { self.in_turn() } else { None }
    }

    fn in_turn(&self) -> Option<&Thread> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        turn.checked_sub(1).and_then(|other| self.others.get(other))
    }
}

impl Thread {
    /// Has the thread serve a client. `serve` gets an error when the thread cannot use the socket; an error
    /// here means that it was unusable before, and `serve` is not called.
    pub(crate) fn serve<Served>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(io::Result<TcpStream>) -> Served + Send + 'static,
    ) -> io::Result<()>
    where
        Served: Future<Output = ()> + Send + 'static,
    {
        // Off this thread's poll, onto the other's.
        let stream = stream.into_std()?;
        self.0.spawn(async move { serve(TcpStream::from_std(stream)).await });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the threads that six clients get.
    fn places(
        threads: &ConnectionThreads,
        ask: fn(&ConnectionThreads) -> Option<&Thread>,
    ) -> String {
        let number = |thread: &Thread| {
            threads.others.iter().position(|other| std::ptr::eq(other, thread)).unwrap() + 1
        };
        (0..6).map(|_| ask(threads).map_or(0, number).to_string()).collect()
    }

    #[tokio::test]
    async fn busy_clients_are_spread_and_others_where_there_are_cores_for_it() {
        let threads =
            |count, all| ConnectionThreads::of(vec![Thread(Handle::current()); count], all);
        let (all, busy) = (threads(2, true), threads(2, false));
        assert_eq!(places(&all, |threads| threads.of_new_client(false)), "012012");
        assert_eq!(places(&all, |threads| threads.of_new_client(true)), "012012");
        // They have their place.
        assert_eq!(places(&all, ConnectionThreads::of_pipelines), "000000");
        assert_eq!(places(&busy, |threads| threads.of_new_client(false)), "000000");
        assert_eq!(places(&busy, |threads| threads.of_new_client(true)), "012012");
        assert_eq!(places(&busy, ConnectionThreads::of_pipelines), "012012");
        let one = threads(0, false);
        assert_eq!(places(&one, |threads| threads.of_new_client(true)), "000000");
        assert_eq!(places(&one, ConnectionThreads::of_pipelines), "000000");
    }
}
