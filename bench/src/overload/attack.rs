//! What hostile clients do. Each attack runs on threads of its own, until it is told to stop, and says
//! what was not as it should be.
//!
//! They speak by plain blocking sockets: nothing here is measured, and nothing may be polite.

use crate::replies::ReplyScanner;
use protocol::encode_request;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Longest that a reply may take, and that a send may wait for a server that reads no more.
const WAIT: Duration = Duration::from_secs(20);
/// Longest that a part of a reply with every key may take: all are looked at before the first comes.
const WAIT_FOR_ALL_KEYS: Duration = Duration::from_secs(120);
/// Pause between two looks at whether it is over.
const POLL: Duration = Duration::from_millis(20);
/// The password that the server has while strangers knock.
pub(super) const PASSWORD: &str = "well-behaved";
/// The text for one client too many.
const REFUSED: &[u8] = b"-ERR max number of clients reached\r\n";

/// Who is attacked, and until when.
pub(super) struct Victim<'a> {
    /// `host:port` of the leader.
    pub(super) address: String,
    /// Processes of the nodes that follow.
    pub(super) followers: Vec<u32>,
    /// Keys that it holds.
    pub(super) keys: u64,
    /// When to let go what is held back, so that the load sees how it comes back.
    pub(super) release: Instant,
    pub(super) stop: &'a AtomicBool,
}

