//! Which key a request touches: uniform, zipfian, or each key once; the same for the same seed.
//!
//! Keys are numbered from 0 and written as redis-benchmark writes them (`key:000000000042`, 16
//! bytes), so that data loaded by one tool can be read by the other.

use serde::Serialize;
use std::cell::Cell;
use std::rc::Rc;

/// Decimal digits in a key.
pub(crate) const KEY_DIGITS: usize = 12;
/// Largest key space, so that every number fits its digits.
pub(crate) const KEYS_MAX: u64 = 1_000_000_000;
/// Exponent of the zipfian distribution, the one YCSB uses.
const ZIPF_EXPONENT: f64 = 0.99;

/// How keys are drawn from the key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Distribution {
    /// Each key is as likely as any other.
    Uniform,
    /// Few keys are hot: the n-th hottest is drawn in proportion to 1 / n^0.99.
    Zipfian,
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, good enough to choose keys.
pub(crate) struct Random(u64);

impl Random {
    /// A generator whose sequence depends on `seed` alone.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number below `bound`; its bias is below `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A fixed bijection of 64-bit numbers that leaves no visible pattern.
fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Draws key numbers below the size of the key space.
pub(crate) enum KeyPicker {
    /// See [`Distribution::Uniform`].
    Uniform { keys: u64 },
    /// See [`Distribution::Zipfian`]; hot keys are spread over the key space.
    Zipfian { keys: u64, ranks: ZipfianRanks },
    /// 0, 1, 2, ... shared by the connections of one thread; wraps at the end.
    Sequence { keys: u64, next: Rc<Cell<u64>> },
}

impl KeyPicker {
    /// A picker for `keys` keys, at least one.
    pub(crate) fn new(distribution: Distribution, keys: u64) -> Self {
        assert!((1..=KEYS_MAX).contains(&keys), "the size of a key space is checked at the start");
        match distribution {
            Distribution::Uniform => Self::Uniform { keys },
            Distribution::Zipfian => Self::Zipfian { keys, ranks: ZipfianRanks::new(keys) },
        }
    }

    /// The number of the next key.
    pub(crate) fn pick(&mut self, random: &mut Random) -> u64 {
        match self {
            Self::Uniform { keys } => random.below(*keys),
            Self::Zipfian { keys, ranks } => scramble(ranks.draw(random)) % *keys,
            Self::Sequence { keys, next } => {
                let number = next.get();
                next.set((number + 1) % *keys);
                number
            }
        }
    }
}

/// Zipfian ranks by rejection-inversion (Hörmann and Derflinger 1996): no table, so a key space of
/// any size costs the same.
///
/// A rank is found by inverting the integral of the hat function x^-s, and is accepted when the
/// draw lies under the histogram; with s = 0.99 nearly all draws are.
pub(crate) struct ZipfianRanks {
    ranks: f64,
    area_of_first: f64,
    area_of_all: f64,
    shortcut: f64,
}

impl ZipfianRanks {
    fn new(ranks: u64) -> Self {
        let ranks = ranks as f64;
        Self {
            ranks,
            area_of_first: integral(1.5) - 1.0,
            area_of_all: integral(ranks + 0.5),
            shortcut: 2.0 - inverse_integral(integral(2.5) - density(2.0)),
        }
    }

    /// A rank from 1 (the hottest) to the size of the key space.
    fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.area_of_all + random.unit() * (self.area_of_first - self.area_of_all);
            let point = inverse_integral(area);
            let rank = point.round().clamp(1.0, self.ranks);
            if rank - point <= self.shortcut || area >= integral(rank + 0.5) - density(rank) {
                return rank as u64;
            }
        }
    }
}

/// The hat function x^-s.
fn density(x: f64) -> f64 {
    (-ZIPF_EXPONENT * x.ln()).exp()
}

/// Its integral from 1 to x.
fn integral(x: f64) -> f64 {
    ((1.0 - ZIPF_EXPONENT) * x.ln()).exp_m1() / (1.0 - ZIPF_EXPONENT)
}

/// The x whose integral is `area`.
fn inverse_integral(area: f64) -> f64 {
    ((area * (1.0 - ZIPF_EXPONENT)).ln_1p() / (1.0 - ZIPF_EXPONENT)).exp()
}

/// Writes `number` as [`KEY_DIGITS`] decimal digits.
pub(crate) fn push_digits(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; KEY_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(distribution: Distribution, keys: u64, seed: u64, count: usize) -> Vec<u64> {
        let mut random = Random::new(seed);
        let mut picker = KeyPicker::new(distribution, keys);
        (0..count).map(|_| picker.pick(&mut random)).collect()
    }

    #[test]
    fn keys_stay_inside_the_key_space_and_follow_the_seed() {
        for distribution in [Distribution::Uniform, Distribution::Zipfian] {
            for keys in [1, 2, 7, 100_000, KEYS_MAX] {
                let drawn = draw(distribution, keys, 1, 2_000);
                assert!(drawn.iter().all(|&key| key < keys), "{distribution:?} {keys}");
                assert_eq!(drawn, draw(distribution, keys, 1, 2_000));
            }
            assert_ne!(draw(distribution, 1_000, 1, 50), draw(distribution, 1_000, 2, 50));
        }
    }

    #[test]
    fn uniform_keys_are_even() {
        let mut hits = [0_u32; 10];
        for key in draw(Distribution::Uniform, 10, 3, 100_000) {
            hits[key as usize] += 1;
        }
        assert!(hits.iter().all(|count| (9_500..10_500).contains(count)), "{hits:?}");
    }

    #[test]
    fn zipfian_ranks_have_the_probabilities_of_the_definition() {
        let (ranks, draws) = (1_000_u64, 400_000);
        let total: f64 = (1..=ranks).map(|rank| density(rank as f64)).sum();
        let sampler = ZipfianRanks::new(ranks);
        let mut random = Random::new(9);
        let mut hits = vec![0_u32; ranks as usize + 1];
        for _ in 0..draws {
            hits[sampler.draw(&mut random) as usize] += 1;
        }
        assert_eq!(hits[0], 0);
        for rank in [1_u64, 2, 3, 10, 50] {
            let expected = density(rank as f64) / total * f64::from(draws);
            let seen = f64::from(hits[rank as usize]);
            assert!((seen / expected - 1.0).abs() < 0.1, "rank {rank}: {seen} of {expected}");
        }
        let tail: u32 = hits[500..].iter().sum();
        let expected: f64 = (500..=ranks).map(|rank| density(rank as f64)).sum::<f64>() / total;
        assert!((f64::from(tail) / f64::from(draws) / expected - 1.0).abs() < 0.1);
    }

    #[test]
    fn a_sequence_visits_each_key_once() {
        let next = Rc::new(Cell::new(0));
        let mut one = KeyPicker::Sequence { keys: 5, next: Rc::clone(&next) };
        let mut two = KeyPicker::Sequence { keys: 5, next };
        let mut random = Random::new(0);
        let seen: Vec<u64> =
            (0..3).flat_map(|_| [one.pick(&mut random), two.pick(&mut random)]).collect();
        assert_eq!(seen, [0, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn digits_are_padded() {
        let mut out = Vec::new();
        push_digits(&mut out, 42);
        assert_eq!(out, b"000000000042");
    }
}
