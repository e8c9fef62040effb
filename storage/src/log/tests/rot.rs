//! Damage to what was durable: reported, never taken for the end of the log.

use super::crash::some_calls;
use super::memory_disk::Content;
use super::model::{Driver, Model, observe};
use super::*;
use crate::log::format::HEADER_BYTES;
use crate::log::scan::{self, Scan};
use crate::log::verify::verify_on;
use crate::log::{disk::Disk, names};
use crate::random::Random;

fn scan_of(content: &Content) -> Scan {
    let disk = MemoryDisk::with(content.clone());
    let names = disk.list().unwrap();
    let log_id = scan::read_identity(&disk, &names).unwrap().unwrap();
    scan::scan(&disk, &names, log_id).unwrap()
}

fn run(seed: u64) -> (Content, Vec<Model>) {
    let mut driver = Driver::empty();
    for call in some_calls(seed, 60) {
        driver.call(&call);
    }
    let driver = driver.finish();
    (driver.disk.content(), driver.models)
}

/// What opening says of this content; the offline check must agree and change nothing.
fn opened(content: Content) -> Result<Model, LogError> {
    let disk = MemoryDisk::with(content);
    let verified = verify_on(&disk);
    assert_eq!(disk.trace().len(), 0, "the offline check writes nothing");
    let found = observe(&disk);
    assert_eq!(verified.is_ok(), found.is_ok());
    found.map(|found| found.model)
}

#[test]
fn every_damaged_byte_of_a_closed_log_is_found() {
    let (content, models) = run(11);
    let scan = scan_of(&content);
    assert!(scan.segments.len() > 1 && scan.tail.sealed);
    let mut random = Random(3);
    for segment in &scan.segments {
        let name = names::segment(segment.seq);
        let used = (0..HEADER_BYTES).chain(HEADER_BYTES..segment.end as usize);
        for offset in used {
            let mut content = content.clone();
            content.named(&name)[offset] ^= 1 << random.below(8);
            match opened(content) {
                Err(LogError::Corrupt { .. } | LogError::Version { .. }) => {}
                Err(error) => panic!("{name} {offset}: {error}"),
                // Only the mark that seals the end may be lost; it holds nothing.
                Ok(found) => {
                    assert_eq!(&found, models.last().unwrap(), "{name} {offset}");
                    assert!(offset >= scan.tail.proven as usize, "{name} {offset}");
                }
            }
        }
    }
    for offset in 0..HEADER_BYTES {
        let mut content = content.clone();
        content.named("log.id")[offset] ^= 1 << random.below(8);
        opened(content).unwrap_err();
    }
}

#[test]
fn damage_that_no_record_proves_cuts_only_what_follows_it() {
    // As after kill -9: the last batch has no mark behind it.
    for seed in 20..24 {
        let disk = MemoryDisk::default();
        let log = open(&disk).unwrap();
        let shard = log.shard(0);
        for index in 0..25 + seed {
            append(&shard, entries(1, index..=index)).unwrap();
        }
        let content = disk.content();
        let count = 25 + seed;
        let scan = scan_of(&content);
        let name = names::segment(scan.segments.last().unwrap().seq);
        for offset in HEADER_BYTES..scan.tail.end as usize {
            let mut content = content.clone();
            content.named(&name)[offset] ^= 0x10;
            match opened(content) {
                Ok(found) => {
                    assert!(offset >= scan.tail.proven as usize);
                    assert_eq!(found[&0].entries.len() as u64, count - 1);
                }
                Err(_) => assert!(offset < scan.tail.end as usize),
            }
        }
    }
}

#[test]
fn missing_files_are_found() {
    let (content, _) = run(12);
    let scan = scan_of(&content);
    assert!(scan.segments.len() > 2);
    for segment in &scan.segments[..scan.segments.len() - 1] {
        let mut content = content.clone();
        content.names.remove(&names::segment(segment.seq));
        let oldest = segment.seq == scan.segments[0].seq;
        match opened(content) {
            Err(LogError::Corrupt { .. }) => {}
            Err(error) => panic!("{error}"),
            // The oldest may be gone only if nothing in it is needed.
            Ok(_) => assert!(oldest, "segment {}", segment.seq),
        }
    }
    let mut without_id = content.clone();
    without_id.names.remove("log.id");
    assert!(matches!(
        open(&MemoryDisk::with(without_id)),
        Err(LogError::Corrupt { segment: 0, .. })
    ));
    let mut without_segments = content;
    without_segments.names.retain(|name, _| name == "log.id");
    assert!(open(&MemoryDisk::with(without_segments)).is_err());
}

