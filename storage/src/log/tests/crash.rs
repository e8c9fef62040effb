//! Crashes at any moment: a log opens again, with everything that was acknowledged, and with
//! nothing but a beginning of what was called.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use xxhash_rust::xxh3::Xxh3;

use super::memory_disk::{Content, Event, Loss, Replay};
use super::model::{Call, Driver, Found, Model, calls, observe};
use super::*;
use crate::random::Random;

/// Cuts that may be needed for a new image: those early in a run leave much the same.
const CUTS_FOR_AN_IMAGE_MAX: usize = 20;

/// How many images each test tries; `KVORUM_LOG_CRASH_IMAGES` sets another number.
fn images_max() -> usize {
    let set = std::env::var("KVORUM_LOG_CRASH_IMAGES").ok();
    set.map_or(4_000, |count| count.parse().expect("a number"))
}

thread_local! {
    /// How many images the test on this thread has opened, and their hashes.
    static IMAGES: RefCell<(usize, HashSet<u64>)> = RefCell::default();
}

fn note_image(content: &Content) {
    let mut hasher = Xxh3::new();
    for (name, file) in &content.names {
        hasher.update(name.as_bytes());
        hasher.update(&content.files[*file]);
    }
    IMAGES.with_borrow_mut(|(opened, hashes)| {
        *opened += 1;
        hashes.insert(hasher.digest());
    });
}

fn distinct_images() -> usize {
    IMAGES.with_borrow(|(_, hashes)| hashes.len())
}

/// Says how many images were opened, as a row of the table of `cargo crash-images`.
fn tell(what: &str) {
    let (opened, distinct) = IMAGES.with_borrow(|(opened, hashes)| (*opened, hashes.len()));
    println!("| log, {what} | {opened} | {distinct} | all that was promised, each time |");
}

/// Whether this test has opened as many images as it was asked for, counting equal ones once.
fn has_opened_enough(cuts: usize) -> bool {
    let distinct = distinct_images();
    let is_enough = distinct >= images_max();
    assert!(
        is_enough || cuts < CUTS_FOR_AN_IMAGE_MAX * images_max(),
        "{cuts} cuts left only {distinct} images"
    );
    is_enough
}

pub(super) fn some_calls(seed: u64, count: usize) -> Vec<Call> {
    let config = Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let mut runner = TestRunner::new(config);
    let mut next = || calls().new_tree(&mut runner).unwrap().current();
    (0..count).map(|_| next()).collect()
}

/// A recorded run: what was done to the disk, and what the log should have held after each call.
struct Run {
    start: Content,
    trace: Vec<Event>,
    models: Vec<Model>,
    /// All commit positions that were ever saved.
    saved: BTreeMap<u32, BTreeSet<LogPosition>>,
}

impl Run {
    fn record(start: Content, found: Found, sync: SyncPolicy, calls: &[Call]) -> Run {
        let mut driver = Driver::start(start.clone(), found, sync);
        for call in calls {
            driver.call(call);
        }
        let Driver { disk, models, saved, .. } = driver.finish();
        Run { start, trace: disk.trace(), models, saved }
    }

    fn first(sync: SyncPolicy, calls: &[Call]) -> Run {
        let nothing = Found { model: Model::new(), committed: Default::default() };
        Run::record(Content::default(), nothing, sync, calls)
    }

    /// The log on `disk` is one that a crash at this moment may leave.
    fn check(&self, disk: &MemoryDisk, replay: &Replay, what: &str) -> Found {
        note_image(&disk.content());
        let found = match observe(disk) {
            Ok(found) => found,
            Err(error) => panic!("{what}: {error}"),
        };
        let allowed = &self.models[replay.acked..=replay.called];
        assert!(
            allowed.contains(&found.model),
            "{what}: not between step {} and {}: {:?}",
            replay.acked,
            replay.called,
            found.model
        );
        for (id, committed) in &found.committed {
            assert!(self.saved[id].contains(committed), "{what}: {committed:?} of shard {id}");
            let last = found.model.get(id).and_then(|shard| shard.last());
            assert!(Some(committed.index) <= last.map(|last| last.index), "{what}: {committed:?}");
        }
        found
    }

    /// After recovery everything that it found is durable, and a crash inside it does no harm.
    fn check_recovery(&self, replay: &Replay, image: Replay, random: &mut Random, what: &str) {
        let disk = MemoryDisk::with(image.written.clone());
        let found = self.check(&disk, replay, what);
        let events = disk.trace();
        let crash = random.below(events.len() + 1);
        let mut recovering = image;
        for (number, event) in events.iter().enumerate() {
            if number == crash {
                for loss in [Loss::All, Loss::Any] {
                    let left = recovering.cut(loss, &mut |bound| random.below(bound));
                    self.check(&MemoryDisk::with(left), replay, what);
                }
            }
            recovering.apply(event);
        }
        let left = recovering.cut(Loss::All, &mut |_| 0);
        let again = observe(&MemoryDisk::with(left)).unwrap();
        assert_eq!(again.model, found.model, "{what}: what recovery found was not durable");
    }
}

