//! Encoded replies in order. Long values are not copied: they lie between what is around them.

use crate::limits::LONG_VALUE_BYTES;
use bytes::{Bytes, BytesMut};
use protocol::{Reply, RespVersion, encode, encode_array_head, encode_bulk_head};
use std::collections::VecDeque;

/// Encoded replies that are not written yet.
#[derive(Default)]
pub(crate) struct Replies {
    /// What comes before `buffer`: long values, and what is around them.
    long: VecDeque<Bytes>,
    /// Its bytes.
    long_bytes: usize,
    /// The end; everything, where there are no long values.
    pub(crate) buffer: BytesMut,
}

impl Replies {
    /// Bytes of all of them.
    pub(crate) fn len(&self) -> usize {
        self.long_bytes + self.buffer.len()
    }

    /// The bytes, where they are in one place.
    pub(crate) fn as_slice(&self) -> Option<&[u8]> {
        self.long.is_empty().then_some(&self.buffer[..])
    }

    /// The bytes, part by part.
    pub(crate) fn take(&mut self) -> VecDeque<Bytes> {
        self.seal();
        self.long_bytes = 0;
        std::mem::take(&mut self.long)
    }

    /// Adds one, with values of `values_bytes` together.
    pub(crate) fn add(&mut self, reply: &Reply, values_bytes: u64, version: RespVersion) {
        if values_bytes < LONG_VALUE_BYTES as u64 {
            return encode(reply, version, &mut self.buffer);
        }
        match (reply, version) {
            (Reply::Bulk(value), _) | (Reply::Verbatim(_, value), RespVersion::Resp2) => {
                encode_bulk_head(value.len(), &mut self.buffer);
                self.push(value.clone());
                self.buffer.extend_from_slice(b"\r\n");
            }
            (Reply::Array(items), _) => {
                encode_array_head(items.len(), &mut self.buffer);
                for item in items {
                    self.add(item, values_in(item), version);
                }
            }
            _ => encode(reply, version, &mut self.buffer),
        }
    }

    /// Adds those of `others`, in order.
    pub(crate) fn append(&mut self, mut others: Replies) {
        self.seal();
        self.long_bytes += others.long_bytes;
        self.long.append(&mut others.long);
        self.buffer = others.buffer;
    }

    fn push(&mut self, value: Bytes) {
        self.seal();
        self.long_bytes += value.len();
        self.long.push_back(value);
    }

    /// Begins a new end.
    fn seal(&mut self) {
        if !self.buffer.is_empty() {
            self.long_bytes += self.buffer.len();
            self.long.push_back(self.buffer.split().freeze());
        }
    }
}

/// Bytes of the values in a reply: what makes a reply long.
pub(crate) fn values_in(reply: &Reply) -> u64 {
    match reply {
        Reply::Bulk(value) | Reply::Verbatim(_, value) => value.len() as u64,
        Reply::Array(replies) | Reply::Set(replies) | Reply::Push(replies) => {
            replies.iter().map(values_in).sum()
        }
        Reply::Map(pairs) => {
            pairs.iter().map(|(key, value)| values_in(key) + values_in(value)).sum()
        }
        Reply::Simple(_)
        | Reply::Error(_)
        | Reply::Integer(_)
        | Reply::Null
        | Reply::NullArray
        | Reply::Double(_)
        | Reply::Boolean(_)
        | Reply::BigNumber(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(length: usize) -> Reply {
        Reply::bulk(vec![b'v'; length])
    }

    #[test]
    fn replies_are_the_same_bytes_whether_or_not_values_are_copied() {
        let long = LONG_VALUE_BYTES;
        let all = [
            value(3),
            value(long),
            Reply::Null,
            Reply::Array(vec![value(long), Reply::Null, value(1), value(2 * long)]),
            Reply::Array(vec![value(long / 2), Reply::Array(vec![value(long / 2)])]),
            Reply::Verbatim(*b"txt", vec![b't'; long].into()),
            Reply::OK,
        ];
        for version in [RespVersion::Resp2, RespVersion::Resp3] {
            let (mut expected, mut replies) = (BytesMut::new(), Replies::default());
            for reply in &all {
                encode(reply, version, &mut expected);
                let mut own = Replies::default();
                own.add(reply, values_in(reply), version);
                replies.append(own);
                encode(reply, version, &mut expected);
                replies.add(reply, values_in(reply), version);
            }
            assert_eq!((replies.len(), replies.as_slice()), (expected.len(), None));
            assert!(replies.take().into_iter().flatten().eq(expected));
            assert_eq!((replies.len(), replies.as_slice()), (0, Some(&b""[..])));
        }
    }

    #[test]
    fn long_values_are_where_they_were() {
        let Reply::Bulk(value) = value(LONG_VALUE_BYTES) else { panic!("a bulk string") };
        let mut replies = Replies::default();
        let reply = Reply::Array(vec![Reply::Bulk(value.clone())]);
        replies.add(&reply, values_in(&reply), RespVersion::Resp2);
        assert!(replies.take().iter().any(|part| part.as_ptr() == value.as_ptr()));
    }
}
