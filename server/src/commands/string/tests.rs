//! What replies alone do not show: deadlines at the time of the entry, versions, counts, limits.

use super::STRING_BYTES_MAX;
use crate::commands;
use crate::commands::test_support::{Runner, text};
use protocol::Request;
use std::collections::BTreeSet;

#[test]
fn a_key_set_to_expire_in_the_past_is_gone_and_leaves_nothing() {
    let mut run = Runner::new();
    run.check(&[
        ("SET k v EXAT 1000", "OK"),
        ("GET k", "nil"),
        ("SET k v", "OK"),
        ("SET k w PXAT 1000000", "OK"),
        ("GETEX k", "nil"),
    ]);
    assert_eq!((run.counts(0), run.rows().len()), ((0, 0), 0));
    run.check(&[("SET k v PXAT 1000001", "OK"), ("GET k", "v"), ("GETEX k EXAT 5", "v")]);
    assert_eq!(run.counts(0), (0, 0));
}

#[test]
fn times_to_live_count_from_the_time_of_the_entry() {
    let mut run = Runner::new();
    for request in ["SET k v EX 2", "SET k v PX 2000", "SETEX k 2 v", "PSETEX k 2000 v"] {
        run.check(&[(request, "OK"), ("PEXPIRETIME k", ":1002000")]);
    }
    run.check(&[("SET k v", "OK"), ("GETEX k EX 2", "v"), ("PEXPIRETIME k", ":1002000")]);
    assert_eq!(run.counts(0), (1, 1));
    run.now_ms = 1_001_999;
    run.check(&[("GET k", "v"), ("PTTL k", ":1")]);
    run.now_ms = 1_002_000;
    run.check(&[("GET k", "nil"), ("TTL k", ":-2"), ("SET k w XX", "nil"), ("SETNX k w", ":1")]);
    run.check(&[("TTL k", ":-1")]);
    assert_eq!(run.counts(0), (1, 0));
}

#[test]
fn an_overdue_value_is_nobodys_start() {
    for (request, reply, value) in [
        ("APPEND k x", ":1", "x"),
        ("INCRBY k 5", ":5", "5"),
        ("INCRBYFLOAT k 0.5", "0.5", "0.5"),
        ("SETRANGE k 1 x", ":2", "\\x00x"),
        ("GETSET k x", "nil", "x"),
        ("SET k x KEEPTTL GET", "nil", "x"),
        ("MSETNX k x", ":1", "x"),
    ] {
        let mut run = Runner::new();
        run.check(&[("SET k 70 PX 10", "OK")]);
        run.now_ms += 10;
        run.check(&[(request, reply), ("GET k", value), ("PTTL k", ":-1")]);
        assert_eq!(run.counts(0), (1, 0), "{request}");
    }
}

#[test]
fn changes_of_a_value_keep_its_deadline_or_drop_it() {
    for (request, kept) in [
        ("APPEND k 1", true),
        ("INCR k", true),
        ("INCRBYFLOAT k 1", true),
        ("SETRANGE k 0 1", true),
        ("SET k 1 KEEPTTL", true),
        ("GETEX k", true),
        ("SET k 1", false),
        ("GETSET k 1", false),
        ("MSET k 1", false),
        ("GETEX k PERSIST", false),
    ] {
        let mut run = Runner::new();
        run.check(&[("SET k 70 PX 10", "OK")]);
        run.run(request);
        assert_eq!(run.run("PEXPIRETIME k") == ":1000010", kept, "{request}");
        assert_eq!(run.counts(0), (1, u64::from(kept)), "{request}");
    }
}

#[test]
fn only_changes_give_a_key_a_new_version() {
    let mut run = Runner::new();
    run.check(&[("SET k 70", "OK")]);
    let before = run.version("k");
    for request in [
        "SET k v NX",
        "SETNX k v",
        "MSETNX other v k v",
        "GETEX k",
        "GETEX k PERSIST",
        "GETEX k EX 0",
        "SETRANGE k 0 ",
        "INCRBY k x",
        "INCRBY k 9223372036854775807",
        "INCRBYFLOAT k inf",
        "SET k v EX 0",
        "DECRBY k -9223372036854775808",
    ] {
        run.run(request);
        assert_eq!(run.version("k"), before, "{request}");
    }
    for request in ["SET k 70", "APPEND k 1", "GETEX k EX 5", "GETEX k PERSIST", "INCRBY k 0"] {
        run.run(request);
        assert_eq!(run.version("k"), run.log_index, "{request}");
    }
    run.check(&[("GETDEL k", "701")]);
    assert_eq!(run.version("k"), 0);
}

#[test]
fn a_key_named_twice_is_one_key() {
    let mut run = Runner::new();
    run.check(&[("MSET k 1 k 2", "OK"), ("GET k", "2"), ("MSETNX a 1 a 2", ":1"), ("GET a", "2")]);
    assert_eq!(run.counts(0), (2, 0));
}

#[test]
fn strings_stay_within_their_limit() {
    let mut run = Runner::new();
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    let end = STRING_BYTES_MAX.to_string();
    run.check(&[
        (&format!("SETRANGE k {end} x"), too_long),
        ("SETRANGE k 9223372036854775807 x", too_long),
        (&format!("SETRANGE k {end} "), ":0"),
        ("EXISTS k", ":0"),
    ]);
    assert!(super::check_length(STRING_BYTES_MAX, 0).is_ok());
    assert!(super::check_length(STRING_BYTES_MAX, 1).is_err());
    assert!(super::check_length(usize::MAX, 1).is_err());
}

#[test]
fn lcs_answers_for_the_keys_there_are() {
    let mut run = Runner::new();
    run.check(&[
        ("MSET a ohmytext b mynewtext", "OK"),
        ("LCS a b", "mytext"),
        ("LCS a b LEN", ":6"),
        ("LCS a missing", ""),
        ("LCS a b LEN IDX", "-ERR If you want both the length and indexes, please just use IDX."),
    ]);
    let big = "x".repeat(12_000);
    run.check(&[(&format!("MSET a {big} b {big}"), "OK")]);
    let refused = "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
    run.check(&[("LCS a b LEN", refused)]);
}

#[test]
fn values_and_keys_are_any_bytes() {
    let mut run = Runner::new();
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(text(&run.request(&[b"SET", &all[..], &all[..]])), "OK");
    let value = run.request(&[b"GET", &all[..]]);
    assert_eq!(value, protocol::Reply::bulk(&all));
}

/// Others are answered when they are applied, so that nobody is told OK who must be told otherwise.
#[test]
fn what_is_answered_before_it_is_applied_is_answered_so_whatever_the_data_hold() {
    let is_certain = |request: &str| {
        let request = Request::from_parts(&request.split(' ').collect::<Vec<_>>());
        commands::answers_ok(&request)
    };
    for before in ["DEL k", "SET k v", "SET k v PX 10", "SET k v PX 100"] {
        for request in ["SET k w", "MSET k w", "MSET a 1 k x k w"] {
            let mut run = Runner::new();
            run.run(before);
            run.now_ms += 10;
            assert!(is_certain(request), "{request}");
            run.check(&[(request, "OK"), ("GET k", "w")]);
        }
    }
    let mut certain = BTreeSet::new();
    for spec in commands::all() {
        for length in 1..8 {
            let mut words = vec!["x"; length];
            words[0] = spec.name;
            if is_certain(&words.join(" ")) {
                certain.insert((spec.name, length));
            }
        }
    }
    assert_eq!(certain, BTreeSet::from([("set", 3), ("mset", 3), ("mset", 5), ("mset", 7)]));
}
