//! A reply before it is written: what a command answers, in the types of RESP3.
//!
//! A reply is independent of the protocol version; the encoder turns maps, sets, doubles, booleans
//! and nulls into what RESP2 has for them, exactly as Redis does.

use bytes::Bytes;
use std::borrow::Cow;

/// One reply value.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+OK` and the like; holds no CR or LF.
    Simple(Cow<'static, str>),
    /// `-ERR ...`, the text with its prefix and without the dash; holds no CR or LF.
    Error(Cow<'static, str>),
    /// A signed 64-bit integer.
    Integer(i64),
    /// A binary-safe string.
    Bulk(Bytes),
    /// A string that RESP3 marks with a three letter format (`txt`, `mkd`); plain bulk in RESP2.
    Verbatim([u8; 3], Bytes),
    /// No value: `_` in RESP3, `$-1` in RESP2.
    Null,
    /// No array (EXEC that was aborted): `_` in RESP3, `*-1` in RESP2.
    NullArray,
    /// An ordered list.
    Array(Vec<Reply>),
    /// Pairs in the order given: `%` in RESP3, a flat array in RESP2.
    Map(Vec<(Reply, Reply)>),
    /// `~` in RESP3, an array in RESP2.
    Set(Vec<Reply>),
    /// `,` in RESP3, a bulk string in RESP2, written as Redis writes doubles (`%.17g`).
    Double(f64),
    /// `#t` or `#f` in RESP3, `:1` or `:0` in RESP2.
    Boolean(bool),
    /// A number too large for an integer: `(` in RESP3, a bulk string in RESP2.
    BigNumber(Cow<'static, str>),
    /// Out-of-band data: `>` in RESP3, an array in RESP2.
    Push(Vec<Reply>),
}

impl Reply {
    /// `+OK`.
    pub const OK: Reply = Reply::Simple(Cow::Borrowed("OK"));

    /// A simple string known at compile time.
    pub const fn simple(text: &'static str) -> Self {
        Reply::Simple(Cow::Borrowed(text))
    }

    /// An error, its prefix included.
    pub fn error(text: impl Into<Cow<'static, str>>) -> Self {
        Reply::Error(text.into())
    }

    /// A bulk string copied from `value`.
    pub fn bulk(value: impl AsRef<[u8]>) -> Self {
        Reply::Bulk(Bytes::copy_from_slice(value.as_ref()))
    }

    /// Whether this is an error reply.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }
}

impl From<i64> for Reply {
    fn from(value: i64) -> Self {
        Reply::Integer(value)
    }
}
