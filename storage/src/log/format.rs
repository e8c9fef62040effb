//! Bytes of the log: the file that identifies it, segment headers, records, checkpoints.
//!
//! The byte tables are in the header of the module `log`. Everything here is pure: no file, no
//! clock. Decoding accepts any bytes and never panics; it answers "not a record" for what a crash
//! or rot may leave, and an explanation for what carries a right checksum and still makes no sense.

use std::collections::BTreeMap;

use super::{EntryKind, LogPosition, SavedVote};
use crate::mutants::{self, Mutant};

pub(super) const FORMAT_VERSION: u8 = 1;
/// Length of a segment header and of the identity file, in bytes.
pub(super) const HEADER_BYTES: usize = 64;
/// Length of a record without payload, in bytes.
pub(super) const RECORD_BYTES_MIN: usize = 40;
/// Records start at multiples of this many bytes.
pub(super) const RECORD_ALIGN: usize = 8;

const SEGMENT_MAGIC: &[u8; 8] = b"KVORUMLG";
const IDENTITY_MAGIC: &[u8; 8] = b"KVORUMID";
const SUMMARY_BYTES: usize = 80;

/// What follows a record up to the next one.
static PADDING: [u8; RECORD_ALIGN] = [0; RECORD_ALIGN];

/// Length a record takes on disk, padding included.
pub(super) fn padded(record_bytes: usize) -> usize {
    record_bytes.next_multiple_of(RECORD_ALIGN)
}

/// What the first 64 bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) log_id: u64,
    pub(super) seq: u32,
    /// Where the records of the segment before this one end; 0 in segment 1.
    pub(super) previous_end: u32,
    /// Length of the file when the segment was begun, in bytes.
    pub(super) file_bytes: u64,
}

/// How a header reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderState<T> {
    Valid(T),
    /// A sound header of a version that this program does not know.
    Unknown(u8),
    /// Blank, torn or damaged.
    Invalid,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = header(SEGMENT_MAGIC, self.log_id);
        bytes[24..28].copy_from_slice(&self.seq.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.file_bytes.to_le_bytes());
        seal_header(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> HeaderState<SegmentHeader> {
        open_header(SEGMENT_MAGIC, bytes, || {
            Some(SegmentHeader {
                log_id: u64_at(bytes, 16)?,
                seq: u32_at(bytes, 24)?,
                previous_end: u32_at(bytes, 28)?,
                file_bytes: u64_at(bytes, 32)?,
            })
        })
    }
}

/// Encodes the identity file.
pub(super) fn encode_identity(log_id: u64) -> [u8; HEADER_BYTES] {
    seal_header(header(IDENTITY_MAGIC, log_id))
}

/// Decodes the identity file to the log's id.
pub(super) fn decode_identity(bytes: &[u8]) -> HeaderState<u64> {
    open_header(IDENTITY_MAGIC, bytes, || u64_at(bytes, 16))
}

fn header(magic: &[u8; 8], log_id: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(magic);
    bytes[8] = FORMAT_VERSION;
    bytes[16..24].copy_from_slice(&log_id.to_le_bytes());
    bytes
}

