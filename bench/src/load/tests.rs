//! The load generator against a server of a few lines in this process.

use super::*;
use crate::keys::Distribution;
use crate::report::LoadReport;
use crate::workload::Presence;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::{OwnedFrame, Resp2Frame};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// How the stub behaves.
#[derive(Clone, Default)]
struct Stub {
    /// Every request for a key gets these bytes.
    answer: Option<String>,
    /// The owner of all slots, when it is not the stub itself.
    slots: Option<u16>,
    /// The integer that WAIT gets.
    replicas: u32,
    /// Hangs up in the middle of each connection, after this many requests.
    hang_up_after: Option<usize>,
    /// Stops answering once, after so many requests on any connection, for a time.
    pause: Option<(usize, Duration)>,
    served: Arc<AtomicUsize>,
    /// Reads requests and never answers the measured ones.
    mute: bool,
    /// Names of the commands received.
    seen: Arc<Mutex<HashSet<String>>>,
    keys: Arc<Mutex<HashSet<Vec<u8>>>>,
}

impl Stub {
    /// Starts serving on a free port; threads end with their connections.
    fn start(self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stub = self.clone();
                std::thread::spawn(move || stub.serve(stream.unwrap(), port));
            }
        });
        port
    }

    fn serve(&self, mut stream: TcpStream, port: u16) {
        let (mut received, mut chunk, mut requests) = (Vec::new(), vec![0; 65_536], 0);
        loop {
            let count = stream.read(&mut chunk).unwrap_or(0);
            if count == 0 {
                return;
            }
            received.extend_from_slice(&chunk[..count]);
            let mut replies = Vec::new();
            while let Some((frame, used)) = decode(&received).unwrap() {
                received.drain(..used);
                requests += 1;
                self.pause_when_due();
                if self.hang_up_after.is_some_and(|limit| requests > limit) {
                    return;
                }
                replies.extend_from_slice(self.reply(&frame, port).as_bytes());
            }
            if stream.write_all(&replies).is_err() {
                return;
            }
        }
    }

    fn pause_when_due(&self) {
        let served = self.served.fetch_add(1, Ordering::SeqCst);
        if let Some((after, time)) = self.pause.filter(|&(after, _)| served == after) {
            let _everybody_waits = self.keys.lock().unwrap();
            assert_eq!(served, after);
            std::thread::sleep(time);
        }
    }

    fn reply(&self, request: &OwnedFrame, port: u16) -> String {
        let OwnedFrame::Array(parts) = request else { panic!("a request is an array") };
        let part = |index: usize| parts[index].as_bytes().unwrap().to_vec();
        let name = String::from_utf8(part(0)).unwrap();
        self.seen.lock().unwrap().insert(name.clone());
        match name.as_str() {
            "HELLO" => "%1\r\n+proto\r\n:3\r\n".to_owned(),
            "READONLY" => "+OK\r\n".to_owned(),
            "CLUSTER" => {
                let owner = self.slots.unwrap_or(port);
                format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{owner}\r\n")
            }
            "WAIT" => format!(":{}\r\n", self.replicas),
            _ if self.mute => String::new(),
            _ => self.reply_with_key(&name, part(1)),
        }
    }

    fn reply_with_key(&self, name: &str, key: Vec<u8>) -> String {
        if let Some(answer) = &self.answer {
            return answer.clone();
        }
        let known = !self.keys.lock().unwrap().insert(key);
        match name {
            "GET" if known => "$5\r\n+OK\r\n\r\n".to_owned(),
            "GET" => "$-1\r\n".to_owned(),
            "INCR" => ":1\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        }
    }
}

fn plan(port: u16, verb: Verb) -> Plan {
    Plan {
        protocol: Protocol::Resp,
        addresses: vec![format!("127.0.0.1:{port}")],
        workload: Workload {
            verb,
            read_percent: 50,
            mset_keys: 2,
            first_key: 0,
            presence: Presence::Unknown,
            keys: 100,
            distribution: Distribution::Uniform,
            value_bytes: 10,
        },
        connections: 3,
        pipeline: 4,
        threads: 1,
        resp3: false,
        cluster: false,
        readonly: false,
        wait: None,
        password: None,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(20),
        drain: Duration::from_millis(500),
        requests: Some(1_001),
        rate: None,
        seed: 1,
        stop: Stop::default(),
    }
}

#[test]
fn every_request_is_counted_once_for_every_verb() {
    for verb in [Verb::Set, Verb::Get, Verb::Incr, Verb::Mset, Verb::Mix] {
        let port = Stub::default().start();
        let outcome = run(&plan(port, verb), &Watch::default()).unwrap();
        assert_eq!(outcome.tally.operations(), 1_001, "{verb:?}");
        assert_eq!(outcome.tally.failures(), 0, "{verb:?}");
        assert_eq!(outcome.tally.latency_of_all().unwrap().count, 1_001);
        assert!(outcome.operations_per_second() > 0.0);
    }
}

