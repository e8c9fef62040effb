//! A leader makes sure that it still leads by asking for votes that were saved, not by new entries.
//!
//! The leader notes its commit index, which covers every write that was acknowledged so far, and asks
//! the other voters whether the vote they saved is still for it. A vote is saved before it is given,
//! and no voter saves an older one afterwards. So when a majority says yes, all asked after the read
//! arrived, nobody was elected before they were asked: no newer leader had committed anything that the
//! read would have to see (Raft dissertation, 6.4, with the saved vote in the place of the heartbeat).
//! The answer needs neither the peer's Raft task nor its disk, where the answer to a heartbeat waits
//! until what came before it is synced.
//!
//! A majority is one of each configuration of the effective membership: both, while it changes.
//!
//! What this cannot confirm is refused. The Raft library's own read index is no way out: it takes the
//! answer to an append for that to every append up to the same entry, also to one that was sent later
//! and never arrived, so a leader that was cut off confirmed itself by answers from before.

use crate::raft::codec::Wire;
use crate::raft::frame::Kind;
use crate::raft::node::Shared;
use crate::raft::types::{LogId, Membership, NodeAddress, Vote, term_of};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::time::Duration;
use storage::log::{SavedVote, ShardLog};
use storage::mutants::{self, Mutant};

/// What a leader was at one moment.
struct Lead {
    vote: Vote,
    /// The last committed entry.
    committed: LogId,
    membership: Membership,
}

/// An entry that covers every write acknowledged before the call; None: the saved votes of a majority
/// could not confirm it within `wait`.
pub(crate) async fn by_saved_votes(shared: &Shared, wait: Duration) -> Option<LogId> {
    let lead = lead(shared).await?;
    let own = shared.identity.node_id();
    if !is_saved(&shared.log, &lead.vote) {
        return None;
    }
    let mut confirmed = BTreeSet::from([own]);
    if has_quorum(&lead.membership, &confirmed) {
        return Some(lead.committed);
    }
    let request = lead.vote.to_bytes();
    let voters = lead.membership.voter_ids().filter(|id| *id != own);
    let voters = voters.filter_map(|id| Some((id, lead.membership.get_node(&id)?)));
    let mut answers: FuturesUnordered<_> =
        voters.map(|(id, address)| ask(shared, id, address, request.clone(), wait)).collect();
    while let Some(answer) = answers.next().await {
        confirmed.extend(answer);
        if has_quorum(&lead.membership, &confirmed) {
            return Some(lead.committed);
        }
    }
    None
}

/// The leadership of this node; None unless it leads and has committed an entry of its term, without
/// which its commit index may lack entries of leaders before it.
async fn lead(shared: &Shared) -> Option<Lead> {
    let own = shared.identity.node_id();
    let looked = shared.raft.with_raft_state(move |state| {
        let vote = *state.vote_ref();
        let committed = *state.local_committed()?;
        let leads = state.server_state.is_leader() && vote.leader_id.voted_for == own;
        (leads && vote.committed && term_of(&committed) == vote.leader_id.term).then(|| Lead {
            vote,
            committed,
            membership: state.membership_state.effective().membership().clone(),
        })
    });
    looked.await.ok()?
}

/// Asks a voter; its id when it confirms.
async fn ask(
    shared: &Shared,
    id: u64,
    address: &NodeAddress,
    request: Bytes,
    wait: Duration,
) -> Option<u64> {
    let link = shared.link(id, address);
    let answer = link.call(Kind::SavedVote, request, wait).await.ok()?;
    bool::from_bytes(answer).ok()?.then_some(id)
}

/// Whether the vote that is saved here is for the same leader in the same term.
pub(crate) fn is_saved(log: &ShardLog, vote: &Vote) -> bool {
    if mutants::on(Mutant::VotesNotCompared) {
        return true;
    }
    let is_same = |saved: SavedVote| {
        (saved.term, saved.node_id) == (vote.leader_id.term, vote.leader_id.voted_for)
    };
    log.vote().is_some_and(is_same)
}

fn has_quorum(membership: &Membership, confirmed: &BTreeSet<u64>) -> bool {
    let configs = membership.get_joint_config();
    let majority =
        |voters: &BTreeSet<u64>| 2 * voters.intersection(confirmed).count() > voters.len();
    !configs.is_empty() && configs.iter().all(majority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::mpsc;
    use storage::log::{LogOptions, RaftLog};

    #[test]
    fn only_the_leader_that_has_the_saved_vote_is_confirmed() {
        let dir = tempfile::tempdir().unwrap();
        let log = RaftLog::open(LogOptions::new(dir.path())).unwrap();
        let shard = log.shard(0);
        assert!(!is_saved(&shard, &Vote::new(0, 0)), "no vote was saved");
        for (term, node_id, committed) in [(3, 7, false), (3, 7, true), (5, 9, false)] {
            let (done, saved) = mpsc::channel();
            let vote = SavedVote { term, node_id, committed };
            shard.save_vote(vote, Box::new(move |result| drop(done.send(result))));
            saved.recv().unwrap().unwrap();
            for (asked_term, asked_id) in [(3, 7), (3, 9), (5, 7), (5, 9), (2, 7), (6, 9)] {
                let asked = Vote::new_committed(asked_term, asked_id);
                let expected = (asked_term, asked_id) == (term, node_id);
                assert_eq!(is_saved(&shard, &asked), expected, "{asked}, saved {vote:?}");
            }
        }
    }

    #[test]
    fn a_quorum_has_a_majority_of_every_configuration() {
        let voters = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([3, 4, 5, 6])];
        let members: BTreeMap<_, _> = (1..=7).map(|id| (id, NodeAddress::default())).collect();
        let joint = Membership::new(voters, members).unwrap();
        for (confirmed, expected) in [
            (vec![1, 2], false),
            (vec![1, 3], false),
            (vec![1, 2, 3, 4], false),
            (vec![1, 3, 4, 5], true),
            (vec![3, 4, 5], false),
            (vec![1, 2, 4, 5, 6], true),
            (vec![1, 7, 4, 5, 6], false),
        ] {
            let confirmed: BTreeSet<u64> = confirmed.into_iter().collect();
            assert_eq!(has_quorum(&joint, &confirmed), expected, "{confirmed:?}");
        }
        assert!(!has_quorum(&Membership::default(), &BTreeSet::from([1])));
    }
}
