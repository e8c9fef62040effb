//! The client's side of a connection: commands out, replies of either protocol version in.
//!
//! Tools, tests and the load generator use it over `tokio_util::codec::Framed`. Aggregates are
//! built on a stack of our own and kept between calls, so a reply in pieces is read once and depth
//! is a number with a limit rather than a matter of luck. Maps keep their order, bulk strings share
//! the read buffer, attributes are read and dropped, counts allocate nothing until elements come.
//!
//! It does not read the streamed types of RESP3 (`$?`, `*?`), which Redis never sends, nor inline
//! requests. After an error the stream is out of step and must be closed.

use crate::encode::encode_request;
use crate::grow::make_room;
use crate::number::parse_canonical;
use crate::reply::Reply;
use crate::request::Request;
use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use std::borrow::Cow;
use std::io;
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

/// Aggregates inside aggregates, the outermost included.
pub const DEPTH_MAX: usize = 32;
/// Longest line: simple strings, errors, big numbers, counts.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Longest single bulk string that is believed.
pub const REPLY_BULK_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Elements for which room is made before they have come.
const PREALLOCATED_MAX: usize = 1024;

/// Why a reply could not be read.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The connection failed, or ended within a reply.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A reply begins with this byte, which names no type.
    #[error("no reply begins with byte {0:#04x}")]
    UnknownType(u8),
    /// What follows the type is not what that type holds.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// More than [`DEPTH_MAX`] aggregates inside each other.
    #[error("aggregates are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// A line longer than [`LINE_BYTES_MAX`] or a bulk string longer than [`REPLY_BULK_BYTES_MAX`].
    #[error("{0} is too long")]
    TooLong(&'static str),
}

/// Decodes replies and encodes commands; one for each connection.
#[derive(Debug, Default)]
pub struct RespClientCodec {
    /// Aggregates begun and not yet complete, outermost first.
    open: Vec<Aggregate>,
    /// A bulk string whose header is read.
    bulk: Option<PendingBulk>,
    /// This much of the buffer holds no end of the line it starts with.
    searched: usize,
}

#[derive(Clone, Copy, Debug)]
struct PendingBulk {
    kind: BulkKind,
    length: usize,
}

#[derive(Clone, Copy, Debug)]
enum BulkKind {
    Plain,
    Error,
    Verbatim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Array,
    Set,
    Push,
    Map,
    Attribute,
}

#[derive(Debug)]
struct Aggregate {
    kind: Kind,
    /// Values still to come; a pair is two.
    missing: usize,
    items: Vec<Reply>,
}

/// What one step of reading found.
enum Step {
    NeedMore,
    Value(Reply),
    /// A header; its aggregate or bulk string is under way.
    Begun,
}

impl RespClientCodec {
    /// A codec at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, DecodeError> {
        if let Some(bulk) = self.bulk {
            return self.take_bulk(bulk, buffer);
        }
        let Some(line) = self.take_line(buffer)? else {
            return Ok(Step::NeedMore);
        };
        // The line has its CRLF and at least the type before it, unless it is empty.
        let text = &line[..line.len() - 2];
        let Some((&marker, rest)) = text.split_first() else {
            return Err(DecodeError::Malformed("empty line"));
        };
        match marker {
            b'$' if rest == b"-1" => Ok(Step::Value(Reply::Null)),
            b'*' if rest == b"-1" => Ok(Step::Value(Reply::NullArray)),
            b'$' => self.begin_bulk(BulkKind::Plain, rest),
            b'!' => self.begin_bulk(BulkKind::Error, rest),
            b'=' => self.begin_bulk(BulkKind::Verbatim, rest),
            b'*' => self.begin_aggregate(Kind::Array, rest),
            b'~' => self.begin_aggregate(Kind::Set, rest),
            b'>' => self.begin_aggregate(Kind::Push, rest),
            b'%' => self.begin_aggregate(Kind::Map, rest),
            b'|' => self.begin_aggregate(Kind::Attribute, rest),
            _ => scalar(marker, rest).map(Step::Value),
        }
    }

    /// Takes a line with its CRLF off the buffer.
    fn take_line(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
        let lf = memchr(b'\n', &buffer[self.searched..]).map(|at| self.searched + at);
        if lf.unwrap_or(buffer.len()) > LINE_BYTES_MAX {
            return Err(DecodeError::TooLong("line"));
        }
        let Some(lf) = lf else {
            self.searched = buffer.len();
            return Ok(None);
        };
        self.searched = 0;
        if !buffer[..lf].ends_with(b"\r") {
            return Err(DecodeError::Malformed("line break"));
        }
        Ok(Some(buffer.split_to(lf + 1).freeze()))
    }

    fn begin_bulk(&mut self, kind: BulkKind, length: &[u8]) -> Result<Step, DecodeError> {
        let length = parse_count(length, "bulk length")?;
        if length > REPLY_BULK_BYTES_MAX {
            return Err(DecodeError::TooLong("bulk string"));
        }
        self.bulk = Some(PendingBulk { kind, length });
        Ok(Step::Begun)
    }

    fn take_bulk(&mut self, bulk: PendingBulk, buffer: &mut BytesMut) -> Result<Step, DecodeError> {
        let whole = bulk.length + 2;
        if buffer.len() < whole {
            make_room(buffer, whole - buffer.len());
            return Ok(Step::NeedMore);
        }
        if buffer[bulk.length..whole] != *b"\r\n" {
            return Err(DecodeError::Malformed("end of bulk string"));
        }
        self.bulk = None;
        let mut value = buffer.split_to(bulk.length).freeze();
        buffer.advance(2);
        Ok(Step::Value(match bulk.kind {
            BulkKind::Plain => Reply::Bulk(value),
            BulkKind::Error => Reply::Error(owned_text(&value)),
            BulkKind::Verbatim => {
                let [a, b, c, b':', ..] = value[..] else {
                    return Err(DecodeError::Malformed("verbatim string"));
                };
                value.advance(4);
                Reply::Verbatim([a, b, c], value)
            }
        }))
    }

    fn begin_aggregate(&mut self, kind: Kind, count: &[u8]) -> Result<Step, DecodeError> {
        let count = parse_count(count, "aggregate count")?;
        let missing = match kind {
            Kind::Map | Kind::Attribute => {
                count.checked_mul(2).ok_or(DecodeError::TooLong("aggregate"))?
            }
            Kind::Array | Kind::Set | Kind::Push => count,
        };
        if missing == 0 {
            return Ok(match kind {
                Kind::Attribute => Step::Begun,
                _ => Step::Value(finish(kind, Vec::new())),
            });
        }
        if self.open.len() == DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        let items = Vec::with_capacity(missing.min(PREALLOCATED_MAX));
        self.open.push(Aggregate { kind, missing, items });
        Ok(Step::Begun)
    }

    /// Puts a value where it belongs; returns it when it is a whole reply.
    fn place(&mut self, mut value: Reply) -> Option<Reply> {
        loop {
            let Some(mut aggregate) = self.open.pop() else {
                return Some(value);
            };
            aggregate.items.push(value);
            aggregate.missing -= 1;
            if aggregate.missing > 0 {
                self.open.push(aggregate);
                return None;
            }
            if aggregate.kind == Kind::Attribute {
                return None;
            }
            value = finish(aggregate.kind, aggregate.items);
        }
    }
}

