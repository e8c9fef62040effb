//! Finds whole requests in a growing buffer.
//!
//! Redis clients send either arrays of bulk strings (`*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n`) or lines of
//! words ([`crate::inline`]). The scanner remembers how far it has read, so a request that arrives
//! in a thousand pieces is still read once, and where the pieces end never changes the outcome.
//!
//! Invariants:
//! - Memory follows what was received, never what was announced: counts and lengths are only
//!   numbers until the bytes come.
//! - A request announced to occupy more than the query buffer's limit is refused at once, so a buffer never grows
//!   beyond that limit and one line.
//! - A whole request leaves the buffer as one `Bytes`; nothing is copied, but for quoted lines.
//! - Depth is one: an argument is a bulk string or an error, so there is nothing to recurse into.
//! - An error leaves the state untouched: the next call finds it again.
//!
//! Like Redis, the scanner skips the two bytes after a value and the one after a CR without looking
//! at them, and ignores `*0`, negative counts and empty lines. It knows no command.

use crate::error::ProtocolError;
use crate::grow::make_room;
use crate::inline::{self, Words};
use crate::limits::{
    ScanLimits, UNAUTHENTICATED_BULK_BYTES_MAX, UNAUTHENTICATED_MULTIBULK_COUNT_MAX,
};
use crate::number::{parse_canonical, parse_short_line};
use crate::request::{ArgRange, Request};
use bytes::{Buf, BytesMut};
use memchr::memchr;
use smallvec::SmallVec;

/// The state of reading one connection's requests.
///
/// All offsets count from the first byte of the buffer, which is the first of the request under way.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The arguments found so far.
    ranges: SmallVec<[ArgRange; 6]>,
    /// Everything before this offset is understood.
    position: usize,
    /// Everything before this offset holds no end of the line that starts at `position`.
    searched: usize,
    /// Arguments still to be found; 0 between requests.
    args_missing: u32,
    /// Length of the argument at `position`, once its header is understood.
    bulk_bytes: Option<usize>,
}

impl Scanner {
    /// A scanner at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next whole request off the front of `buffer`; `None` when more bytes are needed.
    ///
    /// Between two calls the caller only appends to `buffer`. After `None` there may be room made
    /// for a long value on its way: a caller who reserves more before using it up spoils the exact
    /// fit. `limits` may differ from call to call, as they do when a client authenticates.
    ///
    /// After an error the connection is over; the buffer still holds the offending bytes.
    pub fn next(
        &mut self,
        buffer: &mut BytesMut,
        limits: &ScanLimits,
    ) -> Result<Option<Request>, ProtocolError> {
        while self.args_missing == 0 {
            match buffer.first() {
                None => return Ok(None),
                Some(b'*') => {
                    if !self.scan_count(buffer, limits)? {
                        return Ok(None);
                    }
                    if self.args_missing == 0 {
                        buffer.advance(std::mem::take(&mut self.position));
                    }
                }
                Some(_) => match self.take_inline(buffer, limits)? {
                    None => return Ok(None),
                    Some(request) if request.is_empty() => {}
                    Some(request) => return Ok(Some(request)),
                },
            }
        }
        if self.scan_arguments(buffer, limits)? {
            return Ok(Some(self.take_scanned(buffer)));
        }
        if let Some(bulk_bytes) = self.bulk_bytes {
            make_room(buffer, self.position + bulk_bytes + 2 - buffer.len());
        }
        Ok(None)
    }

