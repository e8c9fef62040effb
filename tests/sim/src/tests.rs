//! A few seeds, so that the simulation itself stays whole; the many are run by `cargo sim`.

use crate::run::run;
use std::time::Duration;

#[test]
fn a_few_seeds_violate_nothing() {
    for seed in 0..6 {
        let report = run(seed, Duration::from_secs(8));
        assert_eq!(report.violation, None, "cargo sim --seeds {seed}..{} --seconds 8", seed + 1);
        assert!(report.operations > 20 && report.reads > 5, "seed {seed} did next to nothing");
    }
}
