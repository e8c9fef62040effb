//! The tests that take seconds: the golden scripts, on Kvorum in every form it has, and on a real
//! redis-server where one is named.
//!
//! `KVORUM_REDIS_SERVER=/usr/bin/redis-server` switches the comparison on; `UPDATE_GOLDEN=1`
//! beside it records the scripts anew, to be reviewed as a diff. `GOLDEN_FILTER=string/` restricts
//! a run to scripts whose path contains the text.

use std::collections::BTreeSet;
use std::env;
use std::time::Duration;

use kvorum_tests::cluster::Cluster;
use kvorum_tests::differential::{self, Addresses, Options};
use kvorum_tests::golden::script::Script;
use kvorum_tests::golden::{self, Mode, Target, script_paths, scripts_dir};
use kvorum_tests::redis_server::{BINARY_VARIABLE, start_redis_server};
use storage::mutants;

#[test]
fn golden_scripts_match_redis_server() {
    if env::var_os(BINARY_VARIABLE).is_none_or(|value| value.is_empty()) {
        eprintln!("SKIPPED: {BINARY_VARIABLE} names no redis-server, nothing was compared");
        return;
    }
    let record = env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mode = if record { Mode::Record } else { Mode::Check(Target::Redis) };
    let filter = env::var("GOLDEN_FILTER").unwrap_or_default();
    let mut failed = false;
    for args in server_arguments() {
        let server = start_redis_server(&args).expect("the variable names a redis-server");
        let summary = golden::run_all(&server.addr, mode, &filter, |s| s.redis_args == args);
        eprintln!("redis-server {}\n{summary}", args.join(" "));
        failed |= !summary.failed.is_empty();
    }
    assert!(!failed, "scripts and redis-server differ, see above");
}

#[test]
fn golden_scripts_on_one_node_with_the_memory_engine() {
    let mut cluster = Cluster::start(1, &["storage-engine=memory"]);
    check_scripts(&mut cluster, 0, |_| true);
}

#[test]
fn golden_scripts_on_one_node_with_its_disk() {
    let mut cluster = Cluster::start(1, &[]);
    check_scripts(&mut cluster, 0, |_| true);
}

#[test]
fn golden_scripts_through_the_leader_of_three() {
    let mut cluster = Cluster::start(3, &[]);
    let leader = cluster.leader();
    check_scripts(&mut cluster, leader, |_| true);
}

#[test]
fn golden_scripts_through_a_follower_that_forwards() {
    let mut cluster = Cluster::start(3, &["follower-writes=forward"]);
    let follower = cluster.follower();
    check_scripts(&mut cluster, follower, |script| !script.leader_only);
}

/// Random commands that are compared at least, however slow the machine is.
const COMPARED_MIN: u64 = 2_000;

#[test]
fn random_commands_are_answered_as_redis_server_answers_them() {
    let Some(redis) = start_redis_server(&[]) else {
        eprintln!("SKIPPED: {BINARY_VARIABLE} names no redis-server, nothing was compared");
        return;
    };
    let kvorum = Cluster::start(1, &["storage-engine=memory", "appendfsync=everysec"]);
    // The `differential` program runs for longer, and from other seeds.
    let time_max = Duration::from_secs(60);
    let options = Options { commands: 20_000, time_max, ..Options::default() };
    let addresses = Addresses { kvorum: kvorum.nodes[0].addr.clone(), redis: redis.addr.clone() };
    let report = differential::run(&[addresses], &options);
    eprintln!("{report}");
    assert!(report.failures.is_empty(), "Kvorum and redis-server differ, see above");
    assert!(report.compared >= COMPARED_MIN, "{}", report.compared);
}

fn check_scripts(cluster: &mut Cluster, at: usize, wanted: impl Fn(&Script) -> bool) {
    let filter = env::var("GOLDEN_FILTER").unwrap_or_default();
    let addr = &cluster.nodes[at].addr;
    let summary = golden::run_all(addr, Mode::Check(Target::Kvorum), &filter, wanted);
    eprintln!("{summary}");
    assert!(summary.failed.is_empty(), "scripts and Kvorum differ, see above");
}

#[test]
fn a_server_has_no_known_bugs_to_turn_on() {
    let mut cluster = Cluster::prepare(1, &[]);
    let node = &mut cluster.nodes[0];
    node.env.push((mutants::VARIABLE.to_owned(), "no-fsync".to_owned()));
    let (status, output) = node.run_to_its_end();
    assert!(!status.success() && output.contains("mutant"), "{status}: {output}");
}

#[test]
fn every_script_is_well_formed_and_expects_a_reply_for_every_request() {
    let paths = script_paths(&scripts_dir());
    assert!(!paths.is_empty(), "no scripts in {}", scripts_dir().display());
    for path in paths {
        let script = golden::load(&path).unwrap_or_else(|problem| panic!("{problem}"));
        for step in script.cases.iter().flat_map(|case| &case.steps) {
            let silent = step.expected.is_empty() && step.action.is_answered();
            assert!(!silent, "{}:{} has no recorded reply", path.display(), step.at + 1);
        }
    }
}

/// The distinct server arguments that scripts ask for.
fn server_arguments() -> BTreeSet<Vec<String>> {
    let scripts = script_paths(&scripts_dir());
    scripts.iter().filter_map(|path| golden::load(path).ok()).map(|s| s.redis_args).collect()
}
