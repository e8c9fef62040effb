//! Bytes that are read: requests, replies, chunks of snapshots, segments of the log, configuration.

use super::spoil;
use crate::random::Random;
use bytes::{Bytes, BytesMut};
use kvorum::config::{self, Settings};
use protocol::inline::parse_inline;
use protocol::{RespClientCodec, RespVersion, ScanLimits, Scanner, encode};
use std::fs;
use std::sync::mpsc;
use storage::StorageError;
use storage::log::{EntryKind, LogEntry, LogOptions, LogPosition, RaftLog, SavedVote};
use storage::memory::MemoryEngine;
use storage::snapshot::{decode_chunk, encode_chunk};
use storage::txn::{Engine, Row};
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

/// Requests and inline commands cut anywhere: what a whole is read as, its pieces are read as.
pub(super) fn requests(random: &mut Random) -> u64 {
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
    let input = bytes(random, PARTS, 24);
    let limits = match random.percent(70) {
        true => ScanLimits::default(),
        false => ScanLimits::unauthenticated(),
    };
    let read = |piece: usize| {
        let (mut scanner, mut buffer) = (Scanner::new(), BytesMut::new());
        let mut found = Vec::new();
        for part in input.chunks(piece) {
            buffer.extend_from_slice(part);
            loop {
                match scanner.next(&mut buffer, &limits) {
                    Ok(Some(request)) => found.push(request),
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                }
            }
        }
        (found, None)
    };
    let whole = read(input.len().max(1));
    assert_eq!(read(1 + random.below(7)), whole, "{}", input.escape_ascii());
    2
}

/// Lines as inline commands: their words, quoted, are read as the same words.
pub(super) fn inline(random: &mut Random) -> u64 {
    const PARTS: &[&[u8]] = &[
        b"SET", b" ", b"\"", b"'", b"\\", b"\\x", b"\\x41", b"\\xzz", b"\\n", b"\"a b\"",
        b"'a\\'b'", b"\t", b"\0", b"\"\"", b"k",
    ];
    let line = bytes(random, PARTS, 16);
    let Ok(request) = parse_inline(&line) else { return 1 };
    assert!(request.payload_bytes() <= line.len());
    let mut quoted = String::new();
    for word in request.iter() {
        let word: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        quoted.push_str(&format!("\"{word}\" "));
    }
    let again = parse_inline(quoted.as_bytes()).expect("every word is quoted");
    assert!(again.iter().eq(request.iter()), "{}", line.escape_ascii());
    2
}

/// What servers send, cut anywhere.
pub(super) fn replies(random: &mut Random) -> u64 {
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
    2
}

