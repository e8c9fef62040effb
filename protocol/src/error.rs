//! What is wrong with bytes that are no request, in the words of redis-server 7.0.15.
//!
//! Every one of these ends the connection: the stream cannot be trusted after it. The server sends
//! [`ProtocolError::encode`] and closes once that is written. Errors of a command that was read
//! correctly are replies and not the business of this file.

use bytes::BytesMut;
use thiserror::Error;

/// Why a client's bytes are refused. `Display` is the reply without its leading dash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The count after `*` is no canonical integer or beyond the limit.
    #[error("ERR Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// The length after `$` is no canonical integer, negative, or beyond `proto-max-bulk-len`.
    #[error("ERR Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// An argument does not begin with `$` but with this byte.
    #[error("ERR Protocol error: expected '$', got '{}'", printable(*.0))]
    ExpectedBulk(u8),
    /// An inline command longer than its limit.
    #[error("ERR Protocol error: too big inline request")]
    InlineTooBig,
    /// A line after `*` that is longer than the limit of inline commands.
    #[error("ERR Protocol error: too big mbulk count string")]
    MultibulkCountTooBig,
    /// A line where `$` is expected that is longer than the limit of inline commands.
    #[error("ERR Protocol error: too big bulk count string")]
    BulkCountTooBig,
    /// A quote of an inline command is not closed, or a closing quote touches the next argument.
    #[error("ERR Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// More arguments than a client may send before it has authenticated.
    #[error("ERR Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// A longer argument than a client may send before it has authenticated.
    #[error("ERR Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// The request as announced does not fit the query buffer. Redis closes without a word here;
    /// a reply costs nothing and says why.
    #[error("ERR Protocol error: query buffer limit exceeded")]
    QueryBufferExceeded,
}

impl ProtocolError {
    /// Appends the whole error reply as Redis writes it, byte for byte.
    ///
    /// Unlike `Display` this can hold a byte that is no UTF-8: Redis echoes what it got instead of
    /// the dollar sign.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            ProtocolError::ExpectedBulk(got) => {
                out.extend_from_slice(b"-ERR Protocol error: expected '$', got '");
                out.extend_from_slice(&[without_line_break(*got)]);
                out.extend_from_slice(b"'\r\n");
            }
            ProtocolError::InvalidMultibulkLength
            | ProtocolError::InvalidBulkLength
            | ProtocolError::InlineTooBig
            | ProtocolError::MultibulkCountTooBig
            | ProtocolError::BulkCountTooBig
            | ProtocolError::UnbalancedQuotes
            | ProtocolError::UnauthenticatedMultibulkLength
            | ProtocolError::UnauthenticatedBulkLength
            | ProtocolError::QueryBufferExceeded => {
                out.extend_from_slice(b"-");
                out.extend_from_slice(self.to_string().as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// A CR or LF inside an error would end the reply early; Redis writes a space.
fn without_line_break(byte: u8) -> u8 {
    if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }
}

fn printable(byte: u8) -> char {
    if byte.is_ascii() { char::from(without_line_break(byte)) } else { char::REPLACEMENT_CHARACTER }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(error: ProtocolError) -> BytesMut {
        let mut out = BytesMut::new();
        error.encode(&mut out);
        out
    }

    #[test]
    fn the_unexpected_byte_is_echoed_raw_but_never_breaks_the_line() {
        assert_eq!(
            encoded(ProtocolError::ExpectedBulk(b'f')),
            &b"-ERR Protocol error: expected '$', got 'f'\r\n"[..]
        );
        assert_eq!(
            encoded(ProtocolError::ExpectedBulk(0xff)),
            &b"-ERR Protocol error: expected '$', got '\xff'\r\n"[..]
        );
        assert_eq!(
            encoded(ProtocolError::ExpectedBulk(b'\r')),
            &b"-ERR Protocol error: expected '$', got ' '\r\n"[..]
        );
        assert!(!ProtocolError::ExpectedBulk(b'\n').to_string().contains('\n'));
    }

    #[test]
    fn an_error_is_its_text_between_a_dash_and_a_line_break() {
        assert_eq!(
            encoded(ProtocolError::InvalidBulkLength),
            &b"-ERR Protocol error: invalid bulk length\r\n"[..]
        );
    }
}
