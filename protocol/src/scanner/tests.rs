//! What requests and errors come out of given bytes, whole and in pieces.

use super::*;
use crate::encode::encode_request;

mod properties;
mod reference;

/// Everything a connection would do with some bytes.
#[derive(Debug, PartialEq)]
struct Outcome {
    requests: Vec<Request>,
    /// Bytes left over: an incomplete request, or what an error stopped at.
    rest: usize,
    error: Option<ProtocolError>,
}

fn scan_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &ScanLimits) -> Outcome {
    let mut scanner = Scanner::new();
    let mut buffer = BytesMut::new();
    let mut requests = Vec::new();
    let mut error = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if error.is_some() {
            continue;
        }
        loop {
            match scanner.next(&mut buffer, limits) {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(found) => {
                    error = Some(found);
                    assert_eq!(scanner.next(&mut buffer, limits), Err(found), "an error stays");
                    break;
                }
            }
        }
    }
    Outcome { requests, rest: buffer.len(), error }
}

/// Scans whole and byte by byte, which must agree.
fn scan(input: &[u8], limits: &ScanLimits) -> Outcome {
    let whole = scan_pieces([input], limits);
    assert_eq!(scan_pieces(input.chunks(1), limits), whole, "cut into single bytes");
    whole
}

#[track_caller]
fn check(input: &str, expected: &[&[&str]], rest: usize) {
    let outcome = scan(input.as_bytes(), &ScanLimits::default());
    let expected: Vec<Request> = expected.iter().map(|args| Request::from_parts(args)).collect();
    assert_eq!(outcome.error, None, "{input:?}");
    assert_eq!(args_of(&outcome.requests), args_of(&expected), "{input:?}");
    assert_eq!(outcome.rest, rest, "{input:?}");
}

#[track_caller]
fn check_error(input: &[u8], limits: &ScanLimits, expected: ProtocolError) {
    let shown = String::from_utf8_lossy(&input[..input.len().min(80)]);
    assert_eq!(scan(input, limits).error, Some(expected), "{shown:?}");
}

fn args_of(requests: &[Request]) -> Vec<Vec<&[u8]>> {
    requests.iter().map(|request| request.iter().collect()).collect()
}

#[test]
fn arrays_and_lines_may_follow_each_other() {
    check("*1\r\n$4\r\nPING\r\n", &[&["PING"]], 0);
    check(
        "*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\nPING\r\n*1\r\n$0\r\n\r\n",
        &[&["ECHO", "hi"], &["PING"], &[""]],
        0,
    );
    check("SET k \"a b\"\nGET k\r\n", &[&["SET", "k", "a b"], &["GET", "k"]], 0);
}

#[test]
fn empty_requests_are_ignored() {
    check("\r\n\n  \r\n*0\r\n*-1\r\n*-10\r\nPING\r\n*0\r\n", &[&["PING"]], 0);
}

#[test]
fn an_incomplete_request_waits() {
    check("*1\r\n$4\r\nPING\r", &[], 13);
    check("*1\r", &[], 3);
    check("*", &[], 1);
    check("*2\r\n$4\r\nPING\r\n", &[], 14);
    check("*2147483647\r\n$1\r\na\r\n", &[], 20);
    check("*1\r\n$536870912\r\n", &[], 16);
    check("PING", &[], 4);
}

#[test]
fn line_breaks_are_believed_unseen_as_in_redis() {
    check("*1\rX$4\rYPINGZZ", &[&["PING"]], 0);
    check("*1\r\n$2\r\n\r\n\r\n", &[&["\r\n"]], 0);
}

#[test]
fn malformed_counts_and_lengths_are_refused() {
    let limits = ScanLimits::default();
    for count in ["", "a", "1a", " 1", "+1", "01", "-0", "2147483648", "99999999999999999999"] {
        let input = format!("*{count}\r\n");
        check_error(input.as_bytes(), &limits, ProtocolError::InvalidMultibulkLength);
    }
    for length in ["", "a", "-1", "+1", "01", "536870913", "99999999999999999999"] {
        let input = format!("*1\r\n${length}\r\n");
        check_error(input.as_bytes(), &limits, ProtocolError::InvalidBulkLength);
    }
}

#[test]
fn an_argument_is_a_bulk_string_and_nothing_else() {
    let limits = ScanLimits::default();
    for (line, got) in [(":1\r\n", b':'), ("*1\r\n$1\r\na\r\n", b'*'), ("\r\n", b'\r')] {
        let input = format!("*2\r\n$4\r\nECHO\r\n{line}");
        check_error(input.as_bytes(), &limits, ProtocolError::ExpectedBulk(got));
    }
    let deep = "*1\r\n".repeat(100_000);
    assert_eq!(
        scan_pieces([deep.as_bytes()], &limits).error,
        Some(ProtocolError::ExpectedBulk(b'*'))
    );
}

#[test]
fn unbalanced_quotes_are_refused() {
    check_error(b"SET k \"v\r\n", &ScanLimits::default(), ProtocolError::UnbalancedQuotes);
}

