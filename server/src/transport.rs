//! How bytes reach a peer: the only door from this node to the others.
//!
//! Peers are reached through a [`Transport`], TCP in production. Who accepts their connections
//! hands the two halves of each to the peers' server, so that a simulation can put a network of
//! its own between nodes. What the bytes mean is not known here.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
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
}

/// TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Transport for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move { halves(TcpStream::connect(address).await?) })
    }
}

/// The halves of a stream that sends small messages at once.
pub(crate) fn halves(stream: TcpStream) -> io::Result<(Incoming, Outgoing)> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    Ok((Box::new(read), Box::new(write)))
}
