//! Random numbers outside the state machine: ids, seeds of entries, jitter, election timeouts; and
//! bytes for secrets.
//!
//! Each thread has a generator of its own (splitmix64), seeded from the operating system's
//! randomness by way of std's hash keys. Whoever seeds the one thread of a simulation gets the same
//! numbers again. Secrets never come from it.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};

thread_local! {
    static STATE: Cell<u64> =
        Cell::new(RandomState::new().hash_one(crate::clock::monotonic_ns()));
}

/// Fills `bytes` from the operating system's own source, the only one here that is fit for secrets.
pub(crate) fn fill_secret(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

/// A random number for anything but secrets.
pub(crate) fn random_u64() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

/// Begins this thread's sequence anew.
#[cfg(any(test, feature = "simulation"))]
pub(crate) fn seed(seed: u64) {
    STATE.with(|state| state.set(seed));
}

/// A random id for a node or a cluster: never 0, and below 2^53, so that every client can hold it.
pub(crate) fn random_id() -> u64 {
    (random_u64() >> 11).max(1)
}

/// This thread's generator, as the Raft library asks for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ThreadRandom;

impl rand_core::TryRng for ThreadRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((random_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(random_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&random_u64().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_secrets_are_equal() {
        let secret = || {
            let mut bytes = [0; 32];
            fill_secret(&mut bytes).unwrap();
            bytes
        };
        assert_ne!(secret(), secret());
    }

    #[test]
    fn a_seed_repeats_the_sequence_and_threads_differ() {
        let draw = || [random_u64(), random_u64(), random_u64()];
        let unseeded = || std::thread::spawn(draw).join().unwrap();
        assert_ne!(unseeded(), unseeded());
        seed(7);
        let first = draw();
        seed(7);
        assert_eq!(draw(), first);
        assert_ne!(draw(), first);
    }
}
