//! The way from another thread of connections to Raft's thread: in groups, there and back.
//!
//! Waking a task of another thread costs a system call, and often the wait for a core that sleeps. So a
//! thread gathers what its connections submit, and its reads that wait for the barrier, and passes each
//! lot on as one; the answers come back as one, and are handed out where the connections are. On Raft's
//! own thread there is nothing to relay.

use crate::config::Settings;
use crate::raft::barrier::Barrier;
use crate::raft::proposer::{Group, Groups};
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static OF_THREAD: RefCell<Option<Arc<Relay>>> = const { RefCell::new(None) };
}

/// What a thread's connections submit to in place of a node's own groups and barrier.
pub(crate) struct Relay {
    /// To this node's log.
    pub(crate) local: Groups,
    /// To the leader.
    pub(crate) remote: Groups,
    pub(crate) barrier: Barrier,
}

impl Relay {
    /// Relays to a node's own, from the calling thread, whose runtime must be entered.
    pub(crate) fn install(settings: &Arc<Settings>, to: Relay) {
        let groups = |to: Groups| {
            // Groups of groups are no entries: they are not counted.
            Groups::start(settings.clone(), Arc::default(), move |group| pass_on(to.clone(), group))
        };
        let (local, remote) = (groups(to.local), groups(to.remote));
        let barrier = Barrier::start(move || {
            let to = to.barrier.clone();
            async move { to.wait().await }
        });
        OF_THREAD.set(Some(Arc::new(Relay { local, remote, barrier })));
    }

    /// That of the calling thread, if it has one.
    pub(crate) fn of_this_thread() -> Option<Arc<Self>> {
        OF_THREAD.with_borrow(Clone::clone)
    }
}

/// Submits a group as one, and hands its outcome out.
async fn pass_on(to: Groups, group: Group) {
    let outcome = to.submit(group.operations()).await;
    group.finish(outcome);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::proposer::Operations;
    use bytes::Bytes;
    use protocol::Reply;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    /// What a node's own groups say here: each operation's number, from a log index that only grows.
    fn numbering(entries: Arc<AtomicU64>) -> Groups {
        let next = AtomicU64::new(0);
        Groups::start(Arc::new(Settings::default()), Arc::default(), move |group: Group| {
            let index = entries.fetch_add(1, SeqCst) + 1;
            let numbers =
                (0..group.count).map(|_| Reply::Integer(next.fetch_add(1, SeqCst) as i64));
            let outcome = Ok((index, numbers.collect()));
            async move { group.finish(outcome) }
        })
    }

    #[tokio::test]
    async fn what_a_thread_submits_within_a_turn_goes_as_one_and_each_gets_its_own_replies() {
        assert!(Relay::of_this_thread().is_none());
        let (entries, rounds) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counted = rounds.clone();
        let barrier =
            Barrier::start(move || std::future::ready(Ok(counted.fetch_add(1, SeqCst) + 1)));
        let settings = Arc::new(Settings::default());
        let own = numbering(entries.clone());
        Relay::install(&settings, Relay { local: own.clone(), remote: own, barrier });
        let relay = Relay::of_this_thread().unwrap();
        let submit = |count: u32| {
            let relay = relay.clone();
            let encoded = Bytes::from(vec![b'x'; count as usize]);
            tokio::spawn(async move {
                relay.local.submit(Operations::new(encoded, count, false)).await.unwrap()
            })
        };
        let clients: Vec<_> = (1..=20).map(submit).collect();
        let mut expected = 0;
        for (client, count) in clients.into_iter().zip(1..=20) {
            let (index, replies) = client.await.unwrap();
            let own: Vec<_> = (expected..expected + count).map(Reply::Integer).collect();
            assert_eq!((index, replies), (1, own));
            expected += count;
        }
        assert_eq!(entries.load(SeqCst), 1);
        let reads: Vec<_> = (0..20)
            .map(|_| {
                let relay = relay.clone();
                tokio::spawn(async move { relay.barrier.wait().await })
            })
            .collect();
        for read in reads {
            assert_eq!(read.await.unwrap(), Ok(1));
        }
        assert_eq!(rounds.load(SeqCst), 1);
    }
}
