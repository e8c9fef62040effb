//! Writers against servers of a few lines that redirect, hang up and lose writes.

use super::*;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Serves SET and GET; `odd` changes the reply to the n-th request, an empty one hangs up.
fn serve(odd: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stored = Arc::new(Mutex::new((0, HashMap::<Vec<u8>, Vec<u8>>::new())));
    let odd = Arc::new(odd);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, stored, odd) =
                (stream.unwrap(), Arc::clone(&stored), Arc::clone(&odd));
            std::thread::spawn(move || {
                let (mut received, mut chunk) = (Vec::new(), vec![0; 65_536]);
                loop {
                    while let Some((frame, used)) = decode(&received).unwrap() {
                        received.drain(..used);
                        let OwnedFrame::Array(parts) = frame else { panic!("an array") };
                        let part = |index: usize| match &parts[index] {
                            OwnedFrame::BulkString(bytes) => bytes.clone(),
                            other => panic!("{other:?}"),
                        };
                        let mut stored = stored.lock().unwrap();
                        stored.0 += 1;
                        let name = String::from_utf8(part(0)).unwrap();
                        let reply = match odd(stored.0, &name) {
                            Some(text) if text.is_empty() => return,
                            Some(text) => text,
                            None if name == "SET" => {
                                stored.1.insert(part(1), part(2));
                                "+OK\r\n".to_owned()
                            }
                            None => stored.1.get(&part(1)).map_or("$-1\r\n".to_owned(), |value| {
                                let text = String::from_utf8_lossy(value);
                                format!("${}\r\n{text}\r\n", value.len())
                            }),
                        };
                        stream.write_all(reply.as_bytes()).unwrap();
                    }
                    match stream.read(&mut chunk) {
                        Ok(count) if count > 0 => received.extend_from_slice(&chunk[..count]),
                        _ => return,
                    }
                }
            });
        }
    });
    address
}

fn write_for(addresses: &[String], time: Duration) -> Vec<WriterLog> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    std::thread::spawn(move || {
        std::thread::sleep(time);
        flag.store(true, Ordering::Relaxed);
    });
    write_until(addresses, 4, 1_000.0, &stop).unwrap()
}

fn check(address: &str, logs: &[WriterLog]) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(missing(address, logs)).unwrap().0
}

#[test]
fn writers_keep_their_rate_follow_redirects_and_survive_lost_connections() {
    let leader = serve(|count, name| (name == "SET" && count == 50).then(String::new));
    let moved = format!("-MOVED 1 {leader}\r\n");
    let follower = serve(move |_, _| Some(moved.clone()));
    let logs = write_for(&[follower, leader.clone()], Duration::from_millis(500));
    let written: usize = logs.iter().map(|log| log.acknowledged.len()).sum();
    assert!((400..=504).contains(&written), "{written}");
    assert!(logs.iter().all(|log| log.given_up == 0));
    let errors: u64 = logs.iter().flat_map(|log| log.errors.get("UnexpectedEof")).sum();
    assert_eq!(errors, 1);
    assert!(logs.iter().any(|log| log.errors.contains_key("MOVED")));
    assert_eq!(check(&leader, &logs), 0);
}

#[test]
fn a_lost_write_is_found() {
    let forgetful =
        serve(|count, name| (name == "SET" && count == 7).then(|| "+OK\r\n".to_owned()));
    let logs = write_for(std::slice::from_ref(&forgetful), Duration::from_millis(100));
    assert_eq!(check(&forgetful, &logs), 1);
}
