//! Random numbers outside the state machine: ids, seeds of entries, jitter; and bytes for secrets.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};

/// Fills `bytes` from the operating system's own source, the only one here that is fit for secrets.
pub(crate) fn fill_secret(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

/// A random number for anything but secrets, from the operating system's randomness by way of std's
/// hash keys.
pub(crate) fn random_u64() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(crate::clock::monotonic_ns());
    hasher.finish()
}

/// A random id for a node or a cluster: never 0, and below 2^53, so that every client can hold it.
pub(crate) fn random_id() -> u64 {
    (random_u64() >> 11).max(1)
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
}
