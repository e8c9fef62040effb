//! Replies read back as they were written, and what must not be believed.

use super::*;
use crate::encode::{RespVersion, encode};
use proptest::collection::vec;
use proptest::prelude::*;

/// All replies in `input` cut into pieces of `piece` bytes, or the error that ended reading.
fn decode_pieces(input: &[u8], piece: usize) -> Result<Vec<Reply>, String> {
    let mut codec = RespClientCodec::new();
    let mut buffer = BytesMut::new();
    let mut replies = Vec::new();
    for piece in input.chunks(piece) {
        buffer.extend_from_slice(piece);
        while let Some(reply) = codec.decode(&mut buffer).map_err(|error| error.to_string())? {
            replies.push(reply);
        }
    }
    if let Some(reply) = codec.decode_eof(&mut buffer).map_err(|error| error.to_string())? {
        replies.push(reply);
    }
    Ok(replies)
}

#[track_caller]
fn check(input: &str, expected: &[Reply]) {
    for piece in [1, 2, 7, usize::MAX] {
        assert_eq!(decode_pieces(input.as_bytes(), piece).as_deref(), Ok(expected), "{input:?}");
    }
}

#[track_caller]
fn check_error(input: &str, expected: &str) {
    for piece in [1, usize::MAX] {
        let found = decode_pieces(input.as_bytes(), piece);
        assert_eq!(found.as_ref().map_err(String::as_str), Err(expected), "{input:?}");
    }
}

#[test]
fn every_type_is_read() {
    check("+OK\r\n-ERR no\r\n:-5\r\n", &[Reply::OK, Reply::error("ERR no"), Reply::Integer(-5)]);
    check("$3\r\na\r\n\r\n$0\r\n\r\n", &[Reply::bulk("a\r\n"), Reply::bulk("")]);
    check("$-1\r\n*-1\r\n_\r\n", &[Reply::Null, Reply::NullArray, Reply::Null]);
    check("#t\r\n#f\r\n", &[Reply::Boolean(true), Reply::Boolean(false)]);
    check(",1.5\r\n,-inf\r\n", &[Reply::Double(1.5), Reply::Double(f64::NEG_INFINITY)]);
    check("(-123\r\n", &[Reply::BigNumber("-123".into())]);
    check("!6\r\nERR a\r\r\n", &[Reply::error("ERR a\r")]);
    check("=7\r\ntxt:abc\r\n", &[Reply::Verbatim(*b"txt", Bytes::from_static(b"abc"))]);
    check(
        "*0\r\n~0\r\n%0\r\n>0\r\n",
        &[Reply::Array(vec![]), Reply::Set(vec![]), Reply::Map(vec![]), Reply::Push(vec![])],
    );
}

#[test]
fn maps_keep_their_order_and_may_hold_aggregates() {
    let pair = |key: &str, value| (Reply::bulk(key), value);
    check(
        "%3\r\n$1\r\nz\r\n*1\r\n:1\r\n$1\r\na\r\n~1\r\n_\r\n$1\r\nz\r\n:3\r\n",
        &[Reply::Map(vec![
            pair("z", Reply::Array(vec![Reply::Integer(1)])),
            pair("a", Reply::Set(vec![Reply::Null])),
            pair("z", Reply::Integer(3)),
        ])],
    );
}

#[test]
fn attributes_are_dropped_wherever_they_stand() {
    check("|1\r\n+ttl\r\n*1\r\n:5\r\n+OK\r\n", &[Reply::OK]);
    check("|0\r\n+OK\r\n", &[Reply::OK]);
    check(
        "*2\r\n:1\r\n|1\r\n+a\r\n+b\r\n:2\r\n",
        &[Reply::Array(vec![Reply::Integer(1), Reply::Integer(2)])],
    );
}

#[test]
fn malformed_replies_are_errors() {
    check_error("\r\n", "malformed empty line");
    check_error("+OK\n", "malformed line break");
    check_error("hello\r\n", "no reply begins with byte 0x68");
    check_error(":1a\r\n", "malformed integer");
    check_error(":\r\n", "malformed integer");
    check_error("$-2\r\n", "malformed bulk length");
    check_error("$?\r\n", "malformed bulk length");
    check_error("*-2\r\n", "malformed aggregate count");
    check_error("%-1\r\n", "malformed aggregate count");
    check_error("#x\r\n", "malformed boolean");
    check_error("_x\r\n", "malformed null");
    check_error(",x\r\n", "malformed double");
    check_error("(1.5\r\n", "malformed big number");
    check_error("=2\r\nab\r\n", "malformed verbatim string");
    check_error("=5\r\ntxtab\r\n", "malformed verbatim string");
    check_error("$1\r\nabc\r\n", "malformed end of bulk string");
    check_error("$1073741825\r\n", "bulk string is too long");
    check_error(&"+".repeat(LINE_BYTES_MAX + 2), "line is too long");
}

#[test]
fn a_stream_that_ends_within_a_reply_is_an_error() {
    for input in ["+OK", "$3\r\nab", "*2\r\n:1\r\n", "%1\r\n", "$3\r\n", "|1\r\n+a\r\n+b\r\n*1\r\n"]
    {
        check_error(input, "unexpected end of file");
    }
}

