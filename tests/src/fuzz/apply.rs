//! Commands and log entries through the state machine: no panic, and two engines agree.
//!
//! Commands of a session or of the node (CLIENT, CONFIG, INFO ...) are no part of it: nothing of them
//! reaches the state machine. They are the target of [`super::session`], and run on a real connection
//! in the comparison with redis-server. ACL SETUSER and ACL DELUSER are writes, and applied here.

use super::{Done, spoil, temporary_dir};
use crate::differential;
use crate::random::Random;
use bytes::{Bytes, BytesMut};
use kvorum::commands;
use kvorum::commands::acl::{self, User};
use kvorum::commands::spec::{CommandSpec, Run};
use kvorum::session::Watched;
use kvorum::state_machine::{self, Applied, Entry, EntryHeader, Operation};
use protocol::{Reply, Request, RespClientCodec, RespVersion, encode};
use storage::StorageError;
use storage::disk::{DiskEngine, DiskOptions};
use storage::memory::MemoryEngine;
use storage::meta;
use storage::txn::{Engine, ReadTxn};
use tokio_util::codec::Decoder;

/// Commands that are made with the same few keys.
const COMMANDS: usize = 150;

/// How often that happens on the same two engines: opening one takes as long as thousands of commands.
const ROUNDS: usize = 60;

/// Databases there are.
const DATABASES: u16 = 4;

/// Whether a command reaches the state machine.
pub(super) fn is_on_data(spec: &CommandSpec) -> bool {
    matches!(spec.run, Run::Write { .. } | Run::Read(_) | Run::Scan(_))
}

/// What dispatch lets through to the state machine: a command on data that passes its checks.
pub(super) fn admitted(request: &Request) -> Option<&'static CommandSpec> {
    let mut spec = commands::lookup(request.get(0)?)?;
    if let Run::Container = spec.run {
        spec = commands::lookup_subcommand(spec, request.get(1)?)?;
    }
    let checked = match spec.run {
        Run::Write { check, .. } => check,
        Run::Read(_) | Run::Scan(_) => commands::spec::no_check,
        _ => return None,
    };
    (spec.arity.accepts(request.len()) && checked(request).is_ok()).then_some(spec)
}

/// So many random commands at most, alone and in blocks, to be applied in the order of a log.
pub(super) fn operations(
    random: &mut Random,
    commands: usize,
    wanted: fn(&CommandSpec) -> bool,
) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut block: Vec<(u8, Request)> = Vec::new();
    for step in differential::requests(random, commands, wanted) {
        let request = Request::from_parts(&step);
        if admitted(&request).is_none() {
            continue;
        }
        let database = random.below(usize::from(DATABASES)) as u8;
        match random.below(10) {
            0..2 => block.push((database, request)),
            2 => {
                let key = step.get(1).cloned().unwrap_or_default();
                let version = random.below(COMMANDS) as u64;
                let watched = match random.percent(30) {
                    true => vec![Watched { database, key, version }],
                    false => Vec::new(),
                };
                let commands = std::mem::take(&mut block);
                operations.push(Operation::Multi { watched, commands });
            }
            3 => operations.push(Operation::TimeMark { keys_max: random.below(20) as u32 }),
            _ => operations.push(Operation::Command { database, request }),
        }
    }
    operations
}

/// One entry of so many has a time after which nothing has a deadline ahead: time never goes back.
const ENTRIES_PER_END: usize = 5_000;

/// An entry with these operations.
pub(super) fn entry(random: &mut Random, operations: &[Operation]) -> Bytes {
    let mut bytes = BytesMut::new();
    operations.iter().for_each(|operation| operation.encode(&mut bytes));
    let now_ms = match random.below(ENTRIES_PER_END) {
        0 => *random.pick(&[u64::MAX, i64::MAX as u64]),
        1..250 => *random.pick(&[0, 1]),
        _ => 1_000_000 + random.below(1_000_000_000) as u64,
    };
    let header = EntryHeader { now_ms, seed: random.number(), databases: DATABASES };
    let count = operations.len() as u32;
    Entry::assemble(header, count, std::iter::once(&bytes[..]), bytes.len())
}

