//! Short conversations beside the load: one request, one reply, with a time limit.
//!
//! Used to ask a node for its role and for the owners of slots. Always RESP2, read by the decoder
//! of `redis-protocol`, because these replies are small and come from a server we chose.

use bytes::BytesMut;
use protocol::encode_request;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest that one conversation may take.
pub(crate) const CONTROL_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest reply that is read, in bytes.
const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Hash slots of a Redis cluster.
pub(crate) const SLOTS: usize = 16_384;

/// Sends one request to `address` on a connection of its own and returns the reply.
///
/// Errors: no connection, no reply in [`CONTROL_TIMEOUT`], or an error reply.
pub(crate) async fn ask(
    address: &str,
    password: Option<&str>,
    parts: &[&[u8]],
) -> io::Result<OwnedFrame> {
    let conversation = async {
        let mut stream = TcpStream::connect(address).await?;
        if let Some(password) = password {
            converse(&mut stream, &[b"AUTH", password.as_bytes()]).await?;
        }
        converse(&mut stream, parts).await
    };
    tokio::time::timeout(CONTROL_TIMEOUT, conversation)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("{address}: no reply")))?
}

/// Sends requests to `address` on one connection, each when the one before is answered.
///
/// Errors: no connection, an error reply, or one that does not come in [`CONTROL_TIMEOUT`].
pub(crate) async fn ask_in_turn(
    address: &str,
    requests: &[Vec<&[u8]>],
) -> io::Result<Vec<OwnedFrame>> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("{address}: no reply"));
    let mut stream = TcpStream::connect(address).await?;
    let mut replies = Vec::with_capacity(requests.len());
    for parts in requests {
        let reply = tokio::time::timeout(CONTROL_TIMEOUT, converse(&mut stream, parts));
        replies.push(reply.await.map_err(|_| late())??);
    }
    Ok(replies)
}

async fn converse(stream: &mut TcpStream, parts: &[&[u8]]) -> io::Result<OwnedFrame> {
    let mut request = BytesMut::new();
    encode_request(parts, &mut request);
    stream.write_all(&request).await?;
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match decode(&received).map_err(|error| io::Error::other(error.to_string()))? {
            Some((OwnedFrame::Error(text), _)) => return Err(io::Error::other(text)),
            Some((frame, _)) => return Ok(frame),
            None if received.len() > REPLY_BYTES_MAX => {
                return Err(io::Error::other("the reply is too large"));
            }
            None => {}
        }
    }
}

/// The text of a simple or bulk string.
pub(crate) fn text(frame: &OwnedFrame) -> Option<String> {
    match frame {
        OwnedFrame::SimpleString(bytes) | OwnedFrame::BulkString(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    }
}

/// The value of `name` in a text of `name:value` lines, as INFO sends.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

/// Which node answers for which slots, as `CLUSTER SLOTS` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotOwners {
    /// `host:port` of each owner, in the order of their first slot, none twice.
    pub(crate) nodes: Vec<String>,
    /// For each slot, the position of its owner in `nodes`.
    owner: Vec<Option<usize>>,
}

impl SlotOwners {
    /// Asks the node at `address`.
    pub(crate) async fn fetch(address: &str, password: Option<&str>) -> io::Result<Self> {
        let frame = ask(address, password, &[b"CLUSTER", b"SLOTS"]).await?;
        Self::parse(&frame, address)
            .ok_or_else(|| io::Error::other(format!("{address}: CLUSTER SLOTS names no owner")))
    }

    /// Reads `[[first, last, [host, port, ...], ...], ...]`; an empty host is the node asked.
    fn parse(frame: &OwnedFrame, asked: &str) -> Option<Self> {
        let OwnedFrame::Array(ranges) = frame else {
            return None;
        };
        let mut this = Self { nodes: Vec::new(), owner: vec![None; SLOTS] };
        for range in ranges {
            let OwnedFrame::Array(range) = range else {
                return None;
            };
            let [
                OwnedFrame::Integer(first),
                OwnedFrame::Integer(last),
                OwnedFrame::Array(node),
                ..,
            ] = range.as_slice()
            else {
                return None;
            };
            let [host, OwnedFrame::Integer(port), ..] = node.as_slice() else {
                return None;
            };
            let address = join_host(&text(host).unwrap_or_default(), &port.to_string(), asked);
            let position = match this.nodes.iter().position(|known| *known == address) {
                Some(position) => position,
                None => {
                    this.nodes.push(address);
                    this.nodes.len() - 1
                }
            };
            let slots = usize::try_from(*first).ok()?..=usize::try_from(*last).ok()?;
            this.owner.get_mut(slots)?.fill(Some(position));
        }
        (!this.nodes.is_empty()).then_some(this)
    }