#[test]
fn threads_share_connections_and_requests() {
    let stub = Stub::default();
    let port = stub.clone().start();
    let plan = Plan { threads: 2, resp3: true, readonly: true, ..plan(port, Verb::Set) };
    let outcome = run(&plan, &Watch::default()).unwrap();
    assert_eq!(outcome.tally.operations(), 1_001);
    let seen = stub.seen.lock().unwrap();
    assert!(seen.contains("HELLO") && seen.contains("READONLY"), "{seen:?}");
}

#[test]
fn null_is_a_failure_where_keys_were_filled_and_the_only_success_where_none_exists() {
    let with = |presence| {
        let base = plan(Stub::default().start(), Verb::Get);
        let workload = Workload { presence, ..base.workload.clone() };
        run(&Plan { workload, ..base }, &Watch::default()).unwrap().tally
    };
    // The stub knows a key from the second request on.
    let unknown = with(Presence::Unknown);
    assert_eq!((unknown.operations(), unknown.failures()), (1_001, 0));
    assert!(unknown.misses > 0);
    let filled = with(Presence::Filled);
    assert!(filled.misses > 0 && filled.failures() == filled.misses);
    assert_eq!(filled.operations() + filled.misses, 1_001);
    assert_eq!(filled.errors["MISS"].count, filled.misses);
    let absent = with(Presence::Absent);
    assert!(absent.operations() > 0 && absent.failures() > 0);
    assert_eq!(absent.operations() + absent.failures(), 1_001);
}

#[test]
fn a_run_ends_when_it_is_stopped() {
    let port = Stub::default().start();
    let stop = Stop::default();
    let stopped = stop.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        stopped.now();
    });
    let duration = Duration::from_secs(600);
    let plan = Plan { requests: None, duration, stop, ..plan(port, Verb::Set) };
    let outcome = run(&plan, &Watch::default()).unwrap();
    assert!(outcome.window < Duration::from_secs(60), "{:?}", outcome.window);
    let counted = outcome.operations_per_second() * outcome.window.as_secs_f64();
    assert!((counted - outcome.tally.operations() as f64).abs() < 1.0);
}

#[test]
fn a_run_ends_with_its_window_and_leaves_out_the_warm_up() {
    let port = Stub::default().start();
    let plan = Plan {
        requests: None,
        warmup: Duration::from_millis(100),
        duration: Duration::from_millis(200),
        ..plan(port, Verb::Get)
    };
    let outcome = run(&plan, &Watch::default()).unwrap();
    let elapsed = outcome.tally.elapsed();
    assert!((Duration::from_millis(100)..Duration::from_secs(2)).contains(&elapsed), "{elapsed:?}");
    assert_eq!(outcome.tally.misses, 0, "all 100 keys were asked for during the warm-up");
    assert_eq!(outcome.usage.last().unwrap().name, "client");
}

#[test]
fn preload_writes_every_key() {
    let stub = Stub::default();
    let port = stub.clone().start();
    preload(&plan(port, Verb::Get)).unwrap();
    assert_eq!(stub.keys.lock().unwrap().len(), 100);
    let failing = Stub { answer: Some("-ERR full\r\n".to_owned()), ..Stub::default() }.start();
    assert!(preload(&plan(failing, Verb::Get)).is_err());
}

#[test]
fn error_replies_are_no_success() {
    let port = Stub { answer: Some("-ERR no\r\n".to_owned()), ..Stub::default() }.start();
    let outcome = run(&plan(port, Verb::Set), &Watch::default()).unwrap();
    assert_eq!((outcome.tally.operations(), outcome.tally.failures()), (0, 1_001));
    assert_eq!(outcome.tally.errors["ERR"].count, 1_001);
}

#[test]
fn a_reply_of_a_wrong_type_is_no_success() {
    let port = Stub { answer: Some(":1\r\n".to_owned()), ..Stub::default() }.start();
    let outcome = run(&plan(port, Verb::Set), &Watch::default()).unwrap();
    assert_eq!(outcome.tally.operations(), 0);
    assert!(outcome.tally.errors.contains_key("UNEXPECTED"), "{:?}", outcome.tally.errors);
}

#[test]
fn writes_count_when_enough_replicas_have_answered() {
    let port = Stub { replicas: 2, ..Stub::default() }.start();
    let enough = run(&Plan { wait: Some(2), ..plan(port, Verb::Set) }, &Watch::default()).unwrap();
    assert_eq!((enough.tally.operations(), enough.tally.failures()), (1_001, 0));
    let too_few = run(&Plan { wait: Some(3), ..plan(port, Verb::Set) }, &Watch::default()).unwrap();
    assert_eq!((too_few.tally.operations(), too_few.tally.wait_failed), (0, 1_001));
}

#[test]
fn redirects_are_followed_in_a_cluster_and_only_counted_otherwise() {
    let leader = Stub::default().start();
    let moved = format!("-MOVED 1 127.0.0.1:{leader}\r\n");
    // The stub claims the slots at first, as a node does that has just lost its leadership.
    let follower = Stub { answer: Some(moved), ..Stub::default() }.start();
    let lost = run(&plan(follower, Verb::Set), &Watch::default()).unwrap();
    assert_eq!((lost.tally.operations(), lost.tally.redirects), (0, 1_001));
    let found =
        run(&Plan { cluster: true, ..plan(follower, Verb::Set) }, &Watch::default()).unwrap();
    assert_eq!(found.tally.redirects, 3 * 4, "one round of each connection");
    assert_eq!(found.tally.operations(), 1_001 - 12);
}

