//! A whole state as a stream of chunks: what a Raft snapshot carries from one node to another.
//!
//! Chunk layout (integers little endian):
//! `version u8 = 2 | row count u32 | rows | crc32c u32 of everything before it`,
//! row = `key length u32 | value length u32 | key | value`. Rows ascend over the whole stream, so
//! the receiver can load them as sorted tables. The transport frames the chunks and says which is
//! the last; `SnapshotSink::finish` switches to the new state atomically.

use crate::error::StorageError;
use crate::txn::{ReadTxn, Row};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Version of the chunk layout and of the rows in it. 2: deadlines are ordered within their keyspaces.
pub const CHUNK_VERSION: u8 = 2;

/// A state being sent.
pub trait SnapshotSource: Send {
    /// The state that is sent.
    fn view(&self) -> &dyn ReadTxn;

    /// The next chunk, of about `bytes_max` bytes (one row may exceed it); None at the end.
    fn next_chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StorageError>;
}

/// A state being received. Dropping it before `finish` leaves the old state untouched.
pub trait SnapshotSink: Send {
    /// Takes the next chunk; refuses a damaged one and rows out of order.
    fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StorageError>;

    /// Writes what it still holds, as all there is at `log_index`: the last step that needs much room.
    /// `finish` does it, too, where it was not done; but whoever finishes may not outlive a full disk.
    fn complete(&mut self, log_index: u64) -> Result<(), StorageError> {
        let _nothing_is_held = log_index;
        Ok(())
    }

    /// Makes the received state durable and switches to it atomically, at `log_index`.
    fn finish(self: Box<Self>, log_index: u64) -> Result<(), StorageError>;
}

/// Encodes rows from the iterator until `bytes_max` is reached; None when there is no row left.
pub fn encode_chunk(
    rows: &mut dyn Iterator<Item = Result<Row, StorageError>>,
    bytes_max: usize,
) -> Result<Option<Bytes>, StorageError> {
    let mut out = BytesMut::with_capacity(bytes_max.min(1 << 20) + 64);
    out.put_u8(CHUNK_VERSION);
    out.put_u32_le(0);
    let mut count = 0u32;
    while out.len() < bytes_max || count == 0 {
        let Some(row) = rows.next() else { break };
        let (key, value) = row?;
        out.put_u32_le(key.len() as u32);
        out.put_u32_le(value.len() as u32);
        out.put_slice(&key);
        out.put_slice(&value);
        count += 1;
    }
    if count == 0 {
        return Ok(None);
    }
    out[1..5].copy_from_slice(&count.to_le_bytes());
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    Ok(Some(out.freeze()))
}

/// Decodes one chunk; never panics, whatever the bytes are.
pub fn decode_chunk(chunk: Bytes) -> Result<Vec<Row>, StorageError> {
    let refuse = |why: &str| StorageError::Snapshot(format!("chunk {why}"));
    if chunk.len() < 9 {
        return Err(refuse("too short"));
    }
    let (body, crc) = chunk.split_at(chunk.len() - 4);
    if crc32c::crc32c(body).to_le_bytes() != crc {
        return Err(refuse("fails its checksum"));
    }
    let mut rest = chunk.slice(..body.len());
    let version = rest.get_u8();
    if version != CHUNK_VERSION {
        return Err(refuse(&format!("has version {version}, known is {CHUNK_VERSION}")));
    }
    let count = rest.get_u32_le();
    let mut rows = Vec::with_capacity((count as usize).min(rest.len() / 8));
    for _ in 0..count {
        if rest.len() < 8 {
            return Err(refuse("ends inside a row"));
        }
        let key_bytes = rest.get_u32_le() as usize;
        let value_bytes = rest.get_u32_le() as usize;
        if key_bytes.checked_add(value_bytes).is_none_or(|both| both > rest.len()) {
            return Err(refuse("ends inside a row"));
        }
        let key = rest.split_to(key_bytes);
        let value = rest.split_to(value_bytes);
        rows.push((key, value));
    }
    if !rest.is_empty() {
        return Err(refuse("has bytes after its last row"));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u32) -> Vec<Row> {
        let row = |i: u32| (Bytes::from(format!("key{i:06}")), Bytes::from(vec![i as u8; 10]));
        (0..count).map(row).collect()
    }

    #[test]
    fn chunks_carry_every_row_once() {
        let sent = rows(1000);
        let mut source = sent.iter().cloned().map(Ok);
        let mut received = Vec::new();
        while let Some(chunk) = encode_chunk(&mut source, 500).unwrap() {
            received.extend(decode_chunk(chunk).unwrap());
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let chunk = encode_chunk(&mut rows(3).into_iter().map(Ok), 500).unwrap().unwrap();
        for position in 0..chunk.len() {
            let mut bad = chunk.to_vec();
            bad[position] ^= 0x40;
            assert!(decode_chunk(bad.into()).is_err(), "byte {position}");
        }
        for end in 0..chunk.len() {
            assert!(decode_chunk(chunk.slice(..end)).is_err(), "cut at {end}");
        }
    }
}
