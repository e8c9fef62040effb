//! Any bytes as peer frames and as the messages in them: no panic, no room for what is only claimed,
//! and what can be read is written as it was.
//!
//! `KVORUM_FUZZ_RUNS` says how many inputs each decoder gets.

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

fn runs() -> u64 {
    let set = std::env::var("KVORUM_FUZZ_RUNS").ok();
    set.map_or(5_000, |runs| runs.parse().expect("a number"))
}

/// Reproducible numbers (splitmix64).
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Bytes that look like messages: tags, flags, small and huge numbers, texts.
    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..self.number() % 24 {
            let number = self.number();
            match self.number() % 8 {
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
}

/// Reads `T` from many inputs; what can be read is read again from what is written of it.
fn check<T: Wire>(name: &str) {
    let mut random = Random(u64::from(crc32c::crc32c(name.as_bytes())));
    let mut read = 0;
    for _ in 0..runs() {
        let input = random.bytes();
        let Ok(value) = T::from_bytes(Bytes::from(input.clone())) else { continue };
        read += 1;
        let written = value.to_bytes();
        let again = T::from_bytes(written.clone());
        let again = again.unwrap_or_else(|_| panic!("{name} of {input:?} cannot be read again"));
        assert_eq!(again.to_bytes(), written, "{name} of {input:?}");
        // What is cut short is refused or is another message, and never a panic.
        for len in 0..written.len().min(64) {
            drop(T::from_bytes(written.slice(..len)));
        }
    }
    println!("{name}: {} executions, {read} could be read", runs());
}

#[test]
fn any_bytes_as_messages() {
    check::<Entry>("Entry");
    check::<LogId>("LogId");
    check::<Vote>("Vote");
    check::<Membership>("Membership");
    check::<StoredMembership>("StoredMembership");
    check::<SnapshotMeta>("SnapshotMeta");
    check::<SnapshotResponse>("SnapshotResponse");
    check::<AppendRequest>("AppendRequest");
    check::<AppendResponse>("AppendResponse");
    check::<StreamAppendResult>("StreamAppendResult");
    check::<VoteRequest>("VoteRequest");
    check::<VoteResponse>("VoteResponse");
    check::<TransferRequest>("TransferRequest");
    check::<TransferResponse>("TransferResponse");
    check::<Introduction>("Introduction");
    check::<ForwardRequest>("ForwardRequest");
    check::<ForwardAnswer>("ForwardAnswer");
    check::<LeaderOrder>("LeaderOrder");
    check::<Reply>("Reply");
}

#[test]
fn any_bytes_as_frames() {
    let mut random = Random(1);
    let mut read = 0;
    for _ in 0..runs() {
        // A header that is right up to what it says, with a checksum that fits half the time.
        let mut input = b"KVRM\x01".to_vec();
        input.push((random.number() % 40) as u8);
        while input.len() < HEADER_BYTES - 8 {
            input.push((random.number() % 3) as u8);
        }
        let payload = random.bytes();
        let claimed = match random.number() % 8 {
            0 => random.number() as u32,
            _ => payload.len() as u32,
        };
        input.extend_from_slice(&claimed.to_le_bytes());
        let mut crc = crc32c::crc32c_append(crc32c::crc32c(&input), &payload);
        crc ^= u32::from(random.number().is_multiple_of(4));
        input.extend_from_slice(&crc.to_le_bytes());
        input.extend_from_slice(&payload);
        if random.number().is_multiple_of(4) {
            let at = random.number() as usize % input.len();
            input[at] ^= 1 << (random.number() % 8);
        }
        let mut buffer = BytesMut::from(&input[..]);
        if let Ok(Some(frame)) = FrameCodec.decode(&mut buffer) {
            read += 1;
            let mut written = BytesMut::new();
            FrameCodec.encode(frame, &mut written).unwrap();
            assert_eq!(written[..], input[..written.len()]);
        }
        assert!(buffer.capacity() <= input.len() + (1 << 21), "room for what is only claimed");
    }
    println!("frames: {} executions, {read} could be read", runs());
    assert!(read > runs() / 10);
}
