//! Frames between peers: `header | payload`, integers little endian.
//!
//! | offset | field | |
//! |---|---|---|
//! | 0 | magic `KVRM` | u32 |
//! | 4 | version = 1 | u8 |
//! | 5 | kind | u8 |
//! | 6 | shard | u16 |
//! | 8 | cluster id, 0 before a node has one | u64 |
//! | 16 | sender's node id | u64 |
//! | 24 | node id the frame is meant for, 0: whoever listens here | u64 |
//! | 32 | request id, repeated in the answer | u64 |
//! | 40 | payload length | u32 |
//! | 44 | CRC32C of the header before it and of the payload | u32 |
//!
//! A frame of a wrong cluster, for another node, of another version or with a wrong checksum is
//! never acted on.

use crate::limits::{FIRST_FRAME_WAIT, FRAME_STALL_WAIT};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use std::io;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder, FramedRead};

/// First bytes of every frame.
const MAGIC: u32 = u32::from_le_bytes(*b"KVRM");
/// Version of frames and of the messages in them.
pub(crate) const FRAME_VERSION: u8 = 1;
/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 48;
/// Longest payload: an entry with a value of 512 MiB, and what surrounds it.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// What a frame asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Append request of a pipelined stream; answers come in order.
    AppendStream = 1,
    /// Single append request: heartbeats.
    Append = 2,
    /// Vote request.
    Vote = 3,
    /// Pre-vote request.
    PreVote = 4,
    /// The leader asks this node to take over.
    Transfer = 5,
    /// A snapshot begins: vote and meta.
    SnapshotBegin = 6,
    /// The next chunk of it.
    SnapshotChunk = 7,
    /// It is complete.
    SnapshotEnd = 8,
    /// Write operations for the leader to propose.
    Forward = 9,
    /// Asks the leader for a log index that covers all writes acknowledged so far.
    ReadIndex = 10,
    /// An administrative command for the leader.
    Order = 11,
    /// Who are you?
    Identify = 12,
    /// A node asks to be added.
    Join = 13,
    /// A member tells a node that its cluster will add it.
    Invite = 14,
    /// Forming a cluster: asks for the promise to be part of it.
    Promise = 15,
    /// Forming a cluster: takes the promise back.
    Release = 16,
    /// A member tells a node that the cluster removed it.
    Removed = 17,
    /// A node that hears of no leader asks whether it is still a member.
    Membership = 18,
    /// A member asks a node that leads a cluster of its own, without data, to join.
    StartOver = 19,
    /// A leader that has little room on its disk asks a voter how much it has.
    Room = 20,
    /// A leader asks a voter whether the vote it saved is still for it.
    SavedVote = 21,
    /// An answer.
    Answer = 32,
    /// An answer that refuses; the payload is the reason.
    Refusal = 33,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        const ALL: [Kind; 23] = [
            AppendStream,
            Append,
            Vote,
            PreVote,
            Transfer,
            SnapshotBegin,
            SnapshotChunk,
            SnapshotEnd,
            Forward,
            ReadIndex,
            Order,
            Identify,
            Join,
            Invite,
            Promise,
            Release,
            Removed,
            Membership,
            StartOver,
            Room,
            SavedVote,
            Answer,
            Refusal,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) shard: u16,
    pub(crate) cluster_id: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) request_id: u64,
    pub(crate) payload: Bytes,
}

/// Reads and writes frames.
#[derive(Debug, Default)]
pub(crate) struct FrameCodec;

impl Encoder<Frame> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> io::Result<()> {
        out.reserve(HEADER_BYTES + frame.payload.len());
        let start = out.len();
        out.put_u32_le(MAGIC);
        out.put_u8(FRAME_VERSION);
        out.put_u8(frame.kind as u8);
        out.put_u16_le(frame.shard);
        out.put_u64_le(frame.cluster_id);
        out.put_u64_le(frame.from);
        out.put_u64_le(frame.to);
        out.put_u64_le(frame.request_id);
        out.put_u32_le(frame.payload.len() as u32);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out[start..]), &frame.payload);
        out.put_u32_le(crc);
        out.put_slice(&frame.payload);
        Ok(())
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, from: &mut BytesMut) -> io::Result<Option<Frame>> {
        if from.len() < HEADER_BYTES {
            return Ok(None);
        }
        let mut header = &from[..HEADER_BYTES];
        if header.get_u32_le() != MAGIC {
            return Err(invalid("this is no peer of ours"));
        }
        let version = header.get_u8();
        if version != FRAME_VERSION {
            return Err(invalid(&format!("peer speaks version {version}, not {FRAME_VERSION}")));
        }
        let kind = header.get_u8();
        let shard = header.get_u16_le();
        let (cluster_id, sender) = (header.get_u64_le(), header.get_u64_le());
        let (to, request_id) = (header.get_u64_le(), header.get_u64_le());
        let (length, crc) = (header.get_u32_le() as usize, header.get_u32_le());
        if length > PAYLOAD_BYTES_MAX {
            return Err(invalid("a frame is too long"));
        }
        if from.len() < HEADER_BYTES + length {
            let missing = HEADER_BYTES + length - from.len();
            from.reserve(missing.min(1 << 20));
            return Ok(None);
        }
        let head_crc = crc32c::crc32c(&from[..HEADER_BYTES - 4]);
        let body = &from[HEADER_BYTES..HEADER_BYTES + length];
        if crc32c::crc32c_append(head_crc, body) != crc {
            return Err(invalid("a frame fails its checksum"));
        }
        let kind = Kind::from_byte(kind).ok_or_else(|| invalid("a frame of unknown kind"))?;
        from.advance(HEADER_BYTES);
        let payload = from.split_to(length).freeze();
        Ok(Some(Frame { kind, shard, cluster_id, from: sender, to, request_id, payload }))
    }
}

