//! Integers as RESP writes them: no plus sign, no leading zero, no space.

/// Parses a signed 64-bit integer written canonically, as Redis does (`string2ll`).
pub(crate) fn parse_canonical(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'0'] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() > 19 || !matches!(digits.first(), Some(b'1'..=b'9')) {
        return None;
    }
    // Nineteen digits fit in an unsigned 64-bit integer.
    let mut magnitude = 0u64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(byte - b'0');
    }
    match (negative, i64::try_from(magnitude)) {
        (false, value) => value.ok(),
        (true, Ok(value)) => Some(-value),
        (true, Err(_)) => (magnitude == i64::MIN.unsigned_abs()).then_some(i64::MIN),
    }
}

/// Parses one to nine digits, a CR and one more byte; returns the value and the length of all.
///
/// This is the header of nearly every count and length. `None` says nothing: the line may be
/// incomplete, longer or malformed.
#[inline(always)]
pub(crate) fn parse_short_line(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0u32;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let canonical = at == 1 || (at > 1 && bytes[0] != b'0');
            return (byte == b'\r' && canonical && at + 1 < bytes.len()).then_some((value, at + 2));
        }
        if at == 9 {
            return None;
        }
        value = value * 10 + u32::from(digit);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_integers_are_read() {
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            (" 1", None),
            ("1 ", None),
            ("1a", None),
        ] {
            assert_eq!(parse_canonical(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_short_line_is_read_only_when_whole_and_plain() {
        for (text, expected) in [
            ("3\r\n", Some((3, 3))),
            ("0\r\n", Some((0, 3))),
            ("999999999\r\nrest", Some((999_999_999, 11))),
            ("1234567890\r\n", None),
            ("3\r", None),
            ("3", None),
            ("", None),
            ("\r\n", None),
            ("03\r\n", None),
            ("00\r\n", None),
            ("-1\r\n", None),
            ("3\n\n", None),
        ] {
            assert_eq!(parse_short_line(text.as_bytes()), expected, "{text:?}");
        }
    }
}
