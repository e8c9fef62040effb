//! Bits that flip in files of a node that does not run.

use crate::faults::Arena;
use crate::faults::Fault::{self, *};
use crate::snapshots::current_generation;
use crate::world::HEAL_WAIT;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

impl Arena {
    /// Damages a file of each of these nodes, which are stopped, and starts one after the other. Each
    /// must refuse, or serve what is right, or an error; a node that refuses or has errors is replaced.
    pub(crate) fn rot(&mut self, kind: Fault, nodes: &[usize]) -> Result<u64, String> {
        self.world.settle(HEAL_WAIT)?;
        self.remember();
        nodes.iter().for_each(|at| self.world.kill(*at));
        self.windows.open();
        let flipped: Vec<u64> = nodes.iter().map(|at| self.flip_one(kind, *at)).collect();
        let mut lost = Vec::new();
        for (at, flipped) in nodes.iter().zip(&flipped) {
            if self.is_unusable(kind, *at, *flipped > 0)? {
                lost.push(*at);
            }
        }
        self.windows.close();
        self.replace(&lost)?;
        let several = nodes.len() > 1 && flipped.iter().all(|count| *count > 0);
        self.count(&format!("{kind:?}: of a minority"), u64::from(several));
        Ok(u64::from(flipped.iter().any(|count| *count > 0)))
    }

    /// Damages a file of a stopped node. How many bits were flipped.
    fn flip_one(&mut self, kind: Fault, at: usize) -> u64 {
        let dir = self.world.members[at].node.dir.clone();
        let flipped = match kind {
            RotVote | RotRecord => self.flip_synced(&dir.join("log"), kind == RotVote),
            RotLog => self.flip_any(&files_in_use(&dir.join("log"))),
            RotState => self.flip_any(&files_in_use(&dir.join("state"))),
            _ => self.flip_any(&[dir.join("identity")]),
        };
        self.world.members[at].is_damaged |= flipped > 0;
        flipped
    }

    /// Starts a node, a file of which was damaged just now or not. Whether it has to be replaced.
    fn is_unusable(&mut self, kind: Fault, at: usize, flipped: bool) -> Result<bool, String> {
        let refused = self.start_refuses(at);
        if refused && !self.world.members[at].is_damaged {
            return Err(format!("node {at} refuses sound data"));
        }
        let found = !refused && kind == RotState && self.reading_finds_damage(at);
        let came = what_came(refused, found);
        self.count(&format!("{kind:?}: {came}"), u64::from(flipped));
        if refused || found || !flipped {
            return Ok(refused || found);
        }
        match kind {
            RotVote | RotRecord => {
                Err(format!("node {at} serves although synced records of its log are damaged"))
            }
            RotIdentity => {
                Err(format!("node {at} serves although its identity fails its checksum"))
            }
            _ => Ok(false),
        }
    }

    /// Tables are not read when a node starts: has it read all of them, as an operator would who
    /// doubts a disk. Damage must be an error then, or end the node where an entry needs the block.
    pub(crate) fn reading_finds_damage(&mut self, at: usize) -> bool {
        let digest = self.world.digest(at);
        let node = &mut self.world.members[at].node;
        let is_found = digest.contains("ERR state store") || !node.is_running();
        if is_found {
            // It may end by itself just now: that is as good an answer, and none to be noted.
            node.kill();
        }
        is_found
    }

