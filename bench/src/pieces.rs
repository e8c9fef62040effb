//! One function for each piece: it prepares everything, and returns what does one round.
//!
//! A round is [`UNITS`] commands or rows of the shape that the comparisons use (keys of 16 bytes,
//! values of 100), the group that an entry holds under load. Rounds are the same again and again, so
//! that figures do not drift: keys come from a fixed set that is written before the first round.
//!
//! Of the read barrier only the node's own part is here: its rounds are confirmed at once. Not here:
//! what a majority takes to confirm them, and the proposer, which has no public door; their price is
//! the difference of whole-server figures, see `server/docs/benchmarks.md`.

use bytes::{Bytes, BytesMut};
use kvorum::simulation::LoneBarrier;
use kvorum::state_machine::{self, Entry, EntryHeader};
use protocol::{Reply, RespVersion, ScanLimits, Scanner, encode, encode_request};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use storage::disk::{DiskEngine, DiskOptions};
use storage::log::{EntryKind, LogEntry, LogOptions, LogPosition, RaftLog};
use storage::memory::MemoryEngine;
use storage::meta::KeyspaceMap;
use storage::txn::Engine;

/// Commands or rows in a round.
pub const UNITS: u64 = 64;
/// Keys that rounds take turns with; a round touches [`UNITS`] of them.
const KEYS: u64 = 8_192;
/// Bytes of a value.
const VALUE_BYTES: usize = 100;
/// A moment for entries, in milliseconds since 1970.
const NOW_MS: u64 = 1_700_000_000_000;

/// Does one round.
pub type Round = Box<dyn FnMut()>;

/// A piece of Kvorum that can be measured by itself.
pub struct Piece {
    /// What it is called.
    pub name: &'static str,
    /// What one unit is.
    pub unit: &'static str,
    /// Whether its instructions are the same in each run: no waiting for disks.
    pub steady: bool,
    /// Prepares it, with its files below the folder given.
    pub prepare: fn(&Path) -> Round,
}

/// All pieces, in the order of the path of a write and then of a read.
pub const PIECES: [Piece; 10] = [
    Piece { name: "scan-set", unit: "SET", steady: true, prepare: scan_set },
    Piece { name: "scan-get", unit: "GET", steady: true, prepare: scan_get },
    Piece { name: "entry-assemble", unit: "SET", steady: true, prepare: entry_assemble },
    Piece { name: "entry-decode", unit: "SET", steady: true, prepare: entry_decode },
    Piece { name: "log-append", unit: "SET", steady: false, prepare: log_append },
    Piece { name: "apply-memory", unit: "SET", steady: true, prepare: apply_memory },
    Piece { name: "apply-overlay", unit: "SET", steady: true, prepare: apply_overlay },
    Piece { name: "barrier", unit: "read", steady: true, prepare: barrier },
    Piece { name: "read-overlay", unit: "GET", steady: true, prepare: read_overlay },
    Piece { name: "encode-replies", unit: "reply", steady: true, prepare: encode_replies },
];

/// The piece called `name`.
pub fn find(name: &str) -> Option<&'static Piece> {
    static ALL: [Piece; PIECES.len()] = PIECES;
    ALL.iter().find(|piece| piece.name == name)
}

fn key(number: u64) -> String {
    format!("key:{:012}", number % KEYS)
}

/// Half of its bytes random, so that it is neither all zero nor special to anybody.
fn value(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..VALUE_BYTES).map(|position| if position % 2 == 0 { next() } else { b'v' }).collect()
}

/// A pipeline of SET for the keys from `first` on.
fn sets(first: u64) -> BytesMut {
    let mut out = BytesMut::new();
    for number in first..first + UNITS {
        encode_request(&[&b"SET"[..], key(number).as_bytes(), &value(number)], &mut out);
    }
    out
}

/// Scans `pipeline` once in each round; copying it into the buffer is part of the round.
fn scan(pipeline: BytesMut) -> Round {
    let limits = ScanLimits::authenticated(protocol::limits::BULK_BYTES_MAX_DEFAULT);
    let mut buffer = BytesMut::new();
    Box::new(move || {
        buffer.extend_from_slice(&pipeline);
        let mut scanner = Scanner::new();
        let mut found = 0;
        while let Ok(Some(request)) = scanner.next(&mut buffer, &limits) {
            found += u64::from(!black_box(request).is_empty());
        }
        assert_eq!(found, UNITS);
    })
}

fn scan_set(_folder: &Path) -> Round {
    scan(sets(0))
}

fn scan_get(_folder: &Path) -> Round {
    let mut pipeline = BytesMut::new();
    for number in 0..UNITS {
        encode_request(&["GET", &key(number)], &mut pipeline);
    }
    scan(pipeline)
}

/// One entry that sets the keys from `first` on.
fn entry(first: u64) -> Bytes {
    let mut operations = BytesMut::new();
    for number in first..first + UNITS {
        let request =
            protocol::Request::from_parts(&[&b"SET"[..], key(number).as_bytes(), &value(number)]);
        state_machine::entry::encode_command(0, &request, &mut operations);
    }
    assemble(&operations)
}

fn assemble(operations: &[u8]) -> Bytes {
    let header = EntryHeader { now_ms: NOW_MS, seed: 7, databases: 16 };
    Entry::assemble(header, UNITS as u32, std::iter::once(operations), operations.len())
}

