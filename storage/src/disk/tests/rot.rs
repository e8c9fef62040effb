//! Damage to files of a state store: what is read afterwards is right, or an error.
//!
//! `KVORUM_DISK_DAMAGES` says how many damaged copies are opened.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// What the device writes as a whole.
const SECTOR: usize = 512;

fn damages() -> usize {
    let set = std::env::var("KVORUM_DISK_DAMAGES").ok();
    set.map_or(60, |count| count.parse().expect("a number"))
}

/// Several tables with updates and deletions across them, then closed.
fn populated(dir: &Path) -> State {
    let engine = open(dir);
    let mut random = Random(1);
    let mut log_index = 0;
    for _ in 0..3 {
        for _ in 0..400 {
            log_index += 1;
            let key = format!("key{:03}", random.below(300));
            let value = format!("value {log_index} {}", "x".repeat(random.below(120)));
            let value = (random.below(5) > 0).then_some(&*value);
            commit(&engine, log_index, &[(&*key, value)]);
        }
        engine.flush().unwrap();
    }
    state(&engine)
}

/// All files that hold something, without journals: nothing is ever written to those.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_none_or(|extension| extension != "jnl")
            && fs::metadata(&path).unwrap().len() > 0
        {
            found.push(path);
        }
    }
}

/// Damages a file in one way, and says how.
fn damage(path: &Path, random: &mut Random) -> String {
    let mut content = fs::read(path).unwrap();
    let at = random.below(content.len());
    let what = match random.below(5) {
        0..2 => {
            content[at] ^= 1 << random.below(8);
            format!("a flipped bit of byte {at}")
        }
        2 => {
            content.truncate(at);
            format!("cut to {at} bytes")
        }
        3 => {
            let (start, end) = (at - at % SECTOR, (at - at % SECTOR + SECTOR).min(content.len()));
            content[start..end].fill(0);
            format!("zeroes at {start}")
        }
        _ => {
            let sectors = content.len() / SECTOR;
            if sectors < 2 {
                content[at] = !content[at];
                format!("byte {at} turned round")
            } else {
                let (one, other) = (random.below(sectors), random.below(sectors));
                for offset in 0..SECTOR {
                    content.swap(one * SECTOR + offset, other * SECTOR + offset);
                }
                format!("sectors {one} and {other} swapped")
            }
        }
    };
    fs::write(path, content).unwrap();
    what
}

/// What a damaged store shows: everything as it was, or an error somewhere.
enum Shown {
    Right,
    Error,
}

/// Reads everything there is, key by key and as a whole.
fn read_all(dir: &Path, expected: &State) -> Result<Shown, String> {
    let Ok(engine) = DiskEngine::open(roomy(dir)) else { return Ok(Shown::Error) };
    let view = engine.read();
    let mut shown = Shown::Right;
    for number in 0..300 {
        let key = format!("key{number:03}");
        match view.get(key.as_bytes()) {
            Err(_) => shown = Shown::Error,
            Ok(found) => {
                let found = found.map(|value| value.escape_ascii().to_string());
                if found.as_ref() != expected.get(&key) {
                    return Err(format!("{key} is {found:?}, not {:?}", expected.get(&key)));
                }
            }
        }
    }
    let mut rows = State::new();
    for row in view.rows(&[], &[0xFF, 0xFF, 0xFF]) {
        // What follows an error is not read.
        let Ok((key, value)) = row else { return Ok(Shown::Error) };
        rows.insert(key.escape_ascii().to_string(), value.escape_ascii().to_string());
    }
    if rows != *expected {
        return Err(format!("a walk shows {} rows of {}", rows.len(), expected.len()));
    }
    Ok(shown)
}

#[test]
fn damaged_files_are_errors_or_harmless_and_never_other_data() {
    let dir = tempfile::tempdir().unwrap();
    let expected = populated(dir.path());
    let mut random = Random(2);
    let (mut right, mut errors) = (0, 0);
    for number in 0..damages() {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let mut all = Vec::new();
        files(copy.path(), &mut all);
        all.sort();
        let path = &all[random.below(all.len())];
        let name = path.strip_prefix(copy.path()).unwrap().display().to_string();
        let what = format!("damage {number}, {name}: {}", damage(path, &mut random));
        match catch_unwind(AssertUnwindSafe(|| read_all(copy.path(), &expected))) {
            Ok(Ok(Shown::Right)) => right += 1,
            Ok(Ok(Shown::Error)) => errors += 1,
            Ok(Err(wrong)) => panic!("{what}: {wrong}"),
            Err(_) => panic!("{what}: a panic, see above"),
        }
    }
    println!("{} damaged stores: {errors} refused or with errors, {right} unharmed", damages());
    assert!(errors > 0);
}

#[test]
fn a_list_of_tables_that_is_not_the_last_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, 1, "key", "old");
    engine.flush().unwrap();
    let lists = dir.path().join("state.g1/keyspaces/1");
    let number = || *fs::read(lists.join("current")).unwrap().first_chunk::<8>().unwrap();
    let list = |number: [u8; 8]| lists.join(format!("v{}", u64::from_le_bytes(number)));
    let old = number();
    let content = fs::read(list(old)).unwrap();
    put(&engine, 2, "key", "new");
    engine.flush().unwrap();
    drop(engine);
    assert_ne!(number(), old);
    let mut named = fs::read(lists.join("current")).unwrap();
    named[..8].copy_from_slice(&old);
    fs::write(list(old), content).unwrap();
    fs::write(lists.join("current"), named).unwrap();
    let refused = DiskEngine::open(roomy(dir.path())).err().map(|error| error.to_string());
    assert!(refused.as_ref().is_some_and(|why| why.contains("list of tables")), "{refused:?}");
}
