//! What replies alone do not show: versions, counts, walks over changing keys, determinism.

use crate::commands::context::user_key;
use crate::commands::test_support::{Runner, text};
use protocol::Reply;
use std::collections::{BTreeMap, BTreeSet};
use storage::key::Position;

#[test]
fn a_deadline_that_has_come_removes_the_key() {
    for request in ["EXPIRE k 0", "EXPIRE k -5", "PEXPIREAT k 1000000", "EXPIREAT k 1000"] {
        let mut run = Runner::new();
        run.check(&[("SET k v EX 10", "OK"), (request, ":1"), ("EXISTS k", ":0")]);
        assert_eq!((run.counts(0), run.rows().len()), ((0, 0), 0), "{request}");
    }
    let mut run = Runner::new();
    run.check(&[("SET k v", "OK"), ("PEXPIREAT k 1000001", ":1"), ("EXISTS k", ":1")]);
    assert_eq!(run.counts(0), (1, 1));
    run.now_ms += 1;
    run.check(&[
        ("EXISTS k k", ":0"),
        ("TYPE k", "none"),
        ("DEL k", ":0"),
        ("EXPIRE k 10", ":0"),
        ("PERSIST k", ":0"),
        ("RENAME k l", "-ERR no such key"),
        ("COPY k l", ":0"),
        ("KEYS *", "[]"),
        ("RANDOMKEY", "nil"),
    ]);
}

#[test]
fn only_changes_give_a_key_a_new_version() {
    let mut run = Runner::new();
    run.check(&[("MSET k v other v", "OK")]);
    let before = run.version("k");
    for request in [
        "EXPIRE k 10 XX",
        "EXPIRE k 10 GT",
        "PERSIST k",
        "RENAME k k",
        "RENAMENX k other",
        "COPY other k",
        "COPY k k",
        "MOVE k 0",
        "MOVE k 16",
        "EXPIRE k 9223372036854775807",
        "FLUSHDB NOW",
        "SWAPDB 0 0",
    ] {
        run.run(request);
        assert_eq!(run.version("k"), before, "{request}");
    }
    for request in ["EXPIRE k 10", "PERSIST k", "COPY other k REPLACE", "RENAME other k"] {
        run.run(request);
        assert_eq!(run.version("k"), run.log_index, "{request}");
    }
    run.check(&[("MOVE k 1", ":1")]);
    assert_eq!(run.version("k"), 0);
}

#[test]
fn counts_follow_keys_to_other_names_and_databases() {
    let mut run = Runner::new();
    run.check(&[("SET a 1 PX 500", "OK"), ("SET b 2", "OK"), ("RENAME a b", "OK")]);
    assert_eq!(run.counts(0), (1, 1));
    run.check(&[("COPY b c DB 3", ":1"), ("COPY b c DB 3", ":0"), ("MOVE b 3", ":1")]);
    assert_eq!((run.counts(0), run.counts(3)), ((0, 0), (2, 2)));
    run.check(&[("SWAPDB 3 0", "OK"), ("PEXPIRETIME c", ":1000500"), ("DBSIZE", ":2")]);
    run.check(&[("COPY b x DB 5", ":1"), ("FLUSHDB", "OK"), ("DBSIZE", ":0")]);
    assert_eq!((run.counts(0), run.counts(5)), ((0, 0), (1, 1)));
    run.check(&[("FLUSHALL SYNC", "OK")]);
    assert_eq!(run.counts(5), (0, 0));
}

#[test]
fn databases_are_those_of_the_entry() {
    let mut run = Runner::new();
    let range = "-ERR DB index is out of range";
    run.check(&[
        ("SET k v", "OK"),
        ("MOVE k 15", ":1"),
        ("MOVE k 16", range),
        ("COPY k l DB 16", range),
        ("SWAPDB 0 16", range),
        ("COPY k l DB -1", range),
        ("MOVE k 256", range),
    ]);
}

/// Walks with SCAN, calling `between` before each step; how often each key came.
fn walk(
    run: &mut Runner,
    options: &str,
    mut between: impl FnMut(&mut Runner, usize),
) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut cursor = "0".to_owned();
    for step in 0..1000 {
        between(run, step);
        let request = format!("SCAN {cursor} {options}");
        let request: Vec<_> = request.split(' ').collect();
        let Reply::Array(parts) = run.request(&request) else { panic!("SCAN has an array") };
        let Reply::Array(keys) = &parts[1] else { panic!("the keys are an array") };
        for key in keys {
            *found.entry(text(key)).or_default() += 1;
        }
        cursor = text(&parts[0]);
        if cursor == "0" {
            return found;
        }
    }
    panic!("the walk has no end");
}

