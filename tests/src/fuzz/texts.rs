//! Bytes that are read from connections: requests, inline commands, replies.

use super::{Done, spoil};
use crate::random::Random;
use bytes::BytesMut;
use protocol::inline::parse_inline;
use protocol::{ProtocolError, Request, RespClientCodec, RespVersion, ScanLimits, Scanner, encode};
use std::sync::LazyLock;
use tokio_util::codec::Decoder;

fn bytes(random: &mut Random, from: &[&[u8]], parts: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(parts) {
        match random.percent(80) {
            true => {
                let part: &[u8] = random.pick::<&[u8]>(from);
                bytes.extend_from_slice(part);
            }
            false => bytes.push(random.number() as u8),
        }
    }
    bytes
}

/// Longest line and longest value that is made, in bytes.
const LONG_BYTES: usize = 70_000;

/// Words of a line, and a value that looks like requests and must not be read as any.
static LONG: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let cycle = |of: &[u8]| of.iter().copied().cycle().take(LONG_BYTES).collect();
    [cycle(b"iiiiiiii "), cycle(b"*1\r\n$1\r\n")]
});

/// What connections may send, right or almost, or nothing of the kind.
fn stream(random: &mut Random) -> Vec<u8> {
    const PARTS: &[&[u8]] = &[
        b"*1\r\n",
        b"*2\r\n",
        b"*3\r\n",
        b"$3\r\n",
        b"$1\r\n",
        b"$0\r\n",
        b"SET\r\n",
        b"k\r\n",
        b"\r\n",
        b"\n",
        b"*-1\r\n",
        b"$-1\r\n",
        b"*99999999999\r\n",
        b"$536870913\r\n",
        b"PING\r\n",
        b"GET \"a\\x00\"\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        b":",
        b" ",
    ];
    if random.percent(45) {
        return bytes(random, PARTS, 24);
    }
    let mut stream = Vec::new();
    for _ in 0..1 + random.below(3) {
        whole_request(random, &mut stream);
    }
    match random.below(4) {
        0 => spoil(random, &mut stream),
        1 => stream.extend(bytes(random, PARTS, 6)),
        2 => {
            let at = random.below(stream.len() + 1);
            let noise = bytes(random, PARTS, 3);
            stream.splice(at..at, noise);
        }
        _ => {}
    }
    stream
}

/// A request as clients send it: mostly short; now and then with many arguments, or long ones, or
/// beyond what a stranger may send, or in one line.
fn whole_request(random: &mut Random, out: &mut Vec<u8>) {
    if random.percent(15) {
        let len = match random.below(400) {
            0 => 65_500 + random.below(80),
            1..20 => 100 + random.below(2_000),
            _ => random.below(40),
        };
        out.extend_from_slice(&LONG[0][..len]);
        out.extend_from_slice(if random.percent(50) { b"\r\n" } else { b"\n" });
        return;
    }
    let args = match random.below(200) {
        0 => 200 + random.below(1_000),
        1..10 => 11 + random.below(40),
        10..30 => 5 + random.below(8),
        _ => 1 + random.below(4),
    };
    // Numbers of many digits are read in another way, and too many are refused.
    let zeros = |random: &mut Random| match random.percent(1) {
        true => "0".repeat(1 + random.below(150)),
        false => String::new(),
    };
    out.extend_from_slice(format!("*{}{args}\r\n", zeros(random)).as_bytes());
    for _ in 0..args {
        let len = match random.below(600) {
            0 => 16_380 + random.below(8),
            1 => 30_000 + random.below(40_000),
            2..40 => 100 + random.below(1_000),
            _ => random.below(12),
        };
        out.extend_from_slice(format!("${}{len}\r\n", zeros(random)).as_bytes());
        let value = random.pick::<Vec<u8>>(&*LONG);
        out.extend_from_slice(&value[..len]);
        out.extend_from_slice(b"\r\n");
    }
}

/// Those of servers and clients, or so low that short inputs reach them.
fn limits(random: &mut Random) -> ScanLimits {
    match random.below(10) {
        0..4 => ScanLimits::default(),
        4..7 => ScanLimits::unauthenticated(),
        _ => ScanLimits {
            bulk_bytes_max: 1 + random.below(1_200),
            inline_bytes_max: 12 + random.below(100),
            multibulk_count_max: 1 + random.below(40) as u32,
            query_buffer_bytes_max: 16 + random.below(2_000),
            authenticated: random.percent(50),
        },
    }
}

/// What a connection gets from its bytes: requests, and the error that ends it.
type Scanned = (Vec<Request>, Option<ProtocolError>);

