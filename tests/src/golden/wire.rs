//! A blocking RESP client that hides nothing: it sends the bytes it is given and returns exactly
//! the bytes of one reply, RESP2 or RESP3, as a tree that keeps each header as it came.
//!
//! It follows no redirect, retries nothing and interprets no reply.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long one read may wait for the server.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server must say nothing to count as silent.
pub const SILENCE: Duration = Duration::from_millis(60);
/// Deepest nesting that is read: replies come from servers under test, which may be wrong.
const DEPTH_MAX: usize = 32;

/// One element of a reply. The headers keep type byte and digits as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// Simple string, error, integer, null, double, boolean, big number; also null bulk and array.
    Line(Vec<u8>),
    /// Bulk string, verbatim string, bulk error: header line and content.
    Bulk(Vec<u8>, Vec<u8>),
    /// Array, map (twice as many items as its header says), set, push, attribute.
    Aggregate(Vec<u8>, Vec<Element>),
}

impl Element {
    /// The bytes of this element as they were received.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append_to(&mut bytes);
        bytes
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Element::Line(line) => bytes.extend_from_slice(line),
            Element::Bulk(header, content) => {
                bytes.extend_from_slice(header);
                bytes.extend_from_slice(b"\r\n");
                bytes.extend_from_slice(content);
            }
            Element::Aggregate(header, items) => {
                bytes.extend_from_slice(header);
                bytes.extend_from_slice(b"\r\n");
                for item in items {
                    item.append_to(bytes);
                }
                return;
            }
        }
        bytes.extend_from_slice(b"\r\n");
    }
}

/// What a read ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Reply(Element),
    /// The server closed the connection before another reply began.
    Closed,
    /// Nothing, or not a whole reply, came within the time limit.
    Timeout,
    /// These bytes are no RESP, or the connection failed.
    Broken(String),
}

/// A connection to the server under test.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of `buffer` has been consumed.
    consumed: usize,
}

impl Connection {
    /// Connects to `addr` (`host:port`).
    ///
    /// # Errors
    /// Any error of the sockets.
    pub fn open(addr: &str) -> std::io::Result<Self> {
        let addr = addr.to_socket_addrs()?.next().ok_or(ErrorKind::AddrNotAvailable)?;
        let stream = TcpStream::connect_timeout(&addr, READ_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Connection { stream, buffer: Vec::new(), consumed: 0 })
    }

    /// Sends `bytes`. That the server has closed is no error here: the next read tells.
    ///
    /// # Errors
    /// Any other error of the socket.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self.stream.write_all(bytes) {
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Ok(())
            }
            result => result,
        }
    }

    /// Reads one reply, waiting at most `limit` for each piece of it.
    pub fn receive(&mut self, limit: Duration) -> Received {
        if let Err(error) = self.stream.set_read_timeout(Some(limit)) {
            return Received::Broken(error.to_string());
        }
        let begun = self.consumed;
        match self.element(0) {
            Ok(element) => Received::Reply(element),
            Err(Received::Closed) if self.buffer.len() > begun => {
                let rest = String::from_utf8_lossy(&self.buffer[begun..]).into_owned();
                Received::Broken(format!("closed in the middle of a reply: {rest:?}"))
            }
            Err(other) => other,
        }
    }

    fn element(&mut self, depth: usize) -> Result<Element, Received> {
        let line = self.line()?;
        if depth > DEPTH_MAX {
            return Err(Received::Broken("a reply nested too deeply".into()));
        }
        let Some(&kind) = line.first() else {
            return Err(Received::Broken("an empty line instead of a reply".into()));
        };
        match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Ok(Element::Line(line)),
            b'$' | b'=' | b'!' => match length(&line)? {
                None => Ok(Element::Line(line)),
                Some(len) => {
                    let content = self.content(len)?;
                    Ok(Element::Bulk(line, content))
                }
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let Some(len) = length(&line)? else {
                    return Ok(Element::Line(line));
                };
                let count = match kind {
                    b'%' => len * 2,
                    b'|' => len * 2 + 1,
                    _ => len,
                };
                let items =
                    (0..count).map(|_| self.element(depth + 1)).collect::<Result<_, _>>()?;
                Ok(Element::Aggregate(line, items))
            }
            _ => Err(Received::Broken(format!("no RESP: {:?}", String::from_utf8_lossy(&line)))),
        }
    }

    /// The next line, without its CRLF.
    fn line(&mut self) -> Result<Vec<u8>, Received> {
        loop {
            let pending = &self.buffer[self.consumed..];
            if let Some(end) = pending.windows(2).position(|pair| pair == b"\r\n") {
                let line = pending[..end].to_vec();
                self.consumed += end + 2;
                return Ok(line);
            }
            self.fill()?;
        }
    }

    /// The next `len` bytes, and the CRLF after them.
    fn content(&mut self, len: usize) -> Result<Vec<u8>, Received> {
        while self.buffer.len() - self.consumed < len + 2 {
            self.fill()?;
        }
        let start = self.consumed;
        if &self.buffer[start + len..start + len + 2] != b"\r\n" {
            return Err(Received::Broken("no CRLF after a bulk string".into()));
        }
        self.consumed += len + 2;
        Ok(self.buffer[start..start + len].to_vec())
    }

    fn fill(&mut self) -> Result<(), Received> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Received::Closed),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) => Err(match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Received::Timeout,
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Received::Closed,
                _ => Received::Broken(error.to_string()),
            }),
        }
    }
}

/// A request in the form that clients send: an array of bulk strings.
pub fn encode_request(args: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The length in a header line; none for the null forms `$-1` and `*-1`.
fn length(line: &[u8]) -> Result<Option<usize>, Received> {
    let digits = String::from_utf8_lossy(&line[1..]);
    if digits == "-1" {
        return Ok(None);
    }
    let broken = || Received::Broken(format!("bad length {digits:?} in a reply"));
    digits.parse().map(Some).map_err(|_| broken())
}
