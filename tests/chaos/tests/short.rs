//! A few seconds of chaos that need neither root nor tools: kills, pauses, partitions, bad links.

use kvorum_chaos::faults::Fault::{IsolateLeader, KillLeader, PauseLeader, Slow};
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
        quota: Quota { each: 0, operations: 200 },
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