#[test]
fn the_oldest_segment_is_missed_while_it_holds_entries() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    append(&log.shard(0), entries(1, 0..=200)).unwrap();
    drop(log);
    let mut content = disk.content();
    content.names.remove("0000000001.seg");
    assert!(matches!(opened(content), Err(LogError::Corrupt { segment: 2, .. })));
}

#[test]
fn shortened_swapped_and_overwritten_files_are_refused_or_harmless() {
    let (content, models) = run(13);
    let scan = scan_of(&content);
    let mut random = Random(9);
    let mut refused = 0;
    let name = |at: usize| names::segment(scan.segments[at].seq);
    for round in 0..1_500 {
        let mut damaged = content.clone();
        let (from, to) = (random.below(scan.segments.len()), random.below(scan.segments.len()));
        let source = damaged.named(&name(from)).clone();
        let target = damaged.named(&name(to));
        let mut upto = 0;
        match random.below(4) {
            0 => target.truncate(random.below(target.len())),
            // The last segment as a whole is not missed: nothing else knows that it was begun.
            1 => {
                *target = source;
                upto = target.len();
            }
            // A misdirected write: a piece of one file at some place of another.
            2 => {
                let len = 8 + random.below(500);
                let at = random.below(target.len() - len);
                let piece = random.below(source.len() - len);
                target[at..at + len].copy_from_slice(&source[piece..piece + len]);
                upto = at + len;
            }
            _ => {
                let at = random.below(target.len());
                target[at..].iter_mut().for_each(|byte| *byte = random.below(256) as u8);
                upto = target.len();
            }
        }
        // Where the proof itself is overwritten, the end cannot be told from a torn write.
        let proof = scan.tail.proven as usize;
        let last = to + 1 == scan.segments.len();
        match opened(damaged) {
            Ok(found) if last && upto > proof => assert!(models.contains(&found)),
            Ok(found) => assert!(
                &found == models.last().unwrap(),
                "round {round} from {from} to {to} upto {upto} proof {proof}"
            ),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn payloads_that_look_like_records_stay_payloads() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    append(&log.shard(0), entries(1, 0..=5)).unwrap();
    // The log's own bytes come back as a payload, in an entry whose beginning is torn.
    let own = disk.content().named("0000000001.seg")[..700].to_vec();
    append(&log.shard(0), vec![entry(1, 6, &own)]).unwrap();
    let mut content = disk.content();
    let segment = content.named("0000000001.seg");
    let copy = (400..segment.len()).find(|at| segment[*at..].starts_with(&own)).unwrap();
    segment[copy - 40] ^= 1;
    assert_eq!(opened(content).unwrap()[&0].entries.len(), 6);
}

#[test]
fn stray_records_of_a_torn_batch_never_come_back() {
    let disk = MemoryDisk::default();
    let log = open(&disk).unwrap();
    append(&log.shard(0), entries(1, 0..=0)).unwrap();
    append(&log.shard(0), entries(1, 1..=3)).unwrap();
    // The sector of entry 1 was lost; entries 2 and 3 stand alone behind the end.
    let mut content = disk.content();
    let segment = content.named("0000000001.seg");
    let payload = b"payload of 1/1";
    let at = (0..segment.len()).find(|at| segment[*at..].starts_with(payload)).unwrap();
    segment[at..at + payload.len()].fill(0);
    let disk = MemoryDisk::with(content);
    let log = open(&disk).unwrap();
    assert_eq!(log.shard(0).state().1, Some(super::at(1, 0)));
    // The leader sends the same entry again: it ends where the stray ones begin.
    append(&log.shard(0), entries(1, 1..=1)).unwrap();
    let content = disk.content();
    assert_eq!(opened(content).unwrap()[&0].entries.len(), 2);
}

/// A closing mark that finds its segment full begins the next one.
#[test]
fn a_log_that_closes_with_a_new_segment_loses_nothing_to_damage_in_both() {
    let mut begun = 0;
    for len in (3_800..4_100).step_by(8) {
        let disk = MemoryDisk::default();
        let log = open(&disk).unwrap();
        append(&log.shard(0), vec![entry(1, 1, &vec![b'v'; len])]).unwrap();
        log.close().unwrap();
        drop(log);
        let mut content = disk.content();
        let scan = scan_of(&content);
        assert!(scan.tail.sealed, "{len}");
        if let [first, last] = &scan.segments[..] {
            begun += 1;
            content.named(&names::segment(last.seq))[HEADER_BYTES - 1] ^= 1;
            content.named(&names::segment(first.seq))[first.end as usize - 9] ^= 1;
            assert!(matches!(opened(content), Err(LogError::Corrupt { .. })), "{len}");
        }
    }
    assert!(begun > 3, "{begun}");
}
