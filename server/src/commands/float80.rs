//! Floats as Redis computes with them: the 80-bit extended format of x87 ("long double").
//!
//! A number is `mantissa * 2^exponent` with a mantissa of 64 bits; every operation gives the number
//! nearest to the exact result, ties to the even mantissa (IEEE 754, 4.3.1). It is all done with
//! integers, so that every node gets the same bits on every platform.
//!
//! Reading follows C's `strtold` with the checks of Redis around it; writing is `%.17Lf` without
//! trailing zeros. There is no NaN: what would be one is refused.

mod natural;

use natural::Natural;

/// Longest text that is read as a float, in bytes; Redis's buffer for them is one byte longer.
pub const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;

/// Exponent of the smallest numbers, whose mantissas may have leading zeros.
const EXPONENT_MIN: i32 = -16445;
/// Exponent of the largest numbers.
const EXPONENT_MAX: i32 = 16320;
/// No finite number has more decimal digits before the point.
const DECIMAL_DIGITS_MAX: i64 = 4933;
/// A number below `10^DECIMAL_EXPONENT_MIN` is nearer to zero than to any other.
const DECIMAL_EXPONENT_MIN: i64 = -4951;
/// Digits after the point when written.
const FRACTION_DIGITS: u32 = 17;

/// A number of the extended format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float80 {
    /// `mantissa * 2^exponent`, with the highest bit of the mantissa set or the smallest exponent.
    Finite {
        /// Whether it is below zero (or the zero that has a sign).
        negative: bool,
        /// The digits.
        mantissa: u64,
        /// The weight of the mantissa's lowest bit.
        exponent: i32,
    },
    /// Beyond all others.
    Infinite {
        /// Whether it is below all others.
        negative: bool,
    },
}

impl Float80 {
    /// Reads a float as Redis's `string2ld`; None where Redis finds none.
    ///
    /// Decimal and hexadecimal notation and the names of infinity are read. A finite number that is
    /// too large, or so small that only zero is left of it, is refused.
    pub fn parse(text: &[u8]) -> Option<Float80> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Some(Float80::Infinite { negative });
        }
        match unsigned {
            [b'0', b'x' | b'X', digits @ ..] => parse_hexadecimal(negative, digits),
            _ => parse_decimal(negative, unsigned),
        }
    }

    /// The sum; None when it is not finite.
    pub fn checked_add(self, other: Float80) -> Option<Float80> {
        let (high, low) = (self.finite()?, other.finite()?);
        let (high, low) = if high.2 >= low.2 { (high, low) } else { (low, high) };
        // Two zero bits above for the carry; what falls off below is kept as one sticky bit.
        let distance = (high.2 - low.2) as u32;
        let high_wide = u128::from(high.1) << 62;
        let low_wide = u128::from(low.1) << 62;
        let shifted = low_wide.checked_shr(distance).unwrap_or(0);
        let lost = shifted.checked_shl(distance).unwrap_or(0) != low_wide;
        let low_wide = shifted | u128::from(lost);
        let (negative, sum) = match high.0 == low.0 {
            true => (high.0, high_wide + low_wide),
            false if high_wide >= low_wide => (high.0, high_wide - low_wide),
            false => (low.0, low_wide - high_wide),
        };
        let sum = round(negative, sum, high.2 - 62, false);
        sum.finite().map(|_| sum)
    }

    /// Writes a number as Redis writes it in human-friendly form; None for infinity.
    pub fn to_text(self) -> Option<String> {
        let (negative, mantissa, exponent) = self.finite()?;
        let mut text = match exponent {
            0.. => Natural::shifted(mantissa, exponent as usize).into_decimal(),
            _ => fixed_point(mantissa, exponent.unsigned_abs()),
        };
        if negative && text != "0" {
            text.insert(0, '-');
        }
        Some(text)
    }

    fn finite(self) -> Option<(bool, u64, i32)> {
        match self {
            Float80::Finite { negative, mantissa, exponent } => {
                Some((negative, mantissa, exponent))
            }
            Float80::Infinite { .. } => None,
        }
    }

    /// What `strtold` reports as out of range: an infinity, or a zero that was none.
    fn in_range(self) -> Option<Float80> {
        self.finite().filter(|parts| parts.1 != 0).map(|_| self)
    }
}

fn zero(negative: bool) -> Float80 {
    Float80::Finite { negative, mantissa: 0, exponent: EXPONENT_MIN }
}

