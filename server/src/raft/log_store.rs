//! The Raft log of one shard as openraft sees it.
//!
//! Everything is handed to the log's one writer in the order of the calls, so that votes, entries,
//! truncations and purges have one order of durability. `append` returns at once; what was appended
//! can be read at once, and openraft learns of its durability from the writer's thread, in order.

use crate::limits::APPEND_REQUEST_BYTES_MAX;
use crate::raft::codec::Wire;
use crate::raft::types::*;
use futures_util::stream::{self, Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use storage::log::{EntryKind, LogEntry, LogPosition, SavedVote, ShardLog};

/// Bytes of entries read at once for apply.
const READ_BYTES: usize = 4 << 20;

/// One shard's log; see the module.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: ShardLog,
}

impl LogStore {
    /// Stores in `log`.
    pub(crate) fn new(log: ShardLog) -> Self {
        LogStore { log }
    }

    /// All entries with `start <= index < end`.
    fn read_all(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut next = start;
        while next < end {
            let part = self.log.read(next..end, READ_BYTES)?;
            let Some(last) = part.last() else { break };
            next = last.position.index + 1;
            for entry in part {
                entries.push(from_stored(entry)?);
            }
        }
        Ok(entries)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.read_all(start, end)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.vote().map(|saved| match saved.committed {
            true => Vote::new_committed(saved.term, saved.node_id),
            false => Vote::new(saved.term, saved.node_id),
        }))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let entries = self.log.read(start..end, APPEND_REQUEST_BYTES_MAX)?;
        entries.into_iter().map(from_stored).collect()
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let log = self.log.clone();
        let parts = stream::try_unfold(start, move |next| {
            let log = log.clone();
            async move {
                if next >= end {
                    return Ok(None);
                }
                let part = log.read(next..end, READ_BYTES)?;
                let first = part.first().map(|first| first.position.index);
                match (first, part.last().map(|last| last.position.index)) {
                    (Some(first), Some(last)) if first == next => Ok(Some((part, last + 1))),
                    (None, None) => Ok(None),
                    _ => Err(io::Error::other(format!("log entry {next} is missing"))),
                }
            }
        });
        let entries = parts.flat_map(|part| {
            let entries: Vec<io::Result<Entry>> = match part {
                Ok(part) => part.into_iter().map(from_stored).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(entries)
        });
        entries.boxed()
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let (purged, last) = self.log.state();
        Ok(LogState { last_purged_log_id: purged.map(to_log_id), last_log_id: last.map(to_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let saved = SavedVote {
            term: vote.leader_id.term,
            node_id: vote.leader_id.voted_for,
            committed: vote.committed,
        };
        let (sender, durable) = tokio::sync::oneshot::channel();
        // Whoever waited for a vote that is gone needs no answer.
        self.log.save_vote(saved, Box::new(move |result| drop(sender.send(result))));
        durable.await.map_err(io::Error::other)?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.log.save_committed(committed.as_ref().map(to_position));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(to_log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(to_stored).collect();
        self.log.append(entries, Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.log.truncate_after(last_log_id.as_ref().map(to_position));
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.log.purge(to_position(&log_id));
        Ok(())
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

fn to_log_id(position: LogPosition) -> LogId {
    log_id(position.term, position.index)
}

fn to_position(log_id: &LogId) -> LogPosition {
    LogPosition { term: term_of(log_id), index: log_id.index }
}

fn to_stored(entry: Entry) -> LogEntry {
    let position = to_position(&entry.log_id());
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (EntryKind::Blank, bytes::Bytes::new()),
        EntryPayload::Normal(proposal) => (EntryKind::Normal, proposal.0),
        EntryPayload::Membership(membership) => (EntryKind::Membership, membership.to_bytes()),
    };
    LogEntry { position, kind, payload }
}

fn from_stored(entry: LogEntry) -> io::Result<Entry> {
    let payload = match entry.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Normal => EntryPayload::Normal(Proposal(entry.payload)),
        EntryKind::Membership => EntryPayload::Membership(Membership::from_bytes(entry.payload)?),
    };
    Ok(Entry::new(to_log_id(entry.position), payload))
}
