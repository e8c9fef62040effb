//! What a log entry holds: a group of operations under one time and one seed.
//!
//! Layout (integers little endian):
//! `version u8 = 1 | now_ms u64 | seed u64 | databases u16 | count u32 | operations`,
//! operation = `tag u8 | length u32 | body`:
//!
//! | tag | operation | body |
//! |---|---|---|
//! | 1 | one command | `database u8, argc u32, (length u32, bytes)*` |
//! | 2 | MULTI block | `watched u32, (database u8, version u64, length u32, key)*, commands u32, (as tag 1)*` |
//! | 3 | time mark | `keys to remove at most u32` |
//!
//! Operations are encoded where they arrive and copied into the entry as they are; the leader only
//! puts the header before them. Decoding is zero-copy and never panics.

use crate::session::Watched;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::Request;
use smallvec::SmallVec;

/// Version of the layout.
pub const ENTRY_VERSION: u8 = 1;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 1 + 8 + 8 + 2 + 4;

const TAG_COMMAND: u8 = 1;
const TAG_MULTI: u8 = 2;
const TAG_TIME_MARK: u8 = 3;

/// What the leader stamps on an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// The leader's time, in milliseconds since 1970.
    pub now_ms: u64,
    /// Seed of every random choice.
    pub seed: u64,
    /// How many databases there are.
    pub databases: u16,
}

/// One operation of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// One write command.
    Command {
        /// The database selected.
        database: u8,
        /// Its arguments.
        request: Request,
    },
    /// A MULTI block: all or, when a watched key changed, nothing.
    Multi {
        /// Keys under WATCH.
        watched: Vec<Watched>,
        /// Commands with the databases selected for them.
        commands: Vec<(u8, Request)>,
    },
    /// Moves the time and removes overdue keys.
    TimeMark {
        /// At most this many.
        keys_max: u32,
    },
}

impl Operation {
    /// Appends the encoded operation.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Operation::Command { database, request } => encode_command(*database, request, out),
            Operation::Multi { watched, commands } => {
                with_length(out, TAG_MULTI, |out| {
                    out.put_u32_le(watched.len() as u32);
                    for key in watched {
                        out.put_u8(key.database);
                        out.put_u64_le(key.version);
                        put_bytes(out, &key.key);
                    }
                    out.put_u32_le(commands.len() as u32);
                    for (database, request) in commands {
                        put_request(out, *database, request);
                    }
                });
            }
            Operation::TimeMark { keys_max } => {
                with_length(out, TAG_TIME_MARK, |out| out.put_u32_le(*keys_max));
            }
        }
    }
}

/// Appends one encoded command.
pub fn encode_command(database: u8, request: &Request, out: &mut BytesMut) {
    out.reserve(14 + request.payload_bytes() + 4 * request.len());
    with_length(out, TAG_COMMAND, |out| put_request(out, database, request));
}

/// An entry: header and operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the leader stamped on it.
    pub header: EntryHeader,
    /// The operations, in order.
    pub operations: Vec<Operation>,
}

/// Why bytes are no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable log entry: {0}")]
pub struct EntryError(&'static str);

impl Entry {
    /// Puts a header before encoded operations.
    pub fn assemble<'a>(
        header: EntryHeader,
        count: u32,
        operations: impl Iterator<Item = &'a [u8]>,
        bytes: usize,
    ) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + bytes);
        out.put_u8(ENTRY_VERSION);
        out.put_u64_le(header.now_ms);
        out.put_u64_le(header.seed);
        out.put_u16_le(header.databases);
        out.put_u32_le(count);
        for part in operations {
            out.put_slice(part);
        }
        out.freeze()
    }

    /// Decodes an entry; arguments share its buffer.
    pub fn decode(buffer: &Bytes) -> Result<Self, EntryError> {
        let mut cursor = Cursor { buffer, at: 0 };
        if cursor.u8()? != ENTRY_VERSION {
            return Err(EntryError("unknown version"));
        }
        let (now_ms, seed) = (cursor.u64()?, cursor.u64()?);
        let header = EntryHeader { now_ms, seed, databases: cursor.u16()? };
        let count = cursor.u32()?;
        let mut operations = Vec::with_capacity((count as usize).min(buffer.len() / 9));
        for _ in 0..count {
            operations.push(cursor.operation()?);
        }
        if cursor.at != buffer.len() {
            return Err(EntryError("bytes after the last operation"));
        }
        Ok(Entry { header, operations })
    }

    /// Whether an encoded entry holds a MULTI block: its reads may walk many keys.
    pub fn has_multi(entry: &[u8]) -> bool {
        let mut operations = entry.get(HEADER_BYTES..).unwrap_or_default();
        while let Some((&tag, length)) = operations.split_first() {
            if tag == TAG_MULTI {
                return true;
            }
            let Some(length) = length.first_chunk() else { return false };
            let length = u32::from_le_bytes(*length) as usize;
            operations = operations.get(5 + length..).unwrap_or_default();
        }
        false
    }

    /// How many operations encoded bytes hold, without decoding them; None when they do not end
    /// with an operation's end.
    pub fn count_operations(mut operations: &[u8]) -> Option<u32> {
        let mut count = 0;
        while !operations.is_empty() {
            let length = operations.get(1..5)?;
            let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
            operations = operations.get(5 + length..)?;
            count += 1;
        }
        Some(count)
    }
}

