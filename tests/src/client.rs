//! A blocking client that hides nothing: it sends requests, reads replies in order, follows no
//! redirect and retries nothing. A test that needs more says so in its own code.

use crate::tls;
use bytes::BytesMut;
use protocol::{Reply, RespClientCodec, encode_request};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::codec::Decoder;

/// How long a reply may take before the connection counts as lost.
pub const REPLY_WAIT: Duration = Duration::from_secs(15);

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// The bytes of a connection.
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(room),
            Stream::Tls(stream) => stream.read(room),
        }
    }
}

/// One connection to a server.
pub struct Client {
    stream: Stream,
    codec: RespClientCodec,
    received: BytesMut,
}

impl Client {
    /// Connects to `addr` (`ip:port`).
    ///
    /// # Errors
    /// Any error of the sockets.
    pub fn connect(addr: &str) -> io::Result<Self> {
        let addr: SocketAddr = addr.parse().map_err(io::Error::other)?;
        let stream = TcpStream::connect_timeout(&addr, CONNECT_WAIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_WAIT))?;
        stream.set_write_timeout(Some(REPLY_WAIT))?;
        Ok(Client::over(Stream::Plain(stream)))
    }

    /// Connects to `addr` (`ip:port`) by TLS.
    ///
    /// # Errors
    /// As [`tls::connect`].
    pub fn connect_tls(addr: &str, config: Arc<ClientConfig>) -> io::Result<Self> {
        let stream = tls::connect(addr, config)?;
        stream.sock.set_read_timeout(Some(REPLY_WAIT))?;
        stream.sock.set_write_timeout(Some(REPLY_WAIT))?;
        Ok(Client::over(Stream::Tls(Box::new(stream))))
    }

    fn over(stream: Stream) -> Self {
        Client { stream, codec: RespClientCodec::new(), received: BytesMut::new() }
    }

    /// The certificate that the server showed, if it speaks TLS.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => {
                stream.conn.peer_certificates()?.first().map(|shown| shown.to_vec())
            }
        }
    }

    /// Waits for replies at most this long from now on.
    pub fn set_reply_wait(&mut self, wait: Duration) {
        self.stream.socket().set_read_timeout(Some(wait)).expect("a socket takes a time limit");
    }

    /// Sends requests, and reads nothing.
    ///
    /// # Errors
    /// The connection is gone; what was sent before may take effect.
    pub fn send<A: AsRef<[u8]>>(&mut self, requests: &[Vec<A>]) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        for request in requests {
            encode_request(request, &mut bytes);
        }
        self.stream.write_all(&bytes)
    }

    /// The next reply.
    ///
    /// # Errors
    /// The connection is gone, nothing came within the time limit, or what came is no RESP.
    pub fn receive(&mut self) -> io::Result<Reply> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(reply) = self.codec.decode(&mut self.received).map_err(io::Error::other)? {
                return Ok(reply);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one request and reads its reply.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Client::receive`].
    pub fn call<A: AsRef<[u8]> + Clone>(&mut self, request: &[A]) -> io::Result<Reply> {
        self.send(&[request.to_vec()])?;
        self.receive()
    }

    /// The reply to a request given as words, in a test that needs one.
    ///
    /// # Panics
    /// There was none.
    pub fn ask(&mut self, words: &str) -> Reply {
        let request: Vec<&str> = words.split(' ').collect();
        self.call(&request).unwrap_or_else(|error| panic!("{words}: {error}"))
    }
}

/// The text of a reply, as a person would write it: `OK`, `7`, `nil`, `[a, b]`.
pub fn text(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Error(text) | Reply::BigNumber(text) => text.to_string(),
        Reply::Integer(number) => number.to_string(),
        Reply::Bulk(bytes) | Reply::Verbatim(_, bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        Reply::Null | Reply::NullArray => "nil".to_owned(),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
            let items: Vec<String> = items.iter().map(text).collect();
            format!("[{}]", items.join(", "))
        }
        Reply::Map(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(key, value)| format!("{}: {}", text(key), text(value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Reply::Double(number) => number.to_string(),
        Reply::Boolean(value) => value.to_string(),
    }
}

/// What a reply says about a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It took effect.
    Done,
    /// It did not and never will.
    Refused,
    /// It may take effect, once, now or later.
    Unknown,
}

/// What becomes of a write that was answered like this; a lost connection is
/// [`Fate::Unknown`] too.
///
/// # Panics
/// An error that no node may give to a well-formed write.
pub fn fate(reply: &Reply) -> Fate {
    let Reply::Error(text) = reply else { return Fate::Done };
    match text.split(' ').next() {
        Some("MOVED" | "REDIRECT" | "CLUSTERDOWN" | "TRYAGAIN" | "MISCONF") => Fate::Refused,
        Some("UNKNOWN") => Fate::Unknown,
        _ => panic!("a write was answered by: {text}"),
    }
}

/// The address in a redirect, if the reply is one.
pub fn redirected_to(reply: &Reply) -> Option<String> {
    let Reply::Error(text) = reply else { return None };
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["MOVED", _, addr] | ["REDIRECT", addr] => Some(addr.to_owned()),
        _ => None,
    }
}