fn finish(kind: Kind, items: Vec<Reply>) -> Reply {
    match kind {
        Kind::Array | Kind::Attribute => Reply::Array(items),
        Kind::Set => Reply::Set(items),
        Kind::Push => Reply::Push(items),
        Kind::Map => {
            let mut pairs = Vec::with_capacity(items.len() / 2);
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            Reply::Map(pairs)
        }
    }
}

fn scalar(marker: u8, text: &[u8]) -> Result<Reply, DecodeError> {
    Ok(match (marker, text) {
        (b'+', b"OK") => Reply::OK,
        (b'+', _) => Reply::Simple(owned_text(text)),
        (b'-', _) => Reply::Error(owned_text(text)),
        (b':', _) => {
            Reply::Integer(parse_canonical(text).ok_or(DecodeError::Malformed("integer"))?)
        }
        (b'_', b"") => Reply::Null,
        (b'_', _) => return Err(DecodeError::Malformed("null")),
        (b'#', b"t") => Reply::Boolean(true),
        (b'#', b"f") => Reply::Boolean(false),
        (b'#', _) => return Err(DecodeError::Malformed("boolean")),
        (b',', _) => Reply::Double(parse_double(text)?),
        (b'(', _) => Reply::BigNumber(owned_text(check_big_number(text)?)),
        _ => return Err(DecodeError::UnknownType(marker)),
    })
}

fn parse_count(text: &[u8], what: &'static str) -> Result<usize, DecodeError> {
    parse_canonical(text)
        .and_then(|count| usize::try_from(count).ok())
        .ok_or(DecodeError::Malformed(what))
}

fn parse_double(text: &[u8]) -> Result<f64, DecodeError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(DecodeError::Malformed("double"))
}

fn check_big_number(text: &[u8]) -> Result<&[u8], DecodeError> {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    match !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        true => Ok(text),
        false => Err(DecodeError::Malformed("big number")),
    }
}

/// Texts are UTF-8 here; an error may echo other bytes, which are replaced.
fn owned_text(text: &[u8]) -> Cow<'static, str> {
    Cow::Owned(String::from_utf8_lossy(text).into_owned())
}

impl Decoder for RespClientCodec {
    type Item = Reply;
    type Error = DecodeError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Reply>, DecodeError> {
        loop {
            match self.step(buffer)? {
                Step::NeedMore => return Ok(None),
                Step::Begun => {}
                Step::Value(value) => {
                    if let Some(reply) = self.place(value) {
                        return Ok(Some(reply));
                    }
                }
            }
        }
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Reply>, DecodeError> {
        match self.decode(buffer)? {
            None if self.open.is_empty() && self.bulk.is_none() && buffer.is_empty() => Ok(None),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            reply => Ok(reply),
        }
    }
}

impl Encoder<&Request> for RespClientCodec {
    type Error = DecodeError;

    fn encode(&mut self, request: &Request, out: &mut BytesMut) -> Result<(), DecodeError> {
        let args: smallvec::SmallVec<[&[u8]; 6]> = request.iter().collect();
        encode_request(&args, out);
        Ok(())
    }
}

impl<A: AsRef<[u8]>> Encoder<&[A]> for RespClientCodec {
    type Error = DecodeError;

    fn encode(&mut self, args: &[A], out: &mut BytesMut) -> Result<(), DecodeError> {
        encode_request(args, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
