//! How a node becomes a member: forms a cluster alone, forms one with others, or joins one.
//!
//! Forming with others (`--bootstrap-expect`): every node asks all addresses of its list who they
//! are. When as many as expected have met, the one with the lowest id asks the others for a pledge,
//! and forms the cluster when all have given it. A node gives one pledge at a time and keeps it on
//! disk; an initiator that is refused takes its pledges back and tries again later. So whatever the
//! order of starts, restarts and crashes, one cluster is formed, and a node whose initiator
//! crashed waits for it to come back.
//!
//! Joining (`--join`): the node asks any member, which passes the request to the leader; the leader
//! invites the node (it pledges itself to the cluster), replicates to it as a learner until it has
//! caught up, then makes it a voter.

use crate::config::Settings;
use crate::limits::{ORDER_WAIT, VOTE_ANSWER_WAIT};
use crate::raft::codec::{CodecError, Wire};
use crate::raft::frame::{Frame, Kind};
use crate::raft::identity::{Identity, Pledge};
use crate::raft::introduction::Introduction;
use crate::raft::node::Node;
use crate::raft::peer_link::PeerLink;
use crate::raft::probe::probe;
use crate::raft::start_over;
use crate::raft::types::*;
use crate::random::{random_id, random_u64};
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Pause between two attempts.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// The forming and joining of one node.
pub(crate) struct Bootstrap {
    pub(crate) identity: Arc<Identity>,
    /// Addresses of the list to join, as given at the start or by RAFT.CLUSTER JOIN.
    addresses: parking_lot::Mutex<Vec<String>>,
    /// How many nodes form a cluster; 0: none, the node joins one or forms its own.
    expect: usize,
    /// Whether it may form a cluster of its own unasked.
    bootstraps: bool,
    requirepass: String,
    changed: tokio::sync::Notify,
    /// Cancelled when the process has to start again, as a new node.
    pub(crate) restart: CancellationToken,
    /// Held while a pledge is looked at and changed: no two initiators may both be given it.
    pledging: parking_lot::Mutex<()>,
}

impl Bootstrap {
    /// Takes its part from the settings.
    pub(crate) fn new(settings: &Settings, identity: Arc<Identity>) -> Self {
        let values = settings.load();
        Bootstrap {
            identity,
            addresses: parking_lot::Mutex::new(values.join_addresses()),
            expect: values.bootstrap_expect as usize,
            bootstraps: values.bootstrap,
            requirepass: values.requirepass.clone(),
            changed: tokio::sync::Notify::new(),
            restart: CancellationToken::new(),
            pledging: parking_lot::Mutex::default(),
        }
    }

    /// As [`Self::new`], for a node that started over: it joins through these addresses, whatever
    /// the settings say.
    pub(crate) fn starting_over(self, addresses: Vec<String>) -> Self {
        let addresses = parking_lot::Mutex::new(addresses);
        Bootstrap { addresses, expect: 0, bootstraps: false, ..self }
    }

    /// Makes the node a member, however long that takes; returns when it is a voter, or removed.
    pub(crate) async fn run(&self, node: &Node) -> io::Result<()> {
        loop {
            let addresses = self.addresses.lock().clone();
            if self.is_done(node).await? {
                start_over::finish(&node.shared.data_dir())?;
                self.leave_own_cluster(node, addresses).await;
                return Ok(());
            }
            let state = self.identity.state();
            let unbound = state.cluster_id == 0
                && state.pledge.is_none_or(|pledge| pledge.initiator == state.node_id);
            let initialized = node.shared.raft.is_initialized().await.map_err(io::Error::other)?;
            let alone = self.bootstraps && addresses.is_empty() && self.expect == 0;
            if unbound
                && !initialized
                && alone
                && let Some(pledge) = self.claim()?
            {
                let members = BTreeMap::from([(state.node_id, node.shared.address.clone())]);
                self.form(node, &members, pledge).await?;
                continue;
            }
            let known = self.introductions(node, &addresses).await;
            self.forget_void_pledge(state.pledge, &known)?;
            let formed = known.iter().find(|other| other.cluster_id != 0);
            match formed {
                Some(member) => {
                    if !initialized {
                        self.give_up(node, &known).await?;
                    }
                    self.join(node, member).await;
                }
                None if unbound && !initialized && self.expect > 0 => {
                    if let Err(error) = self.meet(node, &known).await {
                        // Another node's vote may have come first; then there is a cluster to join.
                        tracing::warn!(node = state.node_id, %error, "no cluster formed yet");
                    }
                }
                None => {}
            }
            let pause = RETRY + Duration::from_millis(random_u64() % 100);
            // Either way it is time to look again.
            drop(tokio::time::timeout(pause, self.changed.notified()).await);
        }
    }

