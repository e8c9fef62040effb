//! Who is attacked, how attackers speak to it, and how they prove that it heard them.
//!
//! Plain blocking sockets: nothing here is measured, and nothing may be polite.

use crate::replies::ReplyScanner;
use protocol::encode_request;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Longest that a reply may take, and that a send may wait for a server that reads no more.
const WAIT: Duration = Duration::from_secs(20);
/// How long it may take until what was done shows in the figures of the server.
const SOON: Duration = Duration::from_secs(5);
/// Pause between two looks at whether it is over.
pub(super) const POLL: Duration = Duration::from_millis(20);
/// The password that the server has while strangers knock.
pub(super) const PASSWORD: &str = "well-behaved";

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
    /// It asks for [`PASSWORD`].
    pub(super) with_password: bool,
}

pub(super) fn text(error: io::Error) -> String {
    error.to_string()
}

impl Victim<'_> {
    pub(super) fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    /// Whether something is still to be held back.
    pub(super) fn holds_back(&self) -> bool {
        self.goes_on() && Instant::now() < self.release
    }

    pub(super) fn wait(&self) {
        while self.goes_on() {
            std::thread::sleep(POLL);
        }
    }

    pub(super) fn connect(&self) -> Result<TcpStream, String> {
        let stream = TcpStream::connect(&self.address).map_err(text)?;
        stream.set_read_timeout(Some(WAIT)).map_err(text)?;
        stream.set_write_timeout(Some(WAIT)).map_err(text)?;
        Ok(stream)
    }

    pub(super) fn crowd(&self, count: usize) -> Result<Vec<TcpStream>, String> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// As many sends as the server takes, until it stops reading, closes the connection or it is over.
    pub(super) fn push(&self, stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
        stream.set_write_timeout(Some(Duration::from_millis(200))).map_err(text)?;
        while self.goes_on() && stream.write_all(bytes).is_ok() {}
        Ok(())
    }

    /// Does one round after another until it is over; without any, the attack did not take place.
    pub(super) fn repeat(
        &self,
        pause: Duration,
        mut round: impl FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        let mut rounds = 0;
        while self.goes_on() {
            round()?;
            rounds += 1;
            std::thread::sleep(pause);
        }
        if rounds == 0 { Err("no time was left for the attack".to_owned()) } else { Ok(()) }
    }

    /// A connection that may ask for figures, also while the server wants a password.
    pub(super) fn observer(&self) -> Result<Observer, String> {
        let mut stream = self.connect()?;
        if self.with_password {
            expect(&mut stream, &format!("AUTH {PASSWORD}"), "+OK")?;
        }
        Ok(Observer(stream))
    }
}

pub(super) fn request<A: AsRef<[u8]>>(parts: &[A]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    encode_request(parts, &mut out);
    out.to_vec()
}

pub(super) fn words(line: &str) -> Vec<u8> {
    request(&line.split(' ').collect::<Vec<_>>())
}

/// The first bytes of the reply, and how long all of it is, for replies that are errors, numbers,
/// lines or one string; of an array only what came first.
pub(super) fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<(String, usize), String> {
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

pub(super) fn expect(stream: &mut TcpStream, line: &str, beginning: &str) -> Result<(), String> {
    let (reply, _) = ask(stream, &words(line))?;
    match reply.starts_with(beginning) {
        true => Ok(()),
        false => Err(format!("{line}: {reply}, not {beginning}")),
    }
}

/// Sees what the server says of itself.
pub(super) struct Observer(TcpStream);

impl Observer {
    /// A number in INFO.
    pub(super) fn figure(&mut self, name: &str) -> Result<u64, String> {
        let info = string(&mut self.0, "INFO")?;
        let value = crate::control::field(&info, name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| format!("INFO has no {name}"))
    }

    /// Proves that the figure is, or soon becomes, at least so high.
    pub(super) fn expect(&mut self, name: &str, at_least: u64) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let found = self.figure(name)?;
            if found >= at_least {
                return Ok(());
            }
            if begun.elapsed() > SOON {
                return Err(format!("{name} is {found}, not {at_least}"));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Proves that so many clients are connected.
    pub(super) fn expect_clients(&mut self, count: usize) -> Result<(), String> {
        self.expect("connected_clients", count as u64)
    }
}

/// Proves that the server answered a client that did not read so far: the first `length` bytes it has
/// for it, which begin like this. A server that closed the connection at once has none.
pub(super) fn expect_unread(
    stream: &mut TcpStream,
    beginning: &str,
    length: usize,
) -> Result<(), String> {
    let mut unread = vec![0; length.max(beginning.len())];
    stream.set_read_timeout(Some(WAIT)).map_err(text)?;
    let whole = stream.read_exact(&mut unread);
    whole.map_err(|error| format!("a client that did not read was not answered: {error}"))?;
    match unread.starts_with(beginning.as_bytes()) {
        true => Ok(()),
        false => {
            let shown = String::from_utf8_lossy(&unread[..unread.len().min(80)]).into_owned();
            Err(format!("a client that did not read was answered {shown:?}, not {beginning:?}"))
        }
    }
}

/// A reply that is one string: all of it.
pub(super) fn string(stream: &mut TcpStream, line: &str) -> Result<String, String> {
    stream.write_all(&words(line)).map_err(text)?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    reader.read_line(&mut head).map_err(text)?;
    let length = head.trim_end().strip_prefix('$').and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or_else(|| format!("{line}: {}", head.trim_end()))?;
    let mut body = vec![0; length + b"\r\n".len()];
    reader.read_exact(&mut body).map_err(text)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// How many elements the reply has, an array; all of it is read, and forgotten as it comes.
pub(super) fn count_elements(stream: &mut TcpStream, request: &[u8]) -> Result<u64, String> {
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
    string(&mut client, line)
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

    /// What `expect_unread` says of a server that says this and closes.
    fn check_unread(said: &'static [u8], length: usize, expected: Result<(), &str>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(said).unwrap();
        drop(client);
        let found = expect_unread(&mut stream, "+OK", length);
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn an_attack_on_a_server_that_closes_at_once_did_not_take_place() {
        check_unread(b"+OK\r\n+OK\r\n", 10, Ok(()));
        let silent = "a client that did not read was not answered: failed to fill whole buffer";
        check_unread(b"", 1, Err(silent));
        check_unread(b"+OK\r\n", 10, Err(silent));
        let other = "a client that did not read was answered \"-ERR\", not \"+OK\"";
        check_unread(b"-ERR no\r\n", 4, Err(other));
    }

    #[test]
    fn an_attack_without_time_did_not_take_place() {
        let stop = AtomicBool::new(true);
        let victim = Victim {
            address: String::new(),
            followers: Vec::new(),
            keys: 0,
            release: Instant::now(),
            stop: &stop,
            with_password: false,
        };
        assert!(victim.repeat(Duration::ZERO, || Ok(())).is_err());
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
            with_password: false,
        };
        let now = Instant::now();
        let later = victim(now + Duration::from_secs(3_600));
        assert!(later.holds_back() && later.goes_on());
        assert!(!victim(now).holds_back() && victim(now).goes_on());
        stop.store(true, Relaxed);
        assert!(!later.holds_back() && !later.goes_on());
    }
}
