//! TLS handshakes of clients: a deadline, and a bound on how many go on at a time.
//!
//! A client that has sent nothing yet holds no place among them, so silent connections keep nobody
//! out; they count against `maxclients`, and the deadline ends them.

use crate::limits::{TLS_HANDSHAKE_WAIT, TLS_HANDSHAKES_MAX};
use crate::server::Server;
use crate::stream::{Encrypted, SharedTcp};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// The handshakes that go on at a listener.
pub(crate) struct Handshakes {
    places: Semaphore,
}

impl Default for Handshakes {
    fn default() -> Self {
        Handshakes { places: Semaphore::new(TLS_HANDSHAKES_MAX) }
    }
}

/// A connection whose handshake is not done, counted among the clients as long as it lives.
pub(crate) struct Pending {
    server: Arc<Server>,
    handshakes: Arc<Handshakes>,
}

impl Pending {
    pub(crate) fn begin(server: Arc<Server>, handshakes: Arc<Handshakes>) -> Self {
        server.clients.shaking_hands.fetch_add(1, Ordering::Relaxed);
        Pending { server, handshakes }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.server.clients.shaking_hands.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Shakes hands with a client; None: it failed, and was counted and traced.
pub(crate) async fn shake_hands(
    stream: TcpStream,
    remote: SocketAddr,
    pending: Pending,
) -> Option<Encrypted> {
    let server = &pending.server;
    let shaking = async {
        stream.readable().await?;
        let _place = pending.handshakes.places.acquire().await.map_err(io::Error::other)?;
        // Taken now: certificates may have changed while it waited.
        let acceptor = server.tls.client_acceptor().ok_or(io::ErrorKind::Unsupported)?;
        acceptor.accept(SharedTcp(Arc::new(stream))).await
    };
    let shaken = tokio::select! {
        () = server.stop.cancelled() => return None,
        shaken = tokio::time::timeout(TLS_HANDSHAKE_WAIT, shaking) => shaken,
    };
    match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => Some(stream),
        Err(error) => {
            server.metrics.tls_handshakes_failed.increment();
            tracing::debug!(%remote, %error, "a TLS handshake failed");
            None
        }
    }
}