/// The number nearest to `magnitude * 2^exponent`, and a little more if `more`. With `more`, the
/// magnitude has at least 66 bits.
fn round(negative: bool, magnitude: u128, exponent: i32, more: bool) -> Float80 {
    if magnitude == 0 {
        return zero(negative);
    }
    let bits = 128 - magnitude.leading_zeros() as i32;
    let dropped = (bits - 64).max(EXPONENT_MIN - exponent);
    let exponent = exponent + dropped;
    let mantissa = match dropped {
        ..=0 => magnitude << dropped.unsigned_abs(),
        1..=128 => {
            let kept = magnitude.checked_shr(dropped as u32).unwrap_or(0);
            let rest = magnitude << (128 - dropped);
            let half = 1u128 << 127;
            let up = rest > half || (rest == half && (more || kept & 1 == 1));
            kept + u128::from(up)
        }
        _ => 0,
    };
    // Rounding up may carry into a 65th bit; only zeros are below it.
    let (mantissa, exponent) = match u64::try_from(mantissa) {
        Ok(mantissa) => (mantissa, exponent),
        Err(_) => (1 << 63, exponent + 1),
    };
    match mantissa {
        0 => zero(negative),
        _ if exponent > EXPONENT_MAX => Float80::Infinite { negative },
        _ => Float80::Finite { negative, mantissa, exponent },
    }
}

/// Splits at the exponent's letter; the exponent, 0 when there is none. None when it is malformed.
fn split_exponent(text: &[u8], letter: u8) -> Option<(&[u8], i64)> {
    let Some(at) = text.iter().position(|byte| byte.eq_ignore_ascii_case(&letter)) else {
        return Some((text, 0));
    };
    let (negative, digits) = match &text[at + 1..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let push = |value: i64, digit: &u8| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(1 << 40)
    };
    let value = digits.iter().fold(0, push);
    Some((&text[..at], if negative { -value } else { value }))
}

/// Splits at the point; there is a digit on one of its sides at least.
fn split_point(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[][..]),
    };
    (!whole.is_empty() || !fraction.is_empty()).then_some((whole, fraction))
}

fn parse_decimal(negative: bool, text: &[u8]) -> Option<Float80> {
    let (text, exponent) = split_exponent(text, b'e')?;
    let (whole, fraction) = split_point(text)?;
    let mut digits = [whole, fraction].concat();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut exponent = exponent - fraction.len() as i64;
    let Some(last) = digits.iter().rposition(|digit| *digit != b'0') else {
        return Some(zero(negative));
    };
    exponent += (digits.len() - 1 - last) as i64;
    digits.truncate(last + 1);
    let leading = digits.iter().take_while(|digit| **digit == b'0').count();
    let digits = &digits[leading..];
    let magnitude = digits.len() as i64 + exponent;
    if !(DECIMAL_EXPONENT_MIN..=DECIMAL_DIGITS_MAX).contains(&magnitude) {
        return None;
    }
    nearest_to_decimal(negative, Natural::from_digits(digits), exponent as i32).in_range()
}

/// The number nearest to `digits * 10^exponent`: `10^n` is `5^n`, shifted by n.
fn nearest_to_decimal(negative: bool, mut digits: Natural, exponent: i32) -> Float80 {
    if exponent >= 0 {
        digits.multiply_by_power_of_five(exponent.unsigned_abs());
        let (magnitude, dropped, more) = digits.top();
        return round(negative, magnitude, exponent + dropped as i32, more);
    }
    let divisor = Natural::power_of_five(exponent.unsigned_abs());
    let (quotient, dropped, more) = digits.divide(divisor);
    round(negative, quotient, exponent + dropped, more)
}

fn parse_hexadecimal(negative: bool, text: &[u8]) -> Option<Float80> {
    let (text, mut exponent) = split_exponent(text, b'p')?;
    let (whole, fraction) = split_point(text)?;
    let (mut magnitude, mut more) = (0u128, false);
    exponent -= 4 * fraction.len() as i64;
    for byte in whole.iter().chain(fraction) {
        let digit = (*byte as char).to_digit(16)?;
        if magnitude >> 124 == 0 {
            magnitude = (magnitude << 4) | u128::from(digit);
        } else {
            more |= digit != 0;
            exponent += 4;
        }
    }
    if magnitude == 0 {
        return Some(zero(negative));
    }
    let exponent = exponent.clamp(-(1 << 20), 1 << 20) as i32;
    round(negative, magnitude, exponent, more).in_range()
}

