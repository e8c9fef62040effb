//! Clients that are a burden: very many, one that does not read, some that never end a request.
//!
//! Whether they burden the node, the node says itself, in CLIENT LIST, while they are there.

use crate::faults::Arena;
use kvorum_tests::client::{Client, text};
use protocol::Reply;
use std::io::Write;
use std::net::TcpStream;

/// Bytes of the value that is asked for again and again, and how often.
const LARGE_BYTES: usize = 300_000;
const LARGE_READS: usize = 400;

/// A node's reader is slow for it once so many bytes of replies wait there.
const WAITING_BYTES_MIN: u64 = 100_000;

impl Arena {
    pub(crate) fn flood(&mut self, at: usize) -> u64 {
        let addr = self.world.members[at].node.addr.clone();
        let mut connections = Vec::new();
        self.windows.open();
        for number in 0..400 {
            let Ok(mut client) = Client::connect(&addr) else { break };
            let sent = client.send(&[["SET", "flood", &"x".repeat(number)].to_vec()]);
            if sent.is_ok() {
                connections.push(client);
            }
        }
        let answered = connections.iter_mut().filter_map(|client| client.receive().ok()).count();
        self.count("Flood: connections", connections.len() as u64);
        u64::from(answered > 100)
    }

    /// Asks for far more than it reads: the node has to hold the rest.
    pub(crate) fn slow_reader(&mut self, at: usize) -> u64 {
        let addr = self.world.members[at].node.addr.clone();
        let Ok(mut client) = Client::connect(&addr) else { return 0 };
        let value = "v".repeat(LARGE_BYTES);
        let set = client.call(&["SET", "large", &value]);
        if !matches!(set, Ok(Reply::Simple(_))) {
            return 0;
        }
        self.windows.open();
        let Ok(mut reader) = TcpStream::connect(&addr) else { return 0 };
        let requests = "*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n".repeat(LARGE_READS);
        if reader.write_all(requests.as_bytes()).is_err() {
            return 0;
        }
        self.rest();
        let waiting: u64 = seen(&addr, &[reader]).iter().map(|its| its.output_bytes).sum();
        self.count("SlowReader: bytes held for it", waiting);
        u64::from(waiting >= WAITING_BYTES_MIN)
    }

    /// Requests that never end, and connections that are left.
    pub(crate) fn half_open(&mut self, at: usize) -> u64 {
        let addr = self.world.members[at].node.addr.clone();
        let mut open = Vec::new();
        self.windows.open();
        for part in ["*3\r\n$3\r\nSET\r\n$1\r\nk", "*1\r\n$5\r\nMULTI\r\n*2\r\n", "PIN", "*100\r\n"]
        {
            let Ok(mut stream) = TcpStream::connect(&addr) else { continue };
            if stream.write_all(part.as_bytes()).is_ok() {
                open.push(stream);
            }
        }
        self.rest();
        let seen = seen(&addr, &open);
        let began = seen.iter().filter(|its| its.input_bytes > 0).count() as u64;
        self.count("HalfOpen: requests begun and not ended", began);
        u64::from(seen.len() == 4 && began > 0)
    }
}

/// What a node holds for a client.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    input_bytes: u64,
    output_bytes: u64,
}

/// What the node at `addr` holds for those of these connections that it knows.
fn seen(addr: &str, connections: &[TcpStream]) -> Vec<Held> {
    let own = connections.iter().filter_map(|stream| stream.local_addr().ok());
    let own: Vec<String> = own.map(|addr| addr.to_string()).collect();
    let listed = Client::connect(addr).and_then(|mut client| client.call(&["CLIENT", "LIST"]));
    listed.map_or_else(|_| Vec::new(), |reply| held(&text(&reply), &own))
}

fn held(list: &str, own: &[String]) -> Vec<Held> {
    let field = |line: &str, name: &str| {
        line.split(' ').find_map(|field| Some(field.strip_prefix(name)?.to_owned()))
    };
    let number = |line: &str, name| field(line, name).and_then(|value| value.parse().ok());
    let is_own = |line: &&str| field(line, "addr=").is_some_and(|addr| own.contains(&addr));
    let held = |line: &str| Held {
        input_bytes: number(line, "qbuf=").unwrap_or(0),
        output_bytes: number(line, "omem=").unwrap_or(0),
    };
    list.lines().filter(is_own).map(held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_lists_what_it_holds_for_whom() {
        let list = "id=1 addr=10.0.0.1:50 laddr=10.0.0.9:51 name= qbuf=7 qbuf-free=9 omem=0 x=1\n\
                    id=2 addr=10.0.0.1:51 laddr=10.0.0.9:7 name= qbuf=0 qbuf-free=9 omem=300 x=1\n";
        let of = |addr: &str| held(list, &[addr.to_owned()]);
        assert_eq!(of("10.0.0.1:50"), [Held { input_bytes: 7, output_bytes: 0 }]);
        assert_eq!(of("10.0.0.1:51"), [Held { input_bytes: 0, output_bytes: 300 }]);
        assert_eq!(of("10.0.0.9:51"), [], "its own address is not a client's");
        assert_eq!(of("10.0.0.1:5"), []);
    }
}
