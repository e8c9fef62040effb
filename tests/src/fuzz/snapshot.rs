//! Chunks of real states, spoilt although their checksums fit: refused, or imported and read.
//!
//! A few states are made once for each thread: strings of all forms, deadlines, flushed and swapped
//! databases, users, a membership. An input damages a copy of what one exports. What an import takes is
//! then read by everything that reads a state: an error or an answer, never a panic. Writes are tried
//! where the offline check finds nothing wrong, and never committed: key counts that are too small end
//! a write with a panic in a debug build.

use super::apply::{admitted, apply, check_reply, entry, is_on_data, operations};
use super::{Done, spoil, temporary_dir};
use crate::random::Random;
use bytes::Bytes;
use kvorum::commands::acl;
use kvorum::commands::spec::{CommandSpec, Run};
use kvorum::state_machine::{self, AppliedState, Operation};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use storage::disk::{DiskEngine, DiskOptions};
use storage::memory::MemoryEngine;
use storage::meta;
use storage::snapshot::decode_chunk;
use storage::txn::{Engine, Row};
use storage::verify::verify_state;

/// How many different states are damaged, and commands that each is made of at most.
const STATES: usize = 24;
const COMMANDS: usize = 400;

/// Commands that are tried on what was imported, at most.
const COMMANDS_AFTER: usize = 12;

/// One input of so many is also imported into a new engine on disk, which takes as long as thousands in
/// memory.
const INPUTS_TO_DISK: usize = 1_000;

/// Bytes of a checksum, which ends a chunk.
const CHECKSUM_BYTES: usize = 4;

/// Commands on data, less that which leaves nothing.
fn fills_a_state(spec: &CommandSpec) -> bool {
    is_on_data(spec) && spec.name != "flushall"
}

/// What a state exports.
struct Exported {
    /// Chunks without their checksums.
    chunks: Vec<Vec<u8>>,
    log_index: u64,
    now_ms: u64,
}

impl Exported {
    fn new(kind: u64) -> Exported {
        let mut random = Random::new(kind);
        let engine = MemoryEngine::new();
        let (mut now_ms, mut log_index) = (0, 0);
        for operation in operations(&mut random, COMMANDS, fills_a_state) {
            log_index += 1;
            let entry = entry(&mut random, &[operation]);
            apply(&engine, log_index, &mut now_ms, &entry).expect("memory does not fail");
        }
        log_index += 1;
        let mut txn = engine.write(log_index);
        AppliedState { term: 1, log_index, now_ms }.store(&mut *txn, 0);
        meta::set_membership(&mut *txn, 0, kvorum::fuzzing::membership_row());
        txn.commit();
        let mut source = engine.export().expect("an idle engine");
        let bytes_max = 100 + random.below(1_000);
        let chunks = std::iter::from_fn(|| source.next_chunk(bytes_max).expect("rows"));
        let chunks = chunks.map(|chunk| chunk[..chunk.len() - CHECKSUM_BYTES].to_vec()).collect();
        Exported { chunks, log_index, now_ms }
    }

    /// Imports these chunks; whether they were taken.
    fn import(&self, engine: &dyn Engine, chunks: &[Bytes]) -> bool {
        let mut sink = engine.import().expect("an idle engine");
        let taken = chunks.iter().try_for_each(|chunk| sink.write_chunk(chunk.clone()));
        taken.and_then(|()| sink.finish(self.log_index)).is_ok()
    }

    /// Reads all that an engine holds, and tries commands on it.
    fn read(&self, engine: &dyn Engine, tried: &[Operation], random: &mut Random) {
        let view = engine.read();
        drop(kvorum::fuzzing::load_state(&*view));
        let report = verify_state(&*view, 0, protocol::key_slot);
        let is_sound = report.is_ok_and(|report| report.problem_count == 0);
        drop(meta::KeyspaceMap::load(&*view, 0));
        for (_, row) in meta::users(&*view, 0).unwrap_or_default() {
            drop(acl::read_row(&row).map(|user| user.describe()));
        }
        drop(view);
        for operation in tried.iter().filter(|operation| is_sound || only_reads(operation)) {
            let entry = entry(random, std::slice::from_ref(operation));
            let mut txn = engine.write(self.log_index + 1);
            let applied = state_machine::apply(&mut *txn, 0, self.now_ms, &entry, true);
            let replies = applied.map(|(applied, _)| applied.replies).unwrap_or_default();
            replies.iter().for_each(check_reply);
        }
    }
}

fn only_reads(operation: &Operation) -> bool {
    let reads = |request| {
        admitted(request).is_some_and(|spec| matches!(spec.run, Run::Read(_) | Run::Scan(_)))
    };
    match operation {
        Operation::Command { request, .. } => reads(request),
        Operation::Multi { commands, .. } => commands.iter().all(|(_, request)| reads(request)),
        Operation::TimeMark { .. } => false,
    }
}