/// Ends with what was wrong.
pub(super) type Attack = fn(&Victim<'_>) -> Result<(), String>;

fn text(error: io::Error) -> String {
    error.to_string()
}

impl Victim<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    /// Whether something is still to be held back.
    fn holds_back(&self) -> bool {
        self.goes_on() && Instant::now() < self.release
    }

    fn wait(&self) {
        while self.goes_on() {
            std::thread::sleep(POLL);
        }
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let stream = TcpStream::connect(&self.address).map_err(text)?;
        stream.set_read_timeout(Some(WAIT)).map_err(text)?;
        stream.set_write_timeout(Some(WAIT)).map_err(text)?;
        Ok(stream)
    }

    fn crowd(&self, count: usize) -> Result<Vec<TcpStream>, String> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// As many sends as the server takes; true when it stopped reading or closed the connection.
    fn push(&self, stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> bool {
        let patience = Some(Duration::from_millis(200));
        if stream.set_write_timeout(patience).is_err() {
            return true;
        }
        while self.goes_on() {
            if stream.write_all(bytes).is_err() {
                return true;
            }
            std::thread::sleep(pause);
        }
        false
    }
}

fn request<A: AsRef<[u8]>>(parts: &[A]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    encode_request(parts, &mut out);
    out.to_vec()
}

fn words(line: &str) -> Vec<u8> {
    request(&line.split(' ').collect::<Vec<_>>())
}

/// The first bytes of the reply, and how long all of it is, for replies that are errors, numbers,
/// lines or one string; of an array only what came first.
fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<(String, usize), String> {
    stream.write_all(request).map_err(text)?;
    let mut chunk = vec![0; 1 << 20];
    let mut head = Vec::new();
    let (mut received, mut wanted) = (0, usize::MAX);
    while received < wanted {
        let count = stream.read(&mut chunk).map_err(text)?;
        if count == 0 {
            return Err("the connection was closed".to_owned());
        }
        received += count;
        if head.len() < 256 {
            head.extend_from_slice(&chunk[..count.min(256)]);
        }
        let line = head.windows(2).position(|pair| pair == b"\r\n");
        if let (Some(end), usize::MAX) = (line, wanted) {
            let length: Option<usize> =
                std::str::from_utf8(&head[1..end]).ok().and_then(|n| n.parse().ok());
            wanted = match (head[0], length) {
                (b'$', Some(bytes)) => end + 2 + bytes + 2,
                _ => end + 2,
            };
        }
    }
    Ok((String::from_utf8_lossy(&head).trim_end().to_owned(), received))
}

fn expect(stream: &mut TcpStream, line: &str, beginning: &str) -> Result<(), String> {
    let (reply, _) = ask(stream, &words(line))?;
    match reply.starts_with(beginning) {
        true => Ok(()),
        false => Err(format!("{line}: {reply}, not {beginning}")),
    }
}

pub(super) fn idle_crowd(victim: &Victim<'_>) -> Result<(), String> {
    let crowd = victim.crowd(1_000)?;
    victim.wait();
    drop(crowd);
    Ok(())
}

/// Ten thousand, and then some more, who must be told.
pub(super) fn ten_thousand(victim: &Victim<'_>) -> Result<(), String> {
    let mut crowd = victim.crowd(9_900)?;
    let mut refused = 0;
    for _ in 0..300 {
        let mut client = victim.connect()?;
        client.set_read_timeout(Some(Duration::from_millis(50))).map_err(text)?;
        let mut reply = vec![0; REFUSED.len()];
        match client.read_exact(&mut reply) {
            Ok(()) if reply == REFUSED => refused += 1,
            Ok(()) => return Err(format!("refused by {:?}", String::from_utf8_lossy(&reply))),
            Err(_) => crowd.push(client),
        }
    }
    victim.wait();
    if refused == 0 { Err("nobody was refused at 'maxclients'".to_owned()) } else { Ok(()) }
}

/// All leave at one moment, amid the requests of the others.
pub(super) fn leaving_crowd(victim: &Victim<'_>) -> Result<(), String> {
    let mut crowd = victim.crowd(9_900)?;
    for client in &mut crowd {
        expect(client, "PING", "+PONG")?;
    }
    while victim.holds_back() {
        std::thread::sleep(POLL);
    }
    drop(crowd);
    victim.wait();
    Ok(())
}

pub(super) fn connect_and_close(victim: &Victim<'_>) -> Result<(), String> {
    while victim.goes_on() {
        drop(victim.crowd(20)?);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// With a password set, what strangers claim is refused before it costs anything.
pub(super) fn strangers(victim: &Victim<'_>) -> Result<(), String> {
    let mut quiet = Vec::new();
    while victim.goes_on() {
        let claims: [(&[u8], &str); 3] = [
            (b"*1000000\r\n", "-ERR Protocol error: unauthenticated multibulk length"),
            (b"*2\r\n$536870912\r\n", "-ERR Protocol error: unauthenticated bulk length"),
            (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "-NOAUTH"),
        ];
        for (claim, expected) in claims {
            let (reply, _) = ask(&mut victim.connect()?, claim)?;
            if !reply.starts_with(expected) {
                return Err(format!("{reply}, not {expected}"));
            }
        }
        if quiet.len() < 1_000 {
            let mut client = victim.connect()?;
            let mut half = b"*10\r\n".to_vec();
            half.extend(
                (0..9).flat_map(|_| [&b"$16384\r\n"[..], &[b'x'; 16_384], b"\r\n"].concat()),
            );
            client.write_all(&half).map_err(text)?;
            quiet.push(client);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The beginnings of many requests, a byte more now and then.
pub(super) fn half_requests(victim: &Victim<'_>) -> Result<(), String> {
    let mut crowd = victim.crowd(5_000)?;
    for client in &mut crowd {
        client.write_all(b"*3\r\n$3\r\nSET\r\n$400\r\nk").map_err(text)?;
    }
    while victim.goes_on() {
        for client in crowd.iter_mut().take(200) {
            client.write_all(b"k").map_err(text)?;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

pub(super) fn deaf_readers(victim: &Victim<'_>) -> Result<(), String> {
    let mut client = victim.connect()?;
    let (reply, _) = ask(&mut client, &request(&[&b"SET"[..], b"long", &vec![b'v'; 1 << 20]]))?;
    if reply != "+OK" {
        return Err(reply);
    }
    let mut crowd = victim.crowd(100)?;
    let gets = words("GET long").repeat(1_000);
    for client in &mut crowd {
        // Those that are closed, or read no more, are as they should be.
        drop(client.write_all(&gets));
    }
    victim.wait();
    Ok(())
}

/// Values at the limit, written and read, and one beyond it.
pub(super) fn longest_values(victim: &Victim<'_>) -> Result<(), String> {
    const LONGEST: usize = 512 << 20;
    let value = vec![b'v'; LONGEST];
    let mut client = victim.connect()?;
    let head = format!("*3\r\n$3\r\nSET\r\n$7\r\nlongest\r\n${LONGEST}\r\n");
    client.write_all(head.as_bytes()).map_err(text)?;
    client.write_all(&value).map_err(text)?;
    let (reply, _) = ask(&mut client, b"\r\n")?;
    if reply != "+OK" {
        return Err(format!("SET of 512 MB: {reply}"));
    }
    let (_, bytes) = ask(&mut client, &words("GET longest"))?;
    if bytes < LONGEST {
        return Err(format!("GET of 512 MB: {bytes} bytes"));
    }
    let mut deaf = victim.crowd(6)?;
    for client in &mut deaf {
        client.write_all(&words("GET longest")).map_err(text)?;
    }
    let beyond = format!("*3\r\n$3\r\nSET\r\n$7\r\nlongest\r\n${}\r\n", LONGEST + 1);
    let (reply, _) = ask(&mut victim.connect()?, beyond.as_bytes())?;
    if reply != "-ERR Protocol error: invalid bulk length" {
        return Err(format!("beyond 512 MB: {reply}"));
    }
    victim.wait();
    drop(deaf);
    expect(&mut client, "DEL longest", ":1")
}

/// Requests without end from a client that reads no reply.
pub(super) fn endless_pipelines(victim: &Victim<'_>) -> Result<(), String> {
    std::thread::scope(|scope| {
        for line in ["SET endless value", "GET endless", "PING"] {
            let mut client = victim.connect()?;
            let bytes = words(line).repeat(1_000);
            scope.spawn(move || {
                // The server stops reading; then this one waits, too.
                if victim.push(&mut client, &bytes, Duration::ZERO) {
                    victim.wait();
                }
            });
        }
        Ok(())
    })
}

pub(super) fn long_blocks(victim: &Victim<'_>) -> Result<(), String> {
    let mut client = victim.connect()?;
    while victim.goes_on() {
        expect(&mut client, "MULTI", "+OK")?;
        client.write_all(&words("INCR block").repeat(2_000)).map_err(text)?;
        let mut left = b"+QUEUED\r\n".len() * 2_000;
        let mut chunk = vec![0; 64 << 10];
        while left > 0 {
            let most = left.min(chunk.len());
            left -= client.read(&mut chunk[..most]).map_err(text)?;
        }
        expect(&mut client, "EXEC", "*2000")?;
        // What is left of the reply goes with the connection.
        client = victim.connect()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// KEYS with a pattern that nothing matches, and SCAN beside it.
pub(super) fn walks(victim: &Victim<'_>) -> Result<(), String> {
    while victim.goes_on() {
        // The pattern matches nothing, but every key is looked at.
        expect(&mut victim.connect()?, "KEYS nothing-like-this*", "*0")?;
        expect(&mut victim.connect()?, "SCAN 0 COUNT 10000", "*2")?;
    }
    Ok(())
}

/// `KEYS *`, again and again; each reply is read to its end.
pub(super) fn keys_of_everything(victim: &Victim<'_>) -> Result<(), String> {
    let mut client = victim.connect()?;
    client.set_read_timeout(Some(WAIT_FOR_ALL_KEYS)).map_err(text)?;
    while victim.goes_on() {
        let names = count_elements(&mut client, &words("KEYS *"))?;
        if names < victim.keys {
            return Err(format!("KEYS *: {names} names, not {}", victim.keys));
        }
    }
    Ok(())
}

/// How many elements the reply has, an array; all of it is read, and forgotten as it comes.
fn count_elements(stream: &mut TcpStream, request: &[u8]) -> Result<u64, String> {
    stream.write_all(request).map_err(text)?;
    let mut scanner = ReplyScanner::default();
    let mut chunk = vec![0; 64 << 10];
    let (mut head, mut whole) = (Vec::new(), false);
    while !whole {
        let count = stream.read(&mut chunk).map_err(text)?;
        if count == 0 {
            return Err("the connection was closed within a reply".to_owned());
        }
        if head.len() < 256 {
            head.extend_from_slice(&chunk[..count.min(256)]);
        }
        let fed = scanner.feed(&chunk[..count], |_| whole = true);
        fed.map_err(|malformed| malformed.to_string())?;
    }
    let head = String::from_utf8_lossy(&head);
    let first = head.lines().next().unwrap_or_default();
    let elements = first.strip_prefix('*').and_then(|count| count.parse().ok());
    elements.ok_or_else(|| first.to_owned())
}

pub(super) fn many_keys(victim: &Victim<'_>) -> Result<(), String> {
    let names = |count: u64| (0..count).map(|key| format!("many:{}", key % 10_000));
    let mut mget = vec!["MGET".to_owned()];
    mget.extend(names(100_000));
    let mut mset = vec!["MSET".to_owned()];
    mset.extend(names(5_000).flat_map(|key| [key, "v".to_owned()]));
    let (mget, mset) = (request(&mget), request(&mset));
    while victim.goes_on() {
        let (reply, _) = ask(&mut victim.connect()?, &mset)?;
        if reply != "+OK" {
            return Err(format!("MSET of 5,000 keys: {reply}"));
        }
        let (reply, _) = ask(&mut victim.connect()?, &mget)?;
        if !reply.starts_with("*100000") {
            return Err(format!("MGET of 100,000 keys: {reply}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A MONITOR that reads nothing, while long commands come.
pub(super) fn deaf_monitor(victim: &Victim<'_>) -> Result<(), String> {
    let mut monitor = victim.connect()?;
    monitor.write_all(&words("MONITOR")).map_err(text)?;
    let set = request(&[&b"SET"[..], b"shown", &vec![b'v'; 256 << 10]]);
    let mut client = victim.connect()?;
    while victim.goes_on() {
        ask(&mut client, &set)?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Questions about the node itself, while two thousand clients are there to be listed.
pub(super) fn questions(victim: &Victim<'_>) -> Result<(), String> {
    let crowd = victim.crowd(2_000)?;
    let mut client = victim.connect()?;
    while victim.goes_on() {
        for line in ["CLIENT LIST", "INFO everything", "CONFIG GET *"] {
            ask(&mut client, &words(line))?;
            client = victim.connect()?;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(crowd);
    Ok(())
}

/// All keys at once, and their removal behind it.
pub(super) fn flush_all(victim: &Victim<'_>) -> Result<(), String> {
    let mut client = victim.connect()?;
    let (before, _) = ask(&mut client, &words("DBSIZE"))?;
    let keys: u64 = before.trim_start_matches(':').parse().unwrap_or(0);
    if keys < victim.keys {
        return Err(format!("{keys} keys before FLUSHALL, not {}", victim.keys));
    }
    let begun = Instant::now();
    expect(&mut client, "FLUSHALL", "+OK")?;
    if begun.elapsed() > Duration::from_secs(1) {
        return Err(format!("FLUSHALL took {:?}", begun.elapsed()));
    }
    victim.wait();
    Ok(())
}

fn signal(pid: u32, signal: rustix::process::Signal) -> Result<(), String> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or("no process")?;
    rustix::process::kill_process(pid, signal).map_err(|error| error.to_string())
}

/// A follower that stands still, and then has to catch up.
pub(super) fn stopped_follower(victim: &Victim<'_>) -> Result<(), String> {
    let follower = *victim.followers.first().ok_or("there is no follower")?;
    signal(follower, rustix::process::Signal::STOP)?;
    while victim.holds_back() {
        std::thread::sleep(POLL);
    }
    signal(follower, rustix::process::Signal::CONT)?;
    victim.wait();
    Ok(())
}

/// A follower that has a fifth of its time, and then all of it.
pub(super) fn slow_follower(victim: &Victim<'_>) -> Result<(), String> {
    let follower = *victim.followers.first().ok_or("there is no follower")?;
    while victim.holds_back() {
        signal(follower, rustix::process::Signal::STOP)?;
        std::thread::sleep(Duration::from_millis(80));
        signal(follower, rustix::process::Signal::CONT)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    victim.wait();
    Ok(())
}

/// Sets or takes away the password, on a connection that keeps its rights.
pub(super) fn set_password(address: &str, on: bool) -> Result<(), String> {
    let mut client = TcpStream::connect(address).map_err(text)?;
    client.set_read_timeout(Some(WAIT)).map_err(text)?;
    if !on {
        expect(&mut client, &format!("AUTH {PASSWORD}"), "+OK")?;
    }
    let password = if on { PASSWORD } else { "" };
    let (reply, _) = ask(&mut client, &request(&["CONFIG", "SET", "requirepass", password]))?;
    if reply == "+OK" { Ok(()) } else { Err(reply) }
}

/// One request on a connection of its own, and the first line of its reply.
pub(super) fn once(address: &str, line: &str) -> Result<String, String> {
    let mut client = TcpStream::connect(address).map_err(text)?;
    client.set_read_timeout(Some(WAIT)).map_err(text)?;
    ask(&mut client, &words(line)).map(|(reply, _)| reply)
}

/// As [`once`], for a reply that is one string: all of it.
pub(super) fn whole(address: &str, line: &str) -> Result<String, String> {
    let mut client = TcpStream::connect(address).map_err(text)?;
    client.set_read_timeout(Some(WAIT)).map_err(text)?;
    client.write_all(&words(line)).map_err(text)?;
    client.shutdown(std::net::Shutdown::Write).map_err(text)?;
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).map_err(text)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `count_elements` says of a reply that comes in these pieces.
    fn check(pieces: &'static [&'static [u8]], expected: Result<u64, &str>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = vec![0; words("KEYS *").len()];
            client.read_exact(&mut request).unwrap();
            for piece in pieces {
                client.write_all(piece).unwrap();
                client.flush().unwrap();
            }
        });
        let mut stream = TcpStream::connect(address).unwrap();
        let found = count_elements(&mut stream, &words("KEYS *"));
        assert_eq!(found, expected.map_err(str::to_owned));
        server.join().unwrap();
    }

    #[test]
    fn a_reply_with_all_keys_is_read_to_its_end() {
        check(&[b"*2\r\n$1\r\na\r\n$3\r", b"\nb", b"cd\r\n"], Ok(2));
        check(&[b"*0\r\n"], Ok(0));
        check(&[b"*2\r\n$1\r\na\r\n"], Err("the connection was closed within a reply"));
        check(&[b"-ERR no\r\n"], Err("-ERR no"));
    }

    #[test]
    fn what_is_held_back_is_let_go_before_the_end() {
        let stop = AtomicBool::new(false);
        let victim = |release| Victim {
            address: String::new(),
            followers: Vec::new(),
            keys: 0,
            release,
            stop: &stop,
        };
        let now = Instant::now();
        let later = victim(now + Duration::from_secs(3_600));
        assert!(later.holds_back() && later.goes_on());
        assert!(!victim(now).holds_back() && victim(now).goes_on());
        stop.store(true, Relaxed);
        assert!(!later.holds_back() && !later.goes_on());
    }
}
