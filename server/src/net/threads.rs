//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on its thread for life: its tasks are woken there and nothing is stolen, so
//! that a request costs no hand-off that it would not cost on one thread. Raft lives on the first
//! thread, the one that accepts; what reaches it from another thread comes in groups, and so does
//! what goes back. What is deliberately elsewhere: who may connect (`listener`).

use crate::raft::node::Node;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};

/// Where connections go, in turn.
pub(crate) struct ConnectionThreads {
    /// Those beside the first thread.
    others: Vec<Handle>,
    next: AtomicUsize,
}

impl ConnectionThreads {
    /// Starts `count - 1` threads beside the calling one, which is Raft's; they end with the process.
    pub(crate) fn start(count: usize, node: &Node) -> io::Result<Self> {
        let mut others = Vec::new();
        for number in 1..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            others.push(runtime.handle().clone());
            let node = node.clone();
            std::thread::Builder::new().name(format!("connections-{number}")).spawn(move || {
                runtime.block_on(async {
                    node.relay_this_thread();
                    std::future::pending::<()>().await;
                });
            })?;
        }
        Ok(ConnectionThreads { others, next: AtomicUsize::new(0) })
    }

    /// Serves a client on the thread whose turn it is. An error: the socket is unusable.
    pub(crate) fn serve<Served>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> Served + Send + 'static,
    ) -> io::Result<()>
    where
        Served: Future<Output = ()> + Send + 'static,
    {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        let Some(thread) = turn.checked_sub(1).and_then(|other| self.others.get(other)) else {
            crate::tasks::spawn(serve(stream));
            return Ok(());
        };
        // Off this thread's poll, onto the other's.
        let stream = stream.into_std()?;
        thread.spawn(async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => serve(stream).await,
                Err(error) => tracing::warn!(%error, "a client could not be served"),
            }
        });
        Ok(())
    }
}
