//! Orders of administrators: membership, transfer of leadership, snapshots.
//!
//! Any node takes them; those that only the leader can carry out are sent to it. Membership changes
//! go one at a time, through a caught-up learner, and are refused when the voters that are left
//! could not form a majority of reachable nodes. An order is answered when it is done.

use crate::limits::{ORDER_WAIT, VOTE_ANSWER_WAIT};
use crate::node_control::{MembershipChange, Order, OrderDone, OrderResult};
use crate::raft::codec::{CodecError, Wire};
use crate::raft::frame::Kind;
use crate::raft::introduction::Introduction;
use crate::raft::node::{Leadership, Node, Shared};
use crate::raft::peer_link::{CallError, PeerLink};
use crate::raft::probe::probe;
use crate::raft::types::*;
use bytes::{Bytes, BytesMut};
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// An order only the leader can carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaderOrder {
    /// Add the node that introduced itself.
    Add(Introduction),
    /// Remove a node.
    Remove(u64),
    /// Make a learner a voter.
    Promote(u64),
    /// Hand leadership over.
    Transfer(Option<u64>),
}

impl Wire for LeaderOrder {
    fn put(&self, out: &mut BytesMut) {
        match self {
            LeaderOrder::Add(node) => {
                0u8.put(out);
                node.put(out);
            }
            LeaderOrder::Remove(id) => {
                1u8.put(out);
                id.put(out);
            }
            LeaderOrder::Promote(id) => {
                2u8.put(out);
                id.put(out);
            }
            LeaderOrder::Transfer(to) => {
                3u8.put(out);
                to.put(out);
            }
        }
    }

    fn read(from: &mut Bytes) -> Result<Self, CodecError> {
        Ok(match u8::read(from)? {
            0 => LeaderOrder::Add(Introduction::read(from)?),
            1 => LeaderOrder::Remove(u64::read(from)?),
            2 => LeaderOrder::Promote(u64::read(from)?),
            3 => LeaderOrder::Transfer(Option::read(from)?),
            _ => return Err(CodecError("an unknown order")),
        })
    }
}

/// Why an order was not carried out; `moved`: another node leads now.
pub(super) enum Refused {
    Moved,
    Because(String),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Refused::Because(why)
    }
}

impl Node {
    /// Carries out an order given to this node; errors carry their RESP prefix.
    pub(crate) async fn order(&self, order: Order) -> OrderResult {
        let result = match order {
            Order::Membership(MembershipChange::Add { address }) => {
                let requirepass = self.shared.settings.load().requirepass.clone();
                // Until it is added: this node gives up no cluster itself meanwhile.
                let _winning_over = WinningOver::begin(&self.shared.winning_over);
                let way = &*self.shared.peers.transport;
                let Some(node) = probe(way, &address, &requirepass).await else {
                    return Err(format!("ERR no node answers at {address}"));
                };
                let node = match node.cluster_id {
                    0 => node,
                    cluster_id if cluster_id == self.shared.identity.cluster_id() => node,
                    _ => self.win_over(&address, &node, &requirepass).await?,
                };
                let id = node.node_id;
                self.leader_order(LeaderOrder::Add(node)).await.map(|()| OrderDone::NodeId(id))
            }
            Order::Membership(MembershipChange::Remove { id }) => {
                self.leader_order(LeaderOrder::Remove(id)).await.map(|()| OrderDone::Ok)
            }
            Order::Membership(MembershipChange::Promote { id }) => {
                self.leader_order(LeaderOrder::Promote(id)).await.map(|()| OrderDone::Ok)
            }
            Order::TransferLeader { to } => {
                self.leader_order(LeaderOrder::Transfer(to)).await.map(|()| OrderDone::Ok)
            }
            Order::Snapshot => self.snapshot().await.map(OrderDone::Index),
            Order::Init | Order::Join { .. } | Order::Identify | Order::Shutdown => {
                Err("this order is not for the Raft group".to_owned())
            }
        };
        result.map_err(|why| format!("ERR {why}"))
    }