/// Requests as the connection has them become one entry.
fn entry_assemble(_folder: &Path) -> Round {
    let requests: Vec<protocol::Request> = (0..UNITS)
        .map(|number| {
            let (key, value) = (key(number), value(number));
            protocol::Request::from_parts(&[&b"SET"[..], key.as_bytes(), &value])
        })
        .collect();
    Box::new(move || {
        let mut operations = BytesMut::new();
        for request in &requests {
            state_machine::entry::encode_command(0, request, &mut operations);
        }
        black_box(assemble(&operations));
    })
}

fn entry_decode(_folder: &Path) -> Round {
    let entry = entry(0);
    Box::new(move || {
        black_box(Entry::decode(&entry).expect("it was assembled here"));
    })
}

/// One entry is appended and durable: a round ends when the disk has it.
fn log_append(folder: &Path) -> Round {
    let log = RaftLog::open(LogOptions::new(folder.join("log"))).expect("the folder is empty");
    let shard = log.shard(0);
    let payload = entry(0);
    let mut index = 0;
    Box::new(move || {
        // The log lives as long as its rounds; opening it made the file it appends to.
        let _keep_open = &log;
        index += 1;
        let position = LogPosition { term: 1, index };
        let entry = LogEntry { position, kind: EntryKind::Normal, payload: payload.clone() };
        let (sender, done) = mpsc::sync_channel(1);
        shard.append(
            vec![entry],
            Box::new(move |result| sender.send(result).expect("the round waits for it")),
        );
        done.recv().expect("the log answers").expect("the disk takes it");
        if index.is_multiple_of(LOG_ENTRIES_KEPT) {
            shard.purge(LogPosition { term: 1, index: index - 1 });
        }
    })
}

/// Entries after which the log is purged, so that segments are recycled as in a server.
const LOG_ENTRIES_KEPT: u64 = 10_000;

/// Applies entries in turn, each in a batch of its own, as a node does.
fn apply_to(engine: Box<dyn Engine>) -> (Round, std::sync::Arc<dyn Engine>) {
    let engine: std::sync::Arc<dyn Engine> = engine.into();
    let entries: Vec<Bytes> = (0..KEYS / UNITS).map(|turn| entry(turn * UNITS)).collect();
    let mut index = 0;
    let shared = std::sync::Arc::clone(&engine);
    let mut round = move || {
        let entry = &entries[index as usize % entries.len()];
        index += 1;
        let mut txn = shared.write(index);
        let (applied, now_ms) = state_machine::apply(&mut *txn, 0, NOW_MS, entry, true)
            .expect("the entry was assembled here");
        let state = state_machine::AppliedState { term: 1, log_index: index, now_ms };
        state.store(&mut *txn, 0);
        txn.commit();
        assert_eq!(black_box(applied).replies.len() as u64, UNITS);
    };
    (0..KEYS / UNITS).for_each(|_| round());
    (Box::new(round), engine)
}

fn apply_memory(_folder: &Path) -> Round {
    apply_to(Box::new(MemoryEngine::new())).0
}

fn disk(folder: &Path) -> Box<dyn Engine> {
    let options = DiskOptions::new(PathBuf::from(folder).join("state"));
    Box::new(DiskEngine::open(options).expect("the folder is empty"))
}

/// The engine of a server; all keys stay in its overlay, which is far from full.
fn apply_overlay(folder: &Path) -> Round {
    apply_to(disk(folder)).0
}

/// Reads that arrive together wait for one round of the barrier.
fn barrier(_folder: &Path) -> Round {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime without drivers can be made");
    let barrier = runtime.block_on(async { LoneBarrier::start() });
    let mut rounds = 0;
    Box::new(move || {
        rounds += 1;
        let reads = (0..UNITS).map(|_| barrier.wait());
        let passed = runtime.block_on(futures_util::future::join_all(reads));
        assert!(passed.iter().all(|round| *round == Some(rounds)), "all share one round");
    })
}

/// Rows that are in the overlay, read through one read txn for each round.
fn read_overlay(folder: &Path) -> Round {
    let (_write, engine) = apply_to(disk(folder));
    let keyspaces = KeyspaceMap::load(&*engine.read(), 0).expect("the state was made here");
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    let mut turn = 0;
    Box::new(move || {
        let txn = engine.read();
        let reader = storage::keyspace::Reader::new(&*txn, 0, NOW_MS).with_keyspaces(&keyspaces);
        for _ in 0..UNITS {
            turn += 1;
            let key = &keys[turn % keys.len()];
            let key = key.as_bytes();
            let user_key = storage::key::UserKey { bytes: key, slot: protocol::key_slot(key) };
            let record = reader.lookup(0, user_key).expect("the overlay is sound");
            assert!(black_box(record).is_some());
        }
    })
}

fn encode_replies(_folder: &Path) -> Round {
    let replies: Vec<Reply> = (0..UNITS)
        .map(|number| match number % 4 {
            0 => Reply::OK,
            1 => Reply::Integer(number as i64 * 1_000),
            _ => Reply::bulk(value(number)),
        })
        .collect();
    let mut out = BytesMut::new();
    Box::new(move || {
        out.clear();
        for reply in &replies {
            encode(reply, RespVersion::Resp2, &mut out);
        }
        black_box(&out);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_can_do_rounds_again_and_again() {
        for piece in &PIECES {
            let folder = tempfile::tempdir().unwrap();
            let mut round = (piece.prepare)(folder.path());
            (0..200).for_each(|_| round());
            assert!(find(piece.name).is_some());
        }
        assert!(find("nothing").is_none());
    }
}