fn seal_header(mut bytes: [u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
    let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn open_header<T>(
    magic: &[u8; 8],
    bytes: &[u8],
    fields: impl FnOnce() -> Option<T>,
) -> HeaderState<T> {
    let Some((covered, crc)) = bytes.get(..HEADER_BYTES).and_then(|b| b.split_last_chunk::<4>())
    else {
        return HeaderState::Invalid;
    };
    if !covered.starts_with(magic) || u32::from_le_bytes(*crc) != crc32c::crc32c(covered) {
        return HeaderState::Invalid;
    }
    if covered[8] != FORMAT_VERSION {
        return HeaderState::Unknown(covered[8]);
    }
    fields().map_or(HeaderState::Invalid, HeaderState::Valid)
}

/// What makes a record belong to one segment of one log: bytes left from an earlier use of the
/// same file, copied from elsewhere, or sent by a client inside a payload do not read as records.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentKey {
    tag: u32,
    seed: u32,
}

impl SegmentKey {
    pub(super) fn new(log_id: u64, seq: u32) -> SegmentKey {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&log_id.to_le_bytes());
        bytes[8..].copy_from_slice(&seq.to_le_bytes());
        SegmentKey {
            tag: crc32c::crc32c_append(0x7461_6731, &bytes),
            seed: crc32c::crc32c_append(0x7365_6564, &bytes),
        }
    }

    /// Different start values give different checksums of the same bytes, so a record that a
    /// misdirected write put at another offset does not pass.
    fn crc(self, offset: u32, covered: &[u8]) -> u32 {
        crc32c::crc32c_append(self.seed.wrapping_add(offset), covered)
    }
}

/// What a record says, without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Entry {
        position: LogPosition,
        kind: EntryKind,
        payload: &'a [u8],
    },
    Vote(SavedVote),
    Committed(Option<LogPosition>),
    /// Entries behind this position are gone; `None`: all are.
    Truncate(Option<LogPosition>),
    /// Entries up to and with this position are gone.
    Purge(LogPosition),
    /// The state of all shards when the segment began.
    Checkpoint(BTreeMap<u32, ShardSummary>),
    /// Says only how far the segment is synced.
    Mark,
}

const TYPE_ENTRY: u8 = 1;
const TYPE_VOTE: u8 = 2;
const TYPE_COMMITTED: u8 = 3;
const TYPE_TRUNCATE: u8 = 4;
const TYPE_PURGE: u8 = 5;
const TYPE_CHECKPOINT: u8 = 6;
const TYPE_MARK: u8 = 7;

/// Appends the record to `out`, as it will stand at `offset` of the segment, and returns its
/// length on disk in bytes. `synced_upto`: how far the segment was known to be synced.
pub(super) fn encode_record(
    out: &mut Vec<u8>,
    key: SegmentKey,
    offset: u32,
    synced_upto: u32,
    shard: u32,
    body: &Body<'_>,
) -> u32 {
    let mut checkpoint = Vec::new();
    let payload = match body {
        Body::Entry { payload, .. } => payload,
        Body::Checkpoint(shards) => {
            encode_checkpoint(&mut checkpoint, shards);
            &checkpoint[..]
        }
        Body::Vote(_) | Body::Committed(_) | Body::Truncate(_) | Body::Purge(_) | Body::Mark => &[],
    };
    let (on_disk, padding) = encode_head(out, key, offset, synced_upto, shard, body, payload);
    out.extend_from_slice(payload);
    out.extend_from_slice(padding);
    on_disk
}

/// Appends to `out` what a record begins with. The rest of it is its payload and then the zeros that
/// are returned with its length on disk.
pub(super) fn encode_head(
    out: &mut Vec<u8>,
    key: SegmentKey,
    offset: u32,
    synced_upto: u32,
    shard: u32,
    body: &Body<'_>,
    payload: &[u8],
) -> (u32, &'static [u8]) {
    let start = out.len();
    let (record_type, detail, term, index) = body_head(body);
    out.extend_from_slice(&[0; 4]);
    let record_bytes = RECORD_BYTES_MIN + payload.len();
    let record_len = u32::try_from(record_bytes).expect("payloads are limited far below 4 GiB");
    out.extend_from_slice(&record_len.to_le_bytes());
    out.extend_from_slice(&key.tag.to_le_bytes());
    out.extend_from_slice(&synced_upto.to_le_bytes());
    out.extend_from_slice(&[record_type, detail, 0, 0]);
    out.extend_from_slice(&shard.to_le_bytes());
    out.extend_from_slice(&term.to_le_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    debug_assert_eq!(out.len() - start, RECORD_BYTES_MIN, "a record without payload");
    let on_disk = padded(record_bytes);
    let padding = &PADDING[..on_disk - record_bytes];
    let crc = key.crc(offset, &out[start + 4..]);
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, payload), padding);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    (u32::try_from(on_disk).expect("payloads are limited far below 4 GiB"), padding)
}

