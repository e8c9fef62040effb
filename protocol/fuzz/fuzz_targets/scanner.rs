//! Any bytes, cut anywhere: no panic, the outcome of the whole, memory in proportion to the input.
//!
//! The first byte chooses the limits, the second the length of the pieces.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use protocol::{ProtocolError, Request, ScanLimits, Scanner};

type Outcome = (Vec<Request>, usize, Option<ProtocolError>);

fn scan(input: &[u8], piece: usize, limits: &ScanLimits) -> Outcome {
    let mut scanner = Scanner::new();
    let mut buffer = BytesMut::new();
    let mut requests = Vec::new();
    let mut consumed = 0;
    for part in input.chunks(piece) {
        consumed += part.len();
        buffer.extend_from_slice(part);
        loop {
            match scanner.next(&mut buffer, limits) {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(error) => {
                    return (requests, buffer.len() + input.len() - consumed, Some(error));
                }
            }
        }
        assert!(buffer.capacity() <= 2 * consumed + 128 * 1024);
    }
    (requests, buffer.len(), None)
}

fuzz_target!(|input: &[u8]| {
    let [choice, piece, input @ ..] = input else {
        return;
    };
    let limits = match choice % 3 {
        0 => ScanLimits::default(),
        1 => ScanLimits::unauthenticated(),
        _ => ScanLimits {
            bulk_bytes_max: 64,
            inline_bytes_max: 32,
            multibulk_count_max: 4,
            query_buffer_bytes_max: 256,
            authenticated: true,
        },
    };
    let whole = scan(input, input.len().max(1), &limits);
    assert_eq!(scan(input, usize::from(*piece).max(1), &limits), whole);
    assert!(whole.0.iter().all(|request| !request.is_empty()));
});
