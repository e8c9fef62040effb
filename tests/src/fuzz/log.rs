//! Damaged files of a log: it opens with a beginning of what was written to it, or refuses.
//!
//! A few logs are written once for each thread, with all that changes one: appends, votes,
//! truncations, purges. An input damages a copy: bits, blocks lost, repeated, swapped, files cut
//! short or gone. The id of a log is random, so a seed repeats the damage, but not each byte.
//!
//! What is asked of a log that opens:
//! - it holds what it held after one of the steps that wrote it, and not before all those whose
//!   records lie before the first damage;
//! - where nothing but the middle was damaged, and the log had been closed, nothing is missing;
//! - what is appended then is there when it is opened again.

use super::Done;
use super::memory_disk::{Files, MemoryDisk};
use crate::random::Random;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use storage::log::{
    Driver, EntryKind, LogEntry, LogError, LogOptions, LogPosition, RaftLog, SavedVote, ShardLog,
};

/// How many different logs are damaged.
const LOGS: usize = 48;

/// What is lost, repeated or swapped at once, in bytes.
const BLOCK: usize = 4096;

/// Records end at multiples of this many bytes.
const RECORD_ALIGN: usize = 8;

/// What the payload of an entry begins with; the number of its step follows.
const PAYLOAD: &[u8] = b"entry ";

/// Bytes at the end of the records in which the closing mark lies, at most.
const MARK_BYTES: usize = 64;

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    purged: Option<LogPosition>,
    entries: Vec<LogEntry>,
    vote: Option<SavedVote>,
}

impl State {
    fn of(shard: &ShardLog) -> State {
        let (purged, last) = shard.state();
        let range = shard.first_index().unwrap_or(0)..last.map_or(0, |last| last.index + 1);
        let entries = shard.read(range, usize::MAX).expect("what was found at opening");
        State { purged, entries, vote: shard.vote() }
    }

    fn last(&self) -> Option<LogPosition> {
        self.entries.last().map(|entry| entry.position).or(self.purged)
    }
}

/// A place in the files: the name of a segment, and an offset in it.
type Spot = (String, usize);

/// A log as it was written.
struct Written {
    segment_bytes: u64,
    files: Files,
    /// What it held before the first step and after each: a step is a record.
    states: Vec<State>,
    /// Where records of entries end, with their steps.
    records: Vec<(Spot, usize)>,
    /// Where the mark of a log begins that was closed.
    mark: Option<Spot>,
}

fn open(disk: &MemoryDisk, segment_bytes: u64) -> Result<(RaftLog, Driver), LogError> {
    let options = LogOptions { segment_bytes, cache_bytes_max: 512, ..LogOptions::new("fuzz") };
    RaftLog::open_driven(Arc::new(disk.clone()), options, Arc::new(|| ()))
}

fn segments_of(files: &Files) -> impl Iterator<Item = (&String, &Arc<Vec<u8>>)> {
    files.iter().filter(|(name, _)| name.ends_with(".seg"))
}

/// Does what a step does to the log and to what it should hold.
struct Writer<'a> {
    random: Random,
    shard: &'a ShardLog,
    states: Vec<State>,
    term: u64,
}

impl Writer<'_> {
    fn step(&mut self, purges: bool) {
        let mut state = self.states.last().cloned().unwrap_or_default();
        let (first, last) = (state.entries.first().map(|e| e.position), state.last());
        let some = |random: &mut Random| state.entries[random.below(state.entries.len())].position;
        match self.random.below(100) {
            0..8 => {
                self.term += 1;
                let vote = SavedVote { term: self.term, node_id: 1, committed: false };
                self.shard.save_vote(vote, Box::new(drop));
                state.vote = Some(vote);
            }
            8..12 if first.is_some() => {
                let after = some(&mut self.random);
                if Some(after) == last {
                    return;
                }
                self.shard.truncate_after(Some(after));
                state.entries.retain(|entry| entry.position.index <= after.index);
            }
            12..20 if first.is_some() && purges => {
                let upto = some(&mut self.random);
                self.shard.purge(upto);
                state.entries.retain(|entry| entry.position.index > upto.index);
                state.purged = Some(upto);
            }
            20..24 => return self.shard.save_committed(last),
            _ => {
                let index = last.map_or(1, |last| last.index + 1);
                let mut payload = PAYLOAD.to_vec();
                let len = match self.random.percent(5) {
                    true => self.random.below(6_000),
                    false => self.random.below(160),
                };
                payload.extend_from_slice(format!("{} ", self.states.len()).as_bytes());
                payload.resize(payload.len() + len, b'x');
                let position = LogPosition { term: self.term, index };
                let payload = Bytes::from(payload);
                let entry = LogEntry { position, kind: EntryKind::Normal, payload };
                self.shard.append(vec![entry.clone()], Box::new(drop));
                state.entries.push(entry);
            }
        }
        self.states.push(state);
    }
}

