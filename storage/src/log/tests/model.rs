//! What a log should hold, as plain maps, and a driver that does the same to both.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Condvar;
use proptest::prelude::*;

use super::memory_disk::{Content, Event};
use super::*;
use crate::log::keeper::Keeper;
use crate::log::queue::Wake;
use crate::log::recover::{Recovered, recover};
use crate::log::{Done, reader, writer};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModelShard {
    pub(super) vote: Option<SavedVote>,
    pub(super) purged: Option<LogPosition>,
    pub(super) entries: BTreeMap<u64, LogEntry>,
}

impl ModelShard {
    pub(super) fn last(&self) -> Option<LogPosition> {
        self.entries.values().next_back().map(|entry| entry.position).or(self.purged)
    }
}

/// Shards without any content are left out.
pub(super) type Model = BTreeMap<u32, ModelShard>;

/// One call, relative to what is there.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Entries of these sizes; `true`: in a new term.
    Append(u32, bool, Vec<u16>),
    Vote(u32),
    /// Commits so many entries before the last.
    Commit(u32, u64),
    /// Removes so many entries, never committed ones.
    Truncate(u32, u64),
    /// Removes all entries, once nothing counts as committed any more.
    TruncateAll(u32),
    /// Leaves so many entries.
    Purge(u32, u64),
    /// Purges so far behind the last entry.
    PurgePast(u32, u64),
    /// Waits for everything called.
    Wait,
    /// Closes and opens.
    Reopen,
}

/// What a call does to the log; calls that are acknowledged get a callback.
type Action = Box<dyn FnOnce(&ShardLog, Option<Done>)>;

fn purge(shard: &mut ModelShard, upto: Option<LogPosition>) -> Action {
    if let Some(upto) = upto {
        shard.entries.retain(|index, _| *index > upto.index);
        shard.purged = Some(upto);
    }
    Box::new(move |log, _| upto.iter().for_each(|upto| log.purge(*upto)))
}

impl Call {
    fn shard(&self) -> u32 {
        match self {
            Call::Append(id, ..)
            | Call::Vote(id)
            | Call::Commit(id, _)
            | Call::Truncate(id, _)
            | Call::TruncateAll(id)
            | Call::Purge(id, _)
            | Call::PurgePast(id, _) => *id,
            Call::Wait | Call::Reopen => 0,
        }
    }
}

/// What recovery found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) model: Model,
    pub(super) committed: BTreeMap<u32, LogPosition>,
}

/// Recovers the log on `disk`, without starting threads, and reads everything in it.
pub(super) fn observe(disk: &MemoryDisk) -> Result<Found, LogError> {
    let Recovered { scan, spares } = recover(disk, SEGMENT_BYTES)?;
    let keeper = Arc::new(Keeper::new(Arc::new(disk.clone()), SEGMENT_BYTES, spares, true));
    let shared = writer(scan, keeper, options(), Wake::Thread(Condvar::new()))?.shared;
    let mut found = Found { model: Model::new(), committed: BTreeMap::new() };
    for (id, shard) in shared.shards.read().iter() {
        let entries = reader::read(&shared, shard, 0..u64::MAX, usize::MAX).unwrap();
        let state = shard.state.lock();
        found.committed.extend(state.committed.map(|committed| (*id, committed)));
        let shard = ModelShard {
            vote: state.vote,
            purged: state.purged,
            entries: entries.into_iter().map(|entry| (entry.position.index, entry)).collect(),
        };
        assert_eq!(state.last(), shard.last());
        if shard != ModelShard::default() {
            found.model.insert(*id, shard);
        }
    }
    Ok(found)
}

fn open_synced_by(disk: &MemoryDisk, sync: SyncPolicy) -> RaftLog {
    RaftLog::open_on(Arc::new(disk.clone()), synced_by(sync)).unwrap()
}

