//! A request: the arguments of one command, as slices of one shared buffer.
//!
//! Invariant: every range lies inside the buffer, so no accessor can fail on a valid position.
//! One reference count is held for a whole request, not one for each argument.

use bytes::Bytes;
use smallvec::SmallVec;
use std::fmt;

/// Start and end of one argument inside the buffer of its request.
pub type ArgRange = (u32, u32);

/// The arguments of one command; argument 0 is the command's name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    buffer: Bytes,
    ranges: SmallVec<[ArgRange; 6]>,
}

/// Requests up to this length, in bytes, are copied when they are kept.
const DETACHED_BYTES_MAX: usize = 16 << 10;

impl Request {
    /// Takes the ranges of the arguments in `buffer`.
    ///
    /// Panics when a range ends beyond the buffer: the scanner that made it is then wrong.
    pub fn new(buffer: Bytes, ranges: SmallVec<[ArgRange; 6]>) -> Self {
        assert!(
            ranges.iter().all(|&(start, end)| start <= end && end as usize <= buffer.len()),
            "an argument lies inside the buffer of its request"
        );
        Self { buffer, ranges }
    }

    /// Copies the given arguments into a buffer of their own.
    pub fn from_parts<A: AsRef<[u8]>>(parts: &[A]) -> Self {
        let mut buffer = Vec::with_capacity(parts.iter().map(|part| part.as_ref().len()).sum());
        let mut ranges = SmallVec::new();
        for part in parts {
            let start = buffer.len() as u32;
            buffer.extend_from_slice(part.as_ref());
            ranges.push((start, buffer.len() as u32));
        }
        Self { buffer: buffer.into(), ranges }
    }

    /// The same request, to be kept for long: a short one is copied, so that it does not keep alive the
    /// much longer buffer in which it arrived among others.
    #[must_use]
    pub fn detached(self) -> Self {
        match self.buffer.len() < DETACHED_BYTES_MAX {
            true => Self { buffer: Bytes::copy_from_slice(&self.buffer), ..self },
            false => self,
        }
    }

    /// Number of arguments, the command's name included.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is not even a command name.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `position`; panics beyond the last, as slices do (arity is checked before).
    pub fn arg(&self, position: usize) -> &[u8] {
        let (start, end) = self.ranges[position];
        &self.buffer[start as usize..end as usize]
    }

    /// Argument `position`, when there is one.
    pub fn get(&self, position: usize) -> Option<&[u8]> {
        self.ranges.get(position).map(|&(start, end)| &self.buffer[start as usize..end as usize])
    }

    /// Argument `position` sharing the request's buffer (it keeps the whole buffer alive).
    pub fn bytes(&self, position: usize) -> Bytes {
        let (start, end) = self.ranges[position];
        self.buffer.slice(start as usize..end as usize)
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        self.ranges.iter().map(|&(start, end)| &self.buffer[start as usize..end as usize])
    }

    /// The sum of the lengths of all arguments, in bytes.
    pub fn payload_bytes(&self) -> usize {
        self.ranges.iter().map(|&(start, end)| (end - start) as usize).sum()
    }
}

/// The first word and how much follows: among the rest are passwords, and values of any length.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.get(0).unwrap_or_default().escape_ascii();
        let (count, bytes) = (self.len().saturating_sub(1), self.payload_bytes());
        write!(f, "{name} and {count} arguments, {bytes} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_of_a_request_do_not_tell_its_arguments() {
        let request = Request::from_parts(&["AUTH", "ann", "secret"]);
        assert_eq!(format!("{request:?}"), "AUTH and 2 arguments, 13 bytes");
    }

    #[test]
    fn a_kept_request_does_not_keep_what_came_with_it() {
        let mut chunk = bytes::BytesMut::from(&b"GETkey and what others sent"[..]);
        let whole = chunk.capacity();
        let own = chunk.split_to(6).freeze();
        let ranges = SmallVec::from_slice(&[(0, 3), (3, 6)]);
        let kept = Request::new(own, ranges).detached();
        assert_eq!(kept.iter().collect::<Vec<_>>(), [b"GET", b"key"]);
        chunk.clear();
        assert!(chunk.try_reclaim(whole), "the chunk is free again");
    }
}