/// Reads bytes that come in pieces, each of the length that `piece` says.
fn scan(input: &[u8], limits: &ScanLimits, mut piece: impl FnMut() -> usize) -> Scanned {
    let (mut scanner, mut buffer) = (Scanner::new(), BytesMut::new());
    let (mut found, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let (part, others) = rest.split_at(piece().clamp(1, rest.len()));
        rest = others;
        buffer.extend_from_slice(part);
        loop {
            match scanner.next(&mut buffer, limits) {
                Ok(Some(request)) => found.push(request),
                Ok(None) => break,
                Err(error) => {
                    let again = scanner.next(&mut buffer, limits);
                    assert_eq!(again, Err(error), "the error is found again");
                    return (found, Some(error));
                }
            }
        }
    }
    (found, None)
}

/// Requests and inline commands cut anywhere: what a whole is read as, its pieces are read as.
pub(super) fn requests(random: &mut Random) -> Done {
    let (input, limits) = (stream(random), limits(random));
    let whole = scan(&input, &limits, || usize::MAX);
    // Tiny pieces throughout, or a few cuts anywhere.
    let len_max = match input.len() {
        0..200 if random.percent(60) => 1 + random.below(8),
        len => len / (1 + random.below(6)) + 1,
    };
    let pieces = scan(&input, &limits, || 1 + random.below(len_max));
    assert_eq!(pieces, whole, "{limits:?} {}", input.escape_ascii());
    Done::one(2)
}

/// Lines as inline commands: their words, quoted, are read as the same words.
pub(super) fn inline(random: &mut Random) -> Done {
    const PARTS: &[&[u8]] = &[
        b"SET", b" ", b"\"", b"'", b"\\", b"\\x", b"\\x41", b"\\xzz", b"\\n", b"\"a b\"",
        b"'a\\'b'", b"\t", b"\0", b"\"\"", b"k",
    ];
    let line = bytes(random, PARTS, 16);
    let Ok(request) = parse_inline(&line) else { return Done::one(1) };
    assert!(request.payload_bytes() <= line.len());
    let mut quoted = String::new();
    for word in request.iter() {
        let word: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        quoted.push_str(&format!("\"{word}\" "));
    }
    let again = parse_inline(quoted.as_bytes()).expect("every word is quoted");
    assert!(again.iter().eq(request.iter()), "{}", line.escape_ascii());
    Done::one(2)
}

/// What servers send, cut anywhere.
pub(super) fn replies(random: &mut Random) -> Done {
    const PARTS: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR x\r\n",
        b":1\r\n",
        b":-9223372036854775808\r\n",
        b"$1\r\na\r\n",
        b"$-1\r\n",
        b"*2\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"%1\r\n",
        b"~2\r\n",
        b">1\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",1.5\r\n",
        b",nan\r\n",
        b"(123\r\n",
        b"=5\r\ntxt:a\r\n",
        b"*99999999999\r\n",
        b"$99999999999\r\n",
        b"\r\n",
        b"|1\r\n",
    ];
    let input = bytes(random, PARTS, 24);
    let read = |piece: usize| {
        let (mut codec, mut buffer, mut written) =
            (RespClientCodec::new(), BytesMut::new(), BytesMut::new());
        for part in input.chunks(piece) {
            buffer.extend_from_slice(part);
            loop {
                match codec.decode(&mut buffer) {
                    Ok(Some(reply)) => encode(&reply, RespVersion::Resp3, &mut written),
                    Ok(None) => break,
                    Err(error) => return (written, Some(error.to_string())),
                }
            }
        }
        (written, None)
    };
    let whole = read(input.len().max(1));
    assert_eq!(read(1 + random.below(7)), whole, "{}", input.escape_ascii());
    Done::one(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The scanner's long ways are taken, not only its refusals.
    #[test]
    fn inputs_reach_every_state_of_the_scanner() {
        let (mut errors, mut deepest) = (BTreeSet::new(), [0; 5]);
        for seed in 0..12_000 {
            let mut random = Random::new(seed);
            let (input, limits) = (stream(&mut random), limits(&mut random));
            let (found, error) = scan(&input, &limits, || usize::MAX);
            let longest = |request: &Request| request.iter().map(<[u8]>::len).max().unwrap_or(0);
            let counts = [
                found.iter().any(|request| longest(request) > 16_384),
                found.iter().any(|request| longest(request) > 100),
                found.iter().any(|request| request.len() > 100),
                found.len() > 2,
                error.is_some() && !found.is_empty(),
            ];
            deepest.iter_mut().zip(counts).for_each(|(sum, count)| *sum += u32::from(count));
            errors.extend(error.map(|error| {
                let name = format!("{error:?}");
                name.split('(').next().unwrap_or_default().to_owned()
            }));
        }
        assert!(deepest.iter().all(|count| *count > 20), "{deepest:?}");
        let all = [
            "BulkCountTooBig",
            "ExpectedBulk",
            "InlineTooBig",
            "InvalidBulkLength",
            "InvalidMultibulkLength",
            "MultibulkCountTooBig",
            "QueryBufferExceeded",
            "UnauthenticatedBulkLength",
            "UnauthenticatedMultibulkLength",
            "UnbalancedQuotes",
        ];
        assert!(errors.iter().eq(all.iter()), "{errors:?}");
    }
}
