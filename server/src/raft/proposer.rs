//! Group commit: everything that arrives while entries are in flight becomes one entry.
//!
//! A group is bounded in bytes and operations, and only a few groups are in flight at a time. The
//! same loop serves both ways a group can go: into this node's Raft log, or to the leader.

use crate::config::Settings;
use crate::limits::{
    ENCODE_INLINE_BYTES_MAX, GATHER_TURNS_MAX, SUBMISSIONS_QUEUED_MAX, WRITE_OUTCOME_WAIT,
    WRITES_WAITING_BYTES_MAX,
};
use crate::raft::applier::{Machine, store_index};
use crate::raft::backlog::{Awaited, Behind};
use crate::raft::error::ReplicationError;
use crate::raft::node::Shared;
use crate::raft::responder::{Reply as Responder, Waiter};
use crate::raft::types::{LogId, Proposal, WriteResult};
use crate::random::random_u64;
use crate::state_machine::{Entry, EntryHeader};
use crate::tasks::work;
use bytes::Bytes;
use hdrhistogram::Histogram;
use openraft::errors::ClientWriteError;
use parking_lot::Mutex;
use protocol::Reply;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use storage::mutants::{self, Mutant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// What became of a submission: the entry's index, and one reply for each of its operations.
pub(crate) type Outcome = Result<(u64, Vec<Reply>), ReplicationError>;

/// Encoded operations of one client, or of several that share a thread.
#[derive(Clone, Debug)]
pub(crate) struct Operations {
    /// In order.
    pub(crate) parts: SmallVec<[Bytes; 1]>,
    pub(crate) count: u32,
    /// Whether all of them answer OK whatever the data hold: see [`crate::commands::answers_ok`].
    pub(crate) certain: bool,
}

impl Operations {
    pub(crate) fn new(encoded: Bytes, count: u32, certain: bool) -> Self {
        Operations { parts: smallvec![encoded], count, certain }
    }

    /// Their encoded length.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

/// Operations, and where their outcome goes.
pub(crate) struct Submission {
    pub(crate) operations: Operations,
    done: oneshot::Sender<Outcome>,
    _waiting: Waiting,
}

/// Bytes that count as waiting until this is dropped.
struct Waiting {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Waiting {
    /// None where so many more would be too many.
    fn admit(all: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        let before = all.fetch_add(bytes, Ordering::Relaxed);
        let waiting = Waiting { all: all.clone(), bytes };
        (before == 0 || before + bytes <= WRITES_WAITING_BYTES_MAX).then_some(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Submissions that go together.
pub(crate) struct Group {
    pub(crate) submissions: Vec<Submission>,
    pub(crate) count: u32,
    pub(crate) bytes: usize,
    /// Returned when all is answered.
    _in_flight: OwnedSemaphorePermit,
}

impl Group {
    /// All its operations, in order.
    pub(crate) fn operations(&self) -> Operations {
        let parts = self.parts().cloned().collect();
        Operations { parts, count: self.count, certain: self.is_certain() }
    }

    /// Its encoded operations, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Bytes> {
        self.submissions.iter().flat_map(|submission| &submission.operations.parts)
    }

    /// Hands each submission its share of the outcome.
    pub(crate) fn finish(self, outcome: Outcome) {
        match outcome {
            Ok((index, replies)) => {
                let mut replies = replies.into_iter();
                for submission in self.submissions {
                    let count = submission.operations.count as usize;
                    let share: Vec<Reply> = replies.by_ref().take(count).collect();
                    // A client that is gone no longer wants its replies.
                    drop(submission.done.send(Ok((index, share))));
                }
            }
            Err(error) => {
                for submission in self.submissions {
                    drop(submission.done.send(Err(error.clone())));
                }
            }
        }
    }

    /// Whether all of it answers OK whatever the data hold.
    fn is_certain(&self) -> bool {
        self.submissions.iter().all(|submission| submission.operations.certain)
    }

    /// Answers OK to all of it, whose entry is at `index`.
    fn finish_certain(self, index: u64) {
        for submission in self.submissions {
            let replies = vec![Reply::OK; submission.operations.count as usize];
            drop(submission.done.send(Ok((index, replies))));
        }
    }
}

/// Figures of group commit since the start.
#[derive(Debug, Default)]
pub(crate) struct GroupFigures {
    pub(crate) groups: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) largest: AtomicU64,
    sizes: Mutex<Option<Histogram<u64>>>,
}

impl GroupFigures {
    fn record(&self, count: u32) {
        let count = u64::from(count);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.commands.fetch_add(count, Ordering::Relaxed);
        self.largest.fetch_max(count, Ordering::Relaxed);
        let mut sizes = self.sizes.lock();
        if sizes.is_none() {
            // Two digits: between 1 and more than fits an entry. The bounds are valid.
            *sizes = Histogram::new_with_bounds(1, 1 << 24, 2).ok();
        }
        if let Some(sizes) = sizes.as_mut() {
            sizes.saturating_record(count);
        }
    }

    /// Commands in an entry, at this percentile.
    pub(crate) fn percentile(&self, percent: f64) -> u64 {
        self.sizes.lock().as_ref().map_or(0, |sizes| sizes.value_at_percentile(percent))
    }
}

/// The receiving end of a group loop.
#[derive(Clone)]
pub(crate) struct Groups {
    queue: mpsc::Sender<Submission>,
    in_flight: Arc<Semaphore>,
    in_flight_max: usize,
    /// Bytes of submissions that are not done.
    waiting_bytes: Arc<AtomicUsize>,
}

impl Groups {
    /// Starts a loop that hands groups to `send`, a few at a time.
    pub(crate) fn start<F, Fut>(
        settings: Arc<Settings>,
        figures: Arc<GroupFigures>,
        send: F,
    ) -> Self
    where
        F: Fn(Group) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (queue, submissions) = mpsc::channel(SUBMISSIONS_QUEUED_MAX);
        let in_flight_max = settings.load().group_commit_in_flight as usize;
        let in_flight = Arc::new(Semaphore::new(in_flight_max));
        let groups = Groups {
            queue,
            in_flight: in_flight.clone(),
            in_flight_max,
            waiting_bytes: Arc::default(),
        };
        crate::tasks::spawn(run(settings, figures, submissions, in_flight, send));
        groups
    }

    /// Submissions that wait to be gathered.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Groups whose outcome is due.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight_max - self.in_flight.available_permits()
    }

    /// Submits operations and waits for their outcome.
    pub(crate) async fn submit(&self, operations: Operations) -> Outcome {
        let (done, outcome) = oneshot::channel();
        let waiting = Waiting::admit(&self.waiting_bytes, operations.bytes())
            .ok_or(ReplicationError::Overloaded)?;
        let submission = Submission { operations, done, _waiting: waiting };
        self.queue.try_send(submission).map_err(|_| ReplicationError::Overloaded)?;
        let unknown = |why: &str| Err(ReplicationError::OutcomeUnknown(why.to_owned()));
        match tokio::time::timeout(WRITE_OUTCOME_WAIT, outcome).await {
            Ok(Ok(outcome)) => outcome,
            // The group was dropped with its fate undecided.
            Ok(Err(_)) => unknown("the node is stopping"),
            Err(_) => unknown("no majority has answered yet"),
        }
    }
}

async fn run<F, Fut>(
    settings: Arc<Settings>,
    figures: Arc<GroupFigures>,
    mut submissions: mpsc::Receiver<Submission>,
    in_flight: Arc<Semaphore>,
    send: F,
) where
    F: Fn(Group) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    while let Some(first) = submissions.recv().await {
        let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
        let values = settings.load();
        let mut group = Group {
            count: first.operations.count,
            bytes: first.operations.bytes(),
            submissions: vec![first],
            _in_flight: permit,
        };
        for _ in 0..GATHER_TURNS_MAX {
            // On an idle node this costs a look at the sockets; on a busy one what comes meanwhile
            // joins the group.
            tokio::task::yield_now().await;
            let before = group.count;
            while group.bytes < values.group_commit_max_bytes as usize
                && u64::from(group.count) < values.group_commit_max_commands
                && let Ok(next) = submissions.try_recv()
            {
                group.count += next.operations.count;
                group.bytes += next.operations.bytes();
                group.submissions.push(next);
            }
            if group.count == before {
                break;
            }
        }
        figures.record(group.count);
        crate::tasks::spawn(send(group));
    }
}

/// A group in this node's log.
struct Proposed {
    /// None: it is held by the backlog, or answered.
    group: Option<Group>,
    machine: Arc<Machine>,
    /// Since it is committed.
    behind: Option<Behind<Group>>,
    /// Since then, if it waits to be applied.
    awaited: Option<Awaited<Group>>,
}

impl Waiter<WriteResult> for Proposed {
    fn committed(&mut self, log_id: LogId) {
        let Some(group) = self.group.take() else { return };
        let (backlog, index) = (&self.machine.backlog, store_index(&log_id));
        self.behind = Some(backlog.enter(index, group.bytes, Instant::now()));
        if group.is_certain() {
            backlog.hold(index, group);
            answer_early(&self.machine);
        } else {
            self.awaited = Some(backlog.awaited());
            self.group = Some(group);
        }
    }

    fn completed(self: Box<Self>, outcome: WriteResult) {
        let Proposed { group, machine, behind, awaited } = *self;
        let held = behind.and_then(Behind::applied);
        drop(awaited);
        if let Some(group) = group.or(held) {
            group.finish(replies(outcome));
        }
        answer_early(&machine);
    }
}

/// Answers groups whose replies are known, as far as the backlog allows.
fn answer_early(machine: &Machine) {
    let now = Instant::now();
    while let Some((index, group)) = machine.backlog.next_early(machine.applied().log_index, now) {
        group.finish_certain(index);
    }
}

/// Puts a group into this node's log. It is finished when the entry is applied here, or committed if
/// all of it answers OK whatever the data hold.
pub(crate) async fn propose(shared: Arc<Shared>, group: Group) {
    let header = EntryHeader {
        now_ms: shared.clock.unix_ms(),
        seed: random_u64(),
        databases: shared.settings.load().databases as u16,
    };
    let assemble = move |group: &Group| {
        let parts = group.parts().map(|part| &part[..]);
        Entry::assemble(header, group.count, parts, group.bytes)
    };
    let (group, entry) = if group.bytes <= ENCODE_INLINE_BYTES_MAX {
        let entry = assemble(&group);
        (group, entry)
    } else {
        let assemble = move || {
            let entry = assemble(&group);
            (group, entry)
        };
        work(&*shared.machine.workers, assemble).await
    };
    let machine = shared.machine.clone();
    let mut group = Some(group);
    if mutants::on(Mutant::CertainWhenProposed)
        && let Some(certain) = group.take_if(|group| group.is_certain())
    {
        certain.finish_certain(machine.applied().log_index);
    }
    let responder = Responder::new(Proposed { group, machine, behind: None, awaited: None });
    // A failure drops the responder, and with it the group: its clients learn "unknown".
    drop(shared.raft.client_write_ff(Proposal(entry), Some(responder)).await);
}

fn replies(outcome: WriteResult) -> Outcome {
    match outcome {
        Ok(response) => Ok((response.data.log_index, response.data.replies)),
        Err(ClientWriteError::ForwardToLeader(_)) => Err(ReplicationError::NotLeader),
        Err(error @ ClientWriteError::LogEntryDiscarded(_)) => {
            Err(ReplicationError::OutcomeUnknown(error.to_string()))
        }
        Err(
            error @ (ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_)),
        ) => Err(ReplicationError::OutcomeUnknown(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_wait_are_bounded_and_a_long_write_is_taken_alone() {
        let all = Arc::new(AtomicUsize::new(0));
        let long = Waiting::admit(&all, 2 * WRITES_WAITING_BYTES_MAX);
        assert!(long.is_some());
        assert!(Waiting::admit(&all, 1).is_none());
        drop(long);
        let first = Waiting::admit(&all, WRITES_WAITING_BYTES_MAX - 1);
        let second = Waiting::admit(&all, 1);
        assert!(first.is_some() && second.is_some());
        assert!(Waiting::admit(&all, 1).is_none());
        drop((first, second));
        assert_eq!(all.load(Ordering::Relaxed), 0, "those that were refused do not count");
    }

    #[tokio::test]
    async fn writes_that_come_within_a_turn_share_a_group() {
        let settings = Arc::new(Settings::default());
        let groups = Groups::start(settings, Arc::default(), |group: Group| async move {
            let count = u64::from(group.count);
            let replies = vec![Reply::OK; group.count as usize];
            group.finish(Ok((count, replies)));
        });
        let operations = |encoded: &'static [u8], count| {
            let encoded = Bytes::from_static(encoded);
            Operations::new(encoded, count, false)
        };
        let early = groups.submit(operations(b"a", 1));
        let late = async {
            tokio::task::yield_now().await;
            groups.submit(operations(b"b", 2)).await
        };
        let (early, late) = tokio::join!(early, late);
        assert_eq!(early, Ok((3, vec![Reply::OK; 1])));
        assert_eq!(late, Ok((3, vec![Reply::OK; 2])));
    }
}
