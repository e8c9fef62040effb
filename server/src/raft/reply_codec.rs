//! The serialized form of replies that a leader returns for forwarded requests: every distinction
//! of [`Reply`] survives, so that the follower encodes for its client's protocol version.

use crate::raft::codec::{CodecError, Wire};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::Reply;

/// Deepest nesting of a reply that is decoded. EXEC around the deepest command reply is 5.
const DEPTH_MAX: u32 = 16;

impl Wire for Reply {
    fn put(&self, out: &mut BytesMut) {
        let text = |out: &mut BytesMut, tag: u8, text: &str| {
            out.put_u8(tag);
            text.to_owned().put(out);
        };
        let list = |out: &mut BytesMut, tag: u8, items: &Vec<Reply>| {
            out.put_u8(tag);
            items.put(out);
        };
        match self {
            Reply::Simple(value) => text(out, 0, value),
            Reply::Error(value) => text(out, 1, value),
            Reply::Integer(value) => {
                out.put_u8(2);
                out.put_i64_le(*value);
            }
            Reply::Bulk(value) => {
                out.put_u8(3);
                value.put(out);
            }
            Reply::Verbatim(format, value) => {
                out.put_u8(4);
                out.put_slice(format);
                value.put(out);
            }
            Reply::Null => out.put_u8(5),
            Reply::NullArray => out.put_u8(6),
            Reply::Array(items) => list(out, 7, items),
            Reply::Map(pairs) => {
                out.put_u8(8);
                (pairs.len() as u32).put(out);
                for (key, value) in pairs {
                    key.put(out);
                    value.put(out);
                }
            }
            Reply::Set(items) => list(out, 9, items),
            Reply::Double(value) => {
                out.put_u8(10);
                out.put_f64_le(*value);
            }
            Reply::Boolean(value) => {
                out.put_u8(11);
                value.put(out);
            }
            Reply::BigNumber(value) => text(out, 12, value),
            Reply::Push(items) => list(out, 13, items),
        }
    }

    fn read(from: &mut Bytes) -> Result<Self, CodecError> {
        read_at(from, 0)
    }
}

fn read_at(from: &mut Bytes, depth: u32) -> Result<Reply, CodecError> {
    if depth > DEPTH_MAX {
        return Err(CodecError("a reply is nested too deep"));
    }
    let list = |from: &mut Bytes| -> Result<Vec<Reply>, CodecError> {
        let count = u32::read(from)? as usize;
        let mut items = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            items.push(read_at(from, depth + 1)?);
        }
        Ok(items)
    };
    Ok(match u8::read(from)? {
        0 => Reply::Simple(String::read(from)?.into()),
        1 => Reply::Error(String::read(from)?.into()),
        2 => Reply::Integer(u64::read(from)? as i64),
        3 => Reply::Bulk(Bytes::read(from)?),
        4 => {
            let format = [u8::read(from)?, u8::read(from)?, u8::read(from)?];
            Reply::Verbatim(format, Bytes::read(from)?)
        }
        5 => Reply::Null,
        6 => Reply::NullArray,
        7 => Reply::Array(list(from)?),
        8 => {
            let count = u32::read(from)? as usize;
            let mut pairs = Vec::with_capacity(count.min(1024));
            for _ in 0..count {
                pairs.push((read_at(from, depth + 1)?, read_at(from, depth + 1)?));
            }
            Reply::Map(pairs)
        }
        9 => Reply::Set(list(from)?),
        10 if from.len() < 8 => return Err(CodecError("it ends early")),
        10 => Reply::Double(from.get_f64_le()),
        11 => Reply::Boolean(bool::read(from)?),
        12 => Reply::BigNumber(String::read(from)?.into()),
        13 => Reply::Push(list(from)?),
        _ => return Err(CodecError("a reply of unknown type")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_apart_as_they_were_put_together() {
        let reply = Reply::Array(vec![
            Reply::OK,
            Reply::error("ERR x"),
            Reply::Integer(-5),
            Reply::bulk(b"\r\n\0"),
            Reply::Verbatim(*b"txt", Bytes::from_static(b"v")),
            Reply::Null,
            Reply::NullArray,
            Reply::Map(vec![(Reply::bulk("k"), Reply::Double(1.5))]),
            Reply::Set(vec![Reply::Boolean(true)]),
            Reply::BigNumber("123".into()),
            Reply::Push(vec![]),
        ]);
        let bytes = reply.to_bytes();
        assert_eq!(Reply::from_bytes(bytes.clone()), Ok(reply));
        for end in 0..bytes.len() {
            assert!(Reply::from_bytes(bytes.slice(..end)).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn endless_nesting_is_refused() {
        let nested: Vec<u8> = [7, 1, 0, 0, 0].repeat(100_000);
        assert!(Reply::from_bytes(nested.into()).is_err());
    }
}