/// Chunks whose checksum fits although they are spoilt: rows or an error, and an import that takes
/// them shows just these rows.
pub(super) fn snapshot_chunks(random: &mut Random) -> u64 {
    let count = 1 + random.below(6);
    let rows = (0..count).map(|number| {
        let value = vec![b'v'; random.below(20)];
        Ok((Bytes::from(format!("key{number}")), Bytes::from(value)))
    });
    let rows: Vec<Result<Row, StorageError>> = rows.collect();
    let chunk = encode_chunk(&mut rows.into_iter(), 4096).expect("rows").expect("some row");
    let mut bytes = chunk.to_vec();
    bytes.truncate(bytes.len() - 4);
    if random.percent(90) {
        spoil(random, &mut bytes);
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let chunk = Bytes::from(bytes);
    let decoded = decode_chunk(chunk.clone());
    let engine = MemoryEngine::new();
    let mut sink = engine.import().expect("an idle engine");
    let taken = sink.write_chunk(chunk).and_then(|()| sink.finish(7));
    if taken.is_ok() {
        let view = engine.read();
        let shown: Vec<_> = view.rows(&[], &[u8::MAX; 64]).filter_map(Result::ok).collect();
        let decoded = decoded.expect("what was taken can be decoded");
        assert!(shown.len() <= decoded.len());
    }
    2
}

/// Damaged segments of a log: it opens with a beginning of what was written, or refuses.
pub(super) fn log_segments(random: &mut Random) -> u64 {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = || LogOptions { segment_bytes: 4096, ..LogOptions::new(dir.path()) };
    let log = RaftLog::open(options()).expect("an empty directory");
    let shard = log.shard(0);
    let (sender, receiver) = mpsc::channel();
    let done = || {
        let sender = sender.clone();
        Box::new(move |result: std::io::Result<()>| drop(sender.send(result)))
    };
    let count = 20 + random.below(100) as u64;
    let payload =
        |index: u64| Bytes::from(format!("payload {index} {}", "x".repeat(index as usize)));
    shard.save_vote(SavedVote { term: 1, node_id: 1, committed: true }, done());
    for index in 1..=count {
        let position = LogPosition { term: 1, index };
        let entry = LogEntry { position, kind: EntryKind::Normal, payload: payload(index) };
        shard.append(vec![entry], done());
    }
    for _ in 0..=count {
        receiver.recv().expect("an answer").expect("the disk takes it");
    }
    drop((shard, log));
    let entries =
        fs::read_dir(dir.path()).expect("the log").map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> =
        entries.filter(|path| fs::metadata(path).is_ok_and(|file| file.len() > 0)).collect();
    files.sort();
    let file = random.pick(&files).clone();
    let mut content = fs::read(&file).expect("a file of the log");
    // Most of a file's end is blank.
    let used = content.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let mut beginning = content[..used].to_vec();
    spoil(random, &mut beginning);
    let common = beginning.len().min(used);
    content[..common].copy_from_slice(&beginning[..common]);
    if random.percent(20) {
        content.truncate(random.below(content.len()));
    }
    fs::write(&file, content).expect("the file can be written");
    let Ok(log) = RaftLog::open(options()) else { return 1 };
    let shard = log.shard(0);
    let last = shard.state().1.map_or(0, |last| last.index);
    assert!(last <= count);
    if let Ok(read) = shard.read(1..last + 1, usize::MAX) {
        for entry in read {
            assert_eq!(entry.payload, payload(entry.position.index), "another entry");
        }
    }
    1
}

/// Configuration files: values or an error.
pub(super) fn configuration(random: &mut Random) -> u64 {
    let mut text = match random.percent(50) {
        true => Settings::default().to_toml().into_bytes(),
        false => config::sample_toml().into_bytes(),
    };
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let line = random.pick(&lines).to_vec();
    if random.percent(50) {
        text.extend_from_slice(b"\n");
        text.extend_from_slice(line.strip_prefix(b"# ").unwrap_or(&line));
    }
    for _ in 0..random.below(4) {
        spoil(random, &mut text);
    }
    let setting = config::all().nth(random.below(config::all().count())).expect("a setting");
    let value = bytes(
        random,
        &[b"1", b"-", b"9223372036854775807", b"yes", b"gb", b" ", b"\"", b":", b"."],
        6,
    );
    let value = String::from_utf8_lossy(&value).into_owned();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("kvorum.toml");
    fs::write(&file, text).expect("the file can be written");
    let none = || std::iter::empty::<(String, String)>();
    drop(Settings::from_sources(Some(&file), none(), &[]));
    let settings =
        Settings::from_sources(None, none(), &[(setting.name.to_owned(), value.clone())]);
    if let (Ok(settings), false) = (settings, setting.secret) {
        // What is shown of it is taken again.
        fs::write(&file, settings.to_toml()).expect("the file can be written");
        let again = Settings::from_sources(Some(&file), none(), &[]);
        let again = again.unwrap_or_else(|error| panic!("{}={value:?}: {error}", setting.name));
        assert_eq!(
            again.get(&[b"*".as_slice()]),
            settings.get(&[b"*".as_slice()]),
            "{}={value:?}",
            setting.name
        );
    }
    drop(Settings::default().set(&[(setting.name, &value)]));
    3
}
