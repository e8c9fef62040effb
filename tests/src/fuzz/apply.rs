//! Commands and log entries through the state machine: no panic, and two engines agree.
//!
//! Commands of a session or of the node (CLIENT, CONFIG, INFO ...) are no part of it: nothing of them
//! reaches the state machine, and they need a connection and a node. They get arguments that nobody
//! would send from a unit test of the server, `no_arguments_break_a_command_of_a_session_or_of_the_node`,
//! and on a real connection from the comparison with redis-server. ACL SETUSER and ACL DELUSER are
//! writes, and applied here.

use super::{spoil, temporary_dir};
use crate::differential;
use crate::random::Random;
use bytes::{Bytes, BytesMut};
use kvorum::commands;
use kvorum::commands::spec::{CommandSpec, Run};
use kvorum::session::Watched;
use kvorum::state_machine::{self, Applied, Entry, EntryHeader, Operation};
use protocol::{Reply, Request, RespClientCodec, RespVersion, encode};
use storage::StorageError;
use storage::disk::{DiskEngine, DiskOptions};
use storage::memory::MemoryEngine;
use storage::txn::Engine;
use tokio_util::codec::Decoder;

/// Commands that are made with the same few keys.
const COMMANDS: usize = 150;

/// How often that happens on the same two engines: opening one takes as long as thousands of commands.
const ROUNDS: usize = 60;

/// Databases there are.
const DATABASES: u16 = 4;

/// What dispatch lets through to the state machine: a command on data that passes its checks.
fn admitted(request: &Request) -> Option<&'static CommandSpec> {
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

/// Random commands, alone and in blocks, applied in the order of a log.
fn operations(random: &mut Random) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut block: Vec<(u8, Request)> = Vec::new();
    for step in differential::requests(random, COMMANDS) {
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

fn entry(random: &mut Random, operations: &[Operation]) -> Bytes {
    let mut bytes = BytesMut::new();
    operations.iter().for_each(|operation| operation.encode(&mut bytes));
    let now_ms = match random.percent(10) {
        true => *random.pick(&[0, 1, u64::MAX, i64::MAX as u64]),
        false => 1_000_000 + random.below(1_000_000_000) as u64,
    };
    let header = EntryHeader { now_ms, seed: random.number(), databases: DATABASES };
    let count = operations.len() as u32;
    Entry::assemble(header, count, std::iter::once(&bytes[..]), bytes.len())
}

/// Applies an entry as a node does: an error leaves the state as it was.
fn apply(
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

/// A reply is read back from what is sent of it, in both protocols.
fn check_reply(reply: &Reply) {
    for version in [RespVersion::Resp2, RespVersion::Resp3] {
        let mut bytes = BytesMut::new();
        encode(reply, version, &mut bytes);
        let read = RespClientCodec::new().decode(&mut bytes);
        assert!(matches!(read, Ok(Some(_))) && bytes.is_empty(), "{reply:?} in {version:?}");
    }
}

/// The same entries on two engines: the same replies, the same rows.
pub(super) fn on_two_engines(random: &mut Random) -> u64 {
    let dir = temporary_dir();
    let memory = MemoryEngine::new();
    let disk = DiskEngine::open(DiskOptions::new(dir.path())).expect("an empty directory");
    let (mut time, mut disk_time) = (0, 0);
    let (mut log_index, mut commands) = (0, 0);
    for _ in 0..ROUNDS {
        let operations = operations(random);
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
    }
    commands
}

fn commands_of(operation: &Operation) -> u64 {
    match operation {
        Operation::Command { .. } => 1,
        Operation::Multi { commands, .. } => commands.len() as u64,
        Operation::TimeMark { .. } => 0,
    }
}

/// Spoilt entries: an error or another entry, never a panic.
pub(super) fn entries(random: &mut Random) -> u64 {
    let memory = MemoryEngine::new();
    let mut time = 0;
    let operations = operations(random);
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
    executions
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
        let is_on_data = |spec: &CommandSpec| {
            matches!(spec.run, Run::Write { .. } | Run::Read(_) | Run::Scan(_))
        };
        let mut missing = BTreeSet::new();
        for spec in commands::all() {
            missing.extend(is_on_data(spec).then(|| spec.name.to_owned()));
            let parts = spec.subcommands.iter().filter(|part| is_on_data(part));
            missing.extend(parts.map(|part| format!("{} {}", spec.name, part.name)));
        }
        assert!(missing.len() > 50, "{missing:?}");
        for seed in 0..100 {
            for request in differential::requests(&mut Random::new(seed), 200) {
                let request = Request::from_parts(&request);
                if let Some(spec) = admitted(&request) {
                    missing.remove(&name(&request, spec));
                }
            }
        }
        assert!(missing.is_empty(), "never applied: {missing:?}");
    }
}