    /// Has a node give up its own cluster, which it does if that never held data; returns who it is
    /// afterwards. Errors carry their RESP prefix.
    async fn win_over(
        &self,
        address: &str,
        node: &Introduction,
        requirepass: &str,
    ) -> Result<Introduction, String> {
        if self.leadership() == Leadership::Unknown {
            return Err("ERR the cluster has no leader".to_owned());
        }
        // It gives up its cluster only for one that will take it.
        let membership = self.membership();
        refuse_clash(&membership, node).map_err(|why| format!("ERR {why}"))?;
        let tls = self.shared.settings.load().joins_by_tls();
        let addresses: Vec<String> =
            membership.nodes().map(|(_, member)| member.for_client(tls)).collect();
        let link = self.shared.link_to_stranger(node);
        let asked = link.call(Kind::StartOver, addresses.to_bytes(), ORDER_WAIT).await;
        asked.map_err(|error| match error {
            CallError::Refused(why) => {
                format!("ERR the node at {address} belongs to another cluster and stays: {why}")
            }
            error => format!("ERR the node at {address} cannot be asked to join: {error}"),
        })?;
        let deadline = Instant::now() + ORDER_WAIT;
        while Instant::now() < deadline {
            match probe(&*self.shared.peers.transport, address, requirepass).await {
                Some(new) if new.node_id != node.node_id => return Ok(new),
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
        Err(format!("ERR the node at {address} does not come back; it joins when it does"))
    }

    /// Adds the node that asks to join.
    pub(crate) async fn add_member(&self, node: Introduction) -> Result<(), String> {
        self.leader_order(LeaderOrder::Add(node)).await
    }

    /// Carries out an order that a peer sent to this node as the leader.
    pub(crate) async fn order_from_peer(&self, payload: Bytes) -> Result<Bytes, String> {
        let order = LeaderOrder::from_bytes(payload).map_err(|error| error.to_string())?;
        match self.carry_out(order).await {
            Ok(()) => Ok(Option::<String>::None.to_bytes()),
            Err(Refused::Because(why)) => Ok(Some(why).to_bytes()),
            Err(Refused::Moved) => Err("this node does not lead".to_owned()),
        }
    }

    /// Carries an order out here or has the leader do it, wherever leadership goes meanwhile.
    async fn leader_order(&self, order: LeaderOrder) -> Result<(), String> {
        let deadline = Instant::now() + ORDER_WAIT;
        loop {
            let refused = match self.wait_for_leader(deadline).await {
                Leadership::Here => match self.carry_out(order.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(refused) => refused,
                },
                Leadership::At(id, address) => {
                    let link = self.shared.link(id, &address);
                    let wait = deadline.saturating_duration_since(Instant::now());
                    match link.call(Kind::Order, order.to_bytes(), wait).await {
                        Ok(answer) => match Option::<String>::from_bytes(answer) {
                            Ok(None) => return Ok(()),
                            Ok(Some(why)) => return Err(why),
                            Err(error) => return Err(error.to_string()),
                        },
                        Err(CallError::NotSent(_) | CallError::Refused(_)) => Refused::Moved,
                        Err(error @ CallError::Lost(_)) => {
                            return Err(format!("outcome unknown: {error}"));
                        }
                    }
                }
                Leadership::Unknown => return Err("the cluster has no leader".to_owned()),
            };
            match refused {
                Refused::Because(why) => return Err(why),
                Refused::Moved if Instant::now() >= deadline => {
                    return Err("the cluster has no leader".to_owned());
                }
                Refused::Moved => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn carry_out(&self, order: LeaderOrder) -> Result<(), Refused> {
        if self.leadership() != Leadership::Here {
            return Err(Refused::Moved);
        }
        if let LeaderOrder::Transfer(to) = order {
            self.shared.transferring.store(true, Ordering::Relaxed);
            let transferred = self.transfer(to).await;
            self.shared.transferring.store(false, Ordering::Relaxed);
            return transferred;
        }
        // One change at a time; a second one waits for the first.
        let _one = self.shared.orders.lock().await;
        match order {
            LeaderOrder::Add(node) => self.add(node).await,
            LeaderOrder::Remove(id) => self.remove(id).await,
            LeaderOrder::Promote(id) => self.promote(id).await,
            LeaderOrder::Transfer(_) => Ok(()),
        }
    }

    fn membership(&self) -> StoredMembership {
        let metrics = self.shared.raft.server_metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        membership.as_ref().clone()
    }

    async fn add(&self, node: Introduction) -> Result<(), Refused> {
        let cluster_id = self.shared.identity.cluster_id();
        let membership = self.membership();
        if let Some(known) = membership.get_node(&node.node_id)
            && *known != node.address
        {
            if known.peer == node.address.peer {
                return self.change_address(&membership, node).await;
            }
            let why =
                format!("node {} is the member at {known}, not {}", node.node_id, node.address);
            return Err(why.into());
        }
        let is_voter = membership.voter_ids().any(|id| id == node.node_id);
        if is_voter && node.cluster_id == cluster_id {
            return Ok(());
        }
        refuse_clash(&membership, &node)?;
        let link = self.shared.link_to_stranger(&node);
        let invited = link.call(Kind::Invite, cluster_id.to_bytes(), VOTE_ANSWER_WAIT).await;
        invited.map_err(|error| format!("node {} cannot be invited: {error}", node.node_id))?;
        if is_voter {
            // A member since the cluster was formed, that had taken its pledge back meanwhile.
            return Ok(());
        }
        let (own, term, index) = self.shared.place();
        let (learner, address) = (node.node_id, &node.address);
        tracing::info!(node = own, term, index, learner, %address, "adding a learner");
        let nodes = BTreeMap::from([(node.node_id, node.address.clone())]);
        self.change(ChangeMembers::AddNodes(nodes), true).await?;
        self.wait_caught_up(node.node_id).await?;
        self.promote(node.node_id).await
    }

    async fn promote(&self, id: u64) -> Result<(), Refused> {
        let membership = self.membership();
        if membership.voter_ids().any(|voter| voter == id) {
            return Ok(());
        }
        if membership.get_node(&id).is_none() {
            return Err(format!("there is no node {id}").into());
        }
        self.wait_caught_up(id).await?;
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
        self.change(change, false).await?;
        let (node, term, index) = self.shared.place();
        tracing::info!(node, term, index, voter = id, "the learner is a voter now");
        Ok(())
    }

    async fn remove(&self, id: u64) -> Result<(), Refused> {
        let membership = self.membership();
        let Some(address) = membership.get_node(&id).cloned() else {
            return Err(format!("there is no node {id}").into());
        };
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        if voters == BTreeSet::from([id]) {
            return Err("the last voter cannot be removed".to_owned().into());
        }
        if voters.contains(&id) {
            let left: BTreeSet<u64> = voters.iter().copied().filter(|voter| *voter != id).collect();
            let reachable = left.iter().filter(|voter| self.is_reachable(**voter)).count();
            if reachable < left.len() / 2 + 1 {
                let why = format!(
                    "refused: of the {} voters left only {reachable} are reachable, no majority",
                    left.len()
                );
                return Err(why.into());
            }
        }
        if id == self.shared.identity.node_id() {
            self.transfer(None).await?;
            return Err(Refused::Moved);
        }
        if voters.contains(&id) {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id])), false).await?;
        } else {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false).await?;
        }
        let (node, term, index) = self.shared.place();
        tracing::info!(node, term, index, removed = id, "removed a node");
        let since = *self.membership().log_id();
        let link = self.shared.link(id, &address);
        // A node that is not reached finds out when it comes back and asks.
        drop(link.call(Kind::Removed, since.to_bytes(), VOTE_ANSWER_WAIT).await);
        Ok(())
    }

