//! The same bytes to the scanner and to a real redis-server: same replies, same end.

use super::*;
use crate::encode::{RespVersion, encode};
use crate::reference_server::RedisServer;
use crate::reply::Reply;

/// What a server that knows AUTH, PING and ECHO would do with the scanner's outcome.
fn respond(outcome: &Outcome, authenticated: bool) -> BytesMut {
    let mut out = BytesMut::new();
    for request in &outcome.requests {
        let reply = match request.arg(0) {
            b"AUTH" => Reply::OK,
            _ if !authenticated => Reply::error("NOAUTH Authentication required."),
            b"PING" => Reply::simple("PONG"),
            b"ECHO" => Reply::Bulk(request.bytes(1)),
            other => panic!("the cases use no command {:?}", String::from_utf8_lossy(other)),
        };
        encode(&reply, RespVersion::Resp2, &mut out);
    }
    if let Some(error) = outcome.error {
        error.encode(&mut out);
    }
    out
}

/// Lines at and around every rule of inline commands.
const LINES: &[&str] = &[
    "PING\r\n",
    "PING\n",
    "  PING \t \r\n",
    "\r\nPING\r\n",
    "\n \r\n\t\nPING\r\n",
    "*0\r\nPING\r\n",
    "*-1\r\nPING\r\n",
    "*-10\r\nPING\r\n",
    "ECHO \"a b\"\r\n",
    "ECHO \"\\x41\\n\\q\\x4\"\r\n",
    "ECHO 'it\\'s \\n'\r\n",
    "ECHO \"\"\r\n",
    "ECHO ''\n",
    "ECHO pre\"fix\"\r\n",
    "ECHO a\x0bb\r\n",
    "\x0c\x0bECHO a\x0c\r\nPING\r\n",
    "ECHO \"a\r\n",
    "ECHO 'a\r\n",
    "ECHO \"a\"b\r\n",
    "ECHO 'a'b\r\n",
    "\"\r\n",
    "PING\r\nECHO \"\r\nPING\r\n",
    "ECHO a\r\r\n",
];

/// Arrays at and around every limit and rule.
const ARRAYS: &[&str] = &[
    "*1\r\n$4\r\nPING\r\n",
    "*1\r\n$4\r\nPINGxx*1\rx$4\rxPING\r\n",
    "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    "*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n",
    "*\r\n",
    "*a\r\n",
    "*1a\r\n",
    "*+1\r\n",
    "*01\r\n",
    "*-0\r\n",
    "* 1\r\n",
    "*2147483648\r\n",
    "*9223372036854775807\r\n",
    "*9223372036854775808\r\n",
    "*-9223372036854775808\r\nPING\r\n",
    "*1\r\n$\r\n",
    "*1\r\n$-1\r\n",
    "*1\r\n$a\r\n",
    "*1\r\n$+4\r\n",
    "*1\r\n$04\r\n",
    "*1\r\n$ 4\r\n",
    "*1\r\n$536870913\r\n",
    "*1\r\n$4294967300\r\n",
    "*1\r\n$99999999999999999999\r\n",
    "*1\r\n:4\r\n",
    "*1\r\n*1\r\n$4\r\nPING\r\n",
    "*1\r\n\r\n",
    "*1\r\nPING\r\n",
    "*1\r\n\n\r\n",
    "*2\r\n$4\r\nECHO\r\n$1\r\nabc\r\n",
    "*1\r\n$4\r\nPINGPOPING\r\n*1\r\n$4\r\nPING\r\n",
    "*11\r\n",
    "*10\r\n",
    "*1\r\n$16384\r\n",
    "*1\r\n$16385\r\n",
    "*100000\r\n$1\r\na\r\n",
];

/// All inputs, with those that are no text or too long to be written down.
fn cases() -> Vec<Vec<u8>> {
    let texts = LINES.iter().chain(ARRAYS);
    let mut cases: Vec<Vec<u8>> = texts.map(|case| case.as_bytes().to_vec()).collect();
    cases.push(b"*1\r\n\xff\r\n".to_vec());
    cases.push(b"ECHO \"\xff\xfe\"\r\n".to_vec());
    for prefix in ["ECHO ", "ECHO \"", "*", "*1\r\n$", "*1\r\n"] {
        let mut case = prefix.as_bytes().to_vec();
        case.resize(90_000, b'1');
        cases.push(case);
    }
    cases
}

#[test]
fn redis_server_replies_and_closes_alike() {
    let Some(server) = RedisServer::start(&["--requirepass", "secret"]) else {
        return;
    };
    let sign_in = b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n";
    let mut different = Vec::new();
    for case in cases() {
        for authenticated in [false, true] {
            let (before, limits) = match authenticated {
                true => (&sign_in[..], ScanLimits::default()),
                false => (&b""[..], ScanLimits::unauthenticated()),
            };
            let input = [before, &case].concat();
            let outcome = scan_pieces([&input[..]], &limits);
            let expected = respond(&outcome, authenticated);
            let (received, closed) = server.exchange(&input, expected.len());
            if received != expected || closed != outcome.error.is_some() {
                different.push(format!(
                    "{:?} authenticated {authenticated}: redis {:?} closed {closed}, here {:?}",
                    String::from_utf8_lossy(&case[..case.len().min(60)]),
                    String::from_utf8_lossy(&received),
                    String::from_utf8_lossy(&expected),
                ));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
