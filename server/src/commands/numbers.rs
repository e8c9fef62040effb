//! Numbers in arguments and values, read and written exactly as Redis does.
//!
//! Integers only; [`crate::commands::float80`] has the others.

use crate::commands::error::CommandError;

/// Reads a 64-bit integer as Redis's `string2ll`: no sign but a minus, no space, no leading zero.
pub fn parse_i64(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let canonical = match digits {
        [] => false,
        [b'0'] => digits.len() == bytes.len(),
        [first, rest @ ..] => {
            (b'1'..=b'9').contains(first) && rest.len() < 20 && rest.iter().all(u8::is_ascii_digit)
        }
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// As [`parse_i64`], with Redis's error.
pub fn integer(bytes: &[u8]) -> Result<i64, CommandError> {
    parse_i64(bytes).ok_or(CommandError::NotAnInteger)
}

/// As [`integer`], but 32 bits wide.
pub fn int32(bytes: &[u8]) -> Result<i32, CommandError> {
    i32::try_from(integer(bytes)?).map_err(|_| {
        let (min, max) = (i32::MIN, i32::MAX);
        CommandError::text(format!("ERR value is out of range, value must between {min} and {max}"))
    })
}

/// Reads the number of one of `databases` databases.
pub fn database(bytes: &[u8], databases: u16) -> Result<u8, CommandError> {
    database_in_range(int32(bytes)?, databases)
}

/// A number as that of one of `databases` databases.
pub fn database_in_range(number: i32, databases: u16) -> Result<u8, CommandError> {
    let in_range = (0..i32::from(databases)).contains(&number);
    let number = u8::try_from(number).ok().filter(|_| in_range);
    number.ok_or(CommandError::DatabaseRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_integers_are_read() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("+1", None),
            ("01", None),
            ("-0", None),
            (" 1", None),
            ("1 ", None),
            ("", None),
            ("-", None),
            ("1e3", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn databases_are_counted_from_zero() {
        assert_eq!(database(b"15", 16), Ok(15));
        assert_eq!(database(b"255", 256), Ok(255));
        for outside in ["16", "-1", "256", "272"] {
            assert_eq!(database(outside.as_bytes(), 16), Err(CommandError::DatabaseRange));
        }
        assert_eq!(database(b"x", 16), Err(CommandError::NotAnInteger));
        let too_wide = "ERR value is out of range, value must between -2147483648 and 2147483647";
        assert_eq!(database(b"2147483648", 16), Err(CommandError::text(too_wide)));
    }
}