/// Type, detail, term and index of a record.
fn body_head(body: &Body<'_>) -> (u8, u8, u64, u64) {
    let optional = |record_type, position: &Option<LogPosition>| match position {
        Some(p) => (record_type, 1, p.term, p.index),
        None => (record_type, 0, 0, 0),
    };
    match body {
        Body::Entry { position, kind, .. } => {
            (TYPE_ENTRY, kind.to_byte(), position.term, position.index)
        }
        Body::Vote(vote) => (TYPE_VOTE, u8::from(vote.committed), vote.term, vote.node_id),
        Body::Committed(position) => optional(TYPE_COMMITTED, position),
        Body::Truncate(position) => optional(TYPE_TRUNCATE, position),
        Body::Purge(position) => (TYPE_PURGE, 1, position.term, position.index),
        Body::Checkpoint(_) => (TYPE_CHECKPOINT, 0, 0, 0),
        Body::Mark => (TYPE_MARK, 0, 0, 0),
    }
}

/// A record whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    /// Length on disk, padding included, in bytes.
    pub(super) on_disk: u32,
    pub(super) synced_upto: u32,
    pub(super) shard: u32,
    /// The record without padding.
    bytes: &'a [u8],
}

/// The record that starts at `segment[offset..]`, if there is one. Cheap where there is none: a
/// search over a whole segment may call this at each aligned offset.
pub(super) fn record_at(segment: &[u8], key: SegmentKey, offset: usize) -> Option<RawRecord<'_>> {
    record_in(segment.get(offset..)?, key, u32::try_from(offset).ok()?)
}

/// As `record_at`, for bytes that stand at `offset` of their segment.
pub(super) fn record_in(bytes: &[u8], key: SegmentKey, offset: u32) -> Option<RawRecord<'_>> {
    if u32_at(bytes, 8)? != key.tag {
        return None;
    }
    let record_bytes = u32_at(bytes, 4)? as usize;
    if record_bytes < RECORD_BYTES_MIN {
        return None;
    }
    let covered = bytes.get(4..padded(record_bytes))?;
    if key.crc(offset, covered) != u32_at(bytes, 0)? && !mutants::on(Mutant::CrcOff) {
        return None;
    }
    Some(RawRecord {
        on_disk: u32::try_from(padded(record_bytes)).ok()?,
        synced_upto: u32_at(bytes, 12)?,
        shard: u32_at(bytes, 20)?,
        bytes: bytes.get(..record_bytes)?,
    })
}

impl<'a> RawRecord<'a> {
    /// What the record says; the error names what makes no sense in it.
    pub(super) fn body(&self) -> Result<Body<'a>, String> {
        let bytes = self.bytes;
        let (Some(term), Some(index)) = (u64_at(bytes, 24), u64_at(bytes, 32)) else {
            return Err("record shorter than its header".to_owned());
        };
        let (record_type, detail) = (bytes[16], bytes[17]);
        let position = LogPosition { term, index };
        let payload = &bytes[RECORD_BYTES_MIN..];
        let body = match (record_type, detail) {
            (TYPE_ENTRY, _) if index == u64::MAX => return Err("entry index too high".to_owned()),
            (TYPE_ENTRY, _) => {
                let kind = EntryKind::from_byte(detail)
                    .ok_or_else(|| format!("entry of unknown kind {detail}"))?;
                return Ok(Body::Entry { position, kind, payload });
            }
            (TYPE_CHECKPOINT, 0) => {
                return decode_checkpoint(payload)
                    .map(Body::Checkpoint)
                    .ok_or_else(|| "checkpoint of a wrong length".to_owned());
            }
            (TYPE_VOTE, 0 | 1) => {
                Body::Vote(SavedVote { term, node_id: index, committed: detail == 1 })
            }
            (TYPE_COMMITTED, 0) => Body::Committed(None),
            (TYPE_COMMITTED, 1) => Body::Committed(Some(position)),
            (TYPE_TRUNCATE, 0) => Body::Truncate(None),
            (TYPE_TRUNCATE, 1) => Body::Truncate(Some(position)),
            (TYPE_PURGE, 1) => Body::Purge(position),
            (TYPE_MARK, 0) => Body::Mark,
            _ => return Err(format!("record of unknown type {record_type}/{detail}")),
        };
        if payload.is_empty() { Ok(body) } else { Err("record with a stray payload".to_owned()) }
    }
}