    /// Changes the membership; joint consensus is left again before this returns. A change that is
    /// not agreed on in time goes on, and whoever leads then leaves joint consensus (see `duties`).
    pub(super) async fn change(
        &self,
        change: ChangeMembers<u64, NodeAddress>,
        retain: bool,
    ) -> Result<(), Refused> {
        let membership = self.membership();
        let next = membership.get_joint_config().last();
        if next.is_some_and(|next| !next.contains(&self.shared.identity.node_id())) {
            // Whoever stays goes on: a leader that is no member any more has nothing to change.
            self.transfer(None).await?;
            return Err(Refused::Moved);
        }
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let reachable = voters.iter().filter(|voter| self.is_reachable(**voter)).count();
        if reachable < voters.len() / 2 + 1 {
            let all = voters.len();
            let why =
                format!("refused: only {reachable} of the {all} voters are reachable, no majority");
            return Err(why.into());
        }
        let raft = self.shared.raft.clone();
        let changing =
            crate::tasks::spawn(async move { raft.change_membership(change, retain).await });
        match tokio::time::timeout(CHANGE_WAIT, changing).await {
            Ok(Ok(changed)) => changed.map_err(|error| error.to_string())?,
            Ok(Err(ended)) => return Err(ended.to_string().into()),
            Err(_) => {
                let why = "outcome unknown: no majority has agreed to the change yet";
                return Err(why.to_owned().into());
            }
        };
        match self.membership().get_joint_config().len() {
            1 => Ok(()),
            _ => Err("the membership change is not finished".to_owned().into()),
        }
    }

    /// On the leader: leaves joint consensus where whoever began a change could not.
    pub(crate) async fn finish_change(&self) {
        if self.leadership() != Leadership::Here || self.membership().get_joint_config().len() < 2 {
            return;
        }
        // Held while an order is carried out, which then finishes its change itself.
        let Ok(_one) = self.shared.orders.try_lock() else { return };
        match self.change(ChangeMembers::AddVoterIds(BTreeSet::new()), false).await {
            Ok(()) => tracing::info!("finished a membership change"),
            Err(Refused::Because(why)) => tracing::warn!(why, "a membership change is unfinished"),
            Err(Refused::Moved) => {}
        }
    }

