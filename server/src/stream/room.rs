//! Room to read into, which the connections of a thread share.
//!
//! A connection has room only while it reads or holds the beginning of a request: ten thousand idle
//! ones have none, and the busy ones read into memory that is warm. Requests are slices of the room
//! they were read into; what is left of it is lent to the next connection meanwhile, so whoever
//! keeps a short request for long copies it (see `Request::detached`).

use crate::limits::{READ_CHUNK_BYTES, READ_ROOM_BYTES_MIN, READ_ROOMS_SPARE_MAX};
use bytes::BytesMut;
use std::cell::RefCell;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Gives `buffer` room behind what it holds, unless it has some.
pub(crate) fn lend(buffer: &mut BytesMut) {
    if buffer.capacity() > buffer.len() {
        return;
    }
    if buffer.len() >= READ_ROOM_BYTES_MIN {
        buffer.reserve(READ_CHUNK_BYTES);
        return;
    }
    let mut room = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if room.capacity() < buffer.len() + READ_ROOM_BYTES_MIN {
        room.reserve(READ_CHUNK_BYTES);
    }
    room.extend_from_slice(buffer);
    *buffer = room;
}

/// Takes the room of `buffer` for others, unless what it holds is a good part of it.
pub(crate) fn give_back(buffer: &mut BytesMut) {
    if buffer.len() >= (buffer.capacity() - buffer.len()) / 8 && buffer.capacity() > 0 {
        return;
    }
    let beginning = BytesMut::from(&buffer[..]);
    let mut room = std::mem::replace(buffer, beginning);
    room.clear();
    // That of a long request is not kept.
    if (1..=READ_CHUNK_BYTES).contains(&room.capacity()) {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < READ_ROOMS_SPARE_MAX {
                spare.push(room);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is spare on this thread, which is the test's own.
    fn spare() -> usize {
        SPARE.with_borrow(Vec::len)
    }

    #[test]
    fn one_room_serves_those_that_read_in_turn() {
        for _ in 0..1_000 {
            let mut buffer = BytesMut::new();
            lend(&mut buffer);
            assert!(buffer.capacity() >= READ_ROOM_BYTES_MIN);
            buffer.extend_from_slice(b"PING\r\n");
            drop(buffer.split_to(6).freeze());
            give_back(&mut buffer);
            assert_eq!((buffer.capacity(), spare()), (0, 1));
        }
    }

    #[test]
    fn requests_outlive_the_loan_of_their_room() {
        let mut requests = Vec::new();
        for number in 0..20_000_u32 {
            let mut buffer = BytesMut::new();
            lend(&mut buffer);
            buffer.extend_from_slice(&number.to_le_bytes());
            requests.push(buffer.split_to(4).freeze());
            give_back(&mut buffer);
        }
        for (number, request) in requests.iter().enumerate() {
            assert_eq!(request[..], (number as u32).to_le_bytes());
        }
    }

    #[test]
    fn a_beginning_stays_and_its_room_does_not() {
        let mut buffer = BytesMut::new();
        lend(&mut buffer);
        buffer.extend_from_slice(b"*3\r\n$3\r\nSE");
        give_back(&mut buffer);
        assert_eq!((&buffer[..], spare()), (&b"*3\r\n$3\r\nSE"[..], 1));
        assert!(buffer.capacity() < 64, "{}", buffer.capacity());
        lend(&mut buffer);
        buffer.extend_from_slice(b"T");
        assert_eq!((&buffer[..], spare()), (&b"*3\r\n$3\r\nSET"[..], 0));
    }

    #[test]
    fn long_requests_keep_their_room_and_leave_none_behind() {
        let mut buffer = BytesMut::from(&vec![b'v'; 2 * READ_CHUNK_BYTES][..]);
        give_back(&mut buffer);
        assert_eq!((buffer.len(), spare()), (2 * READ_CHUNK_BYTES, 0));
        drop(buffer.split_to(READ_CHUNK_BYTES));
        buffer.clear();
        buffer.reserve(3 * READ_CHUNK_BYTES);
        give_back(&mut buffer);
        assert_eq!((buffer.capacity(), spare()), (0, 0));
    }

    #[test]
    fn spare_rooms_are_bounded() {
        let mut buffers = vec![BytesMut::new(); 2 * READ_ROOMS_SPARE_MAX];
        buffers.iter_mut().for_each(lend);
        buffers.iter_mut().for_each(give_back);
        assert_eq!(spare(), READ_ROOMS_SPARE_MAX);
    }
}