    /// Reads `*<count>`; false when the line is incomplete.
    fn scan_count(&mut self, bytes: &[u8], limits: &ScanLimits) -> Result<bool, ProtocolError> {
        let (count, end) = match parse_short_line(&bytes[1..]) {
            Some((count, length)) => (i64::from(count), 1 + length),
            None => match self.scan_unusual_count(bytes, limits)? {
                Some(found) => found,
                None => return Ok(false),
            },
        };
        if count > i64::from(limits.multibulk_count_max) {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if !limits.authenticated && count > i64::from(UNAUTHENTICATED_MULTIBULK_COUNT_MAX) {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        // A negative count asks for nothing, as zero does.
        self.args_missing = u32::try_from(count).unwrap_or(0);
        self.position = end;
        self.searched = 0;
        Ok(true)
    }

    /// A count whose line is incomplete, long, negative or malformed, and the line's end.
    #[cold]
    fn scan_unusual_count(
        &mut self,
        bytes: &[u8],
        limits: &ScanLimits,
    ) -> Result<Option<(i64, usize)>, ProtocolError> {
        let Some(cr) = self.find_cr(bytes, limits, ProtocolError::MultibulkCountTooBig)? else {
            return Ok(None);
        };
        let count = parse_canonical(&bytes[1..cr]).ok_or(ProtocolError::InvalidMultibulkLength)?;
        Ok(Some((count, cr + 2)))
    }

    /// Reads arguments until none is missing; false when more bytes are needed.
    fn scan_arguments(&mut self, bytes: &[u8], limits: &ScanLimits) -> Result<bool, ProtocolError> {
        while self.args_missing > 0 {
            let bulk_bytes = match self.bulk_bytes {
                Some(bulk_bytes) => bulk_bytes,
                None => match self.scan_bulk_header(bytes, limits)? {
                    Some(bulk_bytes) => bulk_bytes,
                    None => return Ok(false),
                },
            };
            let end = self.position + bulk_bytes;
            if bytes.len() < end + 2 {
                self.bulk_bytes = Some(bulk_bytes);
                return Ok(false);
            }
            // The header was refused if the end were beyond `u32::MAX`.
            self.ranges.push((self.position as u32, end as u32));
            self.bulk_bytes = None;
            self.position = end + 2;
            self.args_missing -= 1;
        }
        Ok(true)
    }

    /// Reads `$<length>` at `position` and moves behind it; `None` when the line is incomplete.
    #[inline]
    fn scan_bulk_header(
        &mut self,
        bytes: &[u8],
        limits: &ScanLimits,
    ) -> Result<Option<usize>, ProtocolError> {
        let short = match bytes[self.position..] {
            [b'$', ref line @ ..] => parse_short_line(line),
            _ => None,
        };
        let (length, start) = match short {
            Some((length, header)) => (length as usize, self.position + 1 + header),
            None => match self.scan_unusual_bulk_header(bytes, limits)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        self.check_bulk(length, start, limits)?;
        self.position = start;
        Ok(Some(length))
    }

    /// A length whose line is incomplete, long or malformed, and the line's end.
    #[cold]
    fn scan_unusual_bulk_header(
        &mut self,
        bytes: &[u8],
        limits: &ScanLimits,
    ) -> Result<Option<(usize, usize)>, ProtocolError> {
        let Some(cr) = self.find_cr(bytes, limits, ProtocolError::BulkCountTooBig)? else {
            return Ok(None);
        };
        if bytes[self.position] != b'$' {
            return Err(ProtocolError::ExpectedBulk(bytes[self.position]));
        }
        let length = parse_canonical(&bytes[self.position + 1..cr])
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(ProtocolError::InvalidBulkLength)?;
        Ok(Some((length, cr + 2)))
    }

    /// Whether an argument of `length` bytes at offset `start` may be received at all.
    #[inline]
    fn check_bulk(
        &self,
        length: usize,
        start: usize,
        limits: &ScanLimits,
    ) -> Result<(), ProtocolError> {
        if length > limits.bulk_bytes_max {
            return Err(ProtocolError::InvalidBulkLength);
        }
        if !limits.authenticated && length > UNAUTHENTICATED_BULK_BYTES_MAX {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        let bookkeeping = (self.ranges.len() + 1) * size_of::<ArgRange>();
        let budget = limits.query_buffer_bytes_max.min(u32::MAX as usize);
        match start.saturating_add(length).saturating_add(2).saturating_add(bookkeeping) <= budget {
            true => Ok(()),
            false => Err(ProtocolError::QueryBufferExceeded),
        }
    }

    /// The offset of the CR that ends the line at `position`, when it and one byte more are there.
    fn find_cr(
        &mut self,
        bytes: &[u8],
        limits: &ScanLimits,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let from = self.searched.max(self.position);
        let cr = memchr(b'\r', &bytes[from..]).map_or(bytes.len(), |at| from + at);
        if cr - self.position > limits.inline_bytes_max {
            return Err(too_big);
        }
        self.searched = cr;
        Ok((cr + 1 < bytes.len()).then_some(cr))
    }

    /// Takes a line off the buffer, which may hold no argument; `None` when it is incomplete.
    #[inline(never)]
    fn take_inline(
        &mut self,
        buffer: &mut BytesMut,
        limits: &ScanLimits,
    ) -> Result<Option<Request>, ProtocolError> {
        let lf = memchr(b'\n', &buffer[self.searched..]).map(|at| self.searched + at);
        if lf.unwrap_or(buffer.len()) > limits.inline_bytes_max {
            return Err(ProtocolError::InlineTooBig);
        }
        let Some(lf) = lf else {
            self.searched = buffer.len();
            return Ok(None);
        };
        let words = inline::split(buffer[..lf].strip_suffix(b"\r").unwrap_or(&buffer[..lf]))?;
        self.searched = 0;
        let line = buffer.split_to(lf + 1).freeze();
        Ok(Some(match words {
            Words::InPlace(ranges) => Request::new(line, ranges),
            Words::Rewritten(request) => request,
        }))
    }

    fn take_scanned(&mut self, buffer: &mut BytesMut) -> Request {
        self.searched = 0;
        let whole = buffer.split_to(std::mem::take(&mut self.position)).freeze();
        Request::new(whole, std::mem::take(&mut self.ranges))
    }
}

#[cfg(test)]
mod tests;
