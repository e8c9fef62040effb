//! Chaos of a few seconds: kills, pauses, partitions and bad links, which need neither root nor tools; and
//! power cuts where there are both.

use kvorum_chaos::faults::Fault::{IsolateLeader, KillLeader, PauseLeader, Slow};
use kvorum_chaos::kills::{self, Counts};
use kvorum_chaos::report::Quota;
use kvorum_chaos::run::{Plan, series};
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn a_few_faults_and_nothing_is_wrong() {
    let root = tempfile::tempdir().expect("a directory");
    let plan = Plan {
        seed: 7,
        nodes: 3,
        lasts: Duration::from_secs(10),
        faults_max: Some(4),
        // None of these can miss: one that had no effect is a fault of the harness.
        only: vec![KillLeader, PauseLeader, IsolateLeader, Slow],
        quota: Quota { each: 0, operations: 200, all_classes: false },
        before: BTreeMap::new(),
        deep: false,
        sets: 1,
        pause: Duration::from_millis(5),
        rest_ms: (500, 1500),
    };
    let report = series(&plan, &[3], root.path()).expect("the cluster starts");
    eprintln!("{report}");
    assert!(report.is_good(), "{report}");
    assert!(!report.injected.is_empty(), "{report}");
    for (fault, injected) in &report.injected {
        assert_eq!(report.effect(*fault), *injected, "{fault:?} had no effect: {report}");
    }
}

#[test]
fn a_few_kills_and_power_cuts_lose_nothing() {
    let run = |power: u64| {
        let root = tempfile::tempdir().expect("a directory");
        let counts = Counts { single: 3, all: 1, power_single: 2 * power, power_all: power };
        kills::run(counts, 7, Duration::from_secs(120), root.path())
    };
    let outcome = run(1).or_else(|error| {
        assert!(error.contains("power cannot be cut here"), "{error}");
        eprintln!("{error}");
        run(0)
    });
    let outcome = outcome.expect("the cluster serves");
    assert!(outcome.is_good(), "{outcome:?}");
    assert!(outcome.acked > 1000, "{outcome:?}");
}