#[test]
fn a_process_may_end_at_every_byte() {
    let run = Run::first(SyncPolicy::Always, &some_calls(1, 70));
    let mut replay = Replay::from(run.start.clone());
    let mut images = 0;
    let mut random = Random(1);
    for (number, event) in run.trace.iter().enumerate() {
        if let Event::Write { file, offset, bytes } = event {
            // Blank files are all alike; what is in them later is cut at every byte.
            let step = if bytes.iter().all(|byte| *byte == 0) { 1024 } else { 1 };
            for len in (1..bytes.len()).step_by(step) {
                let mut image = replay.clone();
                let bytes = bytes[..len].to_vec();
                image.apply(&Event::Write { file: *file, offset: *offset, bytes });
                let what = format!("event {number} byte {len}");
                if images % 50 == 0 {
                    run.check_recovery(&replay, image, &mut random, &what);
                } else {
                    run.check(&MemoryDisk::with(image.written), &replay, &what);
                }
                images += 1;
            }
        }
        replay.apply(event);
        let what = format!("event {number}");
        run.check_recovery(&replay, replay.clone(), &mut random, &what);
    }
    let distinct = distinct_images();
    tell("process ended at every byte");
    assert!(images > 5_000 && distinct > 5_000, "{images} ends, {distinct} distinct images");
}

#[test]
fn power_may_fail_at_every_event_and_unsynced_writes_arrive_in_part() {
    let mut images = 0;
    for seed in 100.. {
        let run = Run::first(SyncPolicy::Always, &some_calls(seed, 60));
        images += cut_power(&run, seed, 3);
        if has_opened_enough(images) {
            break;
        }
    }
    tell("power cut, fsync before each answer");
}

/// Whoever asked for a sync once a second may lose what came after the last one, but nothing that an
/// earlier entry or a vote needs.
#[test]
fn synced_once_a_second_a_log_keeps_all_up_to_its_last_sync() {
    let mut images = 0;
    for seed in 500.. {
        let run = Run::first(SyncPolicy::EverySecond, &some_calls(seed, 60));
        images += cut_power(&run, seed, 3);
        if has_opened_enough(images) {
            break;
        }
    }
    tell("power cut, fsync once a second");
}

/// Cuts power at every event in several ways; returns how many images were tried.
fn cut_power(run: &Run, seed: u64, times: usize) -> usize {
    let mut random = Random(seed);
    let mut replay = Replay::from(run.start.clone());
    let mut images = 0;
    for (number, event) in run.trace.iter().enumerate() {
        replay.apply(event);
        if matches!(event, Event::Called(_) | Event::Acked(_) | Event::Written(_)) {
            continue;
        }
        for time in 0..times {
            for loss in [Loss::All, Loss::Any, Loss::Torn, Loss::Front] {
                let left = replay.cut(loss, &mut |bound| random.below(bound));
                let what = format!("seed {seed} event {number} {loss:?} {time}");
                let image = Replay::from(left);
                run.check_recovery(&replay, image, &mut random, &what);
                images += 1;
            }
        }
    }
    images
}

#[test]
fn a_log_survives_one_crash_after_another() {
    let mut images = 0;
    for seed in 1_000.. {
        let mut random = Random(seed);
        let mut run = Run::first(SyncPolicy::Always, &some_calls(seed, 40));
        for generation in 1..5 {
            // Any moment of the run, with whatever the power cut leaves, is the next beginning.
            let mut replay = Replay::from(run.start.clone());
            for event in &run.trace[..random.below(run.trace.len())] {
                replay.apply(event);
            }
            let loss = [Loss::Any, Loss::Torn, Loss::Front][random.below(3)];
            let left = replay.cut(loss, &mut |bound| random.below(bound));
            let what = format!("seed {seed} generation {generation}");
            let found = run.check(&MemoryDisk::with(left.clone()), &replay, &what);
            let sync = [SyncPolicy::Always, SyncPolicy::EverySecond][random.below(2)];
            run = Run::record(left, found, sync, &some_calls(seed * 10 + generation, 40));
            images += cut_power(&run, seed, 1);
        }
        if has_opened_enough(images) {
            break;
        }
    }
    tell("one crash after another");
}

#[test]
fn a_vote_is_never_older_than_an_entry_that_followed_it() {
    // The order of calls is the order of durability: an entry that arrived proves the vote.
    let calls: Vec<_> = (0..30u64)
        .flat_map(|round| [Call::Vote(0), Call::Append(0, true, vec![round as u16 * 9])])
        .collect();
    let run = Run::first(SyncPolicy::Always, &calls);
    let mut random = Random(7);
    let mut replay = Replay::from(run.start.clone());
    let mut seen = 0;
    for event in &run.trace {
        replay.apply(event);
        let left = replay.cut(Loss::Any, &mut |bound| random.below(bound));
        let found = observe(&MemoryDisk::with(left)).unwrap();
        let Some(shard) = found.model.get(&0) else {
            continue;
        };
        if let Some(last) = shard.entries.values().next_back() {
            assert!(shard.vote.unwrap().term + 1 >= last.position.term);
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}
