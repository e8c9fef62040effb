//! Inline commands: a line of words as a person types it, with the quoting rules of Redis
//! (`sdssplitargs`).
//!
//! Words are separated by space, tab or CR. A double quote opens a part with the escapes `\n \r \t
//! \b \a \xHH` and `\` before any other byte for that byte; a single quote opens a part in which only
//! `\'` is special. A closing quote must be followed by a separator or the end. `""` is an empty
//! argument.
//!
//! One difference to Redis is wanted: a NUL byte is a byte like any other. Redis looks for the end
//! of the line with `strchr`, so a NUL makes it wait until the line is too long.

use crate::error::ProtocolError;
use crate::request::{ArgRange, Request};
use smallvec::SmallVec;

/// The arguments of a line.
#[derive(Debug)]
pub(crate) enum Words {
    /// Ranges of the line itself: there was nothing to unquote.
    InPlace(SmallVec<[ArgRange; 6]>),
    /// Arguments that had to be rewritten, in a buffer of their own.
    Rewritten(Request),
}

/// Splits a line without its line break into the arguments of a request, which may be none.
///
/// Fails with [`ProtocolError::UnbalancedQuotes`] alone. The line must be shorter than 4 GiB.
pub fn parse_inline(line: &[u8]) -> Result<Request, ProtocolError> {
    Ok(match split(line)? {
        Words::InPlace(ranges) => Request::new(line.to_vec().into(), ranges),
        Words::Rewritten(request) => request,
    })
}

pub(crate) fn split(line: &[u8]) -> Result<Words, ProtocolError> {
    if memchr::memchr2(b'"', b'\'', line).is_none() {
        return Ok(Words::InPlace(split_plain(line)));
    }
    // Unquoting never lengthens, so all arguments fit where the line did.
    let mut rewritten = Vec::with_capacity(line.len());
    let mut ranges = SmallVec::new();
    let mut rest = skip_space(line);
    while !rest.is_empty() {
        let start = rewritten.len();
        rest = skip_space(unquote_word(rest, &mut rewritten)?);
        ranges.push((start as u32, rewritten.len() as u32));
    }
    Ok(Words::Rewritten(Request::new(rewritten.into(), ranges)))
}

fn split_plain(line: &[u8]) -> SmallVec<[ArgRange; 6]> {
    let mut ranges = SmallVec::new();
    let mut position = 0;
    loop {
        position += line[position..].iter().take_while(|byte| is_space(**byte)).count();
        if position == line.len() {
            return ranges;
        }
        let start = position;
        position += line[position..].iter().take_while(|byte| !ends_word(**byte)).count();
        ranges.push((start as u32, position as u32));
    }
}

/// Appends the word that `rest` begins with; returns what follows it.
fn unquote_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        match *rest {
            [] => return Ok(rest),
            [b'"', ref quoted @ ..] => return unquote_double(quoted, word),
            [b'\'', ref quoted @ ..] => return unquote_single(quoted, word),
            [byte, ..] if ends_word(byte) => return Ok(rest),
            [byte, ref after @ ..] => {
                word.push(byte);
                rest = after;
            }
        }
    }
}

fn unquote_double<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match *rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'"', ref after @ ..] => return after_quote(after),
            [b'\\', b'x', high, low, ref after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_value(high) << 4 | hex_value(low));
                after
            }
            [b'\\', escaped, ref after @ ..] => {
                word.push(unescape(escaped));
                after
            }
            [byte, ref after @ ..] => {
                word.push(byte);
                after
            }
        };
    }
}

fn unquote_single<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match *rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'\'', ref after @ ..] => return after_quote(after),
            [b'\\', b'\'', ref after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, ref after @ ..] => {
                word.push(byte);
                after
            }
        };
    }
}

/// A closing quote ends its word.
fn after_quote(rest: &[u8]) -> Result<&[u8], ProtocolError> {
    match rest.first() {
        Some(&byte) if !is_space(byte) => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(rest),
    }
}

fn skip_space(rest: &[u8]) -> &[u8] {
    &rest[rest.iter().take_while(|byte| is_space(**byte)).count()..]
}

/// What C calls a space: skipped between words.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Vertical tab and form feed are skipped between words but do not end one: so does Redis.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[&[u8]]) {
        let request = parse_inline(line.as_bytes()).expect("a balanced line");
        assert_eq!(request.iter().collect::<Vec<_>>(), expected, "{line:?}");
    }

    fn check_unbalanced(line: &str) {
        let error = parse_inline(line.as_bytes()).expect_err("an unbalanced line");
        assert_eq!(error, ProtocolError::UnbalancedQuotes, "{line:?}");
    }

    #[test]
    fn plain_words_are_cut_at_space() {
        check("", &[]);
        check(" \t \r ", &[]);
        check("PING", &[b"PING"]);
        check("  SET  key\tvalue ", &[b"SET", b"key", b"value"]);
        check("a\rb", &[b"a", b"b"]);
        check("a\x0bb \x0b\x0cc", &[b"a\x0bb", b"c"]);
        check("nul\0byte", &[b"nul\0byte"]);
    }

    #[test]
    fn double_quotes_know_escapes() {
        check(r#"SET "a b" """#, &[b"SET", b"a b", b""]);
        check(r#""\n\r\t\b\a\\\"\q""#, &[b"\n\r\t\x08\x07\\\"q"]);
        check(r#""\x00\xfF\x4a""#, &[b"\x00\xff\x4a"]);
        check(r#""\x4" "\xg1" "\x""#, &[b"x4", b"xg1", b"x"]);
        check(r#"pre"fix ed" 'x'"#, &[b"prefix ed", b"x"]);
    }

    #[test]
    fn single_quotes_know_only_themselves() {
        check(r"'a b' ''", &[b"a b", b""]);
        check(r"'it\'s' '\n\x41'", &[b"it's", br"\n\x41"]);
        check("'a\"b' \"c'd\"", &[b"a\"b", b"c'd"]);
    }

    #[test]
    fn a_quote_must_be_closed_and_end_its_word() {
        for line in [
            "\"",
            "'",
            "\"abc",
            "'abc",
            "\"a\"b",
            "'a'b",
            "\"a\"\"b\"",
            "'a'\"b\"",
            "a\"b",
            r#""\"#,
            r#""a\""#,
            r"'a\'",
            "PING \"",
        ] {
            check_unbalanced(line);
        }
    }
}