/// Runs calls on a log and on the model.
pub(super) struct Driver {
    pub(super) disk: MemoryDisk,
    log: Option<RaftLog>,
    sync: SyncPolicy,
    /// The model before the first call, and after each step.
    pub(super) models: Vec<Model>,
    /// The commit position that was saved last, per shard.
    pub(super) committed: BTreeMap<u32, LogPosition>,
    /// All that were ever saved, those that were taken back included.
    pub(super) saved: BTreeMap<u32, BTreeSet<LogPosition>>,
    term: u64,
}

impl Driver {
    pub(super) fn start(content: Content, found: Found, sync: SyncPolicy) -> Driver {
        let disk = MemoryDisk::with(content);
        let log = Some(open_synced_by(&disk, sync));
        let terms = found.model.values().filter_map(|shard| shard.last()).map(|last| last.term);
        let term = terms.max().unwrap_or(1);
        let saved = found.committed.iter().map(|(id, position)| (*id, [*position].into()));
        let saved = saved.collect();
        let committed = found.committed;
        Driver { disk, log, sync, models: vec![found.model], committed, saved, term }
    }

    pub(super) fn empty() -> Driver {
        let nothing = Found { model: Model::new(), committed: BTreeMap::new() };
        Driver::start(Content::default(), nothing, SyncPolicy::Always)
    }

    fn shard(&self, id: u32) -> ShardLog {
        self.log.as_ref().unwrap().shard(id)
    }

    /// Votes are durable when they are acknowledged, under any policy.
    fn acked(&self, is_vote: bool) -> Done {
        let (disk, step) = (self.disk.clone(), self.models.len() - 1);
        let durable = is_vote || self.sync == SyncPolicy::Always;
        Box::new(move |result| {
            result.unwrap();
            disk.note(if durable { Event::Acked(step) } else { Event::Written(step) });
        })
    }

    /// Takes the commit position of a shard back for good. The log may write it after what is called
    /// later, which is no matter to Raft: it never removes what is committed.
    fn uncommit(&mut self, id: u32) {
        if self.committed.remove(&id).is_some() {
            self.shard(id).save_committed(None);
            self.log.as_ref().unwrap().sync().unwrap();
        }
    }

    pub(super) fn call(&mut self, call: &Call) {
        let mut model = self.models.last().unwrap().clone();
        let id = call.shard();
        let mut shard = model.remove(&id).unwrap_or_default();
        let floor = self.committed.get(&id).copied();
        let act: Action = match call {
            Call::Append(_, new_term, sizes) => {
                self.term += u64::from(*new_term);
                let mut entries = Vec::new();
                for size in sizes {
                    // A crash may leave the beginning of an append, so each entry is a step.
                    self.step(&model, id, &shard);
                    let entry = self.entry(&shard, *size);
                    shard.entries.insert(entry.position.index, entry.clone());
                    entries.push(entry);
                }
                Box::new(move |log, done| log.append(entries, done.unwrap()))
            }
            Call::Vote(_) => {
                self.term += 1;
                let vote = vote(self.term, u64::from(id));
                shard.vote = Some(vote);
                Box::new(move |log, done| log.save_vote(vote, done.unwrap()))
            }
            Call::Commit(_, before) => {
                let entry = shard.entries.values().rev().nth(*before as usize);
                let position = entry.map(|entry| entry.position).filter(|p| Some(*p) > floor);
                self.committed.extend(position.map(|position| (id, position)));
                self.saved.entry(id).or_default().extend(position);
                Box::new(move |log, _| position.iter().for_each(|p| log.save_committed(Some(*p))))
            }
            Call::Truncate(_, count) => {
                let floor = floor.map_or(0, |floor| floor.index);
                for _ in 0..*count {
                    let Some(last) = shard.entries.last_entry().filter(|e| *e.key() > floor) else {
                        break;
                    };
                    last.remove();
                }
                let last = shard.last();
                Box::new(move |log, _| log.truncate_after(last))
            }
            Call::TruncateAll(_) => {
                self.uncommit(id);
                shard.entries.clear();
                Box::new(|log, _| log.truncate_after(None))
            }
            Call::Purge(_, leave) => {
                let upto = shard.entries.values().rev().nth(*leave as usize).map(|e| e.position);
                purge(&mut shard, upto)
            }
            Call::PurgePast(_, past) => {
                self.term += 1;
                let index = shard.last().unwrap_or_default().index + past;
                purge(&mut shard, Some(at(self.term, index)))
            }
            Call::Wait | Call::Reopen => Box::new(|_, _| {}),
        };
        self.step(&model, id, &shard);
        self.disk.note(Event::Called(self.models.len() - 1));
        let waits = matches!(call, Call::Append(..) | Call::Vote(_));
        act(&self.shard(id), waits.then(|| self.acked(matches!(call, Call::Vote(_)))));
        self.wait(call);
    }

