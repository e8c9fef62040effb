//! A Bloom filter over the keys of an overlay: most reads of a key that is not in it end here, for
//! one hash and one memory access instead of a search of the whole map.
//!
//! It may say "perhaps" of a key that was never added, and never says "no" of one that was added
//! before the log index of the reader: bits are set before the index is stored with release order.
//! Past the number of rows it was sized for it only becomes less sharp.

use super::rows::KeyHash;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bits of the filter for each expected key; all bits of a key lie in one word. One unknown key in
/// about fifty passes a full filter.
const BITS_PER_KEY: u64 = 16;
/// Bits set for a key.
const BITS_SET: u32 = 4;
/// Words of the largest filter (8 MiB).
const WORDS_MAX: u64 = 1 << 20;

pub(super) struct Filter {
    words: Box<[AtomicU64]>,
}

impl Filter {
    /// An empty filter for about so many keys.
    pub(super) fn for_keys(keys: u64) -> Self {
        let words = (keys.saturating_mul(BITS_PER_KEY) / 64).clamp(1, WORDS_MAX);
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Adds a key.
    pub(super) fn add(&self, key: KeyHash) {
        let (word, bits) = self.place(key);
        if word.load(Relaxed) & bits != bits {
            word.fetch_or(bits, Relaxed);
        }
    }

    /// Whether the key may have been added.
    pub(super) fn may_have(&self, key: KeyHash) -> bool {
        let (word, bits) = self.place(key);
        word.load(Relaxed) & bits == bits
    }

    fn place(&self, key: KeyHash) -> (&AtomicU64, u64) {
        let hash = key.0;
        // The upper half of the hash chooses the word, parts of the lower half the bits in it.
        let word = ((hash >> 32) * self.words.len() as u64) >> 32;
        let bits = (0..BITS_SET).fold(0, |bits, part| bits | 1 << (hash >> (6 * part) & 63));
        (&self.words[word as usize], bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_keys_pass_and_few_others_do() {
        for (sized_for, passing_max) in [(10_000, 400), (0, 10_000)] {
            let filter = Filter::for_keys(sized_for);
            let key = |number: u32| KeyHash::of(format!("key {number}").as_bytes());
            (0..10_000).for_each(|number| filter.add(key(number)));
            assert!((0..10_000).all(|number| filter.may_have(key(number))));
            let passing = (10_000..20_000).filter(|number| filter.may_have(key(*number))).count();
            assert!(passing <= passing_max, "{passing} of 10000 unknown keys pass");
        }
    }
}
