//! Asks a node for its part in the cluster, as any client could: by INFO.

use bytes::BytesMut;
use protocol::{Reply, RespClientCodec, encode_request};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::Decoder;

/// Time for the whole question: a node that is paused does not stop the others' news.
const WAIT: Duration = Duration::from_millis(500);

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its role, in words.
    pub(super) role: String,
    /// Whether it leads.
    pub(super) leads: bool,
    /// Whether it knows a leader.
    pub(super) leader_known: bool,
    /// Its Raft term.
    pub(super) term: u64,
}

/// Asks the node at `address`; None: no answer in time.
pub(super) async fn ask(address: &str) -> Option<Seen> {
    let info = tokio::time::timeout(WAIT, info(address)).await.ok()??;
    parse(&info)
}

async fn info(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let mut buffer = BytesMut::new();
    encode_request(&["INFO", "replication"], &mut buffer);
    stream.write_all(&buffer).await.ok()?;
    let mut codec = RespClientCodec::default();
    buffer.clear();
    loop {
        match codec.decode(&mut buffer).ok()? {
            Some(Reply::Bulk(text)) => return String::from_utf8(text.to_vec()).ok(),
            Some(_) => return None,
            None => {}
        }
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn parse(info: &str) -> Option<Seen> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let role = field("raft_role")?;
    Some(Seen {
        role: role.to_owned(),
        leads: field("role")? == "master",
        leader_known: field("raft_leader_id")? != "0",
        term: field("raft_current_term")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_and_another_text_is_not() {
        let info = "# Replication\r\nrole:master\r\nraft_node_id:7\r\nraft_role:leader\r\n\
                    raft_leader_id:7\r\nraft_current_term:3\r\n";
        let role = "leader".to_owned();
        let expected = Seen { role, leads: true, leader_known: true, term: 3 };
        assert_eq!(parse(info), Some(expected));
        assert_eq!(parse("# Replication\r\nrole:master\r\n"), None);
    }
}
