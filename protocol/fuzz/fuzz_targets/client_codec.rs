//! Any bytes as replies, cut anywhere: no panic, the outcome of the whole; replies that were read
//! are read again from what the encoder writes of them.
//!
//! The first byte is the length of the pieces.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use protocol::{Reply, RespClientCodec, RespVersion, encode};
use tokio_util::codec::Decoder;

/// The replies, and the text of the error that ended them.
fn decode(input: &[u8], piece: usize) -> (Vec<Reply>, Option<String>) {
    let mut codec = RespClientCodec::new();
    let mut buffer = BytesMut::new();
    let mut replies = Vec::new();
    for part in input.chunks(piece) {
        buffer.extend_from_slice(part);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error.to_string())),
            }
        }
    }
    (replies, None)
}

fn written(replies: &[Reply]) -> BytesMut {
    let mut out = BytesMut::new();
    for reply in replies {
        encode(reply, RespVersion::Resp3, &mut out);
    }
    out
}

fuzz_target!(|input: &[u8]| {
    let [piece, input @ ..] = input else { return };
    let (replies, error) = decode(input, input.len().max(1));
    let (in_pieces, error_in_pieces) = decode(input, usize::from(*piece).max(1));
    // Compared as written, for a double that is not a number does not equal itself.
    let text = written(&replies);
    assert_eq!(written(&in_pieces), text);
    assert_eq!(error_in_pieces, error);
    let (again, no_error) = decode(&text, text.len().max(1));
    assert_eq!(no_error, None);
    assert_eq!(written(&again), text);
});
