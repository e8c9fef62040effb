//! Tests of the engine as a whole: the contract, a model, crashes, failures, threads.

mod contract;
mod crash;
mod install;
mod model;
mod reclaim;
mod rot;
mod threads;

use super::shared::{Hook, Step};
use super::*;
use crate::random::Random;
use crate::txn::Row;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;

/// Rows as text, to compare and to print.
type State = BTreeMap<String, String>;

/// Options under which a few hundred rows fill an overlay.
fn small(dir: &Path) -> DiskOptions {
    let dir = dir.to_owned();
    DiskOptions {
        dir,
        overlay_bytes_max: 16 << 10,
        cache_bytes: 1 << 20,
        writes_tables: true,
        before_durable: crate::disk::BeforeDurable::default(),
        space: None,
    }
}

/// Options under which an overlay is never full.
fn roomy(dir: &Path) -> DiskOptions {
    DiskOptions { cache_bytes: 1 << 20, ..DiskOptions::new(dir) }
}

fn open(dir: &Path) -> DiskEngine {
    DiskEngine::open(roomy(dir)).unwrap()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn commit(engine: &dyn Engine, log_index: u64, changes: &[(&str, Option<&str>)]) {
    let mut txn = engine.write(log_index);
    for (key, value) in changes {
        match value {
            Some(value) => txn.put(bytes(key).as_ref(), bytes(value)),
            None => txn.delete(bytes(key).as_ref()),
        }
    }
    txn.commit();
}

fn put(engine: &dyn Engine, log_index: u64, key: &str, value: &str) {
    commit(engine, log_index, &[(key, Some(value))]);
}

fn text(row: Result<Row, StorageError>) -> (String, String) {
    let (key, value) = row.unwrap();
    (key.escape_ascii().to_string(), value.escape_ascii().to_string())
}

fn state_of(txn: &dyn ReadTxn) -> State {
    txn.rows(&[], &[0xFF, 0xFF, 0xFF]).map(text).collect()
}

fn state(engine: &dyn Engine) -> State {
    state_of(&*engine.read())
}

fn one_line(state: &State) -> String {
    state.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

fn copy_state(from: &dyn Engine, to: &dyn Engine, chunk_bytes: usize) -> u64 {
    let mut source = from.export().unwrap();
    let mut sink = to.import().unwrap();
    let log_index = source.view().log_index();
    while let Some(chunk) = source.next_chunk(chunk_bytes).unwrap() {
        sink.write_chunk(chunk).unwrap();
    }
    sink.finish(log_index).unwrap();
    log_index
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else if entry.path().extension().is_some_and(|extension| extension == "jnl") {
            // 64 MiB of nothing: nothing is ever written to a journal.
            let length = entry.metadata().unwrap().len();
            fs::File::create(target).unwrap().set_len(length).unwrap();
        } else {
            match fs::copy(entry.path(), target) {
                // A compaction went on meanwhile; what is missed then makes the copy unreadable.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

fn hook(
    engine: &DiskEngine,
    hook: impl Fn(Step) -> Result<(), StorageError> + Send + Sync + 'static,
) {
    let hook: Hook = Arc::new(hook);
    *engine.shared.hook.lock() = Some(hook);
}

fn generation_dirs(dir: &Path) -> usize {
    current::generations(dir).unwrap().len()
}

/// Waits up to a few seconds for what a background thread does.
pub(in crate::disk) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{what} did not happen");
}
