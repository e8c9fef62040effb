//! Damage to files of a state store: what is read afterwards is right, or an error.
//!
//! `KVORUM_DISK_DAMAGES` says how many damaged copies are opened, `KVORUM_DISK_DAMAGE_SEED` where the
//! random numbers begin.

use super::*;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// What the device writes as a whole.
const SECTOR: usize = 512;
/// How far into a file damage is done: past the end of all but journals, which are 64 MiB of zeroes
/// and of which only the beginning may ever matter.
const REACH: usize = 1 << 20;
/// Damages done to one copy.
const DAMAGES_MAX: usize = 3;

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |number| number.parse().expect("a number"))
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

/// All files that hold something.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
}

/// Damages a file in one way, and says how.
fn damage(path: &Path, random: &mut Random) -> String {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let length = (file.metadata().unwrap().len() as usize).min(REACH);
    if length == 0 {
        return "nothing more, it is empty".to_owned();
    }
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, 0).unwrap();
    let at = random.below(length);
    let start = at - at % SECTOR;
    let sector = start..(start + SECTOR).min(length);
    let what = match random.below(6) {
        0..2 => {
            content[at] ^= 1 << random.below(8);
            format!("a flipped bit of byte {at}")
        }
        2 => {
            file.set_len(at as u64).unwrap();
            content.truncate(at);
            format!("cut to {at} bytes")
        }
        3 => {
            content[sector].fill(0);
            format!("zeroes at {start}")
        }
        4 => {
            content[sector].fill_with(|| random.below(256) as u8);
            format!("other bytes at {start}")
        }
        _ => swap_sectors(&mut content, random),
    };
    file.write_all_at(&content, 0).unwrap();
    what
}

/// As if two writes had gone to each other's place.
fn swap_sectors(content: &mut [u8], random: &mut Random) -> String {
    let sectors = content.len() / SECTOR;
    if sectors < 2 {
        let at = random.below(content.len());
        content[at] = !content[at];
        return format!("byte {at} turned round");
    }
    let (one, other) = (random.below(sectors), random.below(sectors));
    for offset in 0..SECTOR {
        content.swap(one * SECTOR + offset, other * SECTOR + offset);
    }
    format!("sectors {one} and {other} swapped")
}

/// Does one to [`DAMAGES_MAX`] damages to the files of a copy, and says which.
fn damage_some(copy: &Path, random: &mut Random) -> String {
    let mut all = Vec::new();
    files(copy, &mut all);
    all.sort();
    let mut done = Vec::new();
    for _ in 0..=random.below(DAMAGES_MAX) {
        let path = &all[random.below(all.len())];
        let name = path.strip_prefix(copy).unwrap().display();
        done.push(format!("{name}: {}", damage(path, random)));
    }
    done.join(", ")
}

/// What a damaged store shows: everything as it was, an error somewhere, or it does not open.
enum Shown {
    Right,
    Error,
    Refused,
}

/// Reads everything there is, key by key and as a whole.
fn read_all(dir: &Path, expected: &State) -> Result<Shown, String> {
    let Ok(engine) = DiskEngine::open(roomy(dir)) else { return Ok(Shown::Refused) };
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
    let seed = number_from("KVORUM_DISK_DAMAGE_SEED", 2);
    let count = number_from("KVORUM_DISK_DAMAGES", 60);
    let mut random = Random(seed);
    let (mut right, mut errors, mut refused, mut wrong) = (0, 0, 0, Vec::new());
    for number in 0..count {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let what = damage_some(copy.path(), &mut random);
        match catch_unwind(AssertUnwindSafe(|| read_all(copy.path(), &expected))) {
            Ok(Ok(Shown::Right)) => right += 1,
            Ok(Ok(Shown::Error)) => errors += 1,
            Ok(Ok(Shown::Refused)) => refused += 1,
            Ok(Err(why)) => wrong.push(format!("damage {number}, {what}: {why}")),
            Err(_) => wrong.push(format!("damage {number}, {what}: a panic, see above")),
        }
    }
    println!(
        "| damaged states, seed {seed} | {count} | - | {refused} refused, {errors} with errors, \
         {right} unharmed, {} wrong |",
        wrong.len()
    );
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    assert!(refused + errors > 0);
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
