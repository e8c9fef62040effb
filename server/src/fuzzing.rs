//! What fuzz targets outside this crate cannot reach without a cluster: the decoders of what peers
//! send, the rows that Raft keeps in a state, a node that is alone. Changes no behaviour.

use crate::commands::acl::User;
use crate::commands::fake_node::FakeNode;
use crate::commands::numbering;
use crate::raft::any_bytes::{self, MESSAGES};
use crate::raft::applier::load;
use crate::raft::codec::Wire;
use crate::raft::types::{Membership, NodeAddress, StoredMembership, log_id};
use crate::session::Session;
use bytes::Bytes;
use protocol::{Reply, Request};
use std::collections::{BTreeMap, BTreeSet};
use storage::StorageError;
use storage::txn::ReadTxn;

/// Reads an input, made from the numbers of `next`, as a message between peers whose kind is chosen
/// by the first number. Returns how many executions of its decoder that was.
///
/// # Panics
/// What was read is written in another way, or cannot be read again.
pub fn peer_message(next: &mut dyn FnMut() -> u64) -> u64 {
    let kind = (next() % MESSAGES.len() as u64) as usize;
    (MESSAGES[kind].read)(MESSAGES[kind].name, next)
}

/// Reads an input, made from the numbers of `next`, as a frame between peers. Returns how many
/// executions of its decoder that was.
///
/// # Panics
/// What was read is written in another way, or room is made for what is only claimed.
pub fn peer_frame(next: &mut dyn FnMut() -> u64) -> u64 {
    any_bytes::frame(next)
}

/// The row of a membership in which a fourth node takes the place of the first.
///
/// # Panics
/// Raft refuses such a membership.
pub fn membership_row() -> Bytes {
    let address = |id: u64| NodeAddress {
        client: format!("10.0.0.{id}:6379"),
        peer: format!("10.0.0.{id}:16379"),
        tls_port: if id == 4 { 6380 } else { 0 },
    };
    let nodes: BTreeMap<u64, NodeAddress> = (1..=5).map(|id| (id, address(id))).collect();
    let voters = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
    let membership = Membership::new(voters, nodes).expect("every voter has an address");
    StoredMembership::new(Some(log_id(1, 1)), membership).to_bytes()
}

/// Reads the rows that Raft keeps in a state, as a node does that starts or installs a snapshot.
///
/// # Errors
/// They are unreadable.
pub fn load_state(txn: &dyn ReadTxn) -> Result<(), StorageError> {
    load(txn, 0).map(drop)
}

/// A node whose cluster is made up, and one client of it: for commands that never reach the state
/// machine. Requests pass none of dispatch's checks but those of name and arity.
pub struct LoneNode {
    node: FakeNode,
    session: Session,
}

impl Default for LoneNode {
    fn default() -> Self {
        let node = FakeNode::new(Some(1));
        let session = node.session();
        LoneNode { node, session }
    }
}

impl LoneNode {
    /// Takes over the users of a state.
    pub fn set_users(&self, users: Vec<(Bytes, User)>) {
        self.node.users.replace(users);
    }

    /// The reply to a request; None: it is none for a session or the node, or it would wait. Whoever
    /// hangs up connects again.
    pub fn answer(&mut self, request: &Request) -> Option<Reply> {
        if self.session.closing {
            self.session = self.node.session();
        }
        let spec = numbering::resolve(request).filter(|spec| spec.arity.accepts(request.len()))?;
        self.node.answer(&mut self.session, spec, request)
    }
}
