//! The layout of a record's value, byte by byte (integers little endian):
//! `format u8 = 1 | kind u8 | flags u8 | changed_at u64 | [deadline u64] | payload`.
//!
//! Flag bit 0: a deadline follows; bits 1 and 2: the form of a string, see [`StringForm`]. `changed_at` is the log index of the last change; WATCH compares
//! it. The payload of a string is its bytes.

use crate::error::StorageError;
use bytes::{Buf, BufMut, Bytes};

const FORMAT: u8 = 1;
const FLAG_DEADLINE: u8 = 1;
const FORM_SHIFT: u8 = 1;
const FORM_BITS: u8 = 0b110;

/// How Redis would represent a string. It follows from how the string came about, not from its
/// bytes alone, and OBJECT ENCODING shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StringForm {
    /// What its bytes suggest: set as a whole.
    #[default]
    Natural,
    /// A text even if its bytes are an integer: the result of INCRBYFLOAT.
    Text,
    /// Bytes to be changed in place: the result of APPEND or SETRANGE.
    Raw,
}

/// What kind of value a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A string of bytes.
    String(StringForm),
}

impl ValueKind {
    /// A string that was set as a whole.
    pub const STRING: ValueKind = ValueKind::String(StringForm::Natural);

    /// Redis's name of the type, as TYPE prints it.
    pub fn name(self) -> &'static str {
        match self {
            ValueKind::String(_) => "string",
        }
    }

    /// The byte of the kind, and its bits among the flags.
    fn to_bytes(self) -> (u8, u8) {
        match self {
            ValueKind::String(form) => (1, (form as u8) << FORM_SHIFT),
        }
    }

    fn from_bytes(kind: u8, flags: u8) -> Option<Self> {
        match (kind, (flags & FORM_BITS) >> FORM_SHIFT) {
            (1, 0) => Some(ValueKind::STRING),
            (1, 1) => Some(ValueKind::String(StringForm::Text)),
            (1, 2) => Some(ValueKind::String(StringForm::Raw)),
            _ => None,
        }
    }
}

/// The bookkeeping of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Kind of the value.
    pub kind: ValueKind,
    /// Log index of the last change of the key.
    pub changed_at: u64,
    /// When the key expires, in milliseconds since 1970; None: never.
    pub deadline_ms: Option<u64>,
}

impl RecordHead {
    /// Takes the head off stored bytes; returns it with its length. `key` is for the error's text.
    pub fn decode(stored: &[u8], key: &[u8]) -> Result<(Self, usize), StorageError> {
        let corrupt = || StorageError::corrupt_row("unreadable record", key);
        let Some((head, rest)) = stored.split_first_chunk::<11>() else { return Err(corrupt()) };
        let [format, kind, flags, changed_at @ ..] = *head;
        if format != FORMAT || flags & !(FLAG_DEADLINE | FORM_BITS) != 0 {
            return Err(corrupt());
        }
        let kind = ValueKind::from_bytes(kind, flags).ok_or_else(corrupt)?;
        let changed_at = u64::from_le_bytes(changed_at);
        if flags & FLAG_DEADLINE == 0 {
            return Ok((RecordHead { kind, changed_at, deadline_ms: None }, 11));
        }
        let deadline = rest.first_chunk().ok_or_else(corrupt)?;
        let deadline_ms = Some(u64::from_le_bytes(*deadline));
        Ok((RecordHead { kind, changed_at, deadline_ms }, 19))
    }

    /// Whether the deadline has come at `now_ms`, the time of the last applied entry.
    pub fn is_overdue(&self, now_ms: u64) -> bool {
        self.deadline_ms.is_some_and(|deadline| deadline <= now_ms)
    }
}

/// A key's value with its bookkeeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Kind of the value.
    pub kind: ValueKind,
    /// Log index of the last change of the key.
    pub changed_at: u64,
    /// When the key expires, in milliseconds since 1970; None: never.
    pub deadline_ms: Option<u64>,
    /// The value itself.
    pub payload: Bytes,
}

impl Record {
    /// All but the value.
    pub fn head(&self) -> RecordHead {
        RecordHead { kind: self.kind, changed_at: self.changed_at, deadline_ms: self.deadline_ms }
    }

    /// Whether the deadline has come at `now_ms`, the time of the last applied entry.
    pub fn is_overdue(&self, now_ms: u64) -> bool {
        self.deadline_ms.is_some_and(|deadline| deadline <= now_ms)
    }

    /// The bytes to store, made of a payload in several parts.
    pub fn encode(
        kind: ValueKind,
        changed_at: u64,
        deadline_ms: Option<u64>,
        payload: &[&[u8]],
    ) -> Bytes {
        // An exact capacity: the bytes then need no second allocation until somebody shares them.
        let head_bytes = if deadline_ms.is_some() { 19 } else { 11 };
        let payload_bytes: usize = payload.iter().map(|part| part.len()).sum();
        let mut out = Vec::with_capacity(head_bytes + payload_bytes);
        out.put_u8(FORMAT);
        let (kind, form) = kind.to_bytes();
        out.put_u8(kind);
        out.put_u8(form | if deadline_ms.is_some() { FLAG_DEADLINE } else { 0 });
        out.put_u64_le(changed_at);
        if let Some(deadline) = deadline_ms {
            out.put_u64_le(deadline);
        }
        for part in payload {
            out.put_slice(part);
        }
        out.into()
    }

    /// Takes stored bytes apart; `key` is for the error.
    pub fn decode(mut stored: Bytes, key: &[u8]) -> Result<Self, StorageError> {
        let (head, length) = RecordHead::decode(&stored, key)?;
        stored.advance(length);
        let RecordHead { kind, changed_at, deadline_ms } = head;
        Ok(Record { kind, changed_at, deadline_ms, payload: stored })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_apart_as_they_were_put_together() {
        let forms = [StringForm::Natural, StringForm::Text, StringForm::Raw].map(ValueKind::String);
        for (kind, deadline_ms) in forms.into_iter().zip([None, Some(1_700_000_000_000), None]) {
            let stored = Record::encode(kind, 42, deadline_ms, &[b"ab", b"", b"c"]);
            let record = Record::decode(stored, b"k").unwrap();
            let expected =
                Record { kind, changed_at: 42, deadline_ms, payload: Bytes::from_static(b"abc") };
            assert_eq!(record, expected);
        }
    }

    #[test]
    fn foreign_bytes_are_corrupt_and_never_panic() {
        let stored = Record::encode(ValueKind::STRING, 42, Some(7), &[]);
        for end in 0..stored.len() {
            assert!(Record::decode(stored.slice(..end), b"k").is_err(), "cut at {end}");
        }
        for flags in [0b111, 0b1000] {
            let unknown = [&stored[..2], &[flags], &stored[3..]].concat();
            assert!(Record::decode(unknown.into(), b"k").is_err(), "flags {flags:b}");
        }
        let other_version = [&[2u8], &stored[1..]].concat();
        assert!(Record::decode(other_version.into(), b"k").is_err());
    }

    #[test]
    fn a_deadline_is_due_at_its_own_millisecond() {
        let stored = Record::encode(ValueKind::STRING, 1, Some(1000), &[]);
        let record = Record::decode(stored, b"k").unwrap();
        assert!(!record.is_overdue(999) && record.is_overdue(1000));
    }
}