/// Applies an entry as a node does: an error leaves the state as it was.
pub(super) fn apply(
    engine: &dyn Engine,
    log_index: u64,
    last_ms: &mut u64,
    entry: &Bytes,
) -> Result<Applied, StorageError> {
    let mut txn = engine.write(log_index);
    let (applied, now_ms) = state_machine::apply(&mut *txn, 0, *last_ms, entry, true)?;
    txn.commit();
    *last_ms = now_ms;
    Ok(applied)
}

/// All rows, but those of flushed databases that an engine has not removed yet.
fn rows(engine: &dyn Engine) -> Vec<Bytes> {
    let mut source = engine.export().expect("an undamaged engine");
    std::iter::from_fn(|| source.next_chunk(1 << 20).expect("an undamaged engine")).collect()
}

/// A reply is read back from what is sent of it, in both protocols. No user is one that cannot be stored.
pub(super) fn check_reply(reply: &Reply) {
    let text = if let Reply::Error(text) = reply { &text[..] } else { "" };
    assert!(!text.ends_with("cannot be stored"), "{text}");
    for version in [RespVersion::Resp2, RespVersion::Resp3] {
        let mut bytes = BytesMut::new();
        encode(reply, version, &mut bytes);
        let read = RespClientCodec::new().decode(&mut bytes);
        assert!(matches!(read, Ok(Some(_))) && bytes.is_empty(), "{reply:?} in {version:?}");
    }
}

/// The same entries on two engines: the same replies, the same rows.
pub(super) fn on_two_engines(random: &mut Random) -> Done {
    let dir = temporary_dir();
    let memory = MemoryEngine::new();
    let disk = DiskEngine::open(DiskOptions::new(dir.path())).expect("an empty directory");
    let (mut time, mut disk_time) = (0, 0);
    let (mut log_index, mut commands) = (0, 0);
    for _ in 0..ROUNDS {
        let operations = operations(random, COMMANDS, is_on_data);
        let mut rest = &operations[..];
        while !rest.is_empty() {
            let (some, others) = rest.split_at((1 + random.below(4)).min(rest.len()));
            rest = others;
            log_index += 1;
            let entry = entry(random, some);
            let applied = apply(&memory, log_index, &mut time, &entry);
            let applied = applied.expect("memory does not fail");
            let on_disk = apply(&disk, log_index, &mut disk_time, &entry);
            let on_disk = on_disk.expect("the disk is sound");
            assert_eq!(applied.replies, on_disk.replies, "{some:?}");
            assert_eq!(applied.replies.len(), some.len());
            assert_eq!((applied.expired, time), (on_disk.expired, disk_time));
            applied.replies.iter().for_each(check_reply);
            commands += some.iter().map(commands_of).sum::<u64>();
        }
        if random.percent(30) {
            disk.flush().expect("the disk is sound");
        }
        assert!(rows(&memory) == rows(&disk), "the engines differ");
        users(&*memory.read()).iter().for_each(|(_, user)| check_text(user));
    }
    Done { executions: commands, readings: 2 * commands }
}

/// The users in a state that nobody spoilt.
pub(super) fn users(txn: &dyn ReadTxn) -> Vec<(Bytes, User)> {
    let rows = meta::users(txn, 0).expect("an undamaged engine").into_iter();
    rows.map(|(name, row)| (name, acl::read_row(&row).expect("as it was stored"))).collect()
}

/// A user is what its text says, which is how it is listed and stored.
pub(super) fn check_text(user: &User) {
    let text = user.describe();
    assert_eq!(User::parse(&text).as_ref(), Ok(user), "{}", text.escape_ascii());
}

fn commands_of(operation: &Operation) -> u64 {
    match operation {
        Operation::Command { .. } => 1,
        Operation::Multi { commands, .. } => commands.len() as u64,
        Operation::TimeMark { .. } => 0,
    }
}

