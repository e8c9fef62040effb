//! Reads entries, from the tail cache where it has them, else from the files.
//!
//! Files are read without a lock. An entry may be purged and its file recycled meanwhile; its
//! record then fails the checksum, and a second look at the shard tells this from damage.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::disk::read_upto;
use super::format::{self, Body, RECORD_BYTES_MIN};
use super::queue::Shared;
use super::shard::{Lookup, Place, Shard};
use super::{LogEntry, LogPosition};

/// Entries looked up under one lock, so that a long read does not hold up appends.
const LOOKUP_COUNT_MAX: usize = 512;
/// Bytes after which one read of a file ends.
const READ_BYTES_MAX: usize = 4 << 20;

pub(super) fn read(
    shared: &Shared,
    shard: &Shard,
    range: Range<u64>,
    bytes_max: usize,
) -> io::Result<Vec<LogEntry>> {
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut bytes = 0;
    let mut next = range.start;
    while next < range.end && (entries.is_empty() || bytes < bytes_max) {
        let lookup =
            shard.state.lock().lookup(next..range.end, bytes_max - bytes, LOOKUP_COUNT_MAX);
        let found = match lookup {
            Lookup::Cached(found) => found,
            Lookup::OnDisk(places) => match read_places(shared, &places)? {
                Some(found) => found,
                None if is_still_there(shard, &places) => {
                    let what = format!("entry {next} of shard {} is damaged", shard.id);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                None => continue,
            },
        };
        let Some(first) = found.first() else { break };
        let gap = !entries.is_empty() && first.position.index != next;
        if gap || (!entries.is_empty() && bytes + first.payload.len() > bytes_max) {
            break;
        }
        bytes = found.iter().fold(bytes, |sum, entry| sum.saturating_add(entry.payload.len()));
        bytes = bytes.min(bytes_max);
        entries.extend(found);
        next = entries.last().map_or(range.end, |last| last.position.index + 1);
    }
    Ok(entries)
}

/// Whether the shard still says that these entries are at these places.
fn is_still_there(shard: &Shard, places: &[(LogPosition, Place)]) -> bool {
    let Some((first, _)) = places.first() else {
        return false;
    };
    let end = first.index.saturating_add(places.len() as u64);
    let again = shard.state.lock().lookup(first.index..end, usize::MAX, places.len());
    matches!(again, Lookup::OnDisk(again) if again == places)
}

/// The entries at these places; `None` if some record there is not the one expected.
fn read_places(
    shared: &Shared,
    places: &[(LogPosition, Place)],
) -> io::Result<Option<Vec<LogEntry>>> {
    let mut entries = Vec::with_capacity(places.len());
    let mut rest = places;
    while let Some((_, first)) = rest.first() {
        let (run, others) = rest.split_at(run_length(rest));
        rest = others;
        let file = shared.files.read().get(&first.segment).cloned();
        let Some((key, file)) = file else {
            return Ok(None);
        };
        let len = run.iter().map(|(_, place)| place.on_disk as usize).sum();
        let bytes = Bytes::from(read_upto(&*file, u64::from(first.offset), len)?);
        for (position, place) in run {
            let at = (place.offset - first.offset) as usize;
            let record = bytes.get(at..).and_then(|b| format::record_in(b, key, place.offset));
            match record.map(|record| record.body()) {
                Some(Ok(Body::Entry { position: found, kind, payload })) if found == *position => {
                    let start = at + RECORD_BYTES_MIN;
                    let payload = bytes.slice(start..start + payload.len());
                    entries.push(LogEntry { position: *position, kind, payload });
                }
                _ => return Ok(None),
            }
        }
    }
    shared.meter.missed(entries.len());
    Ok(Some(entries))
}

/// How many of these places, at least one, stand one behind the other and are read at once.
fn run_length(places: &[(LogPosition, Place)]) -> usize {
    let mut bytes = 0;
    let breaks = places.iter().zip(places.iter().skip(1)).position(|((_, this), (_, next))| {
        bytes += this.on_disk as usize;
        let adjacent = this.segment == next.segment && this.offset + this.on_disk == next.offset;
        !adjacent || bytes >= READ_BYTES_MAX
    });
    breaks.map_or(places.len(), |last| last + 1)
}
