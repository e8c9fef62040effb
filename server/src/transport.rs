//! How bytes reach a peer: the only door from this node to the others.
//!
//! Peers are reached through a [`Transport`], TCP in production, with or without TLS. Who accepts their connections
//! hands the two halves of each to the peers' server, so that a simulation can put a network of
//! its own between nodes. What the bytes mean is not known here.

use crate::config::Values;
use crate::limits::TLS_HANDSHAKE_WAIT;
use crate::tls::{self, Tls};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The receiving half of a connection.
pub type Incoming = Box<dyn AsyncRead + Send + Unpin>;
/// The sending half of a connection.
pub type Outgoing = Box<dyn AsyncWrite + Send + Unpin>;
/// A connection that is being made.
pub type Connecting<'a> =
    Pin<Box<dyn Future<Output = io::Result<(Incoming, Outgoing)>> + Send + 'a>>;

/// A way to peers.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Connects to the peer listener at `address` (`host:port`). The caller limits the time.
    ///
    /// # Errors
    /// Nobody listens there, or nobody is reached.
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a>;

    /// Connects to the client listener of a node at `address`, to ask who it is. The caller limits
    /// the time.
    ///
    /// # Errors
    /// As [`Transport::connect`].
    fn connect_as_client<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        self.connect(address)
    }
}

/// TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Transport for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move { halves(TcpStream::connect(address).await?) })
    }
}

/// TCP, with TLS where the settings want it.
pub(crate) struct Secured {
    tls: Arc<Tls>,
    /// Whether peer listeners speak TLS.
    peers: bool,
    /// Whether the client listeners of `join` speak TLS.
    clients: bool,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Secured { peers, clients, .. } = self;
        f.debug_struct("Secured").field("peers", peers).field("clients", clients).finish()
    }
}

impl Secured {
    /// As the settings want it.
    pub(crate) fn new(tls: Arc<Tls>, values: &Values) -> Self {
        Secured { tls, peers: values.tls_replication, clients: values.joins_by_tls() }
    }

    async fn reach(&self, address: &str, encrypted: bool) -> io::Result<(Incoming, Outgoing)> {
        let stream = TcpStream::connect(address).await?;
        if !encrypted {
            return halves(stream);
        }
        stream.set_nodelay(true)?;
        let connector = self.tls.connector()?;
        let (read, write) =
            tokio::io::split(connector.connect(tls::server_name(address), stream).await?);
        Ok((Box::new(read), Box::new(write)))
    }

    /// The halves of a peer's connection, once its certificate is verified if it has to be.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(Incoming, Outgoing)> {
        if !self.peers {
            return halves(stream);
        }
        stream.set_nodelay(true)?;
        let accepting = self.tls.peer_acceptor()?.accept(stream);
        let accepted = tokio::time::timeout(TLS_HANDSHAKE_WAIT, accepting).await;
        let stream = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let (read, write) = tokio::io::split(stream);
        Ok((Box::new(read), Box::new(write)))
    }
}

impl Transport for Secured {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(self.reach(address, self.peers))
    }

    fn connect_as_client<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(self.reach(address, self.clients))
    }
}

/// The halves of a stream that sends small messages at once.
pub(crate) fn halves(stream: TcpStream) -> io::Result<(Incoming, Outgoing)> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    Ok((Box::new(read), Box::new(write)))
}
