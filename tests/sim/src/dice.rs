//! All chance of a run: generators (splitmix64) that descend from its seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A generator; clones share its sequence.
#[derive(Clone, Debug)]
pub struct Dice {
    state: Arc<AtomicU64>,
}

impl Dice {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice { state: Arc::new(AtomicU64::new(seed)) }
    }

    /// Another generator, for a part of the run of its own.
    pub fn fork(&self) -> Dice {
        Dice::new(self.number())
    }

    /// Any number.
    pub fn number(&self) -> u64 {
        let step = 0x9E37_79B9_7F4A_7C15_u64;
        let next = self.state.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&self, end: u64) -> u64 {
        self.number() % end
    }

    /// A number from `low` to `high`.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in so many cases of a thousand.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of them; there must be one.
    pub fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
