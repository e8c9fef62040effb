//! Every kind of reply in both versions, and doubles against `printf("%.17g")` as recorded.

use super::*;
use crate::reference_server::RedisServer;
use std::borrow::Cow;

#[track_caller]
fn check(reply: Reply, resp2: &str, resp3: &str) {
    for (version, expected) in [(RespVersion::Resp2, resp2), (RespVersion::Resp3, resp3)] {
        let mut out = BytesMut::from(&b"before"[..]);
        encode(&reply, version, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            format!("before{expected}"),
            "{reply:?} {version:?}"
        );
    }
}

#[test]
fn lines_and_strings_are_the_same_in_both_versions() {
    check(Reply::OK, "+OK\r\n", "+OK\r\n");
    check(Reply::error("ERR no"), "-ERR no\r\n", "-ERR no\r\n");
    check(Reply::bulk(""), "$0\r\n\r\n", "$0\r\n\r\n");
    check(Reply::bulk("a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n");
}

#[test]
fn a_line_break_inside_a_line_becomes_spaces() {
    check(Reply::error("ERR a\r\n-b\n"), "-ERR a  -b \r\n", "-ERR a  -b \r\n");
    check(Reply::simple("a\rb"), "+a b\r\n", "+a b\r\n");
    check(Reply::BigNumber(Cow::Borrowed("1\n2")), "$3\r\n1\n2\r\n", "(1 2\r\n");
}

#[test]
fn integers_of_any_number_of_nines_end_in_a_line_break() {
    for value in [0, -1, i64::MAX, i64::MIN, 999_999_999_999_999, 999_999_999_999_999_999] {
        let text = format!(":{value}\r\n");
        check(Reply::Integer(value), &text, &text);
    }
}

#[test]
fn nulls_and_booleans_have_a_type_only_in_resp3() {
    check(Reply::Null, "$-1\r\n", "_\r\n");
    check(Reply::NullArray, "*-1\r\n", "_\r\n");
    check(Reply::Boolean(true), ":1\r\n", "#t\r\n");
    check(Reply::Boolean(false), ":0\r\n", "#f\r\n");
}

#[test]
fn texts_with_a_type_are_bulk_strings_in_resp2() {
    check(
        Reply::Verbatim(*b"txt", Bytes::from_static(b"Some string")),
        "$11\r\nSome string\r\n",
        "=15\r\ntxt:Some string\r\n",
    );
    check(
        Reply::BigNumber(Cow::Borrowed("-12345678901234567890")),
        "$21\r\n-12345678901234567890\r\n",
        "(-12345678901234567890\r\n",
    );
    check(Reply::Double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n");
    check(Reply::Double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
}

#[test]
fn aggregates_nest_and_maps_are_flat_in_resp2() {
    let items = || vec![Reply::Integer(1), Reply::Null];
    check(Reply::Array(items()), "*2\r\n:1\r\n$-1\r\n", "*2\r\n:1\r\n_\r\n");
    check(Reply::Set(items()), "*2\r\n:1\r\n$-1\r\n", "~2\r\n:1\r\n_\r\n");
    check(Reply::Push(items()), "*2\r\n:1\r\n$-1\r\n", ">2\r\n:1\r\n_\r\n");
    check(Reply::Array(vec![]), "*0\r\n", "*0\r\n");
    check(Reply::Map(vec![]), "*0\r\n", "%0\r\n");
    check(
        Reply::Map(vec![(Reply::bulk("a"), Reply::Array(vec![Reply::Boolean(true)]))]),
        "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
        "%1\r\n$1\r\na\r\n*1\r\n#t\r\n",
    );
}

#[test]
fn a_request_is_an_array_of_bulk_strings() {
    let mut out = BytesMut::new();
    encode_request(&["SET", "k", ""], &mut out);
    assert_eq!(out, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    out.clear();
    encode_request::<&[u8]>(&[], &mut out);
    assert_eq!(out, "*0\r\n");
}

#[test]
fn doubles_are_those_of_printf() {
    for (value, expected) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.1, "0.10000000000000001"),
        (2.3, "2.2999999999999998"),
        (100.0, "100"),
        (1e15, "1000000000000000"),
        (1e16, "10000000000000000"),
        (1e17, "1e+17"),
        (1.5e300, "1.5000000000000001e+300"),
        (1e21, "1e+21"),
        (12345678901234567890.0, "1.2345678901234567e+19"),
        (0.001, "0.001"),
        (0.0001, "0.0001"),
        (0.00012, "0.00012"),
        (0.00001, "1.0000000000000001e-05"),
        (1e-7, "9.9999999999999995e-08"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (5e-324, "4.9406564584124654e-324"),
        (99999999999999999.0, "1e+17"),
        (9007199254740993.0, "9007199254740992"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
        (-f64::NAN, "nan"),
    ] {
        let text = double_text(value);
        assert_eq!(String::from_utf8_lossy(&text), expected, "{value:e}");
        assert!(!text.spilled());
    }
}

/// What redis-server writes for every type, by its own command for testing clients.
#[test]
fn redis_server_writes_every_type_alike() {
    let Some(server) = RedisServer::start(&["--enable-debug-command", "yes"]) else {
        return;
    };
    let integers = || (0..3).map(Reply::Integer).collect::<Vec<_>>();
    let cases = [
        ("string", Reply::bulk("Hello World")),
        ("integer", Reply::Integer(12345)),
        ("double", Reply::Double("3.141".parse().expect("a double"))),
        ("null", Reply::Null),
        ("array", Reply::Array(integers())),
        ("set", Reply::Set(integers())),
        ("map", Reply::Map((0..3).map(|n| (Reply::Integer(n), Reply::Boolean(n == 1))).collect())),
        ("verbatim", Reply::Verbatim(*b"txt", Bytes::from_static(b"This is a verbatim\nstring"))),
        ("true", Reply::Boolean(true)),
        ("false", Reply::Boolean(false)),
        ("bignum", Reply::BigNumber("1234567999999999999999999999999999999".into())),
    ];
    for (version, hello) in [(RespVersion::Resp2, "HELLO 2"), (RespVersion::Resp3, "HELLO 3")] {
        for (name, reply) in &cases {
            let mut expected = BytesMut::new();
            encode(reply, version, &mut expected);
            let input = format!("{hello}\r\nDEBUG PROTOCOL {name}\r\nQUIT\r\n");
            let (received, _) = server.exchange(input.as_bytes(), usize::MAX);
            let received = received.strip_suffix(b"+OK\r\n").expect("the reply to QUIT");
            let received = String::from_utf8_lossy(&received[received.len() - expected.len()..]);
            assert_eq!(received, String::from_utf8_lossy(&expected), "{name} {version:?}");
        }
    }
}

/// Scores are replied with as doubles; these are spread over all exponents.
#[test]
fn redis_server_writes_doubles_alike() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut input = String::from("CLIENT REPLY OFF\r\n");
    let mut expected = BytesMut::new();
    let mut bits = 0x0123_4567_89ab_cdef_u64;
    let spread = (0..500).map(|_| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from_bits(bits)
    });
    let human = (-400i32..400).map(|n| f64::from(n) / 16.0 * 10f64.powi(n / 20));
    let values: Vec<f64> = spread.chain(human).filter(|value| !value.is_nan()).collect();
    for (member, value) in values.iter().enumerate() {
        input.push_str(&format!("ZADD z {value:e} {member}\r\n"));
        encode(&Reply::Double(*value), RespVersion::Resp3, &mut expected);
    }
    input.push_str("HELLO 3\r\nCLIENT REPLY ON\r\n");
    for member in 0..values.len() {
        input.push_str(&format!("ZSCORE z {member}\r\n"));
    }
    input.push_str("QUIT\r\n");
    let (received, _) = server.exchange(input.as_bytes(), usize::MAX);
    let received = String::from_utf8(received).expect("ASCII");
    let expected = String::from_utf8(expected.to_vec()).expect("ASCII");
    let received = received.strip_prefix("+OK\r\n").and_then(|text| text.strip_suffix("+OK\r\n"));
    let received: Vec<_> = received.expect("two confirmations").lines().collect();
    assert_eq!(received, expected.lines().collect::<Vec<_>>());
}
