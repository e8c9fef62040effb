//! Pledges: who may have one, whatever comes at the same time.

use super::*;
use crate::config::Settings;

const OWN: u64 = 20;

fn bootstrap(dir: &std::path::Path) -> Bootstrap {
    let identity = Arc::new(Identity::open(dir, OWN, 1, false).unwrap());
    Bootstrap::new(&Settings::default(), identity)
}

fn attempt(initiator: u64) -> Pledge {
    Pledge { cluster_id: 1000 + initiator, initiator }
}

#[test]
fn a_node_that_is_bound_claims_nothing_and_one_that_claimed_is_bound() {
    let dir = tempfile::tempdir().unwrap();
    let pledged = bootstrap(dir.path());
    assert_eq!(pledged.promise(attempt(10)), Ok(()));
    assert_eq!(pledged.claim().unwrap(), None);
    assert_eq!(pledged.identity.state().pledge, Some(attempt(10)));

    let dir = tempfile::tempdir().unwrap();
    let claimed = bootstrap(dir.path());
    let own = claimed.claim().unwrap().unwrap();
    assert_eq!(own.initiator, OWN);
    assert_eq!(claimed.claim().unwrap(), Some(own), "the attempt goes on after a restart");
    assert!(claimed.promise(attempt(10)).is_err());
    claimed.identity.adopt_cluster(own.cluster_id).unwrap();
    assert_eq!(claimed.claim().unwrap(), None, "a member forms nothing");
}

#[test]
fn of_initiators_that_ask_at_once_one_is_given_the_pledge() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let node = bootstrap(dir.path());
        let start = std::sync::Barrier::new(3);
        let (given, claimed) = std::thread::scope(|scope| {
            let ask = |initiator: u64| {
                let (node, start) = (&node, &start);
                scope.spawn(move || {
                    start.wait();
                    node.promise(attempt(initiator)).is_ok()
                })
            };
            let asked = [ask(10), ask(11)];
            start.wait();
            let claimed = node.claim().unwrap().is_some();
            let given = asked.map(|asked| asked.join().unwrap());
            (given, claimed)
        });
        let count = given.into_iter().chain([claimed]).filter(|given| *given).count();
        assert_eq!(count, 1);
    }
}