#[test]
fn endless_lines_are_refused_at_the_limit() {
    let limits = ScanLimits::default();
    let exact = vec![b'x'; limits.inline_bytes_max];
    assert_eq!(scan_pieces([&exact[..]], &limits).error, None);
    for (prefix, expected) in [
        ("", ProtocolError::InlineTooBig),
        ("*", ProtocolError::MultibulkCountTooBig),
        ("*1\r\n$", ProtocolError::BulkCountTooBig),
        ("*1\r\n", ProtocolError::BulkCountTooBig),
    ] {
        for end in ["", "\r\n"] {
            let mut input = prefix.as_bytes().to_vec();
            input.extend_from_slice(&exact);
            input.extend_from_slice(b"1");
            input.extend_from_slice(end.as_bytes());
            assert_eq!(scan_pieces([&input[..]], &limits).error, Some(expected), "{prefix:?}");
            let pieces = scan_pieces(input.chunks(1000), &limits);
            assert_eq!(pieces.error, Some(expected), "{prefix:?} in pieces");
        }
    }
}

#[test]
fn strangers_may_send_little() {
    let limits = ScanLimits::unauthenticated();
    assert_eq!(scan(b"*10\r\n$16384\r\n", &limits).error, None);
    check_error(b"*11\r\n", &limits, ProtocolError::UnauthenticatedMultibulkLength);
    check_error(b"*1\r\n$16385\r\n", &limits, ProtocolError::UnauthenticatedBulkLength);
    check_error(b"*2147483648\r\n", &limits, ProtocolError::InvalidMultibulkLength);
    check_error(b"*1\r\n$536870913\r\n", &limits, ProtocolError::InvalidBulkLength);
}

#[test]
fn limits_may_change_between_requests() {
    let mut scanner = Scanner::new();
    let mut buffer = BytesMut::from(&b"AUTH x\r\n*11\r\n"[..]);
    let auth = scanner.next(&mut buffer, &ScanLimits::unauthenticated()).expect("no error");
    assert!(auth.is_some());
    assert_eq!(
        scanner.clone_state_next(&buffer, &ScanLimits::unauthenticated()),
        Err(ProtocolError::UnauthenticatedMultibulkLength)
    );
    assert_eq!(scanner.next(&mut buffer, &ScanLimits::default()), Ok(None));
}

impl Scanner {
    /// What the next call would say, without making it.
    fn clone_state_next(
        &self,
        buffer: &BytesMut,
        limits: &ScanLimits,
    ) -> Result<Option<Request>, ProtocolError> {
        let mut scanner = Scanner { ranges: self.ranges.clone(), ..*self };
        scanner.next(&mut buffer.clone(), limits)
    }
}

#[test]
fn a_request_beyond_the_query_buffer_is_refused_when_announced() {
    let limits = ScanLimits { query_buffer_bytes_max: 1000, ..ScanLimits::default() };
    assert_eq!(scan(b"*1\r\n$970\r\n", &limits).error, None);
    check_error(b"*1\r\n$990\r\n", &limits, ProtocolError::QueryBufferExceeded);
    let many = format!("*1000\r\n{}", "$0\r\n\r\n".repeat(1000));
    check_error(many.as_bytes(), &limits, ProtocolError::QueryBufferExceeded);
    let unlimited = ScanLimits {
        bulk_bytes_max: usize::MAX,
        query_buffer_bytes_max: usize::MAX,
        ..ScanLimits::default()
    };
    assert_eq!(scan(b"*1\r\n$4294967200\r\n", &unlimited).error, None);
    for length in ["4294967290", "9223372036854775807"] {
        let input = format!("*1\r\n${length}\r\n");
        check_error(input.as_bytes(), &unlimited, ProtocolError::QueryBufferExceeded);
    }
}

#[test]
fn an_announced_length_allocates_nothing() {
    let mut scanner = Scanner::new();
    let mut buffer = BytesMut::from(&b"*1\r\n$536870912\r\nabc"[..]);
    assert_eq!(scanner.next(&mut buffer, &ScanLimits::default()), Ok(None));
    assert!(buffer.capacity() <= 128 * 1024);
}

#[test]
fn a_long_value_is_received_in_a_buffer_of_its_size() {
    let limits = ScanLimits::default();
    let value = vec![b'v'; 5_000_000];
    let mut input = BytesMut::new();
    encode_request(&[&b"SET"[..], b"key", &value], &mut input);
    let mut scanner = Scanner::new();
    let mut buffer = BytesMut::new();
    let mut received = 0;
    let request = loop {
        if buffer.capacity() == buffer.len() {
            buffer.reserve(16 * 1024);
        }
        let room = buffer.capacity() - buffer.len();
        let end = input.len().min(received + room.min(10_000));
        buffer.extend_from_slice(&input[received..end]);
        received = end;
        if let Some(request) = scanner.next(&mut buffer, &limits).expect("no error") {
            break request;
        }
        assert!(buffer.capacity() <= input.len());
    };
    assert_eq!(request.arg(2), value);
}

#[test]
fn a_request_is_one_slice_of_what_was_read() {
    let mut scanner = Scanner::new();
    let mut buffer = BytesMut::from(&b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n"[..]);
    let before = buffer.as_ptr();
    let request = scanner.next(&mut buffer, &ScanLimits::default()).expect("no error");
    let request = request.expect("a whole request");
    assert_eq!(request.arg(0).as_ptr(), before.wrapping_add(8));
    assert_eq!(buffer, "PING\r\n");
}
