//! Natural numbers of any size: only what reading and writing of floats needs.
//!
//! Schoolbook arithmetic; the longest number here has some 17,000 bits.

use std::cmp::Ordering;

/// Decimal digits that one limb takes at a time.
const CHUNK_DIGITS: usize = 9;
/// Ten to the power of [`CHUNK_DIGITS`].
const CHUNK: u32 = 1_000_000_000;
/// The highest power of five in one limb, and its exponent.
const FIVES: (u32, u32) = (1_220_703_125, 13);

/// A natural number, in limbs of 32 bits, the lowest first, the highest not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Natural(Vec<u32>);

impl Natural {
    /// The number that ASCII digits spell.
    pub(super) fn from_digits(digits: &[u8]) -> Self {
        let mut number = Natural(Vec::with_capacity(digits.len() / CHUNK_DIGITS + 1));
        for chunk in digits.chunks(CHUNK_DIGITS) {
            let value = chunk.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
            number.multiply_add(10u32.pow(chunk.len() as u32), value);
        }
        number
    }

    /// `number * 2^shift`.
    pub(super) fn shifted(number: u64, shift: usize) -> Self {
        let mut shifted = Natural(vec![number as u32, (number >> 32) as u32]);
        shifted.trim();
        shifted.shift_left(shift);
        shifted
    }

    /// Five to the power of `exponent`.
    pub(super) fn power_of_five(exponent: u32) -> Self {
        let mut power = Natural(vec![1]);
        power.multiply_by_power_of_five(exponent);
        power
    }

    pub(super) fn multiply_by_power_of_five(&mut self, exponent: u32) {
        for _ in 0..exponent / FIVES.1 {
            self.multiply_add(FIVES.0, 0);
        }
        self.multiply_add(5u32.pow(exponent % FIVES.1), 0);
    }

    /// Multiplies by `factor`, which is not zero, and adds `addend`.
    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            let product = u64::from(*limb) * u64::from(factor) + carry;
            *limb = product as u32;
            carry = product >> 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of bits, without leading zeros.
    pub(super) fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    pub(super) fn shift_left(&mut self, shift: usize) {
        if self.is_zero() {
            return;
        }
        let bits = shift % 32;
        if bits > 0 {
            self.multiply_add(1 << bits, 0);
        }
        self.0.splice(0..0, std::iter::repeat_n(0, shift / 32));
    }

    /// The highest (at most) 128 bits, how many lower ones are left out, and whether any of
    /// these is set.
    pub(super) fn top(&self) -> (u128, usize, bool) {
        let dropped = self.bits().saturating_sub(128);
        let (limbs, bits) = (dropped / 32, dropped % 32);
        let limb = |at: usize| self.0.get(limbs + at).copied().unwrap_or(0);
        let wide = (0..4).rev().fold(0u128, |wide, at| (wide << 32) | u128::from(limb(at)));
        let above = if bits == 0 { 0 } else { u128::from(limb(4)) << (128 - bits) };
        let rest = self.0[..limbs].iter().any(|limb| *limb != 0)
            || (bits > 0 && limb(0) & ((1 << bits) - 1) != 0);
        ((wide >> bits) | above, dropped, rest)
    }

    /// The highest 66 or 67 bits of `self / divisor`, how many lower ones are left out (negative:
    /// how many were added), and whether there is a remainder below them.
    pub(super) fn divide(mut self, mut divisor: Natural) -> (u128, i32, bool) {
        let dropped = self.bits() as i32 - divisor.bits() as i32 - 66;
        match dropped {
            0.. => divisor.shift_left(dropped as usize),
            _ => self.shift_left(dropped.unsigned_abs() as usize),
        }
        divisor.shift_left(66);
        let mut quotient = 0;
        for _ in 0..67 {
            quotient <<= 1;
            if self.compare(&divisor) != Ordering::Less {
                self.subtract(&divisor);
                quotient |= 1;
            }
            self.shift_left(1);
        }
        (quotient, dropped, !self.is_zero())
    }

    fn compare(&self, other: &Natural) -> Ordering {
        let lengths = self.0.len().cmp(&other.0.len());
        lengths.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Subtracts `other`, which is not greater.
    fn subtract(&mut self, other: &Natural) {
        let mut borrow = false;
        for (at, limb) in self.0.iter_mut().enumerate() {
            let (less, first) = limb.overflowing_sub(other.0.get(at).copied().unwrap_or(0));
            let (less, second) = less.overflowing_sub(u32::from(borrow));
            (*limb, borrow) = (less, first || second);
        }
        debug_assert!(!borrow, "only a smaller number is subtracted");
        self.trim();
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// The number in decimal digits.
    pub(super) fn into_decimal(mut self) -> String {
        let mut chunks = Vec::new();
        while !self.is_zero() {
            let mut rest = 0u64;
            for limb in self.0.iter_mut().rev() {
                let value = (rest << 32) | u64::from(*limb);
                *limb = (value / u64::from(CHUNK)) as u32;
                rest = value % u64::from(CHUNK);
            }
            self.trim();
            chunks.push(rest);
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            text.push_str(&format!("{chunk:09}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back() {
        for text in ["0", "7", "1000000000", "340282366920938463463374607431768211456"] {
            assert_eq!(Natural::from_digits(text.as_bytes()).into_decimal(), text);
        }
        assert_eq!(Natural::shifted(5, 64).into_decimal(), (5u128 << 64).to_string());
        assert_eq!(Natural::power_of_five(54).into_decimal(), 5u128.pow(54).to_string());
    }

    #[test]
    fn quotients_are_exact_to_the_last_of_their_bits() {
        for (dividend, divisor) in [(1u128, 3u128), (10, 5), (u128::MAX, 7), (5, u128::MAX / 3)] {
            let natural = |number: u128| Natural::from_digits(number.to_string().as_bytes());
            let (quotient, dropped, rest) = natural(dividend).divide(natural(divisor));
            assert!((1 << 65..1 << 67).contains(&quotient));
            // dividend * 2^-dropped = quotient * divisor + remainder, or with the other side scaled.
            let mut left = natural(dividend);
            left.shift_left(dropped.min(0).unsigned_abs() as usize);
            for bit in (0..67).rev() {
                let mut part = natural(divisor);
                part.shift_left(bit + dropped.max(0) as usize);
                if quotient >> bit & 1 == 1 {
                    left.subtract(&part);
                }
            }
            assert_eq!(left.is_zero(), !rest);
        }
    }

    #[test]
    fn the_top_of_a_number_knows_whether_more_follows() {
        assert_eq!(Natural::shifted(5, 10).top(), (5 << 10, 0, false));
        assert_eq!(Natural::shifted(1, 200).top(), (1 << 127, 73, false));
        let mut number = Natural::shifted(1, 200);
        number.multiply_add(1, 1);
        assert_eq!(number.top(), (1 << 127, 73, true));
    }
}