    /// Waits until a node's log is close to the leader's.
    async fn wait_caught_up(&self, id: u64) -> Result<(), Refused> {
        let deadline = Instant::now() + ORDER_WAIT;
        loop {
            let metrics = self.shared.raft.metrics().borrow_watched().clone();
            let Some(replication) = &metrics.replication else { return Err(Refused::Moved) };
            let matched = replication.get(&id).and_then(|matched| *matched);
            let matched = matched.map_or(0, |matched| matched.index + 1);
            let last = metrics.last_log_index.map_or(0, |last| last + 1);
            if matched > 0 && matched + CAUGHT_UP_ENTRIES >= last {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let why =
                    format!("node {id} has not caught up: it has {matched} of {last} entries");
                return Err(why.into());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether a voter answered lately.
    fn is_reachable(&self, id: u64) -> bool {
        let limit = Duration::from_millis(self.shared.settings.load().election_timeout_max_ms);
        id == self.shared.identity.node_id()
            || self
                .shared
                .peers
                .figures(id)
                .last_contact
                .is_some_and(|contact| contact.elapsed() < limit)
    }

    async fn transfer(&self, to: Option<u64>) -> Result<(), Refused> {
        let own = self.shared.identity.node_id();
        let metrics = self.shared.raft.metrics().borrow_watched().clone();
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let matched: BTreeMap<u64, u64> = metrics
            .replication
            .iter()
            .flatten()
            .map(|(id, matched)| (*id, matched.map_or(0, |matched| matched.index + 1)))
            .collect();
        // Not one that is about to be removed.
        let staying = metrics.membership_config.get_joint_config().last();
        let best = || {
            let reachable =
                staying.into_iter().flatten().filter(|id| **id != own && self.is_reachable(**id));
            reachable.copied().max_by_key(|id| matched.get(id).copied().unwrap_or(0))
        };
        let to = match to {
            Some(id) if id == own => return Ok(()),
            Some(id) if !voters.contains(&id) => {
                return Err(format!("node {id} is no voter").into());
            }
            Some(id) => id,
            None => best().ok_or_else(|| "no other voter is reachable".to_owned())?,
        };
        self.shared.raft.trigger().transfer_leader(to).await.map_err(|error| error.to_string())?;
        let deadline = Instant::now() + TRANSFER_WAIT;
        loop {
            if matches!(self.leadership(), Leadership::At(id, _) if id == to) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("node {to} did not take over").into());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Makes the state durable and returns the log index it is durable up to.
    pub(crate) async fn snapshot(&self) -> Result<u64, String> {
        if self.shared.machine.engine.stats().engine == "memory" {
            return Err("the memory engine has no durable state".to_owned());
        }
        let late = |_| "what is committed is not applied yet".to_owned();
        self.apply_committed(ORDER_WAIT).await.map_err(late)?;
        let before = self.shared.machine.applied().log_index;
        let mut again = Instant::now() + Duration::from_secs(1);
        self.shared.raft.trigger().snapshot().await.map_err(|error| error.to_string())?;
        let deadline = Instant::now() + ORDER_WAIT;
        loop {
            let durable = self.shared.machine.engine.durable_index();
            let metrics = self.shared.raft.metrics().borrow_watched().clone();
            let snapshot = metrics.snapshot.map_or(0, |snapshot| snapshot.index + 1);
            if snapshot >= before && durable >= before {
                return Ok(snapshot);
            }
            if Instant::now() >= again {
                // One asked for while another was being built is not built.
                let asked = self.shared.raft.trigger().snapshot().await;
                asked.map_err(|error| error.to_string())?;
                again = Instant::now() + Duration::from_secs(1);
            }
            if Instant::now() >= deadline {
                return Err("the snapshot takes too long; it goes on".to_owned());
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Refuses a node at the address of a member.
pub(super) fn refuse_clash(
    membership: &StoredMembership,
    node: &Introduction,
) -> Result<(), String> {
    let clash = membership.nodes().find(|(id, address)| {
        **id != node.node_id
            && (address.peer == node.address.peer || address.client == node.address.client)
    });
    match clash {
        Some((id, address)) => {
            Err(format!("node {id} is the member at {address}; remove it first"))
        }
        None => Ok(()),
    }
}

/// Counts an order that wins a node over, as long as it lasts.
struct WinningOver<'a>(&'a AtomicU32);

impl<'a> WinningOver<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        WinningOver(count)
    }
}

impl Drop for WinningOver<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    /// A link of its own to a node that is no member.
    fn link_to_stranger(&self, node: &Introduction) -> PeerLink {
        let (peer, shard) = (node.address.peer.clone(), self.machine.shard);
        PeerLink::new(peer, node.node_id, shard, self.identity.clone(), self.peers.clone())
    }
}

/// Entries a learner may still miss when it becomes a voter.
const CAUGHT_UP_ENTRIES: u64 = 250;

/// Time for a majority to agree to a change of the members.
const CHANGE_WAIT: Duration = Duration::from_secs(8);

/// Time for another node to take over.
const TRANSFER_WAIT: Duration = Duration::from_secs(5);
