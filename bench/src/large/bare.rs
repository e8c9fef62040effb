//! Point lookups in the tables of a stopped node, by fjall alone: what its own path to them adds.
//!
//! The generation of tables that the node left is opened in this process with a cache of the same
//! size and as many open files; the layout of the tables is stored in them. Threads, one for each
//! core, get random keys one after another. There is no network, no protocol, no queue: a node that
//! keeps up with this on the same cores spends next to nothing on them.
//!
//! Rows of an overlay that the node had not moved into tables are not found; they are counted.

use crate::error::Failure;
use crate::keys::{Random, push_digits};
use crate::process::Sample;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable};
use protocol::key_slot;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use storage::key::{self, KeyspaceId, UserKey};

/// The keyspace of fjall's that holds all rows.
const ROWS: &str = "rows";
/// What the folders of generations begin with.
const GENERATION: &str = "state.g";
/// Files held open, as the node does.
const OPEN_FILES_MAX: usize = 256;
/// Rows before the first record that are looked at.
const ROWS_BEFORE_RECORDS_MAX: usize = 1_000_000;
/// Lookups between two looks at the clock.
const GETS_BETWEEN_LOOKS: u64 = 64;

/// What is read, and how.
pub(super) struct Reading {
    /// The `state` folder of the stopped node.
    pub(super) state: PathBuf,
    /// Size of the key space.
    pub(super) keys: u64,
    /// Memory of the block cache.
    pub(super) cache_bytes: u64,
    /// Threads that read.
    pub(super) threads: usize,
    /// Says which keys.
    pub(super) seed: u64,
    /// Time before counting begins.
    pub(super) warmup: Duration,
    /// Length of each measurement.
    pub(super) duration: Duration,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Round {
    pub(super) gets_per_second: f64,
    /// User and system time of this process for each lookup, in microseconds.
    pub(super) cpu_us_per_get: f64,
    /// Part of the lookups that found a row.
    pub(super) found: f64,
}

/// Where a key's row is.
#[derive(Clone, Copy)]
struct Place {
    shard: u16,
    keyspace: KeyspaceId,
}

/// Opens the tables and gets random keys.
///
/// Errors: they cannot be opened or read, or hold no record.
pub(super) fn read(reading: &Reading) -> Result<Round, Failure> {
    let database = Database::builder(generation(&reading.state)?)
        .cache_size(reading.cache_bytes)
        .worker_threads_unchecked(0)
        .max_cached_files(Some(OPEN_FILES_MAX))
        .manual_journal_persist(true)
        .open()
        .map_err(failed)?;
    if !database.keyspace_exists(ROWS) {
        return Err(Failure::new("the tables of the stopped node hold no rows"));
    }
    // The options of a keyspace that exists are its own; these are not looked at.
    let rows = database.keyspace(ROWS, KeyspaceCreateOptions::default).map_err(failed)?;
    let place = place_of_records(&database, &rows)?;
    run(reading, &rows, place, reading.warmup, 0)?;
    let (began, before) = (Instant::now(), Sample::take(std::process::id()));
    let (gets, found) = run(reading, &rows, place, reading.duration, reading.seed)?;
    let cpu = Sample::take(std::process::id()).cpu().saturating_sub(before.cpu());
    let gets = gets.max(1) as f64;
    Ok(Round {
        gets_per_second: gets / began.elapsed().as_secs_f64(),
        cpu_us_per_get: cpu.as_secs_f64() * 1e6 / gets,
        found: found as f64 / gets,
    })
}

fn failed(error: fjall::Error) -> Failure {
    Failure::new(format!("the tables of the stopped node: {error}"))
}

/// The only generation in a state's folder.
fn generation(state: &Path) -> Result<PathBuf, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(GENERATION) {
            found.push(entry.path());
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        all => Err(Failure::new(format!(
            "{}: {} generations of tables where one is expected",
            state.display(),
            all.len()
        ))),
    }
}

/// The shard and keyspace of the first record, which are those of all: one database was filled.
fn place_of_records(database: &Database, rows: &Keyspace) -> Result<Place, Failure> {
    for row in database.snapshot().iter(rows).take(ROWS_BEFORE_RECORDS_MAX) {
        let (row_key, _) = row.into_inner().map_err(failed)?;
        let row_key = bytes::Bytes::copy_from_slice(&row_key);
        if let (Some(record), Some(shard)) = (key::parse_record(&row_key), row_key.first_chunk()) {
            return Ok(Place { shard: u16::from_be_bytes(*shard), keyspace: record.keyspace });
        }
    }
    Err(Failure::new("the tables of the stopped node hold no record"))
}

/// Lookups, and those that found a row, of all threads in `time`.
fn run(
    reading: &Reading,
    rows: &Keyspace,
    place: Place,
    time: Duration,
    seed: u64,
) -> Result<(u64, u64), Failure> {
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..reading.threads as u64)
            .map(|thread| {
                let random = Random::new(seed.wrapping_mul(1_009).wrapping_add(thread));
                scope.spawn(move || get_until(end, reading.keys, random, rows, place))
            })
            .collect();
        threads.into_iter().try_fold((0, 0), |(gets, found), thread| {
            let counts = thread.join().map_err(|_| Failure::new("a reading thread failed"))??;
            Ok((gets + counts.0, found + counts.1))
        })
    })
}

fn get_until(
    end: Instant,
    keys: u64,
    mut random: Random,
    rows: &Keyspace,
    place: Place,
) -> Result<(u64, u64), Failure> {
    let (mut gets, mut found, mut user_key) = (0, 0, Vec::new());
    while Instant::now() < end {
        for _ in 0..GETS_BETWEEN_LOOKS {
            user_key.clear();
            user_key.extend_from_slice(b"key:");
            push_digits(&mut user_key, random.below(keys));
            let named = UserKey { slot: key_slot(&user_key), bytes: &user_key };
            let row_key = key::record(place.shard, place.keyspace, named);
            found += u64::from(rows.get(row_key.as_slice()).map_err(failed)?.is_some());
        }
        gets += GETS_BETWEEN_LOOKS;
    }
    Ok((gets, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use storage::disk::{DiskEngine, DiskOptions};
    use storage::txn::Engine;

    #[test]
    fn rows_of_a_stopped_engine_are_found_by_the_keys_of_the_load() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let engine = DiskEngine::open(DiskOptions::new(&state)).unwrap();
        let mut txn = engine.write(1);
        for number in 0..100 {
            let mut user_key = b"key:".to_vec();
            push_digits(&mut user_key, number);
            let named = UserKey { slot: key_slot(&user_key), bytes: &user_key };
            txn.put(&key::record(0, KeyspaceId(3), named), Bytes::from_static(b"value"));
        }
        txn.commit();
        engine.flush().unwrap();
        drop(engine);
        let reading = Reading {
            state,
            keys: 200,
            cache_bytes: 1 << 20,
            threads: 2,
            seed: 1,
            warmup: Duration::ZERO,
            duration: Duration::from_millis(50),
        };
        let bare = read(&reading).unwrap();
        assert!(bare.gets_per_second > 0.0);
        assert!((0.1..0.9).contains(&bare.found), "half of the keys are there: {bare:?}");
        let nowhere = Reading { state: directory.path().to_owned(), ..reading };
        assert!(read(&nowhere).is_err());
    }
}