    /// A node that was told to join another cluster than its own, at a start: it does if its own
    /// never held data.
    async fn leave_own_cluster(&self, node: &Node, addresses: Vec<String>) {
        if addresses.is_empty() || self.identity.state().removed {
            return;
        }
        if !self.leads_elsewhere(node, &addresses).await {
            return;
        }
        if let Err(why) = self.start_over(node, addresses).await {
            let node = node.shared.identity.node_id();
            tracing::warn!(node, why, "not joining: this node has a cluster of its own");
        }
    }

    /// Whether members of another cluster answer at the addresses, and none of this one's.
    async fn leads_elsewhere(&self, node: &Node, addresses: &[String]) -> bool {
        let own = self.identity.cluster_id();
        let known = self.introductions(node, addresses).await;
        let is_other = |other: &Introduction| other.cluster_id != 0 && other.cluster_id != own;
        known.iter().any(is_other) && known.iter().all(|other| other.cluster_id != own)
    }

    /// RAFT.CLUSTER JOIN on a member: starts over, if there is somebody to join.
    pub(crate) async fn join_another(
        &self,
        node: &Node,
        addresses: Vec<String>,
    ) -> Result<(), String> {
        start_over::check_blank(&node.shared)?;
        if !self.leads_elsewhere(node, &addresses).await {
            return Err("no member of another one answers there".to_owned());
        }
        self.start_over(node, addresses).await
    }

    /// Gives this node up, if it leads a cluster of its own that never held data, and joins another
    /// through these addresses as a new node. When it returns, the process is about to start again.
    pub(crate) async fn start_over(
        &self,
        node: &Node,
        addresses: Vec<String>,
    ) -> Result<(), String> {
        let shared = &node.shared;
        // No change of members meanwhile, nor afterwards.
        let Ok(one) = shared.orders.clone().try_lock_owned() else {
            return Err("its members are being changed".to_owned());
        };
        if shared.winning_over.load(Ordering::Acquire) > 0 {
            // Two nodes that are told to add each other would both wait for the other's cluster.
            return Err("it is adding a node to its own cluster".to_owned());
        }
        start_over::check_addresses(&addresses)?;
        start_over::check_blank(shared)?;
        // Held until the process ends.
        std::mem::forget(one);
        shared.raft.shutdown().await.map_err(|error| error.to_string())?;
        // What was written between the two looks is not lost: the node starts again as it was.
        let ordered = start_over::check_blank(shared).and_then(|()| {
            let written = start_over::order(&shared.data_dir(), &addresses);
            written.map_err(|error| format!("the order cannot be saved: {error}"))
        });
        self.restart.cancel();
        ordered
    }

    /// RAFT.CLUSTER JOIN: joins through these addresses from now on.
    pub(crate) fn join_through(&self, addresses: Vec<String>) {
        *self.addresses.lock() = addresses;
        self.changed.notify_one();
    }

    /// RAFT.CLUSTER INIT: forms a cluster of this node alone.
    pub(crate) async fn form_alone(&self, node: &Node) -> io::Result<()> {
        let state = self.identity.state();
        let bound = || io::Error::other("this node already belongs to a cluster");
        if state.cluster_id != 0 || state.pledge.is_some() || self.expect > 0 {
            return Err(bound());
        }
        let pledge = self.claim()?.ok_or_else(bound)?;
        let members = BTreeMap::from([(state.node_id, node.shared.address.clone())]);
        self.form(node, &members, pledge).await
    }

    async fn is_done(&self, node: &Node) -> io::Result<bool> {
        let state = self.identity.state();
        if state.removed {
            return Ok(true);
        }
        if !node.shared.raft.is_initialized().await.map_err(io::Error::other)? {
            return Ok(false);
        }
        if state.cluster_id == 0
            && let Some(pledge) = state.pledge
        {
            // The cluster was formed just before a crash.
            self.identity.adopt_cluster(pledge.cluster_id)?;
        }
        let metrics = node.shared.raft.server_metrics();
        let voter =
            metrics.borrow_watched().membership_config.voter_ids().any(|id| id == state.node_id);
        Ok(voter)
    }

