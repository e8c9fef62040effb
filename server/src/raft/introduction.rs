//! What nodes tell each other of themselves: ids and addresses; and how a member's changes.
//!
//! Where peers reach a member never changes: so two nodes are not taken for one. Where clients do
//! may change with its settings (a TLS port is opened), and the member announces it.

use crate::raft::bootstrap::{Bootstrap, RETRY};
use crate::raft::codec::{CodecError, Wire};
use crate::raft::node::Node;
use crate::raft::orders::{Refused, refuse_clash};
use crate::raft::types::*;
use bytes::{Bytes, BytesMut};
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;

/// Pause between two attempts to tell the cluster of another address.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Introduction {
    /// Its id.
    pub(crate) node_id: u64,
    /// Its cluster, 0 when it is not yet a member of one.
    pub(crate) cluster_id: u64,
    /// Where it is reached.
    pub(crate) address: NodeAddress,
}

impl Introduction {
    /// The text of RAFT.PEER's reply.
    pub(crate) fn to_text(&self) -> String {
        let Introduction { node_id, cluster_id, address } = self;
        let text = format!("1 {cluster_id} {node_id} {} {}", address.client, address.peer);
        match address.tls_port {
            0 => text,
            port => format!("{text} {port}"),
        }
    }

    /// Reads the text of RAFT.PEER's reply.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let (words, tls_port) = match words[..] {
            [.., tls_port] if words.len() == 6 => (&words[..5], tls_port.parse().ok()?),
            _ => (&words[..], 0),
        };
        let ["1", cluster_id, node_id, client, peer] = *words else { return None };
        Some(Introduction {
            node_id: node_id.parse().ok()?,
            cluster_id: cluster_id.parse().ok()?,
            address: NodeAddress { client: client.to_owned(), peer: peer.to_owned(), tls_port },
        })
    }
}

impl Wire for Introduction {
    fn put(&self, out: &mut BytesMut) {
        self.node_id.put(out);
        self.cluster_id.put(out);
        self.address.put(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, CodecError> {
        let (node_id, cluster_id) = (u64::read(from)?, u64::read(from)?);
        Ok(Introduction { node_id, cluster_id, address: NodeAddress::read(from)? })
    }
}

impl Bootstrap {
    /// Tells the cluster where clients reach this member, if that has changed since it joined (a TLS
    /// port was opened); returns when the members know. Where peers reach it does not change.
    pub(crate) async fn announce(&self, node: &Node) {
        loop {
            let metrics = node.shared.raft.server_metrics();
            let membership = metrics.borrow_watched().membership_config.clone();
            let own = &node.shared.address;
            match membership.get_node(&self.identity.node_id()) {
                Some(known) if known != own && known.peer == own.peer => {}
                Some(_) | None => return,
            }
            // A node that has just started may not know yet what it committed.
            let committed = metrics.borrow_watched().committed_membership_config.clone();
            if committed.log_id() != membership.log_id() {
                sleep(RETRY).await;
                continue;
            }
            if let Err(why) = node.add_member(self.introduction(node)).await {
                tracing::warn!(
                    node = self.identity.node_id(),
                    why,
                    "clients' address not announced"
                );
            }
            sleep(ANNOUNCE_PAUSE).await;
        }
    }
}

impl Node {
    /// A member is reached elsewhere by clients. It has to be reached by peers as before: it stays
    /// certain that two nodes are not taken for one.
    pub(super) async fn change_address(
        &self,
        membership: &StoredMembership,
        node: Introduction,
    ) -> Result<(), Refused> {
        refuse_clash(membership, &node)?;
        let (own, term, index) = self.shared.place();
        let (member, address) = (node.node_id, &node.address);
        tracing::info!(node = own, term, index, member, %address, "a member has another address");
        let nodes = BTreeMap::from([(node.node_id, node.address)]);
        self.change(ChangeMembers::SetNodes(nodes), true).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction(tls_port: u16) -> Introduction {
        let (client, peer) = ("10.0.0.1:6379".to_owned(), "10.0.0.1:16379".to_owned());
        let address = NodeAddress { client, tls_port, peer };
        Introduction { node_id: 7, cluster_id: 9, address }
    }

    #[test]
    fn a_node_without_a_tls_port_introduces_itself_as_nodes_before_there_were_any() {
        let (plain, encrypted) = (introduction(0), introduction(6380));
        assert_eq!(plain.to_text(), "1 9 7 10.0.0.1:6379 10.0.0.1:16379");
        assert_eq!(encrypted.to_text(), "1 9 7 10.0.0.1:6379 10.0.0.1:16379 6380");
        for introduction in [plain, encrypted] {
            assert_eq!(Introduction::from_text(&introduction.to_text()), Some(introduction));
        }
        for text in ["", "1 9 7 10.0.0.1:6379", "1 9 7 a b 6380 c", "1 9 7 a b port", "2 9 7 a b"] {
            assert_eq!(Introduction::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_written_before_there_were_tls_ports_are_read() {
        let before: &[u8] = b"\x0d\x00\x00\x0010.0.0.1:6379\x0e\x00\x00\x0010.0.0.1:16379";
        let (plain, encrypted) = (introduction(0).address, introduction(6380).address);
        assert_eq!(plain.to_bytes(), before);
        for address in [plain, encrypted.clone()] {
            assert_eq!(NodeAddress::from_bytes(address.to_bytes()).ok(), Some(address));
        }
        let bytes = encrypted.to_bytes();
        assert_eq!(bytes[..5], [255, 255, 255, 255, 2], "a version of its own");
        for length in 0..bytes.len() {
            assert!(NodeAddress::from_bytes(bytes.slice(..length)).is_err());
        }
        let mut next = bytes.to_vec();
        next[4] = 3;
        assert!(NodeAddress::from_bytes(next.into()).is_err(), "an unknown version");
    }

    #[test]
    fn a_client_is_told_the_port_it_can_use() {
        let address = introduction(6380).address;
        assert_eq!(address.for_client(true), "10.0.0.1:6380");
        assert_eq!(address.for_client(false), "10.0.0.1:6379");
        assert_eq!(introduction(0).address.for_client(true), "10.0.0.1:6379");
    }
}