    pub(crate) fn start_refuses(&mut self, at: usize) -> bool {
        self.world.members[at].node.spawn();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if self.world.members[at].node.exited().is_some() {
                // The answer to what was asked, and no end to be noted.
                self.world.members[at].node.kill();
                return true;
            }
            let info = self.world.members[at].node.info("raft");
            if info.get("raft_is_voting").is_some_and(|voting| voting == "yes") {
                return false;
            }
            thread::sleep(Duration::from_millis(30));
        }
        false
    }

    pub(crate) fn flip_any(&mut self, files: &[PathBuf]) -> u64 {
        if files.is_empty() {
            return 0;
        }
        let file = self.random.pick(files).clone();
        self.flip(&file)
    }

    /// Flips one bit of the last saved vote, or of one of the last other records, of those that the
    /// log itself says were synced: no crash explains that.
    fn flip_synced(&mut self, log: &Path, of_vote: bool) -> u64 {
        let segments = files_below(log).into_iter().rev();
        let newest = segments.filter_map(|file| Some((fs::read(&file).ok()?, file))).find_map(
            |(bytes, file)| {
                let mut records = synced_records(&bytes, &file)?;
                records.retain(|record| record.is_vote == of_vote);
                (!records.is_empty()).then_some((records, bytes, file))
            },
        );
        let Some((records, mut bytes, file)) = newest else { return 0 };
        let count = if of_vote { 1 } else { 8 };
        let record = self.random.pick(&records[records.len().saturating_sub(count)..]);
        bytes[record.start + self.random.below(record.bytes)] ^= 1 << self.random.below(8);
        eprintln!("rot: a bit of the record at {} of {}", record.start, file.display());
        fs::write(file, bytes).map_or(0, |()| 1)
    }

    pub(crate) fn flip(&mut self, file: &Path) -> u64 {
        let Ok(mut bytes) = fs::read(file) else { return 0 };
        let sound = bytes.clone();
        let live = bytes[..live_bytes(&bytes, file)].iter().enumerate();
        let written: Vec<usize> = live.filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
        if written.is_empty() {
            return 0;
        }
        let count = *self.random.pick(&[1, 1, 3, 20]);
        for _ in 0..count {
            let at = written[self.random.below(written.len())];
            bytes[at] ^= 1 << self.random.below(8);
        }
        if bytes == sound {
            // The same bit there and back.
            return 0;
        }
        let name = file.display().to_string();
        eprintln!("rot: {count} bits of {name}");
        fs::write(file, bytes).map_or(0, |()| count)
    }
}

/// What came of a start on damaged data.
pub(crate) fn what_came(refused: bool, found: bool) -> &'static str {
    if refused {
        "refused"
    } else if found {
        "an error when it was read"
    } else {
        "served"
    }
}

pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => open.push(path),
                false if entry.metadata().is_ok_and(|meta| meta.len() > 0) => files.push(path),
                false => {}
            }
        }
    }
    files.sort();
    files
}

/// Files of a stopped node's `log` or `state` that it will read again: none that is a lock, spare,
/// unfinished, or of a generation that does not count.
pub(crate) fn files_in_use(dir: &Path) -> Vec<PathBuf> {
    let generation = current_generation(dir);
    let mut files = files_below(dir);
    files.retain(|file| {
        let is_inside = generation.as_ref().is_some_and(|generation| file.starts_with(generation));
        (is_inside || file.parent() == Some(dir)) && is_in_use(file)
    });
    files
}

fn is_in_use(file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase());
    let name = name.unwrap_or_default();
    if name.ends_with(".seg") {
        return fs::read(file).is_ok_and(|bytes| chain(&bytes, file).is_some());
    }
    name != "lock" && !name.ends_with(".tmp") && !name.ends_with(".free")
}

/// How many bytes of a file mean something: behind the records of a segment is what it held before.
fn live_bytes(bytes: &[u8], file: &Path) -> usize {
    let last = chain(bytes, file).and_then(|(records, _)| Some(records.last()?.end()));
    last.unwrap_or(bytes.len())
}

/// A record of a segment.
struct Record {
    start: usize,
    bytes: usize,
    is_vote: bool,
}

const HEADER_BYTES: usize = 64;
const RECORD_BYTES_MIN: usize = 40;
const TYPE_VOTE: u8 = 2;

impl Record {
    fn end(&self) -> usize {
        self.start + self.bytes
    }
}

/// Records that later ones prove to have been synced, in order. None: this file is no segment in use,
/// or proves nothing.
///
/// Two later records have to say so: the very last one may be the torn rest of a write that the end
/// of the process cut, which nobody has to believe.
fn synced_records(bytes: &[u8], file: &Path) -> Option<Vec<Record>> {
    let (mut records, says) = chain(bytes, file)?;
    let proven = *says.iter().rev().nth(1)?;
    records.retain(|record| record.end() <= proven);
    (!records.is_empty()).then_some(records)
}