#[test]
fn a_walk_meets_every_key_once_whatever_else_comes_and_goes() {
    let mut run = Runner::new();
    let stay: BTreeSet<_> = (0..200).map(|n| format!("stay:{n}")).collect();
    for key in &stay {
        run.run(&format!("SET {key} v"));
    }
    for n in 0..100 {
        run.run(&format!("SET go:{n} v"));
    }
    let found = walk(&mut run, "COUNT 7", |run, step| {
        run.run(&format!("DEL go:{step}"));
        run.run(&format!("SET new:{step} v"));
    });
    let met = |key: &String| found.get(key) == Some(&1);
    assert!(stay.iter().all(met));
    assert!(found.values().all(|times| *times == 1));
    let matched = walk(&mut run, "COUNT 7 MATCH stay:1?", |_, _| {});
    assert_eq!(matched.len(), 10);
    assert!(walk(&mut run, "COUNT 1000 TYPE list", |_, _| {}).is_empty());
}

#[test]
fn keys_are_visited_in_the_order_of_their_places() {
    let mut run = Runner::new();
    for n in 0..50 {
        run.run(&format!("SET key:{n} v"));
    }
    let mut expected: Vec<_> = (0..50).map(|n| format!("key:{n}")).collect();
    expected.sort_by_key(|key| Position::of(user_key(key.as_bytes())));
    assert_eq!(run.run("KEYS *"), format!("[{}]", expected.join(" ")));
    let next = Position::of(user_key(expected[10].as_bytes())).0;
    assert_eq!(run.run("SCAN 0"), format!("[{next} [{}]]", expected[..10].join(" ")));
    assert_eq!(run.run("SCAN 18446744073709551615"), "[0 []]");
}

#[test]
fn random_keys_follow_from_the_number_given_and_reach_every_key() {
    let mut run = Runner::new();
    let mut expected = BTreeSet::new();
    for n in 0..5 {
        // One slot holds them all.
        run.check(&[(&format!("SET {{tag}}{n} v"), "OK")]);
        expected.insert(format!("{{tag}}{n}"));
    }
    let draw = |run: &mut Runner, random: u64| {
        run.random = random;
        run.run("RANDOMKEY")
    };
    let drawn: BTreeSet<_> = (0..500).map(|random| draw(&mut run, random)).collect();
    assert_eq!(drawn, expected);
    assert_eq!(draw(&mut run, 7), draw(&mut run, 7));
}

#[test]
fn the_same_entries_make_the_same_rows() {
    let script = |run: &mut Runner| {
        for n in 0..40 {
            run.run(&format!("SET k{n} {n} PX {}", 10 + n));
            run.run(&format!("APPEND k{} x", n / 2));
            run.run(&format!("EXPIRE k{} 5 GT", n / 3));
            run.run(&format!("RENAME k{n} r{}", n % 7));
            run.run(&format!("COPY r{} c DB {}", n % 7, n % 16));
            run.run("INCRBYFLOAT f 0.1");
            run.run(&format!("SWAPDB {} {}", n % 3, n % 5));
            run.now_ms += 3;
        }
        run.run("FLUSHDB");
        run.rows()
    };
    let (mut one, mut other) = (Runner::new(), Runner::new());
    assert_eq!(script(&mut one), script(&mut other));
    assert!(!one.rows().is_empty());
}

#[test]
fn object_tells_what_redis_would_choose() {
    let mut run = Runner::new();
    let (embedded, raw) = ("x".repeat(44), "x".repeat(45));
    run.check(&[
        ("SET k 9999", "OK"),
        ("OBJECT ENCODING k", "int"),
        ("OBJECT REFCOUNT k", ":2147483647"),
        ("SET k 10000", "OK"),
        ("OBJECT REFCOUNT k", ":1"),
        (&format!("SET k {embedded}"), "OK"),
        ("OBJECT ENCODING k", "embstr"),
        (&format!("SET k {raw}"), "OK"),
        ("OBJECT ENCODING k", "raw"),
        ("OBJECT IDLETIME k", ":0"),
        ("OBJECT FREQ missing", "nil"),
    ]);
}
