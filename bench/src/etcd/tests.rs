//! The messages as etcd's definitions have them, and the client against a server in this process.

use super::*;
use crate::keys::Distribution;
use crate::load::Stop;
use crate::load::{self, Protocol};
use crate::process::Watch;
use crate::workload::Workload;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What the server has been given.
type Stored = Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>;

/// Serves gRPC on a free port: every Range of a key that was Put finds it; `refuse` answers errors.
fn serve(refuse: bool) -> (u16, Stored) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let stored = Stored::default();
    let shared = Arc::clone(&stored);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let shared = Arc::clone(&shared);
                        tokio::spawn(async move {
                            let path = request.uri().path().to_owned();
                            let mut body = request.into_body();
                            let mut received = BytesMut::new();
                            while let Some(chunk) = body.data().await {
                                let chunk = chunk.unwrap();
                                body.flow_control().release_capacity(chunk.len()).unwrap();
                                received.extend_from_slice(&chunk);
                            }
                            let length = u32::from_be_bytes(received[1..5].try_into().unwrap());
                            assert_eq!(length as usize, received.len() - GRPC_HEADER_BYTES);
                            let answer = answer(&path, &received[GRPC_HEADER_BYTES..], &shared);
                            let mut trailers = HeaderMap::new();
                            let status = if refuse { "14" } else { "0" };
                            trailers.insert("grpc-status", status.parse().unwrap());
                            let head = http::Response::new(());
                            let mut stream = respond.send_response(head, false).unwrap();
                            if !refuse {
                                stream.send_data(answer, false).unwrap();
                            }
                            stream.send_trailers(trailers).unwrap();
                        });
                    }
                });
            }
        });
    });
    (port, stored)
}

fn part(message: &[u8], wanted: u64) -> Option<&[u8]> {
    fields(message).find_map(|(number, field)| match field {
        Field::Bytes(bytes) if number == wanted => Some(bytes),
        _ => None,
    })
}

fn answer(path: &str, request: &[u8], stored: &Mutex<HashMap<Vec<u8>, Vec<u8>>>) -> Bytes {
    let mut stored = stored.lock().unwrap();
    let mut put = |put: &[u8]| {
        stored.insert(part(put, 1).unwrap().to_vec(), part(put, 2).unwrap().to_vec());
    };
    match path {
        "/etcdserverpb.KV/Put" => put(request),
        "/etcdserverpb.KV/Txn" => {
            for (number, field) in fields(request) {
                let (2, Field::Bytes(operation)) = (number, field) else { panic!("success only") };
                put(part(operation, 2).unwrap());
            }
        }
        "/etcdserverpb.KV/Range" => {
            if let Some(value) = stored.get(part(request, 1).unwrap()) {
                let value = value.clone();
                return message(|out| put_bytes(out, 2, &value));
            }
        }
        other => panic!("{other}"),
    }
    message(|_| {})
}

fn plan(port: u16, verb: Verb) -> Plan {
    Plan {
        protocol: Protocol::Etcd,
        addresses: vec![format!("127.0.0.1:{port}")],
        workload: Workload {
            verb,
            read_percent: 50,
            mset_keys: 2,
            first_key: 0,
            presence: Presence::Unknown,
            keys: 1_000,
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
        requests: Some(501),
        rate: None,
        seed: 1,
        stop: Stop::default(),
    }
}

#[test]
fn every_call_is_counted_once() {
    let (port, stored) = serve(false);
    load::preload(&plan(port, Verb::Get)).unwrap();
    assert_eq!(stored.lock().unwrap().len(), 1_000);
    assert!(stored.lock().unwrap().values().all(|value| value.len() == 10));
    for verb in [Verb::Set, Verb::Get, Verb::Mix] {
        let outcome = load::run(&plan(port, verb), &Watch::default()).unwrap();
        let tally = &outcome.tally;
        assert_eq!((tally.operations(), tally.failures()), (501, 0), "{verb:?}");
        assert_eq!(tally.misses, 0, "every key was loaded");
    }
    assert!(load::run(&plan(port, Verb::Incr), &Watch::default()).is_err(), "etcd has no counters");
}

#[test]
fn a_refused_call_is_no_success() {
    let (port, _) = serve(true);
    let outcome = load::run(&plan(port, Verb::Set), &Watch::default()).unwrap();
    assert_eq!((outcome.tally.operations(), outcome.tally.failures()), (0, 501));
    assert!(outcome.tally.errors.contains_key("GRPC-14"), "{:?}", outcome.tally.errors);
    assert!(load::preload(&plan(port, Verb::Set)).is_err());
}

#[test]
fn a_message_is_what_etcd_defines() {
    let put = message(|out| put_put(out, b"k", &[7; 200]));
    assert_eq!(put[..11], [0, 0, 0, 0, 206, 0x0a, 1, b'k', 0x12, 0xc8, 0x01]);
    let range = message(|out| put_range(out, b"k", true));
    assert_eq!(range[..], [0, 0, 0, 0, 5, 0x0a, 1, b'k', 0x38, 1]);
}

#[test]
fn status_tells_who_leads() {
    let status = |member: u64, leader: u64| {
        let mut header = BytesMut::new();
        header.put_slice(&[1 << 3, 5, 2 << 3]);
        put_varint(&mut header, member);
        let mut status = BytesMut::new();
        put_bytes(&mut status, 1, &header);
        put_bytes(&mut status, 2, b"3.4.23");
        status.put_u8(4 << 3);
        put_varint(&mut status, leader);
        leads_by(&status)
    };
    let large = u64::MAX - 3;
    assert_eq!(status(large, large), Some(true));
    assert_eq!(status(large, 9), Some(false));
    assert_eq!(status(large, 0), None);
    assert_eq!(leads_by(&[0xff]), None);
}