/// Spoilt entries: an error or another entry, never a panic.
pub(super) fn entries(random: &mut Random) -> Done {
    let memory = MemoryEngine::new();
    let mut time = 0;
    let operations = operations(random, COMMANDS, is_on_data);
    let mut executions = 0;
    for (number, some) in operations.chunks(2).enumerate() {
        let whole = entry(random, some);
        for _ in 0..8 {
            let mut bytes = whole.to_vec();
            spoil(random, &mut bytes);
            // Decoding only: a log entry that fails its checksum is never applied.
            drop(Entry::decode(&Bytes::from(bytes.clone())));
            let body = bytes.get(state_machine::entry::HEADER_BYTES..).unwrap_or_default().to_vec();
            drop(state_machine::check_operations(&Bytes::from(body)));
            Entry::has_multi(&bytes);
            executions += 1;
        }
        apply(&memory, number as u64 + 1, &mut time, &whole).expect("memory does not fail");
    }
    Done { executions, readings: 3 * executions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The full name of a command.
    fn name(request: &Request, spec: &CommandSpec) -> String {
        let first = String::from_utf8_lossy(request.arg(0)).to_lowercase();
        if first == spec.name { first } else { format!("{first} {}", spec.name) }
    }

    #[test]
    fn every_command_on_data_is_applied() {
        let mut missing = BTreeSet::new();
        for spec in commands::all() {
            missing.extend(is_on_data(spec).then(|| spec.name.to_owned()));
            let parts = spec.subcommands.iter().filter(|part| is_on_data(part));
            missing.extend(parts.map(|part| format!("{} {}", spec.name, part.name)));
        }
        assert!(missing.len() > 50, "{missing:?}");
        for seed in 0..100 {
            for request in differential::requests(&mut Random::new(seed), 200, is_on_data) {
                let request = Request::from_parts(&request);
                if let Some(spec) = admitted(&request) {
                    missing.remove(&name(&request, spec));
                }
            }
        }
        assert!(missing.is_empty(), "never applied: {missing:?}");
    }

    /// What kind of rule this is: its letters up to a name, or the whole word.
    fn kind(rule: &[u8]) -> String {
        let rule = String::from_utf8_lossy(rule).to_ascii_lowercase();
        let kinds = ["+@", "-@", "%r~", "%w~", "%rw~", "~", "&", ">", "<", "#", "!", "("];
        match kinds.into_iter().find(|kind| rule.starts_with(kind)) {
            Some(kind) => kind.to_owned(),
            None if rule.starts_with(['+', '-']) => {
                format!("{}{}", &rule[..1], if rule.contains('|') { "|" } else { "" })
            }
            None => rule,
        }
    }

    #[test]
    fn rules_of_every_kind_are_taken() {
        let mut missing: BTreeSet<String> =
            differential::RULE_WORDS.iter().copied().map(str::to_owned).collect();
        let kinds = ["+@", "-@", "%r~", "%w~", "%rw~", "~", "&", ">", "<", "#", "!", "("];
        missing.extend(kinds.into_iter().chain(["+", "-", "+|", "-|"]).map(str::to_owned));
        let (engine, mut time) = (MemoryEngine::new(), 0);
        let mut random = Random::new(1);
        let requests = differential::requests(&mut random, 4_000, |spec| spec.name == "setuser");
        let requests = requests.iter().map(|parts| Request::from_parts(parts));
        for (number, request) in requests.filter(|request| admitted(request).is_some()).enumerate()
        {
            let operation = Operation::Command { database: 0, request: request.clone() };
            let entry = entry(&mut random, &[operation]);
            let applied = apply(&engine, number as u64 + 1, &mut time, &entry);
            if applied.expect("memory does not fail").replies == [Reply::OK] {
                missing.retain(|known| request.iter().skip(3).all(|rule| kind(rule) != *known));
            }
        }
        assert!(missing.is_empty(), "never taken: {missing:?}");
        let stored = users(&*engine.read());
        assert!(stored.len() > 2, "{stored:?}");
        stored.iter().for_each(|(_, user)| check_text(user));
    }
}
