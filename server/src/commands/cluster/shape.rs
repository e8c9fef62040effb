//! The cluster as Redis Cluster would draw it: one master with all slots, and its replicas.

use crate::status::{ClusterStatus, Member, Role};

/// Last hash slot.
pub(super) const LAST_SLOT: u16 = 16_383;

/// The member with this name.
pub(super) fn find<'a>(status: &'a ClusterStatus, wanted: &[u8]) -> Option<&'a Member> {
    let is_wanted = |member: &&Member| member.cluster_name(status.cluster_id).as_bytes() == wanted;
    status.members.iter().find(is_wanted)
}

/// The member that is shown as master: the leader, or this node while none is known. Nobody when
/// this node belongs to no cluster.
pub(super) fn master(status: &ClusterStatus) -> Option<&Member> {
    match status.role {
        Role::Joining | Role::Removed => None,
        _ => status.leader().or_else(|| status.this()),
    }
}

/// All others.
pub(super) fn replicas(status: &ClusterStatus) -> impl Iterator<Item = &Member> {
    let master_id = master(status).map(|member| member.id);
    status.members.iter().filter(move |member| Some(member.id) != master_id)
}

/// Whether a member seems to serve. Only the leader hears from all of them; others take their word.
pub(super) fn is_online(status: &ClusterStatus, member: &Member) -> bool {
    member.connected || status.role != Role::Leader || member.id == status.node_id
}

/// What the member is known to have: its log index on the leader, this node's own elsewhere.
pub(super) fn offset(status: &ClusterStatus, member: &Member) -> u64 {
    if member.id == status.node_id {
        return status.applied_index;
    }
    member.match_index.unwrap_or(0)
}
