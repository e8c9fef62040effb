//! The pure function: one entry, one batch, its replies.

use crate::commands;
use crate::commands::context::{ReadContext, SeededRandom, WriteContext, user_key};
use crate::commands::error::{Failure, Outcome};
use crate::commands::spec::{CommandSpec, Flags, Run};
use crate::session::Watched;
use crate::state_machine::entry::{Entry, EntryHeader, Operation};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::{Reply, Request};
use storage::StorageError;
use storage::key::UserKey;
use storage::keyspace::Writer;
use storage::meta;
use storage::mutants::{self, Mutant};
use storage::txn::{LOOKUPS_EXPECTED_MAX, ReadTxn, WriteTxn};

/// What was applied last: stored in the same batch as its effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppliedState {
    /// Term of the last applied entry.
    pub term: u64,
    /// Its log index; 0: none.
    pub log_index: u64,
    /// The time of the state, in milliseconds since 1970; it never goes back.
    pub now_ms: u64,
}

/// Version of the row that holds an [`AppliedState`].
const ROW_VERSION: u8 = 1;

impl AppliedState {
    /// The state's own record of what was applied to it.
    pub fn load(txn: &dyn ReadTxn, shard: u16) -> Result<Self, StorageError> {
        let Some(mut row) = meta::applied(txn, shard)? else { return Ok(Self::default()) };
        if row.len() != 25 || row.get_u8() != ROW_VERSION {
            return Err(StorageError::Corrupt("unreadable applied state".to_owned()));
        }
        let (term, log_index) = (row.get_u64_le(), row.get_u64_le());
        Ok(AppliedState { term, log_index, now_ms: row.get_u64_le() })
    }

    /// Puts it into the batch of the entry.
    pub fn store(&self, txn: &mut dyn WriteTxn, shard: u16) {
        let mut row = BytesMut::with_capacity(25);
        row.put_u8(ROW_VERSION);
        row.put_u64_le(self.term);
        row.put_u64_le(self.log_index);
        row.put_u64_le(self.now_ms);
        meta::set_applied(txn, shard, row.freeze());
    }
}

/// What came of an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// One reply for each operation, unless nobody waits for them.
    pub replies: Vec<Reply>,
    /// Overdue keys removed.
    pub expired: u64,
    /// The earliest deadline that this entry set.
    pub earliest_deadline_ms: Option<u64>,
    /// Whether any database shows another keyspace now.
    pub databases_changed: bool,
    /// Whether any user was changed.
    pub users_changed: bool,
}

/// Applies an entry to the batch. `last_ms` is the time of the state so far; the entry's own time
/// never moves it back. Only the node whose client waits keeps the replies. An error stops the
/// node, and the batch must be dropped.
pub fn apply(
    txn: &mut dyn WriteTxn,
    shard: u16,
    last_ms: u64,
    buffer: &Bytes,
    keep_replies: bool,
) -> Result<(Applied, u64), StorageError> {
    let entry = Entry::decode(buffer).map_err(|error| StorageError::Corrupt(error.to_string()))?;
    let last_ms = if mutants::on(Mutant::TimeGoesBack) { 0 } else { last_ms };
    let now_ms = entry.header.now_ms.max(last_ms);
    let mut writer = Writer::new(txn, shard, now_ms);
    let mut applied = Applied::default();
    if keep_replies {
        applied.replies.reserve(entry.operations.len());
    }
    let mut run = Runner {
        writer: &mut writer,
        header: entry.header,
        random: SeededRandom::new(entry.header.seed),
    };
    run.expect_all(&entry.operations);
    for (number, operation) in entry.operations.iter().enumerate() {
        if number.is_multiple_of(LOOKUPS_EXPECTED_MAX) && number + 1 < entry.operations.len() {
            run.expect(&entry.operations[number..]);
        }
        let reply = match operation {
            Operation::Command { database, request } => run.command(*database, request)?,
            Operation::Multi { watched, commands }
                if mutants::on(Mutant::HalfMulti) && !keep_replies =>
            {
                run.multi(watched, &commands[..commands.len() / 2])?
            }
            Operation::Multi { watched, commands } => run.multi(watched, commands)?,
            Operation::TimeMark { keys_max } => {
                let removed = run.writer.expire_overdue(*keys_max as usize)? as u64;
                applied.expired += removed;
                Reply::Integer(removed as i64)
            }
        };
        if keep_replies {
            applied.replies.push(reply);
        }
    }
    writer.settle();
    applied.earliest_deadline_ms = writer.earliest_deadline_ms();
    applied.databases_changed = writer.databases_changed();
    applied.users_changed = writer.users_changed();
    Ok((applied, now_ms))
}

/// Operations that this version can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether any of them may add to the data.
    pub may_grow: bool,
    /// Whether all of them answer OK whatever the data hold.
    pub certain: bool,
}

/// Checks that this version can apply encoded operations, which may come from another node.
pub fn check_operations(operations: &Bytes) -> Result<Checked, StorageError> {
    let count = Entry::count_operations(operations).unwrap_or(0);
    let header = EntryHeader { now_ms: 0, seed: 0, databases: 0 };
    let parts = std::iter::once(&operations[..]);
    let entry = Entry::assemble(header, count, parts, operations.len());
    let entry = Entry::decode(&entry).map_err(|error| StorageError::Corrupt(error.to_string()))?;
    let mut checked = Checked { may_grow: false, certain: true };
    for operation in &entry.operations {
        match operation {
            Operation::Command { request, .. } => {
                let spec = find(request)?;
                checked.may_grow |= spec.flags.has(Flags::DENYOOM);
                checked.certain &= commands::answers_ok(request);
            }
            Operation::Multi { commands, .. } => {
                checked.certain = false;
                for (_, request) in commands {
                    checked.may_grow |= find(request)?.flags.has(Flags::DENYOOM);
                }
            }
            Operation::TimeMark { .. } => checked.certain = false,
        }
    }
    Ok(checked)
}

