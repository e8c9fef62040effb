//! Chaos of a few seconds: kills, pauses, partitions and bad links, which need neither root nor tools;
//! where there are both, power cuts, failing disks, rot and wrong clocks, too.

use kvorum_chaos::faults::Fault::{
    self, Clock, IsolateLeader, KillLeader, PauseLeader, PowerOne, RotIdentity, Slow, SyncEio,
};
use kvorum_chaos::kills::{self, Counts};
use kvorum_chaos::report::Quota;
use kvorum_chaos::run::{Plan, series};
use kvorum_chaos::world::World;
use std::collections::BTreeMap;
use std::time::Duration;

/// Each of these once, none of which can miss: one that had no effect is a fault of the harness.
fn nothing_is_wrong_after(only: &[Fault], deep: bool) {
    let root = tempfile::tempdir().expect("a directory");
    let plan = Plan {
        seed: 7,
        nodes: 3,
        lasts: Duration::from_secs(60),
        faults_max: Some(only.len() as u64),
        only: only.to_vec(),
        quota: Quota { each: 0, operations: 200, all_classes: false },
        before: BTreeMap::new(),
        deep,
        sets: 1,
        pause: Duration::from_millis(5),
        rest_ms: (500, 1500),
    };
    let report = series(&plan, &[3], root.path()).expect("the cluster starts");
    eprintln!("{report}");
    assert!(report.is_good(), "{report}");
    for fault in only {
        let injected = report.injected.get(fault).copied();
        assert_eq!((injected, report.effect(*fault)), (Some(1), 1), "{fault:?}: {report}");
    }
}

#[test]
fn a_few_faults_and_nothing_is_wrong() {
    nothing_is_wrong_after(&[KillLeader, PauseLeader, IsolateLeader, Slow], false);
}

#[test]
fn a_few_faults_of_disks_and_clocks_and_nothing_is_wrong() {
    let root = tempfile::tempdir().expect("a directory");
    let has_power = World::start(root.path(), 3, true, false).expect("a cluster").has_power();
    if !has_power {
        eprintln!(
            "disks cannot be made to fail here: it needs root, loop devices and a C compiler"
        );
        return;
    }
    nothing_is_wrong_after(&[PowerOne, SyncEio, RotIdentity, Clock], true);
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