    /// Who answers at the addresses, this node left out.
    async fn introductions(&self, node: &Node, addresses: &[String]) -> Vec<Introduction> {
        let own = node.shared.identity.node_id();
        let way = &*node.shared.peers.transport;
        let asked = addresses.iter().map(|address| probe(way, address, &self.requirepass));
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().flatten().filter(|other| other.node_id != own).collect()
    }

    /// Takes back a pledge whose initiator became a member of another cluster: what it was given
    /// for can never be formed any more.
    fn forget_void_pledge(&self, pledge: Option<Pledge>, known: &[Introduction]) -> io::Result<()> {
        let Some(pledge) = pledge else { return Ok(()) };
        let _one = self.pledging.lock();
        let is_void = |other: &Introduction| {
            other.node_id == pledge.initiator
                && other.cluster_id != 0
                && other.cluster_id != pledge.cluster_id
        };
        if known.iter().any(is_void) && self.identity.state().pledge == Some(pledge) {
            self.identity.set_pledge(None)?;
        }
        Ok(())
    }

    /// Asks a member to have this node added.
    async fn join(&self, node: &Node, member: &Introduction) {
        let own = self.introduction(node);
        let link = self.link(node, member);
        tracing::info!(member = member.node_id, address = %member.address, "asking to join");
        match link.call(Kind::Join, own.to_bytes(), ORDER_WAIT).await {
            Ok(_) => tracing::info!(member = member.node_id, "joined the cluster"),
            Err(error) => tracing::warn!(member = member.node_id, %error, "could not join yet"),
        }
    }

    /// Forms a cluster if enough nodes have met and it is this node's turn.
    async fn meet(&self, node: &Node, known: &[Introduction]) -> io::Result<()> {
        let own = self.introduction(node);
        let mut met: BTreeMap<u64, Introduction> =
            known.iter().map(|other| (other.node_id, other.clone())).collect();
        met.insert(own.node_id, own.clone());
        if met.len() < self.expect {
            return Ok(());
        }
        let members: BTreeMap<u64, Introduction> = met.into_iter().take(self.expect).collect();
        let pledged = self.identity.state().pledge;
        if members.keys().next() != Some(&own.node_id) && pledged.is_none() {
            return Ok(());
        }
        // It may have been bound while it asked who is there.
        let Some(pledge) = self.claim()? else { return Ok(()) };
        let cluster_id = pledge.cluster_id;
        for member in members.values().filter(|member| member.node_id != own.node_id) {
            let link = self.link(node, member);
            let asked = link.call(Kind::Promise, cluster_id.to_bytes(), VOTE_ANSWER_WAIT).await;
            if let Err(error) = asked {
                tracing::info!(member = member.node_id, %error, "no pledge yet");
                return self.take_back(node, cluster_id, &members).await;
            }
        }
        let members = members.into_iter().map(|(id, member)| (id, member.address)).collect();
        self.form(node, &members, pledge).await
    }

    /// The pledge to this node's own attempt, given now if it has none; None: another binds it.
    fn claim(&self) -> io::Result<Option<Pledge>> {
        let _one = self.pledging.lock();
        let state = self.identity.state();
        match state.pledge {
            _ if state.cluster_id != 0 => Ok(None),
            Some(given) => Ok((given.initiator == state.node_id).then_some(given)),
            None => {
                let pledge = Pledge { cluster_id: random_id(), initiator: state.node_id };
                self.identity.set_pledge(Some(pledge))?;
                Ok(Some(pledge))
            }
        }
    }