/// The command that an entry names: one on data.
fn find(request: &Request) -> Result<&'static CommandSpec, StorageError> {
    let unknown = || {
        let name = request.arg(0).escape_ascii();
        StorageError::Corrupt(format!("the log holds a command of a newer version: {name}"))
    };
    let spec = commands::lookup(request.arg(0)).ok_or_else(unknown)?;
    let spec = match spec.run {
        Run::Container => {
            let name = request.get(1).ok_or_else(unknown)?;
            commands::lookup_subcommand(spec, name).ok_or_else(unknown)?
        }
        _ => spec,
    };
    match spec.run {
        Run::Write { .. } | Run::Read(_) | Run::Scan(_) => Ok(spec),
        Run::Session(_) | Run::Node(_) | Run::Exec | Run::Watch | Run::Container => Err(unknown()),
    }
}

/// The keys of commands. The first argument of nearly every command is its key; where it is not, the hint is
/// wasted and nothing else.
fn expected_keys(operations: &[Operation]) -> impl Iterator<Item = UserKey<'_>> {
    operations.iter().filter_map(|operation| match operation {
        Operation::Command { request, .. } => request.get(1).map(user_key),
        _ => None,
    })
}

struct Runner<'a, 'txn> {
    writer: &'a mut Writer<'txn>,
    header: EntryHeader,
    random: SeededRandom,
}

impl Runner<'_, '_> {
    /// Tells the store what the commands will look for.
    fn expect_all(&mut self, operations: &[Operation]) {
        let Some(Operation::Command { database, .. }) = operations.first() else { return };
        self.writer.expect_all(*database, operations.len(), expected_keys(operations));
    }

    /// Has the store fetch what the next commands will look for.
    fn expect(&mut self, operations: &[Operation]) {
        let Some(Operation::Command { database, .. }) = operations.first() else { return };
        let next = &operations[..operations.len().min(LOOKUPS_EXPECTED_MAX)];
        self.writer.expect(*database, expected_keys(next));
    }

    fn multi(
        &mut self,
        watched: &[Watched],
        commands: &[(u8, Request)],
    ) -> Result<Reply, StorageError> {
        let reader = self.writer.reader();
        for key in watched {
            let is_changed = reader.version(key.database, user_key(&key.key))? != key.version;
            if is_changed && !mutants::on(Mutant::WatchIgnored) {
                return Ok(Reply::NullArray);
            }
        }
        let replies = commands.iter().map(|(database, request)| self.command(*database, request));
        Ok(Reply::Array(replies.collect::<Result<_, _>>()?))
    }

    /// Runs one command; its error is its reply.
    fn command(&mut self, database: u8, request: &Request) -> Result<Reply, StorageError> {
        let spec = find(request)?;
        let outcome = match spec.run {
            Run::Write { apply, .. } => self.write(database, request, apply),
            Run::Read(read) | Run::Scan(read) => self.read(database, request, read),
            Run::Session(_) | Run::Node(_) | Run::Exec | Run::Watch | Run::Container => {
                return Err(StorageError::Corrupt("a command that is not on data".to_owned()));
            }
        };
        match outcome {
            Ok(reply) => Ok(reply),
            Err(Failure::Command(error)) => Ok(Reply::error(error.to_string())),
            Err(Failure::Storage(error)) => Err(error),
        }
    }

    fn write(
        &mut self,
        database: u8,
        request: &Request,
        apply: fn(&mut WriteContext<'_, '_>, &Request) -> Outcome,
    ) -> Outcome {
        let changes_before = self.writer.changes();
        let mut ctx = WriteContext {
            writer: &mut *self.writer,
            database,
            databases: self.header.databases,
            random: &mut self.random,
        };
        let outcome = apply(&mut ctx, request);
        if matches!(outcome, Err(Failure::Command(_))) {
            assert_eq!(self.writer.changes(), changes_before, "an error follows no write");
        }
        outcome
    }

    fn read(
        &mut self,
        database: u8,
        request: &Request,
        read: fn(&ReadContext<'_>, &Request) -> Outcome,
    ) -> Outcome {
        let random = self.random.next_u64();
        let clock_ms = self.writer.now_ms();
        let databases = self.header.databases;
        let reader = self.writer.reader();
        read(&ReadContext::new(reader, database, databases, clock_ms, random), request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::memory::MemoryEngine;
    use storage::txn::Engine;

    #[test]
    fn time_never_goes_back() {
        let engine = MemoryEngine::new();
        let mut last_ms = 0;
        for (log_index, (now_ms, expected)) in
            [(500, 500), (700, 700), (600, 700), (0, 700), (701, 701)].into_iter().enumerate()
        {
            let header = EntryHeader { now_ms, seed: 1, databases: 16 };
            let entry = Entry::assemble(header, 0, std::iter::empty(), 0);
            let mut txn = engine.write(log_index as u64 + 1);
            (_, last_ms) = apply(&mut *txn, 0, last_ms, &entry, true).unwrap();
            txn.commit();
            assert_eq!(last_ms, expected, "after an entry of {now_ms}");
        }
    }
}
