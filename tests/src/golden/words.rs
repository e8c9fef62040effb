//! Splits a line into arguments the way redis-cli does, and quotes bytes back into that form.
//!
//! Beyond redis-cli there is one thing: a quoted word may be followed by `*N`, which repeats it,
//! so that a script can hold a request of 70,000 bytes on one line. Quoting is exact: every byte
//! string has one quoted form, and [`split`] reads it back.

/// A run of one byte at least this long is written as `"x"*N`.
const RUN_LENGTH_MIN: usize = 64;
/// Largest repeated word in bytes; keeps a typing error from taking the machine's memory.
const REPEATED_BYTES_MAX: usize = 64 << 20;

/// The arguments in `line`.
///
/// # Errors
/// Unbalanced quotes, text glued to a closing quote, a bad repeat count.
pub fn split(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.as_bytes();
    loop {
        rest = rest.trim_ascii_start();
        let Some(&first) = rest.first() else {
            return Ok(words);
        };
        let (word, after) = match first {
            b'"' | b'\'' => quoted(rest)?,
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                (rest[..end].to_vec(), &rest[end..])
            }
        };
        words.push(word);
        rest = after;
    }
}

/// `bytes` in double quotes, with escapes for everything that does not print.
pub fn quote(bytes: &[u8]) -> String {
    match bytes {
        [first, rest @ ..] if bytes.len() >= RUN_LENGTH_MIN && rest.iter().all(|b| b == first) => {
            format!("\"{}\"*{}", escape(&[*first], true), bytes.len())
        }
        _ => format!("\"{}\"", escape(bytes, true)),
    }
}

/// `bytes` as printable ASCII. In quotes, double quotes are escaped; outside, a space at the end,
/// which nobody would see.
pub fn escape(bytes: &[u8], in_quotes: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b' ' if !in_quotes && at + 1 == bytes.len() => text.push_str("\\x20"),
            b'\\' => text.push_str("\\\\"),
            b'"' if in_quotes => text.push_str("\\\""),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// Reads the quoted word that `text` begins with; returns it and what follows.
fn quoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let quote = text[0];
    let mut word = Vec::new();
    let mut rest = &text[1..];
    loop {
        match rest {
            [] => return Err("unbalanced quotes".into()),
            [byte, after @ ..] if *byte == quote => {
                rest = after;
                break;
            }
            [b'\\', b'\'', after @ ..] if quote == b'\'' => {
                word.push(b'\'');
                rest = after;
            }
            [b'\\', b'x', high, low, after @ ..] if quote == b'"' && is_hex(*high, *low) => {
                word.push(hex(*high) * 16 + hex(*low));
                rest = after;
            }
            [b'\\', byte, after @ ..] if quote == b'"' => {
                word.push(unescape(*byte));
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
    repeated(word, rest)
}

fn repeated(word: Vec<u8>, rest: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let Some(after_star) = rest.strip_prefix(b"*") else {
        return match rest.first() {
            Some(byte) if !byte.is_ascii_whitespace() => Err("text after a closing quote".into()),
            _ => Ok((word, rest)),
        };
    };
    let end = after_star.iter().position(u8::is_ascii_whitespace).unwrap_or(after_star.len());
    let digits = String::from_utf8_lossy(&after_star[..end]);
    let count: usize = digits.parse().map_err(|_| format!("bad repeat count {digits:?}"))?;
    if count.saturating_mul(word.len()) > REPEATED_BYTES_MAX {
        return Err(format!("a repeated word is limited to {REPEATED_BYTES_MAX} bytes"));
    }
    Ok((word.repeat(count), &after_star[end..]))
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

fn is_hex(high: u8, low: u8) -> bool {
    high.is_ascii_hexdigit() && low.is_ascii_hexdigit()
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}
