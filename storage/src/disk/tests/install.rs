//! Power cuts during the installation of a snapshot: what was not synced yet is there, torn or missing.
//!
//! The folder is copied at each point of the installation that a sync precedes. Whatever that point did
//! not make durable may be in any state after a power cut: of the new generation until it is loaded,
//! of the file that is to become CURRENT until it is renamed, of the old generation once it is being
//! removed. A rename may have happened or not until the folder is synced. Each image shows the old
//! state whole, or the new one whole, as the point says.
//!
//! `KVORUM_INSTALL_CRASH_IMAGES` says how many images are opened.

use super::*;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

fn images() -> u64 {
    let set = std::env::var("KVORUM_INSTALL_CRASH_IMAGES").ok();
    set.map_or(150, |count| count.parse().expect("a number"))
}

/// A copy of the folder at each step of one installation, in order; a large one has parts.
fn recorded(images: &Path) -> (Vec<Step>, State, State) {
    let (from_dir, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = open(from_dir.path());
    for log_index in 1..=40 {
        let value = format!("new {log_index} {}", "n".repeat(1 << 20));
        put(&from, log_index, &format!("key{log_index:02}"), &value);
    }
    let engine = open(dir.path());
    for log_index in 1..=50 {
        put(&engine, log_index, &format!("key{:02}", log_index % 30), &format!("old {log_index}"));
        if log_index % 20 == 0 {
            engine.flush().unwrap();
        }
    }
    engine.flush().unwrap();
    let old = state(&engine);
    let steps = Arc::new(Mutex::new(Vec::new()));
    let (list, source, to) = (steps.clone(), dir.path().to_owned(), images.to_owned());
    hook(&engine, move |step| {
        let mut list = list.lock();
        copy_dir(&source, &to.join(format!("{}", list.len())));
        list.push(step);
        Ok(())
    });
    copy_state(&from, &engine, 1 << 20);
    let new = state(&engine);
    drop(engine);
    let steps = std::mem::take(&mut *steps.lock());
    assert_eq!(steps.first(), Some(&Step::ImportPart));
    assert_eq!(steps.last(), Some(&Step::ImportSwitched));
    (steps, old, new)
}

/// All files and folders below `dir`, folders after what is in them.
fn below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, found);
        }
        found.push(path);
    }
}

/// What may become of a file that was not synced: gone, cut, or with a part that never arrived.
fn spoil(path: &Path, random: &mut Random) {
    if path.is_dir() {
        if random.below(8) == 0 {
            fs::remove_dir_all(path).unwrap();
        }
        return;
    }
    let length = fs::metadata(path).unwrap().len() as usize;
    let file = || fs::File::options().write(true).open(path).unwrap();
    match random.below(4) {
        0 => fs::remove_file(path).unwrap(),
        1 => file().set_len(random.below(length + 1) as u64).unwrap(),
        2 if length > 0 => {
            let from = random.below(length);
            let lost = (random.below(64 << 10) + 1).min(length - from);
            use std::os::unix::fs::FileExt;
            file().write_all_at(&vec![0; lost], from as u64).unwrap();
        }
        _ => {}
    }
}

/// Does to an image what a power cut could have done at this step; returns whether the state may be
/// the old one, and whether it may be the new one.
fn cut(image: &Path, step: Step, random: &mut Random) -> (bool, bool) {
    let (old, new) = (current::generation_dir(image, 1), current::generation_dir(image, 2));
    let mut unsynced = Vec::new();
    match step {
        Step::ImportPart | Step::ImportLoaded => below(&new, &mut unsynced),
        Step::ImportPrepared => unsynced.push(image.join("CURRENT.tmp")),
        Step::ImportSwitched => below(&old, &mut unsynced),
        step => panic!("{step:?} is no step of an installation"),
    }
    for path in unsynced.iter().filter(|path| path.exists()) {
        spoil(path, random);
    }
    if step == Step::ImportPrepared && random.below(2) == 0 {
        // The rename was begun, and is durable by chance; its file was synced before.
        current::prepare(image, Current::Ready(2)).unwrap();
        current::switch(image).unwrap();
        return (false, true);
    }
    (step != Step::ImportSwitched, step == Step::ImportSwitched)
}

#[test]
fn power_may_fail_at_every_sync_of_an_installation() {
    let steps_dir = tempfile::tempdir().unwrap();
    let (steps, old, new) = recorded(steps_dir.path());
    for number in 0..images() {
        let mut random = Random(number);
        let place = number as usize % steps.len();
        let image = tempfile::tempdir().unwrap();
        copy_dir(&steps_dir.path().join(place.to_string()), image.path());
        let (may_be_old, may_be_new) = cut(image.path(), steps[place], &mut random);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let engine = open(image.path());
            let seen = state(&engine);
            put(&engine, 1000, "later", "written");
            assert_eq!(engine.flush().unwrap(), 1000);
            (seen, generation_dirs(image.path()))
        }));
        let step = steps[place];
        let (seen, generations) = opened.unwrap_or_else(|_| panic!("image {number}, {step:?}"));
        assert_eq!(generations, 1, "image {number}, {step:?}: leftovers stay");
        let is_right = (may_be_old && seen == old) || (may_be_new && seen == new);
        assert!(is_right, "image {number}, {step:?}: neither state");
    }
}