    fn wait(&mut self, call: &Call) {
        match call {
            Call::Wait => self.log.as_ref().unwrap().sync().unwrap(),
            Call::Reopen => {
                self.log.take().unwrap().close().unwrap();
                self.log = Some(open_synced_by(&self.disk, self.sync));
            }
            _ => return,
        }
        self.disk.note(Event::Acked(self.models.len() - 1));
    }

    /// Notes what the log should hold now.
    fn step(&mut self, others: &Model, id: u32, shard: &ModelShard) {
        let mut model = others.clone();
        if *shard != ModelShard::default() {
            model.insert(id, shard.clone());
        }
        self.models.push(model);
    }

    fn entry(&self, shard: &ModelShard, size: u16) -> LogEntry {
        let index = shard.last().map_or(3, |last| last.index + 1);
        let seed = self.models.len() as u64 + index;
        let payload: Vec<u8> = (0..size).map(|at| (seed * 7 + u64::from(at)) as u8).collect();
        entry(self.term, index, &payload)
    }

    /// What is in memory agrees with the model.
    fn check(&self) {
        let log = self.log.as_ref().unwrap();
        for (id, model) in self.models.last().unwrap() {
            let shard = log.shard(*id);
            assert_eq!(shard.state(), (model.purged, model.last()));
            assert_eq!(shard.vote(), model.vote);
            let found = shard.read(0..u64::MAX, usize::MAX).unwrap();
            assert!(found.iter().eq(model.entries.values()));
            assert_eq!(shard.first_index(), model.entries.keys().next().copied());
        }
    }

    /// Closes the log; what is left can be looked at.
    pub(super) fn finish(mut self) -> Driver {
        self.log.take().unwrap().close().unwrap();
        self
    }
}

pub(super) fn calls() -> impl Strategy<Value = Call> {
    let shard = 0..2u32;
    let size = prop_oneof![6 => 0..200u16, 1 => 200..1500u16];
    let sizes = prop::collection::vec(size, 0..6);
    prop_oneof![
        12 => (shard.clone(), prop::bool::weighted(0.2), sizes)
            .prop_map(|(shard, term, sizes)| Call::Append(shard, term, sizes)),
        2 => shard.clone().prop_map(Call::Vote),
        3 => (shard.clone(), 0..4u64).prop_map(|(shard, before)| Call::Commit(shard, before)),
        2 => (shard.clone(), 1..6u64).prop_map(|(shard, count)| Call::Truncate(shard, count)),
        2 => (shard.clone(), 0..12u64).prop_map(|(shard, leave)| Call::Purge(shard, leave)),
        1 => (shard.clone(), 1..4u64).prop_map(|(shard, past)| Call::PurgePast(shard, past)),
        1 => shard.prop_map(Call::TruncateAll),
        5 => Just(Call::Wait),
        3 => Just(Call::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]
    #[test]
    fn the_log_does_what_the_model_does(calls in prop::collection::vec(calls(), 1..120)) {
        let mut driver = Driver::empty();
        for call in &calls {
            driver.call(call);
            driver.check();
        }
        let driver = driver.finish();
        let found = observe(&driver.disk).unwrap();
        prop_assert_eq!(&found.model, driver.models.last().unwrap());
        prop_assert_eq!(found.committed, driver.committed);
    }
}
