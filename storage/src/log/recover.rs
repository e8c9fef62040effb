//! Opens a log: creates it, or scans it and makes what was found durable.
//!
//! What a crash left must not merely be readable, it must be on the disk before anyone relies on
//! it: after a mere process crash the page cache may show records that were never synced, and
//! after a failed sync it may show pages as clean that never arrived. So the part of the last
//! segment that no record proves to be synced is written once more, byte for byte, and synced.
//! Stray records behind the end are overwritten with zeros, so that no later record can end where
//! one of them begins and bring it back to life.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, read_upto};
use super::error::LogError;
use super::format::{
    self, Body, HEADER_BYTES, HeaderState, RECORD_ALIGN, SegmentHeader, SegmentKey,
};
use super::scan::{self, Scan};
use super::{keeper, names};

/// The number of the first segment.
pub(super) const FIRST_SEGMENT: u32 = 1;

/// A log that is on the disk as `scan` says.
pub(super) struct Recovered {
    pub(super) scan: Scan,
    /// Numbers of the spare files of the usual length.
    pub(super) spares: Vec<u64>,
}

/// Opens or creates the log on `disk`, which the caller has locked.
pub(super) fn recover(disk: &dyn Disk, segment_bytes: u64) -> Result<Recovered, LogError> {
    let mut names = disk.list().map_err(LogError::io("list the directory"))?;
    let log_id = match scan::read_identity(disk, &names)? {
        Some(log_id) => log_id,
        None => {
            let log_id = create(disk, &names, segment_bytes)?;
            names = disk.list().map_err(LogError::io("list the directory"))?;
            log_id
        }
    };
    let scan = scan::scan(disk, &names, log_id)?;
    settle(&scan).map_err(LogError::io("write the end of the log once more"))?;
    let spares = tidy(disk, &names, &scan, segment_bytes).map_err(LogError::io("tidy up"))?;
    Ok(Recovered { scan, spares })
}

/// Creates segment 1, then the identity file: where that exists, the segment is durable.
fn create(disk: &dyn Disk, names: &[String], segment_bytes: u64) -> Result<u64, LogError> {
    refuse_leftovers(disk, names)?;
    let log_id = RandomState::new().hash_one(std::process::id());
    let write = || -> io::Result<()> {
        let header = SegmentHeader {
            log_id,
            seq: FIRST_SEGMENT,
            previous_end: 0,
            file_bytes: segment_bytes,
        };
        let mut start = header.encode().to_vec();
        let key = SegmentKey::new(log_id, FIRST_SEGMENT);
        let checkpoint = Body::Checkpoint(Default::default());
        format::encode_record(&mut start, key, HEADER_BYTES as u32, 0, 0, &checkpoint);
        let name = names::segment(FIRST_SEGMENT);
        keeper::create_filled(disk, &names::unfinished(0), &name, segment_bytes, &start)?;
        let identity = disk.create(names::IDENTITY_UNFINISHED)?;
        identity.write_all_at(&format::encode_identity(log_id), 0)?;
        identity.sync_data()?;
        disk.rename(names::IDENTITY_UNFINISHED, names::IDENTITY)?;
        disk.sync_dir()
    };
    write().map_err(LogError::io("create the log"))?;
    Ok(log_id)
}

/// Without an identity file there may be only what an interrupted creation leaves: a first
/// segment that holds no records.
fn refuse_leftovers(disk: &dyn Disk, names: &[String]) -> Result<(), LogError> {
    for seq in names.iter().filter_map(|name| names::segment_seq(name)) {
        let refused = || LogError::corrupt(0, 0, "log.id is missing, but there are segments");
        if seq != FIRST_SEGMENT {
            return Err(refused());
        }
        let context = LogError::io("read the first segment");
        let read = || {
            let file = disk.open(&names::segment(seq))?;
            read_upto(&*file, 0, usize::try_from(file.len()?).unwrap_or(usize::MAX))
        };
        let bytes = read().map_err(context)?;
        let HeaderState::Valid(header) = SegmentHeader::decode(&bytes) else {
            return Err(refused());
        };
        let key = SegmentKey::new(header.log_id, seq);
        let records = (HEADER_BYTES..bytes.len())
            .step_by(RECORD_ALIGN)
            .filter_map(|offset| format::record_at(&bytes, key, offset));
        for record in records {
            if !matches!(record.body(), Ok(Body::Checkpoint(_))) {
                return Err(refused());
            }
        }
    }
    Ok(())
}

/// Makes the records of the last segment durable, and what is behind them harmless.
fn settle(scan: &Scan) -> io::Result<()> {
    let Some(last) = scan.segments.last() else {
        return Ok(());
    };
    let tail = scan.tail;
    let unproven = (tail.end - tail.proven) as usize;
    let mut bytes = read_upto(&*last.file, u64::from(tail.proven), unproven)?;
    if bytes.len() != unproven {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    bytes.resize((tail.stray_end.max(tail.end) - tail.proven) as usize, 0);
    if !bytes.is_empty() {
        last.file.write_all_at(&bytes, u64::from(tail.proven))?;
    }
    last.file.sync_data()
}

/// Removes what unfinished work left, and returns the spare files.
fn tidy(
    disk: &dyn Disk,
    names: &[String],
    scan: &Scan,
    segment_bytes: u64,
) -> io::Result<Vec<u64>> {
    // A name that is not durable yet may be a segment's again after a power cut.
    disk.sync_dir()?;
    let mut spares = Vec::new();
    for name in names {
        if names::is_unfinished(name) {
            disk.remove(name)?;
        } else if let Some(number) = names::spare_number(name) {
            if disk.open(name)?.len()? == segment_bytes {
                spares.push(number);
            } else {
                disk.remove(name)?;
            }
        }
    }
    // From the highest number down: at no moment there is a gap.
    for (seq, begun) in scan.unstarted.iter().rev() {
        let name = names::segment(*seq);
        let number = spares.iter().max().map_or(0, |max| max.wrapping_add(1));
        let keep = !*begun && disk.open(&name)?.len()? == segment_bytes;
        keeper::put_away(disk, *seq, number, keep)?;
        if keep {
            spares.push(number);
        }
    }
    disk.sync_dir()?;
    Ok(spares)
}

/// Takes the directory for this process.
pub(super) fn lock(
    disk: &dyn Disk,
    dir: &std::path::Path,
) -> Result<Box<dyn std::any::Any + Send + Sync>, LogError> {
    let guard = disk.lock().map_err(LogError::io("lock the directory"))?;
    guard.ok_or_else(|| LogError::Locked(dir.to_owned()))
}

/// The file of a segment in use, for readers.
pub(super) type SegmentFiles = std::collections::BTreeMap<u32, (SegmentKey, Arc<dyn DiskFile>)>;