/// The next frame that a peer sends; None when it closed the connection.
///
/// # Errors
/// What came is no frame; or one has begun and nothing more of it comes, as when its length was damaged on
/// the way: both sides would wait for the other.
pub(crate) async fn next_frame<R: AsyncRead + Unpin>(
    frames: &mut FramedRead<R, FrameCodec>,
) -> Option<io::Result<Frame>> {
    next_frame_within(frames, FRAME_STALL_WAIT).await
}

/// The same for the first frame of a connection: also None when nothing of it comes for [`FIRST_FRAME_WAIT`].
pub(crate) async fn first_frame<R: AsyncRead + Unpin>(
    frames: &mut FramedRead<R, FrameCodec>,
) -> Option<io::Result<Frame>> {
    first_frame_within(frames, FIRST_FRAME_WAIT).await
}

async fn first_frame_within<R: AsyncRead + Unpin>(
    frames: &mut FramedRead<R, FrameCodec>,
    wait: Duration,
) -> Option<io::Result<Frame>> {
    let first = timeout(wait, next_frame(frames)).await;
    match first {
        Ok(frame) => frame,
        Err(_) if frames.read_buffer().is_empty() => None,
        // It may be long, or the way slow.
        Err(_) => next_frame(frames).await,
    }
}

async fn next_frame_within<R: AsyncRead + Unpin>(
    frames: &mut FramedRead<R, FrameCodec>,
    stall: Duration,
) -> Option<io::Result<Frame>> {
    loop {
        let begun = frames.read_buffer().len();
        if let Ok(frame) = timeout(stall, frames.next()).await {
            return frame;
        }
        if begun > 0 && frames.read_buffer().len() == begun {
            return Some(Err(invalid("a frame has begun and does not go on")));
        }
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::time::sleep;

    #[tokio::test]
    async fn a_frame_that_does_not_go_on_is_an_error_and_silence_is_none() {
        const STALL: Duration = Duration::from_millis(200);
        let (mut peer, read) = tokio::io::duplex(1 << 10);
        let mut frames = FramedRead::new(read, FrameCodec);
        let bytes = encoded();
        let slowly = async {
            sleep(STALL * 2).await;
            for part in bytes.chunks(bytes.len() / 10) {
                peer.write_all(part).await.unwrap();
                sleep(STALL / 4).await;
            }
            // One whose length lies.
            let mut longer = bytes.clone();
            longer[41] += 1;
            peer.write_all(&longer).await.unwrap();
        };
        let read = async {
            let frame = next_frame_within(&mut frames, STALL).await.unwrap().unwrap();
            assert_eq!(frame.request_id, 11);
            let error = next_frame_within(&mut frames, STALL).await.unwrap().unwrap_err();
            assert!(error.to_string().contains("does not go on"), "{error}");
        };
        tokio::join!(slowly, read);
        drop(peer);
    }

    #[tokio::test]
    async fn a_first_frame_has_to_begin_in_time_and_may_take_long() {
        const WAIT: Duration = Duration::from_millis(200);
        let (mut peer, read) = tokio::io::duplex(1 << 10);
        let mut frames = FramedRead::new(read, FrameCodec);
        let bytes = encoded();
        let slowly = async {
            for part in bytes.chunks(bytes.len() / 10) {
                peer.write_all(part).await.unwrap();
                sleep(WAIT / 4).await;
            }
        };
        let (first, ()) = tokio::join!(first_frame_within(&mut frames, WAIT), slowly);
        assert_eq!(first.unwrap().unwrap().request_id, 11);
        assert!(first_frame_within(&mut frames, WAIT).await.is_none());
    }

    fn encoded() -> BytesMut {
        let frame = Frame {
            kind: Kind::Vote,
            shard: 3,
            cluster_id: 5,
            from: 7,
            to: 9,
            request_id: 11,
            payload: Bytes::from_static(b"payload"),
        };
        let mut out = BytesMut::new();
        FrameCodec.encode(frame, &mut out).unwrap();
        out
    }

    #[test]
    fn frames_come_apart_as_they_were_put_together() {
        let mut bytes = encoded();
        bytes.extend_from_slice(&encoded());
        for _ in 0..2 {
            let frame = FrameCodec.decode(&mut bytes).unwrap().unwrap();
            assert_eq!((frame.kind, frame.shard, frame.cluster_id), (Kind::Vote, 3, 5));
            assert_eq!((frame.from, frame.to, frame.request_id), (7, 9, 11));
            assert_eq!(&frame.payload[..], b"payload");
        }
        assert!(bytes.is_empty());
    }

    #[test]
    fn no_damaged_frame_is_taken() {
        let whole = encoded();
        for position in 0..whole.len() {
            let mut bad = whole.clone();
            bad[position] ^= 0x21;
            assert!(!matches!(FrameCodec.decode(&mut bad), Ok(Some(_))), "byte {position}");
        }
    }
}