impl Written {
    fn new(kind: u64) -> Written {
        let mut random = Random::new(kind);
        let (closes, purges) = (random.percent(60), random.percent(40));
        let segment_bytes = *random.pick(&[4096, 4096, 8192, 16_384]);
        let disk = MemoryDisk::default();
        let (log, mut driver) = open(&disk, segment_bytes).expect("an empty disk");
        let (shard, states) = (log.shard(0), vec![State::default()]);
        let steps = 10 + random.below(120);
        let mut writer = Writer { random, shard: &shard, states, term: 1 };
        for _ in 0..steps {
            writer.step(purges);
            if writer.random.percent(60) {
                driver.turn();
            }
        }
        driver.turn();
        let states = writer.states;
        if closes {
            log.close().expect("the disk is sound");
            while driver.turn() {}
        }
        assert!(log.failure().is_none());
        let files = disk.files();
        drop((shard, log, driver));
        let mut records = Vec::new();
        for (name, content) in segments_of(&files) {
            let found = content.windows(PAYLOAD.len()).enumerate();
            for (at, _) in found.filter(|(_, window)| *window == PAYLOAD) {
                let number = content[at + PAYLOAD.len()..].split(|byte| *byte == b' ').next();
                let number = String::from_utf8_lossy(number.unwrap_or_default());
                let step: usize = number.parse().expect("the number of a step");
                let payload = &states[step].entries.last().expect("an entry").payload;
                // The checksum is of the padding too.
                let end = (at + payload.len()).next_multiple_of(RECORD_ALIGN);
                records.push(((name.clone(), end), step));
            }
        }
        // In files that were used before, old records follow.
        let mark = if closes && !purges { mark_in(&files) } else { None };
        Written { segment_bytes, files, states, records, mark }
    }

    /// Checks what comes of its files after damage.
    fn check(&self, files: &Files, random: &mut Random) {
        let disk = MemoryDisk::with(files);
        let Ok((log, driver)) = open(&disk, self.segment_bytes) else { return };
        let shard = log.shard(0);
        let state = State::of(&shard);
        let first = self.first_damage(files);
        let whole = |(spot, _): &&(Spot, usize)| first.as_ref().is_none_or(|first| spot <= first);
        let least = self.records.iter().filter(whole).map(|(_, step)| *step).max().unwrap_or(0);
        let step = self.states.iter().rposition(|known| *known == state);
        let what = || {
            let State { purged, entries, vote } = &state;
            let entries = entries.iter().map(|entry| entry.position);
            let entries = entries.collect::<Vec<_>>();
            let last = self.states.len() - 1;
            format!(
                "opens as after step {step:?} of {last}, needed is {least}; damage {}, mark {:?}, \
                 purged {purged:?}, vote {vote:?}, entries {entries:?}",
                self.damages(files),
                self.mark
            )
        };
        assert!(step.is_some_and(|step| step >= least), "{}", what());
        let is_last = step == Some(self.states.len() - 1);
        assert!(is_last || !self.is_provable(files), "what was synced is gone: {}", what());
        if random.percent(10) {
            go_on(&disk, self.segment_bytes, (log, driver), state);
        }
    }

    /// What is not as it was written, for a reader: files, with the span of what differs.
    fn damages(&self, files: &Files) -> String {
        let mut shown = String::new();
        for (name, sound) in &self.files {
            let (len, found) = (sound.len(), files.get(name));
            let Some(found) = found else {
                shown.push_str(&format!("{name} ({len}) is gone; "));
                continue;
            };
            let mut differs = (0..len).filter(|at| found.get(*at) != sound.get(*at));
            if let Some(first) = differs.next() {
                let last = differs.next_back().unwrap_or(first);
                shown.push_str(&format!("{name} ({len}, {}) {first}..={last}; ", found.len()));
            }
        }
        shown
    }

    /// The first byte of a segment that is not as it was written.
    fn first_damage(&self, files: &Files) -> Option<Spot> {
        segments_of(&self.files).find_map(|(name, sound)| {
            let Some(found) = files.get(name) else { return Some((name.clone(), 0)) };
            if Arc::ptr_eq(sound, found) {
                return None;
            }
            let same = sound.iter().zip(found.iter()).take_while(|(a, b)| a == b).count();
            (same < sound.len()).then(|| (name.clone(), same))
        })
    }

    /// Whether all files have their lengths, and the mark of closing was not touched.
    fn is_provable(&self, files: &Files) -> bool {
        let Some((marked, mark)) = &self.mark else { return false };
        let sound = |(name, content): (&String, &Arc<Vec<u8>>)| {
            files.get(name).is_some_and(|found| {
                found.len() == content.len()
                    && (name != marked || found[*mark..] == content[*mark..])
            })
        };
        segments_of(&self.files).all(sound)
    }
}