    /// Takes back an attempt of before a restart: meanwhile others have formed a cluster.
    async fn give_up(&self, node: &Node, known: &[Introduction]) -> io::Result<()> {
        let state = self.identity.state();
        match state.pledge {
            Some(pledge) if pledge.initiator == state.node_id => {
                let others = known.iter().map(|other| (other.node_id, other.clone())).collect();
                self.take_back(node, pledge.cluster_id, &others).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes an attempt back: it was not formed, and now it never will be.
    async fn take_back(
        &self,
        node: &Node,
        cluster_id: u64,
        members: &BTreeMap<u64, Introduction>,
    ) -> io::Result<()> {
        self.identity.set_pledge(None)?;
        for member in members.values().filter(|member| member.node_id != self.identity.node_id()) {
            let link = self.link(node, member);
            // A member that is not reached asks again when it sees no cluster; see `promise`.
            drop(link.call(Kind::Release, cluster_id.to_bytes(), VOTE_ANSWER_WAIT).await);
        }
        sleep(Duration::from_millis(random_u64() % 500)).await;
        Ok(())
    }

    async fn form(
        &self,
        node: &Node,
        members: &BTreeMap<u64, NodeAddress>,
        pledge: Pledge,
    ) -> io::Result<()> {
        let initialized = node.shared.raft.initialize(members.clone()).await;
        initialized.map_err(io::Error::other)?;
        self.identity.adopt_cluster(pledge.cluster_id)?;
        let cluster = format!("{:016x}", pledge.cluster_id);
        tracing::info!(cluster, members = members.len(), "formed a cluster");
        Ok(())
    }

    /// What this node says of itself.
    pub(crate) fn introduction(&self, node: &Node) -> Introduction {
        let metrics = node.shared.raft.server_metrics();
        let initialized = metrics.borrow_watched().membership_config.log_id().is_some();
        let state = self.identity.state();
        let cluster_id = if initialized { state.cluster_id } else { 0 };
        Introduction { node_id: state.node_id, cluster_id, address: node.shared.address.clone() }
    }

    fn link(&self, node: &Node, other: &Introduction) -> PeerLink {
        let (peer, shard) = (other.address.peer.clone(), node.shared.machine.shard);
        let peers = node.shared.peers.clone();
        PeerLink::new(peer, other.node_id, shard, self.identity.clone(), peers)
    }

    /// Answers the requests of this module.
    pub(crate) async fn work(&self, node: &Node, frame: &Frame) -> Result<Bytes, String> {
        let payload = frame.payload.clone();
        let text = |error: CodecError| error.to_string();
        match frame.kind {
            Kind::Identify => Ok(self.introduction(node).to_bytes()),
            Kind::Join => {
                let other = Introduction::from_bytes(payload).map_err(text)?;
                node.add_member(other).await.map(|()| Bytes::new())
            }
            Kind::Invite | Kind::Promise => {
                let cluster_id = u64::from_bytes(payload).map_err(text)?;
                self.promise(Pledge { cluster_id, initiator: frame.from }).map(|()| Bytes::new())
            }
            Kind::Release => {
                let cluster_id = u64::from_bytes(payload).map_err(text)?;
                let given = Pledge { cluster_id, initiator: frame.from };
                let _one = self.pledging.lock();
                if self.identity.state().pledge == Some(given) {
                    self.identity.set_pledge(None).map_err(|error| error.to_string())?;
                }
                Ok(Bytes::new())
            }
            Kind::StartOver => {
                let addresses = Vec::<String>::from_bytes(payload).map_err(text)?;
                self.start_over(node, addresses).await.map(|()| Bytes::new())
            }
            Kind::Removed => {
                let since = Option::<LogId>::from_bytes(payload).map_err(text)?;
                self.believe_removed(node, since);
                Ok(Bytes::new())
            }
            _ => {
                let metrics = node.shared.raft.server_metrics();
                let membership = metrics.borrow_watched().committed_membership_config.clone();
                Ok(membership.as_ref().to_bytes())
            }
        }
    }

    /// Gives a pledge, unless another one binds this node.
    fn promise(&self, pledge: Pledge) -> Result<(), String> {
        let _one = self.pledging.lock();
        let state = self.identity.state();
        if state.removed {
            return Err("this node was removed from its cluster; give it an empty data directory"
                .to_owned());
        }
        if state.cluster_id == pledge.cluster_id {
            return Ok(());
        }
        if state.cluster_id != 0 {
            return Err(format!("this node belongs to cluster {:016x}", state.cluster_id));
        }
        match state.pledge {
            // The same cluster, whoever of its members speaks for it; or another attempt of the
            // same initiator, which has given up the one before.
            Some(given)
                if given.cluster_id == pledge.cluster_id || given.initiator == pledge.initiator => {
            }
            Some(given) => {
                return Err(format!("this node is pledged to node {}", given.initiator));
            }
            None => {}
        }
        self.identity.set_pledge(Some(pledge)).map_err(|error| error.to_string())
    }

    /// A member says that the cluster, by the membership of `since`, has no such node any more.
    pub(crate) fn believe_removed(&self, node: &Node, since: Option<LogId>) {
        let metrics = node.shared.raft.server_metrics();
        let known = *metrics.borrow_watched().membership_config.log_id();
        let still =
            metrics.borrow_watched().membership_config.get_node(&self.identity.node_id()).is_some();
        if since > known || !still {
            match self.identity.set_removed() {
                Ok(()) => {
                    tracing::warn!(node = self.identity.node_id(), "removed from the cluster")
                }
                Err(error) => tracing::error!(%error, "the removal could not be saved"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
