//! A data directory as a node leaves it, checked whole and with damage.

use super::*;
use crate::raft::codec::Wire;
use crate::raft::identity::Identity;
use crate::raft::types::{Membership, NodeAddress, log_id};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};
use storage::disk::{DiskEngine, DiskOptions};
use storage::key::UserKey;
use storage::keyspace::Writer;
use storage::log::{EntryKind, LogEntry, LogOptions, LogPosition, RaftLog};
use storage::meta;
use storage::txn::Engine;
use storage::value::ValueKind;

const TERM: u64 = 2;
const KEYS: u64 = 300;

/// A node that applied `KEYS` entries and has three more in its log.
fn stopped_node(dir: &Path) {
    let log = RaftLog::open(LogOptions::new(dir.join("log"))).unwrap();
    Identity::open(dir, 7, log.id(), false).unwrap().adopt_cluster(9).unwrap();
    let position = |index| LogPosition { term: TERM, index };
    let entries = (0..KEYS + 3).map(|index| LogEntry {
        position: position(index),
        kind: EntryKind::Normal,
        payload: Bytes::from(vec![b'p'; 50]),
    });
    log.shard(0).append(entries.collect(), Box::new(|done| done.unwrap()));
    log.sync().unwrap();
    log.close().unwrap();
    let engine = DiskEngine::open(DiskOptions::new(dir.join("state"))).unwrap();
    for log_index in 1..=KEYS {
        apply(&engine, log_index);
    }
    engine.flush().unwrap();
}

fn apply(engine: &DiskEngine, log_index: u64) {
    let mut txn = engine.write(log_index);
    if log_index == 1 {
        let nodes = BTreeMap::from([(7, NodeAddress::default())]);
        let members = Membership::new(vec![BTreeSet::from([7])], nodes).unwrap();
        let stored = StoredMembership::new(Some(log_id(TERM, 0)), members);
        meta::set_membership(&mut *txn, SHARD, stored.to_bytes());
    }
    let name = format!("key-{log_index}");
    let key = UserKey { slot: protocol::key_slot(name.as_bytes()), bytes: name.as_bytes() };
    let mut writer = Writer::new(&mut *txn, SHARD, 1000);
    let loaded = writer.load(0, key).unwrap();
    let deadline_ms = log_index.is_multiple_of(3).then_some(9000);
    writer.store(loaded, ValueKind::STRING, &[&[b'v'; 100]], deadline_ms).unwrap();
    writer.settle();
    AppliedState { term: TERM, log_index, now_ms: 1000 }.store(&mut *txn, SHARD);
    txn.commit();
}

/// All files below a directory with their contents.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

fn verdict_now(dir: &Path) -> Result<Vec<String>, Failure> {
    read(dir).map(|contents| problems(&contents))
}

/// Of a directory that nobody uses. A process that another test starts holds copies of all locks of
/// this one for a moment, until it is another program.
fn verdict(dir: &Path) -> Result<Vec<String>, Failure> {
    let begun = Instant::now();
    loop {
        match verdict_now(dir) {
            Err(Failure::Unchecked(_)) if begun.elapsed() < Duration::from_secs(10) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            verdict => return verdict,
        }
    }
}

#[test]
fn a_stopped_node_is_sound_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    stopped_node(dir.path());
    // Opening lets the store below drop versions of its own bookkeeping that nothing names any
    // more, once; tables and everything of ours stay.
    for look in 0..2 {
        let before = files(dir.path());
        let contents = read(dir.path()).unwrap();
        assert_eq!(problems(&contents), Vec::<String>::new());
        let state = contents.state.unwrap();
        assert_eq!((state.rows.keys, state.rows.keys_with_deadline), (KEYS, KEYS / 3));
        let after = files(dir.path());
        let names: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
        let is_stale = |name: &PathBuf| {
            let name = name.file_name().and_then(|name| name.to_str()).unwrap_or("");
            look == 0 && (name.ends_with(".jnl") || name.starts_with('v'))
        };
        let changed = |name: &&&PathBuf| before.get(**name) != after.get(**name) && !is_stale(name);
        let changed: Vec<_> = names.iter().filter(changed).collect();
        assert!(changed.is_empty(), "{changed:?}");
    }
}

#[test]
fn a_node_that_runs_is_not_checked() {
    let dir = tempfile::tempdir().unwrap();
    stopped_node(dir.path());
    let log = RaftLog::open(LogOptions::new(dir.path().join("log"))).unwrap();
    assert!(matches!(verdict_now(dir.path()), Err(Failure::Unchecked(_))));
    log.close().unwrap();
    drop(log);
    let engine = DiskEngine::open(DiskOptions::new(dir.path().join("state"))).unwrap();
    assert!(matches!(verdict_now(dir.path()), Err(Failure::Unchecked(_))));
    drop(engine);
    assert!(matches!(verdict_now(&dir.path().join("missing")), Err(Failure::Unchecked(_))));
}

#[test]
fn a_changed_byte_of_log_or_tables_is_found() {
    let dir = tempfile::tempdir().unwrap();
    stopped_node(dir.path());
    let all = files(dir.path());
    let table = |path: &&PathBuf| path.components().any(|part| part.as_os_str() == "tables");
    let largest_table = all.keys().filter(table).max_by_key(|path| all[*path].len()).unwrap();
    let segment = all.keys().find(|path| path.extension().is_some_and(|name| name == "seg"));
    for (path, offset) in [(largest_table, 1000), (segment.unwrap(), 1000)] {
        let mut changed = all[path].clone();
        changed[offset] ^= 0x10;
        fs::write(path, changed).unwrap();
        let found = verdict(dir.path());
        assert!(matches!(found, Err(Failure::Damaged(_))), "{}: {found:?}", path.display());
        fs::write(path, &all[path]).unwrap();
    }
    assert_eq!(verdict(dir.path()).unwrap(), Vec::<String>::new());
}

#[test]
fn missing_parts_are_damage() {
    for missing in ["log", "state/CURRENT", "identity"] {
        let dir = tempfile::tempdir().unwrap();
        stopped_node(dir.path());
        let path = dir.path().join(missing);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        match verdict(dir.path()) {
            Ok(problems) => assert!(!problems.is_empty(), "{missing}"),
            Err(failure) => assert!(matches!(failure, Failure::Damaged(_)), "{failure:?}"),
        }
    }
}

#[test]
fn a_state_of_another_node_does_not_pass() {
    let dir = tempfile::tempdir().unwrap();
    stopped_node(dir.path());
    let engine = DiskEngine::open(DiskOptions::new(dir.path().join("state"))).unwrap();
    let mut txn = engine.write(KEYS + 3);
    AppliedState { term: TERM + 5, log_index: KEYS + 3, now_ms: 1 }.store(&mut *txn, SHARD);
    txn.commit();
    engine.flush().unwrap();
    drop(engine);
    let problems = verdict(dir.path()).unwrap();
    assert!(
        problems.iter().any(|problem| problem.contains("of term 2 in the log")),
        "{problems:?}"
    );
}

#[test]
fn a_log_of_another_node_does_not_pass() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    stopped_node(dir.path());
    stopped_node(other.path());
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    fs::rename(other.path().join("log"), dir.path().join("log")).unwrap();
    let problems = verdict(dir.path()).unwrap();
    assert_eq!(problems, ["the log is not the one that this node voted in"]);
}