#[test]
fn the_owner_of_slots_is_asked_first() {
    let leader = Stub::default().start();
    let answer = Some("-ERR not me\r\n".to_owned());
    let follower = Stub { answer, slots: Some(leader), ..Stub::default() };
    let plan = Plan { cluster: true, ..plan(follower.start(), Verb::Set) };
    let outcome = run(&plan, &Watch::default()).unwrap();
    assert_eq!((outcome.tally.operations(), outcome.tally.failures()), (1_001, 0));
}

#[test]
fn a_broken_connection_is_made_again_and_its_requests_are_counted() {
    let port = Stub { hang_up_after: Some(100), ..Stub::default() }.start();
    let outcome = run(&plan(port, Verb::Set), &Watch::default()).unwrap();
    let tally = &outcome.tally;
    assert!(tally.connection_errors > 0);
    assert_eq!(tally.operations() + tally.unanswered, 1_001);
}

#[test]
fn a_server_that_does_not_answer_cannot_hold_a_run() {
    let port = Stub { mute: true, ..Stub::default() }.start();
    let plan = Plan { duration: Duration::from_millis(50), ..plan(port, Verb::Set) };
    let outcome = run(&plan, &Watch::default()).unwrap();
    assert_eq!((outcome.tally.operations(), outcome.tally.unanswered), (0, 3 * 4));
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let port = Stub::default().start();
    let plan = Plan {
        rate: Some(2_000.0),
        requests: None,
        duration: Duration::from_millis(500),
        ..plan(port, Verb::Set)
    };
    let outcome = run(&plan, &Watch::default()).unwrap();
    // 166.7 rounds of 4 on each of three connections, the first of each at once or staggered.
    assert!((990..=1_010).contains(&outcome.tally.operations()), "{}", outcome.tally.operations());
    assert!(outcome.tally.lag().unwrap().count > 0);
    let closed = Plan { rate: None, requests: Some(10), ..plan };
    assert_eq!(run(&closed, &Watch::default()).unwrap().tally.lag(), None);
}

#[test]
fn a_stall_is_seen_by_all_requests_that_were_due_meanwhile() {
    let stall = Duration::from_millis(300);
    let measure = |rate| {
        let port = Stub { pause: Some((300, stall)), ..Stub::default() }.start();
        let plan = Plan {
            rate,
            requests: None,
            connections: 1,
            pipeline: 1,
            duration: Duration::from_millis(1_000),
            ..plan(port, Verb::Set)
        };
        run(&plan, &Watch::default()).unwrap()
    };
    let open = measure(Some(1_000.0));
    let latency = open.tally.latency_of_all().unwrap();
    assert!(
        (995..=1_001).contains(&latency.count),
        "nothing that was due is left out: {latency:?}"
    );
    // 300 of 1000 requests were due in the stall and waited 150 ms in the mean, 45 ms over all.
    assert!(latency.p90_us > 150_000.0 && latency.mean_us > 40_000.0, "{latency:?}");
    assert!(open.tally.longest_gap >= stall);
    let closed = measure(None).tally.latency_of_all().unwrap();
    assert!(closed.p99_us < 100_000.0, "a closed loop hides it: {closed:?}");
}

#[test]
fn what_an_open_loop_could_not_send_is_unanswered() {
    let port = Stub { mute: true, ..Stub::default() }.start();
    let plan = Plan {
        rate: Some(1_200.0),
        requests: None,
        duration: Duration::from_millis(500),
        drain: Duration::from_millis(100),
        ..plan(port, Verb::Set)
    };
    let outcome = run(&plan, &Watch::default()).unwrap();
    assert_eq!((outcome.tally.operations(), outcome.tally.unanswered), (0, 600));
    assert!(outcome.tally.longest_gap >= Duration::from_millis(600));
}

#[test]
fn nobody_there_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(run(&plan(port, Verb::Set), &Watch::default()).is_err());
    assert!(
        run(&Plan { threads: 3, cluster: true, ..plan(port, Verb::Set) }, &Watch::default())
            .is_err()
    );
}

#[test]
fn reports_hold_the_counts() {
    let port = Stub::default().start();
    let plan = plan(port, Verb::Mix);
    let outcome = run(&plan, &Watch::default()).unwrap();
    let report = LoadReport::new(&plan, &outcome);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["operations"], 1_001);
    assert_eq!(json["latency"]["count"], 1_001);
    let table = report.to_string();
    assert!(table.contains("(1001 in") && table.contains("reads"), "{table}");
}

#[test]
fn shares_add_up() {
    for (all, parts) in [(0, 1), (10, 3), (2, 5), (1_001, 2)] {
        let shares: Vec<u64> = (0..parts).map(|part| share(all, part, parts)).collect();
        assert_eq!(shares.iter().sum::<u64>(), all);
        assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
    }
}
