//! What hostile clients do. Each attack runs on threads of its own, until it is told to stop, and says
//! what was not as it should be.
//!
//! One that did not take place proves nothing: each shows by replies, by figures of the server or by
//! the state of a process that it was felt, and is a miss otherwise.

use super::victim::{
    POLL, Victim, ask, count_elements, expect, expect_unread, request, string, text, words,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longest that a part of a reply with every key may take: all are looked at before the first comes.
const WAIT_FOR_ALL_KEYS: Duration = Duration::from_secs(120);
/// The text for one client too many.
const REFUSED: &[u8] = b"-ERR max number of clients reached\r\n";
/// How long a process may take to stand still.
const STOPS_WITHIN: Duration = Duration::from_secs(2);
/// Length of a value that fills the buffers of sockets soon.
const LONG: usize = 1 << 20;

/// Ends with what was wrong.
pub(super) type Attack = fn(&Victim<'_>) -> Result<(), String>;

/// One attacker for each of `plans`, on a thread of its own; ends with what was wrong first.
fn all_at_once<P: Send>(
    plans: impl IntoIterator<Item = P>,
    attack: impl Fn(P) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let attack = &attack;
    std::thread::scope(|scope| {
        let start = |plan| scope.spawn(move || attack(plan));
        let running: Vec<_> = plans.into_iter().map(start).collect();
        let panicked = |_| Err("an attacker panicked".to_owned());
        running.into_iter().try_for_each(|attacker| attacker.join().unwrap_or_else(panicked))
    })
}

pub(super) fn idle_crowd(victim: &Victim<'_>) -> Result<(), String> {
    let mut observer = victim.observer()?;
    let crowd = victim.crowd(1_000)?;
    observer.expect_clients(crowd.len())?;
    victim.wait();
    observer.expect_clients(crowd.len())
}

/// Ten thousand, and then some more, who must be told.
pub(super) fn ten_thousand(victim: &Victim<'_>) -> Result<(), String> {
    let mut observer = victim.observer()?;
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
    observer.expect_clients(9_900)?;
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
    const RECEIVED: &str = "total_connections_received";
    let mut observer = victim.observer()?;
    let before = observer.figure(RECEIVED)?;
    let mut made = 0;
    victim.repeat(Duration::from_millis(10), || {
        made += victim.crowd(20)?.len() as u64;
        Ok(())
    })?;
    observer.expect(RECEIVED, before + made)
}

/// With a password set, what strangers claim is refused before it costs anything.
pub(super) fn strangers(victim: &Victim<'_>) -> Result<(), String> {
    let mut quiet = Vec::new();
    victim.repeat(Duration::from_millis(2), || {
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
        Ok(())
    })?;
    victim.observer()?.expect_clients(quiet.len())
}

/// Strangers who guess the password, from several connections at once, as fast as they are told no.
pub(super) fn guesses(victim: &Victim<'_>) -> Result<(), String> {
    const GUESSERS: usize = 8;
    let guess = |guesser: usize| {
        let mut client = victim.connect()?;
        let mut number = 0;
        victim.repeat(Duration::ZERO, || {
            number += 1;
            let wrong = format!("guess-{guesser}-{number}");
            expect(&mut client, &format!("AUTH {wrong}"), "-WRONGPASS")?;
            expect(&mut client, &format!("HELLO 3 AUTH default {wrong}"), "-WRONGPASS")?;
            expect(&mut client, "GET key", "-NOAUTH")
        })
    };
    all_at_once(0..GUESSERS, guess)
}

/// Strangers who send without end and read none of the replies.
pub(super) fn deaf_strangers(victim: &Victim<'_>) -> Result<(), String> {
    const REPLY: &str = "-NOAUTH Authentication required.\r\n";
    let mut crowd = victim.crowd(100)?;
    let gets = words("GET key").repeat(200);
    let mut sent = vec![0; crowd.len()];
    for client in &mut crowd {
        client.set_write_timeout(Some(Duration::from_millis(1))).map_err(text)?;
    }
    victim.repeat(POLL, || {
        for (client, at) in crowd.iter_mut().zip(&mut sent) {
            // Those that are closed, or not read any more, are as they should be.
            *at = (*at + client.write(&gets[*at..]).unwrap_or(0)) % gets.len();
        }
        Ok(())
    })?;
    crowd.iter_mut().try_for_each(|client| expect_unread(client, REPLY, 100 * REPLY.len()))
}

/// The beginnings of many requests, a byte more now and then.
pub(super) fn half_requests(victim: &Victim<'_>) -> Result<(), String> {
    let mut observer = victim.observer()?;
    let mut crowd = victim.crowd(5_000)?;
    for client in &mut crowd {
        client.write_all(b"*3\r\n$3\r\nSET\r\n$400\r\nk").map_err(text)?;
    }
    while victim.goes_on() {
        let mut slow = crowd.iter_mut().take(200);
        slow.try_for_each(|client| client.write_all(b"k").map_err(text))?;
        std::thread::sleep(Duration::from_millis(500));
    }
    observer.expect_clients(crowd.len())
}

pub(super) fn deaf_readers(victim: &Victim<'_>) -> Result<(), String> {
    let mut client = victim.connect()?;
    let (reply, _) = ask(&mut client, &request(&[&b"SET"[..], b"long", &vec![b'v'; LONG]]))?;
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
    crowd.iter_mut().try_for_each(|client| expect_unread(client, &format!("${LONG}\r\n"), 1))
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
    // Some of them may be closed or refused, for the bound of what all clients hold; not all.
    let heard = deaf.iter_mut().map(|client| expect_unread(client, &format!("${LONGEST}\r\n"), 1));
    let silent: Vec<String> = heard.filter_map(Result::err).collect();
    if silent.len() == deaf.len() {
        return Err(silent.join(", "));
    }
    drop(deaf);
    expect(&mut client, "DEL longest", ":1")
}

/// Requests without end from a client that reads no reply.
pub(super) fn endless_pipelines(victim: &Victim<'_>) -> Result<(), String> {
    const REPLIES: usize = 1_000;
    let attack = |(line, reply): (&str, &str)| {
        let mut client = victim.connect()?;
        // The server stops reading; then this one waits, too.
        victim.push(&mut client, &words(line).repeat(REPLIES))?;
        victim.wait();
        expect_unread(&mut client, reply, REPLIES * "$-1\r\n".len())
    };
    let pipelines = [("SET endless value", "+OK"), ("GET endless", "$"), ("PING", "+PONG")];
    all_at_once(pipelines, attack)
}

pub(super) fn long_blocks(victim: &Victim<'_>) -> Result<(), String> {
    let mut client = victim.connect()?;
    victim.repeat(Duration::from_millis(200), || {
        expect(&mut client, "MULTI", "+OK")?;
        client.write_all(&words("INCR block").repeat(2_000)).map_err(text)?;
        let mut left = b"+QUEUED\r\n".len() * 2_000;
        let mut chunk = vec![0; 64 << 10];
        while left > 0 {
            let most = left.min(chunk.len());
            match client.read(&mut chunk[..most]).map_err(text)? {
                0 => return Err("the connection was closed within a block".to_owned()),
                count => left -= count,
            }
        }
        expect(&mut client, "EXEC", "*2000")?;
        // What is left of the reply goes with the connection.
        client = victim.connect()?;
        Ok(())
    })
}

/// KEYS with a pattern that nothing matches, and SCAN beside it.
pub(super) fn walks(victim: &Victim<'_>) -> Result<(), String> {
    victim.repeat(Duration::ZERO, || {
        // The pattern matches nothing, but every key is looked at.
        expect(&mut victim.connect()?, "KEYS nothing-like-this*", "*0")?;
        expect(&mut victim.connect()?, "SCAN 0 COUNT 10000", "*2")
    })
}

/// `KEYS *`, again and again; each reply is read to its end.
pub(super) fn keys_of_everything(victim: &Victim<'_>) -> Result<(), String> {
    let mut client = victim.connect()?;
    client.set_read_timeout(Some(WAIT_FOR_ALL_KEYS)).map_err(text)?;
    victim.repeat(Duration::ZERO, || match count_elements(&mut client, &words("KEYS *"))? {
        names if names < victim.keys => Err(format!("KEYS *: {names} names, not {}", victim.keys)),
        _ => Ok(()),
    })
}

pub(super) fn many_keys(victim: &Victim<'_>) -> Result<(), String> {
    let names = |count: u64| (0..count).map(|key| format!("many:{}", key % 10_000));
    let mut mget = vec!["MGET".to_owned()];
    mget.extend(names(100_000));
    let mut mset = vec!["MSET".to_owned()];
    mset.extend(names(5_000).flat_map(|key| [key, "v".to_owned()]));
    let (mget, mset) = (request(&mget), request(&mset));
    victim.repeat(Duration::from_millis(100), || {
        let (reply, _) = ask(&mut victim.connect()?, &mset)?;
        if reply != "+OK" {
            return Err(format!("MSET of 5,000 keys: {reply}"));
        }
        let (reply, _) = ask(&mut victim.connect()?, &mget)?;
        if !reply.starts_with("*100000") {
            return Err(format!("MGET of 100,000 keys: {reply}"));
        }
        Ok(())
    })
}

/// A MONITOR that reads nothing, while long commands come.
pub(super) fn deaf_monitor(victim: &Victim<'_>) -> Result<(), String> {
    let mut monitor = victim.connect()?;
    expect(&mut monitor, "MONITOR", "+OK")?;
    let set = request(&[&b"SET"[..], b"shown", &vec![b'v'; 256 << 10]]);
    let mut client = victim.connect()?;
    victim.repeat(Duration::from_millis(10), || match ask(&mut client, &set)? {
        (reply, _) if reply == "+OK" => Ok(()),
        (reply, _) => Err(format!("SET beside a MONITOR: {reply}")),
    })?;
    expect_monitored(&mut monitor)
}

/// Proves that commands were shown: lines of `+time [database address] "name" ...`.
fn expect_monitored(monitor: &mut TcpStream) -> Result<(), String> {
    let mut unread = vec![0; 4 << 10];
    monitor.read_exact(&mut unread).map_err(|error| format!("the MONITOR saw nothing: {error}"))?;
    let shown = String::from_utf8_lossy(&unread);
    match shown.contains("] \"") {
        true => Ok(()),
        false => Err(format!("the MONITOR saw {:?}", shown.chars().take(80).collect::<String>())),
    }
}

/// Questions about the node itself, while two thousand clients are there to be listed.
pub(super) fn questions(victim: &Victim<'_>) -> Result<(), String> {
    let crowd = victim.crowd(2_000)?;
    let mut client = victim.connect()?;
    victim.repeat(Duration::from_millis(100), || {
        let listed = string(&mut client, "CLIENT LIST")?.lines().count();
        if listed < crowd.len() {
            return Err(format!("CLIENT LIST: {listed} clients, not {}", crowd.len()));
        }
        string(&mut client, "INFO everything")?;
        if count_elements(&mut client, &words("CONFIG GET *"))? == 0 {
            return Err("CONFIG GET *: no setting".to_owned());
        }
        client = victim.connect()?;
        Ok(())
    })
}

/// All keys at once, and their removal behind it.
pub(super) fn flush_all(victim: &Victim<'_>) -> Result<(), String> {
    let mut client = victim.connect()?;
    let keys = key_count(&mut client)?;
    if keys < victim.keys {
        return Err(format!("{keys} keys before FLUSHALL, not {}", victim.keys));
    }
    let begun = Instant::now();
    expect(&mut client, "FLUSHALL", "+OK")?;
    if begun.elapsed() > Duration::from_secs(1) {
        return Err(format!("FLUSHALL took {:?}", begun.elapsed()));
    }
    let left = key_count(&mut client)?;
    if left >= keys {
        return Err(format!("{left} keys after FLUSHALL, {keys} before"));
    }
    victim.wait();
    Ok(())
}

fn key_count(client: &mut TcpStream) -> Result<u64, String> {
    let (reply, _) = ask(client, &words("DBSIZE"))?;
    let count = reply.strip_prefix(':').and_then(|count| count.parse().ok());
    count.ok_or_else(|| format!("DBSIZE: {reply}"))
}

fn signal(pid: u32, signal: rustix::process::Signal) -> Result<(), String> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or("no process")?;
    rustix::process::kill_process(pid, signal).map_err(|error| error.to_string())
}

/// Stops a process, and proves that it stands still.
fn stop(pid: u32) -> Result<(), String> {
    signal(pid, rustix::process::Signal::STOP)?;
    let begun = Instant::now();
    while !is_stopped(pid)? {
        if begun.elapsed() > STOPS_WITHIN {
            return Err("the follower did not stop".to_owned());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether the state of a process, behind its name in parentheses, is T.
fn is_stopped(pid: u32) -> Result<bool, String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(text)?;
    Ok(stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
}

/// A follower that stands still, and then has to catch up.
pub(super) fn stopped_follower(victim: &Victim<'_>) -> Result<(), String> {
    let follower = *victim.followers.first().ok_or("there is no follower")?;
    let stopped = stop(follower);
    while stopped.is_ok() && victim.holds_back() {
        std::thread::sleep(POLL);
    }
    signal(follower, rustix::process::Signal::CONT)?;
    stopped?;
    victim.wait();
    Ok(())
}

/// A follower that has a fifth of its time, and then all of it.
pub(super) fn slow_follower(victim: &Victim<'_>) -> Result<(), String> {
    let follower = *victim.followers.first().ok_or("there is no follower")?;
    while victim.holds_back() {
        let stopped = stop(follower);
        std::thread::sleep(Duration::from_millis(80));
        signal(follower, rustix::process::Signal::CONT)?;
        stopped?;
        std::thread::sleep(Duration::from_millis(20));
    }
    victim.wait();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_attacker_that_is_wrong_is_told() {
        let odd = |number: u32| match number % 2 {
            0 => Ok(()),
            _ => Err(format!("{number} is odd")),
        };
        assert_eq!(all_at_once([2, 4], odd), Ok(()));
        assert_eq!(all_at_once([2, 3, 4], odd), Err("3 is odd".to_owned()));
    }

    #[test]
    fn a_process_that_runs_does_not_stand_still() {
        assert_eq!(is_stopped(std::process::id()), Ok(false));
        assert!(is_stopped(u32::MAX).is_err());
    }
}
