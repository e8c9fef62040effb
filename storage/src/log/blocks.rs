//! Writes records as whole blocks from an aligned buffer, so that they can pass the page cache by.
//!
//! Copying each record into a fresh page of the cache, which nobody reads, cost as much CPU as all
//! the rest of the log. What a direct write needs is that offset, length and address are multiples
//! of the block: the block in which the last write ended is written again from memory, and zeros
//! follow the last record to the end of its block.

use smallvec::SmallVec;
use std::io;

use super::disk::{BLOCK_BYTES, DiskFile};

/// Bytes of one write at most.
const PIECE_BYTES: usize = 1 << 20;

/// The bytes of a file before the end of its records, back to where their block begins.
#[derive(Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// Reads the tail of records that end at `end`.
    pub(super) fn read(file: &dyn DiskFile, end: u32) -> io::Result<Tail> {
        let length = end as usize % BLOCK_BYTES;
        let start = u64::from(end) - length as u64;
        let tail = super::disk::read_upto(file, start, length)?;
        if tail.len() == length { Ok(Tail(tail)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The tail after `bytes` were added.
    fn extend(&mut self, bytes: &[u8]) {
        let length = (self.0.len() + bytes.len()) % BLOCK_BYTES;
        if length >= bytes.len() {
            self.0.drain(..self.0.len() + bytes.len() - length);
            self.0.extend_from_slice(bytes);
        } else {
            self.0.clear();
            self.0.extend_from_slice(&bytes[bytes.len() - length..]);
        }
    }
}

/// The aligned buffer.
pub(super) struct BlockWriter {
    bytes: Vec<u8>,
    /// Where the aligned part begins.
    start: usize,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        let bytes = vec![0; PIECE_BYTES + BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        Self { bytes, start }
    }

    /// Writes `records`, in parts, behind `tail`, which ends at `offset`, and zeros up to the end of the last
    /// block, but nothing at or behind `capacity` unless a record lies there.
    pub(super) fn write(
        &mut self,
        file: &dyn DiskFile,
        tail: &mut Tail,
        (offset, capacity): (u64, u64),
        records: &[&[u8]],
    ) -> io::Result<()> {
        let mut at = offset - tail.0.len() as u64;
        debug_assert!(at.is_multiple_of(BLOCK_BYTES as u64), "a tail begins with its block");
        let end = offset + records.iter().map(|part| part.len() as u64).sum::<u64>();
        let padded = end.next_multiple_of(BLOCK_BYTES as u64).min(capacity).max(end);
        let mut left: SmallVec<[&[u8]; 4]> =
            [&tail.0[..]].into_iter().chain(records.iter().copied()).collect();
        while at < padded {
            let piece = &mut self.bytes[self.start..][..PIECE_BYTES];
            let mut filled = 0;
            for part in &mut left {
                let taken = part.len().min(PIECE_BYTES - filled);
                piece[filled..filled + taken].copy_from_slice(&part[..taken]);
                *part = &part[taken..];
                filled += taken;
            }
            let wanted = usize::try_from(padded - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            piece[filled..wanted].fill(0);
            file.write_all_at(&piece[..wanted], at)?;
            at += wanted as u64;
        }
        drop(left);
        records.iter().for_each(|part| tail.extend(part));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::disk::{Disk, FsDisk, read_upto};

    /// Writes of these lengths, one behind the other, leave the same bytes as one write, and zeros.
    fn check(lengths: &[usize], capacity: usize) {
        let dir = tempfile::tempdir().unwrap();
        let disk = FsDisk::create(dir.path().to_owned(), None).unwrap();
        let file = disk.create("f").unwrap();
        file.write_all_at(&vec![7; capacity], 0).unwrap();
        let file = disk.open("f").unwrap();
        let (mut blocks, mut tail) = (BlockWriter::new(), Tail::default());
        let mut expected: Vec<u8> = Vec::new();
        for length in lengths {
            let records: Vec<u8> = (0..*length).map(|at| (at % 251) as u8 + 1).collect();
            let offset = expected.len() as u64;
            let (one, other) = records.split_at(length / 3);
            let parts = [one, &[], other];
            blocks.write(&*file, &mut tail, (offset, capacity as u64), &parts).unwrap();
            expected.extend(records);
            assert_eq!(tail.0, Tail::read(&*file, expected.len() as u32).unwrap().0);
        }
        let written = read_upto(&*file, 0, capacity.max(expected.len())).unwrap();
        let padded = expected.len().next_multiple_of(BLOCK_BYTES).min(capacity);
        expected.resize(padded.max(expected.len()), 0);
        assert!(written[..expected.len()] == expected, "{lengths:?}");
        assert!(written[expected.len()..].iter().all(|byte| *byte == 7), "{lengths:?}");
    }

    #[test]
    fn what_is_written_piecemeal_is_what_is_there() {
        check(&[1, 2, 4093, 1, 4095, 4096, 8192, 5, 0, 12_289], 64 << 10);
        check(&[100, 3 << 20, 50, PIECE_BYTES], 8 << 20);
        // Records up to the capacity, which is no whole number of blocks, and beyond it.
        check(&[5000, 5000], 10_001);
        check(&[5000, 9000], 10_001);
    }
}
