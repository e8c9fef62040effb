//! Growing a read buffer for one long value: never ahead of what has been received, never twice as
//! large as needed at the end.
//!
//! A peer that announces 512 MiB and sends nothing must cost nothing, and one that sends them must
//! not cost a gibibyte: the last step of the growth is exact.

use bytes::{Bytes, BytesMut};

/// Shorter remainders are left to the ordinary reads of the caller.
const STEP_BYTES_MIN: usize = 64 * 1024;

/// Makes room in `buffer` for some or all of the `missing` bytes of the value it ends in.
///
/// Room is made for at most as many bytes as the buffer holds already (but 64 KiB), so a value
/// costs a logarithmic number of reallocations, and exactly for the rest once that is less.
pub(crate) fn make_room(buffer: &mut BytesMut, missing: usize) {
    let spare = buffer.capacity() - buffer.len();
    if spare >= missing.min(STEP_BYTES_MIN) {
        return;
    }
    let step = missing.min(buffer.len().max(STEP_BYTES_MIN));
    if buffer.len() < STEP_BYTES_MIN {
        buffer.reserve(step);
        return;
    }
    // `BytesMut::reserve` may double; a vector can be grown exactly and in place. The way through
    // `Bytes` back to `BytesMut` copies nothing, for nobody else holds the vector.
    let mut bytes = Vec::from(std::mem::take(buffer));
    bytes.reserve_exact(step);
    *buffer = BytesMut::from(Bytes::from(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Receives `total` bytes in pieces; returns the largest capacity seen on the way.
    fn receive(total: usize, piece: usize) -> usize {
        let mut buffer = BytesMut::new();
        let mut largest = 0;
        while buffer.len() < total {
            let missing = total - buffer.len();
            make_room(&mut buffer, missing);
            largest = largest.max(buffer.capacity());
            assert!(buffer.capacity() <= 2 * buffer.len().max(STEP_BYTES_MIN));
            let room = buffer.capacity() - buffer.len();
            assert!(room > 0);
            buffer.resize(buffer.len() + room.min(piece).min(missing), 7);
        }
        assert!(buffer.iter().all(|&byte| byte == 7));
        largest
    }

    #[test]
    fn a_long_value_ends_in_a_buffer_of_its_size() {
        for total in [5 << 20, (1 << 20) + 1, 3_333_333] {
            assert_eq!(receive(total, 16 * 1024), total);
            assert_eq!(receive(total, usize::MAX), total);
        }
    }

    #[test]
    fn contents_survive_while_an_earlier_part_is_shared() {
        let mut buffer = BytesMut::from(&b"taken"[..]);
        buffer.resize(300_000, 1);
        let taken = buffer.split_to(5).freeze();
        make_room(&mut buffer, 10 << 20);
        assert_eq!(&taken[..], b"taken");
        assert_eq!(buffer.len(), 299_995);
        assert!(buffer.iter().all(|&byte| byte == 1));
    }
}