/// What the stream of records up to some place says about one shard, without the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ShardSummary {
    pub(super) vote: Option<SavedVote>,
    pub(super) purged: Option<LogPosition>,
    pub(super) committed: Option<LogPosition>,
    /// First index and last position of the entries that exist.
    pub(super) entries: Option<(u64, LogPosition)>,
}

impl ShardSummary {
    /// Takes in one record of the shard.
    pub(super) fn take(&mut self, body: &Body<'_>) {
        match body {
            Body::Entry { position, .. } => {
                let first = self.entries.map_or(position.index, |(first, _)| first);
                self.entries = Some((first, *position));
            }
            Body::Vote(vote) => self.vote = Some(*vote),
            Body::Committed(committed) => self.committed = *committed,
            Body::Truncate(after) => {
                self.entries = self.entries.and_then(|(first, last)| match after {
                    Some(p) if p.index >= last.index => Some((first, last)),
                    Some(p) if p.index >= first => Some((first, *p)),
                    _ => None,
                });
            }
            Body::Purge(upto) => {
                self.purged = Some(*upto);
                self.entries = self
                    .entries
                    .filter(|(_, last)| last.index > upto.index)
                    .map(|(first, last)| (first.max(upto.index + 1), last));
            }
            Body::Checkpoint(_) | Body::Mark => {}
        }
    }
}