/// Writes `mantissa / 2^shift`, rounded to [`FRACTION_DIGITS`] digits after the point.
fn fixed_point(mantissa: u64, shift: u32) -> String {
    const UNIT: u128 = 10u128.pow(FRACTION_DIGITS);
    // Below 2^121; beyond a shift of 122 everything is less than half of the last digit.
    let scaled = u128::from(mantissa) * UNIT;
    let shift = shift.min(127);
    let (kept, rest, half) = (scaled >> shift, scaled & ((1 << shift) - 1), 1 << (shift - 1));
    let up = rest > half || (rest == half && kept & 1 == 1);
    let rounded = kept + u128::from(up);
    let (whole, fraction) = (rounded / UNIT, rounded % UNIT);
    let text = format!("{whole}.{fraction:0width$}", width = FRACTION_DIGITS as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, other: &str) -> String {
        let parse = |text: &str| Float80::parse(text.as_bytes());
        match (parse(one), parse(other)) {
            (Some(one), Some(other)) => match one.checked_add(other) {
                Some(sum) => sum.to_text().expect("a checked sum is finite"),
                None => "infinite".to_owned(),
            },
            _ => "refused".to_owned(),
        }
    }

    #[test]
    fn sums_are_those_of_an_extended_unit() {
        for (one, other, expected) in [
            ("0.1", "0.2", "0.3"),
            ("3.0e3", "200", "3200"),
            ("1000000", "0.000001", "1000000.00000099999999748"),
            ("1e17", "1", "100000000000000001"),
            ("1e20", "1", "100000000000000000000"),
            ("1e30", "0", "1000000000000000000024696061952"),
            ("3.14159265358979323846", "0", "3.14159265358979324"),
            ("1", "0.333333333333333333", "1.33333333333333333"),
            ("5", "-5", "0"),
            ("-0", "-0", "0"),
            ("0", "-1e-19", "0"),
            ("0", "6e-18", "0.00000000000000001"),
            ("0", "5e-18", "0"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("0x1p4", "-0x.8p1", "15"),
            ("1e4932", "1e4932", "infinite"),
            ("inf", "-inf", "infinite"),
            ("1", "-Infinity", "infinite"),
        ] {
            assert_eq!(sum(one, other), expected, "{one} + {other}");
            assert_eq!(sum(other, one), expected, "{other} + {one}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let long = "1".repeat(TEXT_BYTES_MAX + 1);
        for text in [
            "",
            " 1",
            "1 ",
            "+",
            "-",
            ".",
            "e1",
            "1e",
            "1e+",
            "1e1.5",
            "--1",
            "1,5",
            "nan",
            "nan(1)",
            "infin",
            "0x",
            "0x.p1",
            "0x1p",
            "0xg",
            "1\0",
            "1e5000",
            "1e-5000",
            "0x1p16384",
            "0x1p-16447",
            "1e999999999999999999999",
            "1_0",
            "1..2",
            "0x1.8.1",
            "1e1e1",
            &long,
        ] {
            assert_eq!(Float80::parse(text.as_bytes()), None, "{text:?}");
        }
        for text in ["0e9999999999", "-0x0p99999", ".5", "5.", "00012", "1E+3", "0x1p-16446"] {
            // Half of the smallest number is a tie, and goes to the even zero: out of range.
            let refused = text == "0x1p-16446";
            assert_eq!(Float80::parse(text.as_bytes()).is_none(), refused, "{text:?}");
        }
    }

    #[test]
    fn the_bounds_of_the_format_are_reached_and_not_passed() {
        let parts = |text: &str| Float80::parse(text.as_bytes()).and_then(Float80::finite);
        assert_eq!(parts("0x1p-16445"), Some((false, 1, EXPONENT_MIN)));
        assert_eq!(parts("0x.ffffffffffffffffp16384"), Some((false, u64::MAX, EXPONENT_MAX)));
        assert_eq!(parts("0x.ffffffffffffffff8p16384"), None);
        assert_eq!(parts("0x1.00000000000000010p0"), Some((false, 1 << 63, -63)));
        assert_eq!(parts("0x1.000000000000000100000000000000000000000000001p0"), {
            Some((false, (1 << 63) + 1, -63))
        });
        assert_eq!(parts("0x1.00000000000000030p0"), Some((false, (1 << 63) + 2, -63)));
    }
}
