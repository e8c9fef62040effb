//! Arguments that nobody would send, to the commands that never reach the state machine: those of a
//! session and of the node. A look at each of them; `tests/src/fuzz` asks them for longer, from other
//! seeds and one after the other, and asks the others too.

use super::each;
use crate::commands::context::SeededRandom;
use crate::commands::fake_node::FakeNode;
use crate::commands::spec::{CommandSpec, Run};
use bytes::BytesMut;
use protocol::{Reply, Request, RespClientCodec, RespVersion, encode};
use std::collections::BTreeSet;
use tokio_util::codec::Decoder;

/// Requests to each command, and arguments beyond the least at most.
const REQUESTS: usize = 300;
const MORE_MAX: usize = 7;

fn below(random: &mut SeededRandom, bound: usize) -> usize {
    (random.next_u64() % bound as u64) as usize
}

const NOBODY_SENDS: &[&[u8]] = &[
    b"",
    b" ",
    b"\0",
    b"\r\n",
    b"\xff\xfe",
    b"%",
    b"%R~",
    b"~",
    b"&",
    b">",
    b"<",
    b"#",
    b"!",
    b"(",
    b")",
    b"(+get ~*)",
    b"+@",
    b"-@all",
    b"+config|",
    b"+|",
    b"*",
    b"[",
    b"[^",
    b"\\",
    b"0",
    b"-1",
    b"+1",
    b"00",
    b"1.5",
    b"nan",
    b"inf",
    b"1e400",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"default",
    b"127.0.0.1:5000",
    b"[::1]:1",
    b"127.0.0.1:99999",
    b":",
    b"resetpass",
    b"nopass",
    b"allkeys",
    b"yes",
    b"no",
    b"100tb",
    b"-5mb",
];

/// Words of all syntaxes, names of settings, and what nobody would send.
fn vocabulary() -> Vec<Vec<u8>> {
    let mut words: BTreeSet<Vec<u8>> = NOBODY_SENDS.iter().map(|word| word.to_vec()).collect();
    words.extend(crate::config::all().map(|setting| setting.name.as_bytes().to_vec()));
    words.insert(vec![b'x'; 70_000]);
    words.insert(b"[[".repeat(2_000));
    each(|name, spec| {
        words.extend(name.split('|').map(|word| word.as_bytes().to_vec()));
        let parts = spec.syntax.split(|letter: char| !letter.is_ascii_alphanumeric());
        words.extend(parts.filter(|word| !word.is_empty()).map(|word| word.as_bytes().to_vec()));
    });
    words.into_iter().collect()
}

/// The arguments of a request: mostly of its own syntax, and as many as it takes.
fn request(
    name: &str,
    spec: &CommandSpec,
    words: &[Vec<u8>],
    random: &mut SeededRandom,
) -> Request {
    let mut parts: Vec<Vec<u8>> = name.split('|').map(|word| word.as_bytes().to_vec()).collect();
    let own: Vec<&str> =
        spec.syntax.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
    let count = parts.len() + below(random, MORE_MAX);
    while parts.len() < count || !spec.arity.accepts(parts.len()) && parts.len() < count + MORE_MAX
    {
        parts.push(match below(random, 3) {
            0 => own[below(random, own.len())].as_bytes().to_vec(),
            _ => words[below(random, words.len())].clone(),
        });
    }
    Request::from_parts(&parts)
}

/// A reply can be sent and is read back, in both protocols.
fn check_reply(request: &Request, reply: &Reply) {
    for version in [RespVersion::Resp2, RespVersion::Resp3] {
        let mut bytes = BytesMut::new();
        encode(reply, version, &mut bytes);
        let read = RespClientCodec::new().decode(&mut bytes);
        assert!(matches!(read, Ok(Some(_))) && bytes.is_empty(), "{request:?}: {reply:?}");
    }
}

#[tokio::test]
async fn no_arguments_break_a_command_of_a_session_or_of_the_node() {
    let words = vocabulary();
    let mut all = Vec::new();
    each(|name, spec| all.push((name.to_owned(), spec)));
    let mut random = SeededRandom::new(1);
    let (mut commands, mut errors, mut others) = (0, 0, 0);
    for (name, spec) in all {
        if !matches!(spec.run, Run::Session(_) | Run::Node(_)) {
            continue;
        }
        commands += 1;
        // What earlier requests changed, settings and clients, goes on to count.
        let node = FakeNode::new(Some(1));
        for _ in 0..REQUESTS {
            let request = request(&name, spec, &words, &mut random);
            if !spec.arity.accepts(request.len()) {
                continue;
            }
            let mut session = node.session();
            let reply = node.answer(&mut session, spec, &request);
            // Some would wait.
            let Some(reply) = reply else { continue };
            check_reply(&request, &reply);
            let count = if matches!(reply, Reply::Error(_)) { &mut errors } else { &mut others };
            *count += 1;
        }
    }
    assert!(commands > 60, "{commands} commands");
    assert!(errors > 1_000 && others > 1_000, "{errors} errors, {others} other replies");
}