/// Where the mark is that a log without old records was closed with.
fn mark_in(files: &Files) -> Option<Spot> {
    let used = |content: &[u8]| content.iter().rposition(|byte| *byte != 0).map(|last| last + 1);
    let in_use = segments_of(files).filter_map(|(name, content)| Some((name, used(content)?)));
    in_use.last().map(|(name, end)| (name.clone(), end.saturating_sub(MARK_BYTES)))
}

/// What is appended to a log that was opened after damage is there when it is opened again.
fn go_on(
    disk: &MemoryDisk,
    segment_bytes: u64,
    (log, mut driver): (RaftLog, Driver),
    mut state: State,
) {
    let index = state.last().map_or(1, |last| last.index + 1);
    let position = LogPosition { term: 1_000, index };
    let entry = LogEntry { position, kind: EntryKind::Normal, payload: Bytes::from("after") };
    let shard = log.shard(0);
    shard.append(vec![entry.clone()], Box::new(|done| done.expect("the disk is sound")));
    state.entries.push(entry);
    driver.turn();
    drop((shard, log, driver));
    let (log, _driver) = open(disk, segment_bytes).expect("what was written can be read");
    assert!(State::of(&log.shard(0)) == state, "what was appended after damage");
}

/// Damages the files in one to three places.
fn damage(random: &mut Random, files: &mut Files) {
    let names: Vec<String> = files.keys().cloned().collect();
    for _ in 0..1 + random.below(3) {
        let name = random.pick(&names);
        let other = files.get(random.pick(&names)).cloned();
        let Some(file) = files.get_mut(name) else { continue };
        // Most of a file's end is blank.
        let used = file.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let len = file.len();
        let end = if random.percent(90) { used } else { len };
        let at = random.below(end + 1);
        let block =
            |at: usize, len: usize| at / BLOCK * BLOCK..(at / BLOCK * BLOCK + BLOCK).min(len);
        match random.below(20) {
            0..9 if at < len => Arc::make_mut(file)[at] ^= 1 << random.below(8),
            9..11 if at < len => {
                let end = (at + 1 + random.below(24)).min(len);
                Arc::make_mut(file)[at..end].fill_with(|| random.number() as u8);
            }
            11 => Arc::make_mut(file).truncate(at),
            12 => Arc::make_mut(file).truncate(at / BLOCK * BLOCK),
            13 => Arc::make_mut(file)[block(at, len)].fill(0),
            14 => {
                let sector = at / 512 * 512;
                Arc::make_mut(file)[sector..(sector + 512).min(len)].fill(0);
            }
            15 => drop(files.remove(name)),
            // A block is written to a wrong place, or two change places.
            _ => {
                let Some(other) = other.filter(|other| !other.is_empty()) else { continue };
                let from = block(random.below(other.len()), other.len());
                let to = block(at, len);
                let common = from.len().min(to.len());
                let (from, to) = (from.start..from.start + common, to.start..to.start + common);
                Arc::make_mut(file)[to].copy_from_slice(&other[from]);
            }
        }
    }
}

thread_local! {
    static WRITTEN: RefCell<BTreeMap<usize, Rc<Written>>> = RefCell::default();
}

/// The target.
pub(super) fn segments(random: &mut Random) -> Done {
    let kind = random.below(LOGS);
    let written = WRITTEN.with_borrow_mut(|all| {
        Rc::clone(all.entry(kind).or_insert_with(|| Rc::new(Written::new(kind as u64))))
    });
    let mut files = written.files.clone();
    damage(random, &mut files);
    written.check(&files, random);
    Done::one(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undamaged_log_holds_everything() {
        for kind in 0..LOGS as u64 {
            let written = Written::new(kind);
            let (log, _driver) = open(&MemoryDisk::with(&written.files), written.segment_bytes)
                .expect("an undamaged log");
            assert!(written.states.last() == Some(&State::of(&log.shard(0))), "log {kind}");
            written.check(&written.files, &mut Random::new(kind));
        }
    }

    #[test]
    fn damages_are_met_with_refusals_and_with_beginnings() {
        let (mut refused, mut shorter, mut whole) = (0, 0, 0);
        let logs: Vec<Written> = (0..8).map(Written::new).collect();
        for seed in 0..600 {
            let mut random = Random::new(seed);
            let written = random.pick(&logs);
            let mut files = written.files.clone();
            damage(&mut random, &mut files);
            match open(&MemoryDisk::with(&files), written.segment_bytes) {
                Err(_) => refused += 1,
                Ok((log, _)) if Some(&State::of(&log.shard(0))) == written.states.last() => {
                    whole += 1;
                }
                Ok(_) => shorter += 1,
            }
        }
        assert!(refused > 50 && shorter > 5 && whole > 20, "{refused} {shorter} {whole}");
    }
}