struct Cursor<'a> {
    buffer: &'a Bytes,
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], EntryError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.buffer.len());
        let end = end.ok_or(EntryError("it ends early"))?;
        let bytes = &self.buffer[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, EntryError> {
        Ok(self.take(1)?.get_u8())
    }

    fn u16(&mut self) -> Result<u16, EntryError> {
        Ok(self.take(2)?.get_u16_le())
    }

    fn u32(&mut self) -> Result<u32, EntryError> {
        Ok(self.take(4)?.get_u32_le())
    }

    fn u64(&mut self) -> Result<u64, EntryError> {
        Ok(self.take(8)?.get_u64_le())
    }

    fn range(&mut self) -> Result<(u32, u32), EntryError> {
        let len = self.u32()? as usize;
        let start = self.at as u32;
        self.take(len)?;
        Ok((start, self.at as u32))
    }

    fn command(&mut self) -> Result<(u8, Request), EntryError> {
        let database = self.u8()?;
        let argc = self.u32()? as usize;
        if argc == 0 {
            return Err(EntryError("a command without a name"));
        }
        let mut ranges = SmallVec::with_capacity(argc.min(self.buffer.len() / 4));
        for _ in 0..argc {
            ranges.push(self.range()?);
        }
        Ok((database, Request::new(self.buffer.clone(), ranges)))
    }

    fn operation(&mut self) -> Result<Operation, EntryError> {
        let tag = self.u8()?;
        let end = self.u32()? as usize;
        let end = self.at.checked_add(end).ok_or(EntryError("it ends early"))?;
        let operation = match tag {
            TAG_COMMAND => {
                let (database, request) = self.command()?;
                Operation::Command { database, request }
            }
            TAG_MULTI => self.multi()?,
            TAG_TIME_MARK => Operation::TimeMark { keys_max: self.u32()? },
            _ => return Err(EntryError("unknown operation")),
        };
        if self.at != end {
            return Err(EntryError("an operation of another length"));
        }
        Ok(operation)
    }

    fn multi(&mut self) -> Result<Operation, EntryError> {
        let mut watched = Vec::new();
        for _ in 0..self.u32()? {
            let (database, version) = (self.u8()?, self.u64()?);
            let (start, end) = self.range()?;
            let key = self.buffer[start as usize..end as usize].to_vec();
            watched.push(Watched { database, key, version });
        }
        let mut commands = Vec::new();
        for _ in 0..self.u32()? {
            commands.push(self.command()?);
        }
        Ok(Operation::Multi { watched, commands })
    }
}

fn with_length(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let at = out.len();
    out.put_u32_le(0);
    body(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}

fn put_request(out: &mut BytesMut, database: u8, request: &Request) {
    out.put_u8(database);
    out.put_u32_le(request.len() as u32);
    for arg in request.iter() {
        put_bytes(out, arg);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations() -> Vec<Operation> {
        let request = |parts: &[&str]| Request::from_parts(parts);
        vec![
            Operation::Command { database: 3, request: request(&["SET", "k", ""]) },
            Operation::Multi {
                watched: vec![Watched { database: 1, key: b"w".to_vec(), version: 77 }],
                commands: vec![(0, request(&["INCR", "a"])), (9, request(&["GET", "b"]))],
            },
            Operation::TimeMark { keys_max: 5 },
        ]
    }

    fn encoded() -> Bytes {
        let mut parts = BytesMut::new();
        operations().iter().for_each(|operation| operation.encode(&mut parts));
        assert_eq!(Entry::count_operations(&parts), Some(3));
        let header = EntryHeader { now_ms: 12, seed: 34, databases: 16 };
        let entry = Entry::assemble(header, 3, std::iter::once(&parts[..]), parts.len());
        assert!(Entry::has_multi(&entry));
        entry
    }

    #[test]
    fn entries_come_apart_as_they_were_put_together() {
        let entry = Entry::decode(&encoded()).unwrap();
        let texts = |operations: &[Operation]| format!("{operations:?}");
        assert_eq!(texts(&entry.operations), texts(&operations()));
        assert_eq!(entry.header, EntryHeader { now_ms: 12, seed: 34, databases: 16 });
    }

    #[test]
    fn damaged_entries_are_refused_without_panic() {
        let whole = encoded();
        for end in 0..whole.len() {
            assert!(Entry::decode(&whole.slice(..end)).is_err(), "cut at {end}");
        }
        for position in 0..whole.len() {
            let mut bad = whole.to_vec();
            bad[position] = bad[position].wrapping_add(0x41);
            let _any_answer_but_a_panic = Entry::decode(&bad.into());
        }
    }
}
