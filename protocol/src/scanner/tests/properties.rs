//! Properties of the scanner: pieces do not matter, redis-protocol agrees, nothing panics, memory
//! follows what was received.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

fn any_requests() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let arg = prop_oneof![
        4 => vec(any::<u8>(), 0..30),
        1 => vec(prop::sample::select(&b"*$\r\n 1"[..]), 0..10),
        1 => (0usize..100_000).prop_map(|length| vec![b'v'; length]),
    ];
    vec(vec(arg, 1..10), 1..6)
}

/// Bytes that resemble requests closely enough to reach every branch.
fn near_requests() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: &[&str] = &[
        "*1\r\n",
        "*2\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*11\r\n",
        "*",
        "$",
        "$0\r\n\r\n",
        "$1\r\na\r\n",
        "$4\r\nPING\r\n",
        "$16385\r\n",
        "$-1\r\n",
        "\r\n",
        "\r",
        "\n",
        "PING",
        " ",
        "\"",
        "'",
        "\\x41",
        "\\",
        "0",
        "1",
        "9999999999",
        "x",
        ":1\r\n",
        "\0",
    ];
    vec(
        prop_oneof![
            8 => prop::sample::select(PARTS).prop_map(|part| part.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 0..8),
        ],
        0..30,
    )
    .prop_map(|parts| parts.concat())
}

/// Cuts `input` at the given places, which are taken modulo its length.
fn cut<'a>(input: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect()
}

fn any_limits() -> impl Strategy<Value = ScanLimits> {
    prop_oneof![
        Just(ScanLimits::default()),
        Just(ScanLimits::unauthenticated()),
        (1usize..50, 12usize..100, 1u32..5, 20usize..500).prop_map(
            |(bulk, inline, count, query)| {
                ScanLimits {
                    bulk_bytes_max: bulk,
                    inline_bytes_max: inline,
                    multibulk_count_max: count,
                    query_buffer_bytes_max: query,
                    authenticated: true,
                }
            }
        ),
    ]
}

/// One flat array of bulk strings off the front of `input`, as redis-protocol reads it.
fn decode_flat(input: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let Ok(Some((OwnedFrame::Array(frames), length))) = decode(input) else {
        return None;
    };
    let args = frames.into_iter().map(|frame| match frame {
        OwnedFrame::BulkString(arg) => Some(arg),
        _ => None,
    });
    args.collect::<Option<Vec<_>>>().map(|args| (args, length))
}

proptest! {
    #[test]
    fn commands_scan_to_themselves_however_they_are_cut(
        requests in any_requests(),
        places in vec(any::<usize>(), 0..20),
    ) {
        let mut input = BytesMut::new();
        for request in &requests {
            encode_request(request, &mut input);
        }
        let outcome = scan_pieces(cut(&input, &places), &ScanLimits::default());
        prop_assert_eq!(outcome.error, None);
        prop_assert_eq!(outcome.rest, 0);
        prop_assert_eq!(args_of(&outcome.requests), requests);
    }

    #[test]
    fn any_bytes_have_the_same_outcome_however_they_are_cut(
        input in near_requests(),
        places in vec(any::<usize>(), 0..20),
        limits in any_limits(),
    ) {
        let whole = scan_pieces([&input[..]], &limits);
        prop_assert_eq!(scan_pieces(cut(&input, &places), &limits), whole);
    }

    #[test]
    fn the_decoder_of_redis_protocol_agrees_on_what_both_accept(
        requests in any_requests(),
        change in any::<usize>(),
        with in prop::sample::select(&b"*$0123456789\r\nx"[..]),
        damage in any::<bool>(),
    ) {
        let mut input = BytesMut::new();
        for request in &requests {
            encode_request(request, &mut input);
        }
        if damage {
            let at = change % input.len();
            input[at] = with;
        }
        let mut scanner = Scanner::new();
        let mut rest = &input[..];
        while let Some((args, length)) = decode_flat(rest) {
            let mut buffer = BytesMut::from(rest);
            match scanner.next(&mut buffer, &ScanLimits::default()) {
                // redis-protocol takes leading zeros and plus signs, and empty arrays.
                Err(_) => break,
                Ok(_) if args.is_empty() => break,
                Ok(found) => {
                    let found = found.expect("what is whole to one is whole to the other");
                    prop_assert_eq!(found.iter().collect::<Vec<_>>(), args);
                    prop_assert_eq!(rest.len() - buffer.len(), length);
                }
            }
            rest = &rest[length..];
        }
        prop_assert!(damage || rest.is_empty());
    }

    #[test]
    fn memory_follows_what_was_received(
        input in near_requests(),
        places in vec(any::<usize>(), 0..20),
    ) {
        let mut scanner = Scanner::new();
        let mut buffer = BytesMut::new();
        let mut received = 0;
        for piece in cut(&input, &places) {
            buffer.extend_from_slice(piece);
            received += piece.len();
            while let Ok(Some(_)) = scanner.next(&mut buffer, &ScanLimits::default()) {}
            prop_assert!(buffer.capacity() <= 2 * received + 128 * 1024);
            prop_assert!(scanner.ranges.len() <= received);
        }
    }
}