fn encode_checkpoint(out: &mut Vec<u8>, shards: &BTreeMap<u32, ShardSummary>) {
    for (shard, summary) in shards {
        let vote = summary.vote.unwrap_or_default();
        let (first, last) = summary.entries.unwrap_or_default();
        let flags = u8::from(summary.vote.is_some())
            | u8::from(vote.committed) << 1
            | u8::from(summary.purged.is_some()) << 2
            | u8::from(summary.committed.is_some()) << 3
            | u8::from(summary.entries.is_some()) << 4;
        let (purged, committed) =
            (summary.purged.unwrap_or_default(), summary.committed.unwrap_or_default());
        out.extend_from_slice(&shard.to_le_bytes());
        out.extend_from_slice(&[flags, 0, 0, 0]);
        for word in [
            vote.term,
            vote.node_id,
            purged.term,
            purged.index,
            committed.term,
            committed.index,
            first,
            last.term,
            last.index,
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
}

fn decode_checkpoint(payload: &[u8]) -> Option<BTreeMap<u32, ShardSummary>> {
    if !payload.len().is_multiple_of(SUMMARY_BYTES) {
        return None;
    }
    let mut shards = BTreeMap::new();
    for bytes in payload.chunks_exact(SUMMARY_BYTES) {
        let flags = bytes[4];
        let position =
            |at| Some(LogPosition { term: u64_at(bytes, at)?, index: u64_at(bytes, at + 8)? });
        let present = |flag: u8| flags & flag != 0;
        let vote = SavedVote {
            term: u64_at(bytes, 8)?,
            node_id: u64_at(bytes, 16)?,
            committed: present(2),
        };
        let entries = (u64_at(bytes, 56)?, position(64)?);
        if present(16) && (entries.0 > entries.1.index || entries.1.index == u64::MAX) {
            return None;
        }
        let summary = ShardSummary {
            vote: present(1).then_some(vote),
            purged: position(24).filter(|_| present(4)),
            committed: position(40).filter(|_| present(8)),
            entries: present(16).then_some(entries),
        };
        shards.insert(u32_at(bytes, 0)?, summary);
    }
    Some(shards)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (u64, u32) = (0x1234_5678_9abc_def0, 7);

    fn bodies() -> Vec<Body<'static>> {
        let position = LogPosition { term: 3, index: 9 };
        let vote = SavedVote { term: 4, node_id: 2, committed: true };
        let full = ShardSummary {
            vote: Some(vote),
            purged: Some(LogPosition { term: 1, index: 2 }),
            committed: Some(position),
            entries: Some((3, position)),
        };
        vec![
            Body::Entry { position, kind: EntryKind::Blank, payload: b"" },
            Body::Entry { position, kind: EntryKind::Normal, payload: b"some bytes" },
            Body::Entry { position, kind: EntryKind::Membership, payload: &[0xff; 256] },
            Body::Vote(vote),
            Body::Committed(None),
            Body::Committed(Some(position)),
            Body::Truncate(None),
            Body::Truncate(Some(position)),
            Body::Purge(position),
            Body::Checkpoint(BTreeMap::new()),
            Body::Checkpoint(BTreeMap::from([(0, ShardSummary::default()), (9, full)])),
            Body::Mark,
        ]
    }

    fn encode(body: &Body<'_>, offset: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let key = SegmentKey::new(KEY.0, KEY.1);
        let on_disk = encode_record(&mut out, key, offset, 24, 5, body);
        assert_eq!(on_disk as usize, out.len());
        out
    }

    #[test]
    fn records_read_back_as_written() {
        let key = SegmentKey::new(KEY.0, KEY.1);
        for body in bodies() {
            let bytes = encode(&body, 64);
            let raw = record_in(&bytes, key, 64).expect("a record");
            assert_eq!((raw.synced_upto, raw.shard), (24, 5));
            assert_eq!(raw.body().as_ref(), Ok(&body));
        }
    }

    #[test]
    fn a_record_is_nowhere_else_valid() {
        let bytes = encode(&Body::Mark, 64);
        assert!(record_in(&bytes, SegmentKey::new(KEY.0, KEY.1 + 1), 64).is_none());
        assert!(record_in(&bytes, SegmentKey::new(KEY.0 + 1, KEY.1), 64).is_none());
        assert!(record_in(&bytes, SegmentKey::new(KEY.0, KEY.1), 72).is_none());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let key = SegmentKey::new(KEY.0, KEY.1);
        for body in bodies() {
            let mut bytes = encode(&body, 64);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(record_in(&bytes, key, 64).is_none(), "{body:?} bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn headers_read_back_and_refuse_flips() {
        let header =
            SegmentHeader { log_id: KEY.0, seq: KEY.1, previous_end: 4096, file_bytes: 8192 };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), HeaderState::Valid(header));
        assert_eq!(decode_identity(&bytes), HeaderState::Invalid);
        assert_eq!(decode_identity(&encode_identity(8)), HeaderState::Valid(8));
        for bit in 0..HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), HeaderState::Invalid, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&seal_header(bytes)), HeaderState::Unknown(2));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, record_type: u8, detail: u8) {
            let key = SegmentKey::new(KEY.0, KEY.1);
            for offset in 0..bytes.len() {
                assert!(record_at(&bytes, key, offset).is_none());
            }
            let mut raw = vec![0; 16];
            raw.extend_from_slice(&[record_type, detail]);
            raw.extend_from_slice(&bytes);
            if raw.len() >= RECORD_BYTES_MIN {
                let raw = RawRecord { on_disk: 0, synced_upto: 0, shard: 0, bytes: &raw };
                drop(raw.body());
            }
            assert_eq!(SegmentHeader::decode(&bytes), HeaderState::Invalid);
        }
    }
}