/// Spoils chunks in one or two ways: bytes, the end, the order.
fn damage(random: &mut Random, chunks: &mut Vec<Vec<u8>>) {
    for _ in 0..1 + random.below(2) {
        if chunks.is_empty() {
            return;
        }
        let (at, other) = (random.below(chunks.len()), random.below(chunks.len()));
        match random.below(16) {
            0 => chunks.truncate(at),
            1 => chunks.swap(at, other),
            2 => chunks.insert(at, chunks[other].clone()),
            3 => drop(chunks.remove(at)),
            4 | 5 => spoil(random, &mut chunks[at]),
            // What keeps all lengths is taken most often.
            _ => {
                let (chunk, bit) = (&mut chunks[at], 1 << random.below(8));
                let place = random.below(chunk.len().max(1));
                chunk.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= bit);
            }
        }
    }
}

/// With a checksum that fits.
fn sealed(chunk: &[u8]) -> Bytes {
    [chunk, &crc32c::crc32c(chunk).to_le_bytes()].concat().into()
}

/// All rows that an engine shows.
fn rows(engine: &dyn Engine) -> Vec<Row> {
    let view = engine.read();
    view.rows(&[], &[u8::MAX; 64]).map(|row| row.expect("what was taken is read")).collect()
}

thread_local! {
    static EXPORTED: RefCell<BTreeMap<usize, Rc<Exported>>> = RefCell::default();
}

/// The target. Readings are imports.
pub(super) fn chunks(random: &mut Random) -> Done {
    let kind = random.below(STATES);
    let exported = EXPORTED.with_borrow_mut(|all| {
        Rc::clone(all.entry(kind).or_insert_with(|| Rc::new(Exported::new(kind as u64))))
    });
    let mut chunks = exported.chunks.clone();
    if random.percent(95) {
        damage(random, &mut chunks);
    }
    let chunks: Vec<Bytes> = chunks.iter().map(|chunk| sealed(chunk)).collect();
    let memory = MemoryEngine::new();
    let taken = exported.import(&memory, &chunks);
    let tried = operations(random, COMMANDS_AFTER, is_on_data);
    if taken {
        let sent = chunks.iter().map(|chunk| decode_chunk(chunk.clone()));
        let sent =
            sent.map(|rows| rows.expect("what was taken can be decoded").len()).sum::<usize>();
        assert!(rows(&memory).len() <= sent);
        exported.read(&memory, &tried, random);
    }
    if random.below(INPUTS_TO_DISK) > 0 {
        return Done::one(1);
    }
    let dir = temporary_dir();
    if let Some(disk) = on_disk(&exported, dir.path(), &chunks) {
        assert!(taken && rows(&disk) == rows(&memory), "the engines differ");
        exported.read(&disk, &tried, random);
    }
    Done::one(2)
}

/// A new engine on disk that took these chunks, as it is when it is opened anew.
fn on_disk(exported: &Exported, dir: &std::path::Path, chunks: &[Bytes]) -> Option<DiskEngine> {
    let open = || DiskEngine::open(DiskOptions::new(dir)).expect("a sound folder");
    let engine = open();
    let taken = exported.import(&engine, chunks);
    let shown = rows(&engine);
    drop(engine);
    let opened = open();
    assert!(rows(&opened) == shown, "it was not kept");
    taken.then_some(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_chunks_are_imported_on_disk_as_in_memory() {
        let exported = Exported::new(3);
        let chunks: Vec<Bytes> = exported.chunks.iter().map(|chunk| sealed(chunk)).collect();
        let (memory, dir) = (MemoryEngine::new(), temporary_dir());
        assert!(exported.import(&memory, &chunks));
        let disk = on_disk(&exported, dir.path(), &chunks).expect("sound chunks");
        assert!(rows(&disk) == rows(&memory));
        let view = memory.read();
        let report = verify_state(&*view, 0, protocol::key_slot).expect("rows");
        assert_eq!(report.problems, Vec::<String>::new());
        assert!(report.keys_with_deadline > 0 && report.keys > report.keys_with_deadline);
        assert!(!meta::users(&*view, 0).expect("rows").is_empty());
        assert!(chunks.len() > 2 && kvorum::fuzzing::load_state(&*view).is_ok());
        let nothing = on_disk(&exported, temporary_dir().path(), &[Bytes::from("no chunk")]);
        assert!(nothing.is_none());
    }

    /// Spoilt rows of every kind come as far as what reads them.
    #[test]
    fn damages_are_refused_at_each_door() {
        let (mut refused, mut raft, mut users, mut problems) = (0, 0, 0, 0);
        let exported: Vec<Exported> = (0..6).map(Exported::new).collect();
        for seed in 0..2_000 {
            let mut random = Random::new(seed);
            let exported = random.pick(&exported);
            let mut chunks = exported.chunks.clone();
            damage(&mut random, &mut chunks);
            let chunks: Vec<Bytes> = chunks.iter().map(|chunk| sealed(chunk)).collect();
            let memory = MemoryEngine::new();
            if !exported.import(&memory, &chunks) {
                refused += 1;
                continue;
            }
            let view = memory.read();
            raft += u32::from(kvorum::fuzzing::load_state(&*view).is_err());
            let rows = meta::users(&*view, 0).unwrap_or_default();
            users += u32::from(rows.iter().any(|(_, row)| acl::read_row(row).is_err()));
            let report = verify_state(&*view, 0, protocol::key_slot);
            problems += u32::from(report.is_ok_and(|report| report.problem_count > 0));
        }
        let found = [refused, raft, users, problems];
        assert!(found.iter().all(|count| *count > 20), "{found:?}");
    }
}