#[test]
fn depth_has_a_limit() {
    let nested = |depth: usize| format!("{}:1\r\n", "*1\r\n".repeat(depth));
    assert!(decode_pieces(nested(DEPTH_MAX).as_bytes(), 3).is_ok());
    check_error(&nested(DEPTH_MAX + 1), "aggregates are nested more than 32 deep");
    check_error(&"%1\r\n".repeat(100_000), "aggregates are nested more than 32 deep");
}

#[test]
fn announced_sizes_allocate_nothing() {
    let mut codec = RespClientCodec::new();
    let mut buffer = BytesMut::from(&b"*9223372036854775807\r\n$1073741824\r\nab"[..]);
    assert!(codec.decode(&mut buffer).expect("no error").is_none());
    assert!(buffer.capacity() <= 128 * 1024);
    assert!(codec.open[0].items.capacity() <= PREALLOCATED_MAX);
}

#[test]
fn requests_are_written_as_arrays() {
    let mut out = BytesMut::new();
    let mut codec = RespClientCodec::new();
    codec.encode(&Request::from_parts(&["GET", "k"]), &mut out).expect("no error");
    codec.encode(&["PING"][..], &mut out).expect("no error");
    assert_eq!(out, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n");
}

/// What is left of a reply once it has been written in RESP2.
fn in_resp2(reply: &Reply) -> Reply {
    match reply {
        Reply::Verbatim(_, value) => Reply::Bulk(value.clone()),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
            Reply::Array(items.iter().map(in_resp2).collect())
        }
        Reply::Map(pairs) => Reply::Array(
            pairs.iter().flat_map(|(key, value)| [in_resp2(key), in_resp2(value)]).collect(),
        ),
        Reply::Double(value) => Reply::bulk(crate::encode::double_text(*value)),
        Reply::Boolean(value) => Reply::Integer(i64::from(*value)),
        Reply::BigNumber(text) => Reply::bulk(text.as_bytes()),
        Reply::Simple(_)
        | Reply::Error(_)
        | Reply::Integer(_)
        | Reply::Bulk(_)
        | Reply::Null
        | Reply::NullArray => reply.clone(),
    }
}

/// What is left of a reply once it has been written in RESP3.
fn in_resp3(reply: &Reply) -> Reply {
    let all = |items: &Vec<Reply>| items.iter().map(in_resp3).collect();
    match reply {
        Reply::NullArray => Reply::Null,
        Reply::Array(items) => Reply::Array(all(items)),
        Reply::Set(items) => Reply::Set(all(items)),
        Reply::Push(items) => Reply::Push(all(items)),
        Reply::Map(pairs) => {
            Reply::Map(pairs.iter().map(|(key, value)| (in_resp3(key), in_resp3(value))).collect())
        }
        other => other.clone(),
    }
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let bytes = || vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let leaf = prop_oneof![
        "[^\r\n]{0,20}".prop_map(|text| Reply::Simple(text.into())),
        "[^\r\n]{0,20}".prop_map(Reply::error),
        any::<i64>().prop_map(Reply::Integer),
        bytes().prop_map(Reply::Bulk),
        bytes().prop_map(|value| Reply::Verbatim(*b"mkd", value)),
        Just(Reply::Null),
        Just(Reply::NullArray),
        any::<f64>()
            .prop_filter("not a number equals nothing", |value| !value.is_nan())
            .prop_map(Reply::Double),
        any::<bool>().prop_map(Reply::Boolean),
        "-?[0-9]{1,40}".prop_map(|text| Reply::BigNumber(text.into())),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Reply::Array),
            vec(inner.clone(), 0..6).prop_map(Reply::Set),
            vec(inner.clone(), 0..6).prop_map(Reply::Push),
            vec((inner.clone(), inner), 0..4).prop_map(Reply::Map),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(replies in vec(any_reply(), 1..4), piece in 1usize..50) {
        for version in [RespVersion::Resp2, RespVersion::Resp3] {
            let mut written = BytesMut::new();
            for reply in &replies {
                encode(reply, version, &mut written);
            }
            let expected: Vec<Reply> = replies
                .iter()
                .map(|reply| match version {
                    RespVersion::Resp2 => in_resp2(reply),
                    RespVersion::Resp3 => in_resp3(reply),
                })
                .collect();
            prop_assert_eq!(decode_pieces(&written, piece), Ok(expected));
        }
    }

    #[test]
    fn any_double_reads_back_to_the_same_bits(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        let text = crate::encode::double_text(value);
        let parsed = parse_double(&text).expect("a double");
        prop_assert!(parsed.to_bits() == bits || value.is_nan() && parsed.is_nan());
    }

    #[test]
    fn any_bytes_give_the_same_outcome_in_pieces(
        input in vec(prop_oneof![
            4 => prop::sample::select(&b"*$+-:_#,(!=~>%|0123\r\ntf"[..]),
            1 => any::<u8>(),
        ], 0..200),
        piece in 1usize..20,
    ) {
        prop_assert_eq!(decode_pieces(&input, piece), decode_pieces(&input, usize::MAX));
    }
}
