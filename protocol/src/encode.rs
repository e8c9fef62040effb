//! Writes replies and requests as bytes, exactly as redis-server 7.0.15 and its clients do.
//!
//! Writing only appends to the given buffer and cannot fail. Nesting is that of the [`Reply`], which
//! commands build a few levels deep; nothing a client sends decides it. A CR or LF inside a simple
//! string or an error becomes a space, since it would forge the end of the reply.

use crate::reply::Reply;
use bytes::{Bytes, BytesMut};

mod double;

pub use double::{DoubleText, double_text};

/// The version a connection has agreed to speak with HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RespVersion {
    /// What every connection starts with.
    #[default]
    Resp2,
    /// After `HELLO 3`: maps, sets, doubles, booleans, nulls and pushes have types of their own.
    Resp3,
}

/// Appends `reply` to `out` as `version` has it.
pub fn encode(reply: &Reply, version: RespVersion, out: &mut BytesMut) {
    let resp3 = version == RespVersion::Resp3;
    match reply {
        Reply::Simple(text) => write_line(b'+', text, out),
        Reply::Error(text) => write_line(b'-', text, out),
        Reply::Integer(value) => write_integer(*value, out),
        Reply::Bulk(value) => write_bulk(value, out),
        Reply::Verbatim(format, value) if resp3 => write_verbatim(*format, value, out),
        Reply::Verbatim(_, value) => write_bulk(value, out),
        Reply::Null | Reply::NullArray if resp3 => out.extend_from_slice(b"_\r\n"),
        Reply::Null => out.extend_from_slice(b"$-1\r\n"),
        Reply::NullArray => out.extend_from_slice(b"*-1\r\n"),
        Reply::Array(items) => write_items(b'*', items, version, out),
        Reply::Set(items) => write_items(if resp3 { b'~' } else { b'*' }, items, version, out),
        Reply::Push(items) => write_items(if resp3 { b'>' } else { b'*' }, items, version, out),
        Reply::Map(pairs) => write_pairs(pairs, version, out),
        Reply::Double(value) => write_double_reply(*value, resp3, out),
        Reply::Boolean(true) => out.extend_from_slice(if resp3 { b"#t\r\n" } else { b":1\r\n" }),
        Reply::Boolean(false) => out.extend_from_slice(if resp3 { b"#f\r\n" } else { b":0\r\n" }),
        Reply::BigNumber(text) if resp3 => write_line(b'(', text, out),
        Reply::BigNumber(text) => write_bulk(text.as_bytes(), out),
    }
}

/// Appends one command to `out` as an array of bulk strings.
pub fn encode_request<A: AsRef<[u8]>>(args: &[A], out: &mut BytesMut) {
    write_header(b'*', args.len(), out);
    for arg in args {
        write_bulk(arg.as_ref(), out);
    }
}

/// Appends what comes before a bulk string of `length` bytes; CR and LF follow the string.
pub fn encode_bulk_head(length: usize, out: &mut BytesMut) {
    write_header(b'$', length, out);
}

/// Appends what comes before the `length` items of an array.
pub fn encode_array_head(length: usize, out: &mut BytesMut) {
    write_header(b'*', length, out);
}

fn write_line(marker: u8, text: &str, out: &mut BytesMut) {
    out.reserve(text.len() + 3);
    out.extend_from_slice(&[marker]);
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    for byte in &mut out[start..] {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_integer(value: i64, out: &mut BytesMut) {
    out.extend_from_slice(b":");
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_header(marker: u8, count: usize, out: &mut BytesMut) {
    out.extend_from_slice(&[marker]);
    out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_bulk(value: &[u8], out: &mut BytesMut) {
    // The marker, at most 20 digits and two line breaks.
    out.reserve(value.len() + 25);
    write_header(b'$', value.len(), out);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_verbatim(format: [u8; 3], value: &Bytes, out: &mut BytesMut) {
    out.reserve(value.len() + 29);
    write_header(b'=', value.len() + 4, out);
    out.extend_from_slice(&format);
    out.extend_from_slice(b":");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_items(marker: u8, items: &[Reply], version: RespVersion, out: &mut BytesMut) {
    write_header(marker, items.len(), out);
    for item in items {
        encode(item, version, out);
    }
}

fn write_pairs(pairs: &[(Reply, Reply)], version: RespVersion, out: &mut BytesMut) {
    match version {
        RespVersion::Resp2 => write_header(b'*', 2 * pairs.len(), out),
        RespVersion::Resp3 => write_header(b'%', pairs.len(), out),
    }
    for (key, value) in pairs {
        encode(key, version, out);
        encode(value, version, out);
    }
}

fn write_double_reply(value: f64, resp3: bool, out: &mut BytesMut) {
    let text = double_text(value);
    if resp3 {
        out.extend_from_slice(b",");
        out.extend_from_slice(&text);
        out.extend_from_slice(b"\r\n");
    } else {
        write_bulk(&text, out);
    }
}

#[cfg(test)]
mod tests;