    /// The slots of `node`; `None` when there is nothing to choose: it owns all of them, or none.
    pub(crate) fn slots_of(&self, node: &str) -> Option<Vec<bool>> {
        let position = self.nodes.iter().position(|known| known == node);
        let owned: Vec<bool> =
            self.owner.iter().map(|owner| owner.is_some() && *owner == position).collect();
        (owned.contains(&false) && owned.contains(&true)).then_some(owned)
    }
}

/// `host:port`, taking the host of `asked` where none is given.
fn join_host(host: &str, port: &str, asked: &str) -> String {
    let host =
        if host.is_empty() { asked.rsplit_once(':').map_or("", |(host, _)| host) } else { host };
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The address in `MOVED <slot> <host>:<port>` or `REDIRECT <host>:<port>`, `None` for other errors.
pub(crate) fn redirect_target(error: &str, asked: &str) -> Option<String> {
    let mut words = error.split_ascii_whitespace();
    let address = match words.next()? {
        "MOVED" => words.nth(1)?,
        "REDIRECT" => words.next()?,
        _ => return None,
    };
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    Some(join_host(host, port, asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(wire: &str) -> Option<SlotOwners> {
        let (frame, _) = decode(wire.as_bytes()).unwrap().unwrap();
        SlotOwners::parse(&frame, "10.0.0.9:7000")
    }

    #[test]
    fn one_owner_of_all_slots_needs_no_restriction() {
        let wire = "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$4\r\nhost\r\n:6380\r\n$2\r\nid\r\n";
        let owners = parse(wire).unwrap();
        assert_eq!(owners.nodes, ["host:6380"]);
        assert_eq!(owners.slots_of("host:6380"), None);
        assert_eq!(owners.slots_of("other:1"), None);
    }

    #[test]
    fn several_owners_share_the_slots() {
        let wire = "*3\r\n*3\r\n:0\r\n:99\r\n*2\r\n$1\r\na\r\n:1\r\n*3\r\n:100\r\n:16383\r\n\
                    *2\r\n$0\r\n\r\n:2\r\n*3\r\n:50\r\n:59\r\n*2\r\n$0\r\n\r\n:2\r\n";
        let owners = parse(wire).unwrap_or_else(|| panic!("{wire:?}"));
        assert_eq!(owners.nodes, ["a:1", "10.0.0.9:2"]);
        let owned = owners.slots_of("a:1").unwrap();
        assert_eq!(owned.iter().filter(|&&owned| owned).count(), 90);
    }

    #[test]
    fn nonsense_has_no_owner() {
        for wire in
            ["*0\r\n", "+OK\r\n", "*1\r\n:1\r\n", "*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n+a\r\n:1\r\n"]
        {
            assert_eq!(parse(wire), None, "{wire:?}");
        }
    }

    #[test]
    fn redirects_name_a_node() {
        let check = |error: &str, expected: Option<&str>| {
            assert_eq!(redirect_target(error, "h:1").as_deref(), expected, "{error}");
        };
        check("MOVED 3999 127.0.0.1:6381", Some("127.0.0.1:6381"));
        check("MOVED 3999 :6381", Some("h:6381"));
        check("MOVED 1 ::1:6381", Some("[::1]:6381"));
        check("REDIRECT 127.0.0.1:6381", Some("127.0.0.1:6381"));
        check("MOVED 3999", None);
        check("MOVED 1 host:port", None);
        check("CLUSTERDOWN no leader", None);
    }

    #[test]
    fn info_fields() {
        let info = "# Replication\r\nrole:master\r\nmaster_link_status:up\r\n";
        assert_eq!(field(info, "role"), Some("master"));
        assert_eq!(field(info, "master_link_status"), Some("up"));
        assert_eq!(field(info, "master"), None);
    }
}