/// The records of a segment in use, and how far each says that it was synced (the format is described
/// in `storage::log`).
fn chain(bytes: &[u8], file: &Path) -> Option<(Vec<Record>, Vec<usize>)> {
    let word = |at: usize| {
        bytes.get(at..at + 4).map(|four| u32::from_le_bytes(four.try_into().expect("four bytes")))
    };
    let number: u32 = file.file_name()?.to_str()?.strip_suffix(".seg")?.parse().ok()?;
    if !bytes.starts_with(b"KVORUMLG") || word(24)? != number {
        return None;
    }
    let tag = word(HEADER_BYTES + 8)?;
    let (mut records, mut says, mut start) = (Vec::new(), Vec::new(), HEADER_BYTES);
    while let (Some(length), Some(its_tag), Some(synced)) =
        (word(start + 4), word(start + 8), word(start + 12))
    {
        let length = length as usize;
        if its_tag != tag || length < RECORD_BYTES_MIN || start + length > bytes.len() {
            break;
        }
        records.push(Record { start, bytes: length, is_vote: bytes[start + 16] == TYPE_VOTE });
        says.push(synced as usize);
        start += length.next_multiple_of(8);
    }
    (!records.is_empty()).then_some((records, says))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(segment: &mut Vec<u8>, kind: u8, tag: u32, synced: u32, bytes: usize) {
        let start = segment.len();
        segment.resize(start + bytes.next_multiple_of(8), 0xee);
        segment[start + 4..start + 8].copy_from_slice(&(bytes as u32).to_le_bytes());
        segment[start + 8..start + 12].copy_from_slice(&tag.to_le_bytes());
        segment[start + 12..start + 16].copy_from_slice(&synced.to_le_bytes());
        segment[start + 16] = kind;
    }

    #[test]
    fn only_what_two_later_records_call_synced_counts() {
        let mut segment = vec![0; HEADER_BYTES];
        segment[..8].copy_from_slice(b"KVORUMLG");
        segment[24] = 3;
        record(&mut segment, 6, 9, 64, 120);
        record(&mut segment, TYPE_VOTE, 9, 184, 40);
        record(&mut segment, 1, 9, 224, 50);
        record(&mut segment, 1, 9, 224, 40);
        record(&mut segment, 1, 9, 320, 40);
        // What a recycled file held before.
        record(&mut segment, TYPE_VOTE, 8, 900, 40);
        let found = synced_records(&segment, Path::new("log/0000000003.seg")).expect("records");
        let starts: Vec<(usize, bool)> =
            found.iter().map(|record| (record.start, record.is_vote)).collect();
        assert_eq!(starts, [(64, false), (184, true)]);
        assert!(synced_records(&segment, Path::new("log/0000000004.seg")).is_none(), "not begun");
        assert_eq!(
            live_bytes(&segment, Path::new("log/0000000003.seg")),
            360,
            "not the old record"
        );
        assert!(synced_records(&segment, Path::new("log/spare-1.free")).is_none());
    }

    #[test]
    fn only_what_is_read_again_is_damaged() {
        let node = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let file = node.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        };
        let mut segment = vec![0; HEADER_BYTES];
        segment[..8].copy_from_slice(b"KVORUMLG");
        segment[24] = 3;
        record(&mut segment, 6, 9, 64, 120);
        write("log/0000000003.seg", &segment);
        for unused in ["LOCK", "spare-4.free", "spare-5.tmp", "0000000004.seg"] {
            write(&format!("log/{unused}"), &segment);
        }
        write("state/CURRENT", b"kvorum-state format=2 generation=3 phase=ready crc32c=0\n");
        write("state/state.g3/version", b"1");
        write("state/state.g3/keyspaces/1/table", b"1");
        for unused in ["CURRENT.tmp", "LOCK", "state.g3/lock", "state.g2/version"] {
            write(&format!("state/{unused}"), b"1");
        }
        let used = |dir: &str| {
            let dir = node.path().join(dir);
            let files = files_in_use(&dir).into_iter();
            let name = |file: PathBuf| file.strip_prefix(&dir).unwrap().display().to_string();
            files.map(name).collect::<Vec<_>>()
        };
        assert_eq!(used("log"), ["0000000003.seg"]);
        assert_eq!(used("state"), ["CURRENT", "state.g3/keyspaces/1/table", "state.g3/version"]);
    }
}
