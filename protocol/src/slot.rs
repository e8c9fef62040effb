//! The hash slot of a key: CRC16 of its hash tag, modulo 16384, as Redis Cluster defines it.
//!
//! The hash tag is what stands between the first `{` and the first `}` after it, when that is not
//! empty; else it is the whole key.

use crc::{CRC_16_XMODEM, Crc, Table};

/// Sixteen bytes at a step: every request has its slot computed, and `redis_keyslot` of redis-protocol
/// goes byte by byte, three times as long.
static CHECKSUM: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// Number of hash slots.
pub const SLOT_COUNT: u16 = 16384;

/// The slot of `key`, below [`SLOT_COUNT`].
pub fn key_slot(key: &[u8]) -> u16 {
    CHECKSUM.checksum(tag(key)) % SLOT_COUNT
}

/// The hash tag of a key, or the whole key.
fn tag(key: &[u8]) -> &[u8] {
    let after = memchr::memchr(b'{', key).map(|open| &key[open + 1..]);
    match after.and_then(|after| after.split_at_checked(memchr::memchr(b'}', after)?)) {
        Some((tag, _)) if !tag.is_empty() => tag,
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_are_those_of_redis() {
        for (key, slot) in [
            ("", 0),
            ("foo", 12182),
            ("bar", 5061),
            ("123456789", 12739),
            ("{", 4092),
            ("{}", 15257),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
            ("user1000", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
            ("foo{bar", 15278),
            ("foo}bar{", 11073),
        ] {
            assert_eq!(key_slot(key.as_bytes()), slot, "{key:?}");
        }
    }

    /// CRC16/XMODEM, bit by bit.
    fn crc16(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc, &byte| {
            (0..8).fold(crc ^ u16::from(byte) << 8, |crc: u16, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            })
        })
    }

    proptest! {
        #[test]
        fn the_slot_is_the_checksum_of_the_tag(key in "[ab{}\\x00é]{0,40}") {
            let expected = redis_protocol::redis_keyslot(key.as_bytes());
            prop_assert_eq!(key_slot(key.as_bytes()), expected);
            prop_assert_eq!(expected, crc16(tag(key.as_bytes())) % SLOT_COUNT);
        }
    }
}
