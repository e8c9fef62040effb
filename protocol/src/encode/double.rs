//! Doubles as C's `printf("%.17g")` writes them, which is how Redis 7.0 replies with a double.
//!
//! Seventeen significant digits name every double uniquely, at the price of texts such as
//! `3.1400000000000001`. Infinities are `inf` and `-inf`. What is not a number is `nan` whatever
//! its sign bit: no command replies with one, and RESP3 knows no `-nan`.

use smallvec::SmallVec;
use std::io::Write;

/// Digits that `%.17g` computes.
const DIGITS: usize = 17;

/// The text of a double, at most 24 bytes.
pub type DoubleText = SmallVec<[u8; 24]>;

/// The text of `value`, without a type marker or a line break.
pub fn double_text(value: f64) -> DoubleText {
    if value.is_nan() {
        return DoubleText::from_slice(b"nan");
    }
    let mut out = DoubleText::new();
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        out.extend_from_slice(b"inf");
    } else {
        write_finite(value.abs(), &mut out);
    }
    out
}

fn write_finite(value: f64, out: &mut DoubleText) {
    let (digits, exponent) = decompose(value);
    let significant = digits.iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    match usize::try_from(exponent) {
        Ok(exponent) if exponent < DIGITS => {
            let whole = exponent + 1;
            out.extend_from_slice(&digits[..whole]);
            if significant > whole {
                out.extend_from_slice(b".");
                out.extend_from_slice(&digits[whole..significant]);
            }
        }
        Err(_) if exponent >= -4 => {
            out.extend_from_slice(&b"0.000"[..exponent.unsigned_abs() as usize + 1]);
            out.extend_from_slice(&digits[..significant]);
        }
        _ => write_scientific(&digits[..significant], exponent, out),
    }
}

/// The seventeen decimal digits of a finite, non-negative double and the exponent of the first.
fn decompose(value: f64) -> ([u8; DIGITS], i32) {
    // One digit, a point, sixteen digits, `e`, a sign and at most three digits.
    let mut text = [0u8; 32];
    let mut rest = &mut text[..];
    write!(rest, "{value:.16e}").expect("22 bytes fit into 32");
    let unused = rest.len();
    let text = &text[..text.len() - unused];
    let mut digits = [text[0]; DIGITS];
    digits[1..].copy_from_slice(&text[2..DIGITS + 1]);
    let exponent = std::str::from_utf8(&text[DIGITS + 2..])
        .ok()
        .and_then(|exponent| exponent.parse().ok())
        .expect("the exponent follows the digits and an `e`");
    (digits, exponent)
}

fn write_scientific(digits: &[u8], exponent: i32, out: &mut DoubleText) {
    out.extend_from_slice(&digits[..1]);
    if digits.len() > 1 {
        out.extend_from_slice(b".");
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let magnitude = exponent.unsigned_abs();
    if magnitude < 10 {
        out.extend_from_slice(b"0");
    }
    out.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes());
}
