//! Any bytes as peer frames and as the messages in them: no panic, no room for what is only claimed,
//! and what can be read is written as it was.
//!
//! Every input is made from numbers that the caller gives. `KVORUM_FUZZ_RUNS` says how many inputs
//! each decoder gets in the tests here; the program `fuzz` of the tests' package gives them more.

use super::codec::Wire;
use super::forward::{ForwardAnswer, ForwardRequest};
use super::frame::{FrameCodec, HEADER_BYTES};
use super::introduction::Introduction;
use super::orders::LeaderOrder;
use super::types::{
    AppendRequest, AppendResponse, Entry, LogId, Membership, SnapshotMeta, SnapshotResponse,
    StoredMembership, StreamAppendResult, TransferRequest, TransferResponse, Vote, VoteRequest,
    VoteResponse,
};
use bytes::{Bytes, BytesMut};
use protocol::Reply;
use tokio_util::codec::{Decoder, Encoder};

/// Gives numbers, any of them.
pub(crate) type Numbers<'a> = dyn FnMut() -> u64 + 'a;

/// A kind of message, and what reads an input as it. Returned is how often the decoder ran: once,
/// and more often when what is read is read again.
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) read: fn(&str, &mut Numbers<'_>) -> u64,
}

const fn message<T: Wire>(name: &'static str) -> Message {
    Message { name, read: check::<T> }
}

/// All messages that peers send.
pub(crate) const MESSAGES: &[Message] = &[
    message::<Entry>("Entry"),
    message::<LogId>("LogId"),
    message::<Vote>("Vote"),
    message::<Membership>("Membership"),
    message::<StoredMembership>("StoredMembership"),
    message::<SnapshotMeta>("SnapshotMeta"),
    message::<SnapshotResponse>("SnapshotResponse"),
    message::<AppendRequest>("AppendRequest"),
    message::<AppendResponse>("AppendResponse"),
    message::<StreamAppendResult>("StreamAppendResult"),
    message::<VoteRequest>("VoteRequest"),
    message::<VoteResponse>("VoteResponse"),
    message::<TransferRequest>("TransferRequest"),
    message::<TransferResponse>("TransferResponse"),
    message::<Introduction>("Introduction"),
    message::<ForwardRequest>("ForwardRequest"),
    message::<ForwardAnswer>("ForwardAnswer"),
    message::<LeaderOrder>("LeaderOrder"),
    message::<Reply>("Reply"),
];

/// Bytes that look like messages: tags, flags, small and huge numbers, texts.
fn some_bytes(next: &mut Numbers<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..next() % 24 {
        let number = next();
        match next() % 8 {
            0..3 => bytes.push((number % 4) as u8),
            3 => bytes.extend_from_slice(&((number % 6) as u32).to_le_bytes()),
            4 => bytes.extend_from_slice(&(number % 6).to_le_bytes()),
            5 => bytes.extend_from_slice(&(number as u32).to_le_bytes()),
            6 => bytes.extend_from_slice(&number.to_le_bytes()[..(number % 8) as usize]),
            _ => bytes.extend_from_slice(b"127.0.0.1:1"),
        }
    }
    bytes
}

/// Reads an input as `T`; what can be read is read again from what is written of it.
fn check<T: Wire>(name: &str, next: &mut Numbers<'_>) -> u64 {
    let input = some_bytes(next);
    let Ok(value) = T::from_bytes(Bytes::from(input.clone())) else {
        return 1;
    };
    let written = value.to_bytes();
    let again = T::from_bytes(written.clone());
    let again = again.unwrap_or_else(|_| panic!("{name} of {input:?} cannot be read again"));
    assert_eq!(again.to_bytes(), written, "{name} of {input:?}");
    // What is cut short or spoilt is refused or is another message, and never a panic.
    let at = (next() % (written.len() as u64 + 1)) as usize;
    drop(T::from_bytes(written.slice(..at)));
    let mut spoilt = written.to_vec();
    match spoilt.get_mut(at) {
        Some(byte) => *byte ^= 1 << (next() % 8),
        None => spoilt.push(next() as u8),
    }
    if let Ok(value) = T::from_bytes(Bytes::from(spoilt)) {
        let written = value.to_bytes();
        let again = T::from_bytes(written.clone());
        let again = again.unwrap_or_else(|_| panic!("{name}, spoilt at {at} of {input:?}"));
        assert_eq!(again.to_bytes(), written, "{name}, spoilt at {at} of {input:?}");
    }
    4
}

/// Reads an input as a frame whose header is right up to what it says, with a checksum that fits
/// most of the time; another bit is flipped now and then. Returns how often the decoder ran.
pub(crate) fn frame(next: &mut Numbers<'_>) -> u64 {
    let mut input = b"KVRM\x01".to_vec();
    input.push((next() % 40) as u8);
    while input.len() < HEADER_BYTES - 8 {
        input.push((next() % 3) as u8);
    }
    let payload = some_bytes(next);
    let claimed = match next() % 8 {
        0 => next() as u32,
        _ => payload.len() as u32,
    };
    input.extend_from_slice(&claimed.to_le_bytes());
    let mut crc = crc32c::crc32c_append(crc32c::crc32c(&input), &payload);
    crc ^= u32::from(next().is_multiple_of(4));
    input.extend_from_slice(&crc.to_le_bytes());
    input.extend_from_slice(&payload);
    if next().is_multiple_of(4) {
        let at = next() as usize % input.len();
        input[at] ^= 1 << (next() % 8);
    }
    let mut buffer = BytesMut::from(&input[..]);
    let decoded = FrameCodec.decode(&mut buffer);
    assert!(buffer.capacity() <= input.len() + (1 << 21), "room for what is only claimed");
    let Ok(Some(frame)) = decoded else { return 1 };
    let mut written = BytesMut::new();
    FrameCodec.encode(frame, &mut written).expect("what was read is short enough to be sent");
    assert_eq!(written[..], input[..written.len()]);
    assert!(matches!(FrameCodec.decode(&mut written), Ok(Some(_))) && written.is_empty());
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs() -> u64 {
        let set = std::env::var("KVORUM_FUZZ_RUNS").ok();
        set.map_or(5_000, |runs| runs.parse().expect("a number"))
    }

    /// Reproducible numbers (splitmix64).
    fn numbers(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    #[test]
    fn any_bytes_as_messages() {
        for Message { name, read } in MESSAGES {
            let mut next = numbers(u64::from(crc32c::crc32c(name.as_bytes())));
            let read = (0..runs()).filter(|_| read(name, &mut next) > 1).count();
            println!("{name}: {} inputs, {read} could be read", runs());
            assert!(read > 0, "no input is a {name}");
        }
    }

    #[test]
    fn any_bytes_as_frames() {
        let mut next = numbers(1);
        let read = (0..runs()).filter(|_| frame(&mut next) > 1).count() as u64;
        println!("frames: {} inputs, {read} could be read", runs());
        assert!(read > runs() / 10);
    }
}
