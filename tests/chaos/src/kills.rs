//! Counts acknowledged writes that are lost by kill -9 and by power cuts, of one node and of all,
//! under a pipelined load that keeps a ledger.

use crate::world::{HEAL_WAIT, World};
use kvorum_tests::client::Client;
use kvorum_tests::load::{self, Load};
use kvorum_tests::random::Random;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often each.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub single: u64,
    pub all: u64,
    pub power_single: u64,
    pub power_all: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    pub done: [u64; 4],
    pub acked: u64,
    /// Of those killed alone, how many led.
    pub leaders: u64,
    pub faults: Vec<String>,
    /// Whether the time was over before all were done.
    pub is_cut_short: bool,
}

impl Outcome {
    /// Whether all that was asked for was done, and nothing was lost.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty() && !self.is_cut_short
    }
}

/// Writers of the load.
const WRITERS: usize = 4;
/// Acknowledged writes between two faults.
const WRITES_BETWEEN: u64 = 150;

/// Runs them, in a seeded order, until all are done or `limit` is over.
///
/// # Errors
/// The cluster does not start, or does not come back.
pub fn run(counts: Counts, seed: u64, limit: Duration, root: &Path) -> Result<Outcome, String> {
    let mut world = World::start(root, 3, true, false)?;
    if counts.power_single + counts.power_all > 0 && !world.has_power() {
        return Err("power cannot be cut here: it needs root and loop devices".into());
    }
    let mut random = Random::new(seed);
    let wanted = [counts.single, counts.all, counts.power_single, counts.power_all];
    let mut left: Vec<usize> = Vec::new();
    for (kind, count) in wanted.iter().enumerate() {
        left.extend(std::iter::repeat_n(kind, *count as usize));
    }
    let (begun, mut outcome) = (Instant::now(), Outcome::default());
    let load = Load::start(&world.addresses.all(), WRITERS);
    while !left.is_empty() && begun.elapsed() < limit {
        let kind = left.swap_remove(random.below(left.len()));
        let leader = world.settle(HEAL_WAIT)?;
        serve(&load)?;
        thread::sleep(Duration::from_millis(random.number_below(60)));
        let one = if random.percent(60) { leader } else { random.below(3) };
        let nodes = if kind.is_multiple_of(2) { vec![one] } else { vec![0, 1, 2] };
        let is_done = kind < 2 || world.power_cut(&nodes, random.percent(50));
        if kind < 2 {
            nodes.iter().for_each(|at| world.kill(*at));
        }
        nodes.iter().for_each(|at| world.revive(*at));
        if let Some(end) = world.ended.first() {
            return Err(format!("a node ended by itself: {end}"));
        }
        if !is_done {
            // A cut that lost nothing is none.
            left.push(kind);
            continue;
        }
        outcome.leaders += u64::from(kind.is_multiple_of(2) && one == leader);
        outcome.done[kind] += 1;
    }
    outcome.is_cut_short = !left.is_empty();
    world.settle(HEAL_WAIT)?;
    let ledgers = load.finish();
    outcome.acked = ledgers.iter().map(|ledger| ledger.acked.len() as u64).sum();
    world.settle(HEAL_WAIT)?;
    for member in &world.members {
        let mut client = Client::connect(&member.node.addr).map_err(|error| error.to_string())?;
        outcome.faults.extend(load::faults(&ledgers, &mut client));
    }
    world.compare(HEAL_WAIT)?;
    Ok(outcome)
}

fn serve(load: &Load) -> Result<(), String> {
    let (goal, begun) = (load.acked() + WRITES_BETWEEN, Instant::now());
    while load.acked() < goal {
        if begun.elapsed() > HEAL_WAIT {
            return Err("writers are not served".to_owned());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_asked_for_is_a_failure() {
        assert!(Outcome::default().is_good());
        assert!(!Outcome { is_cut_short: true, ..Outcome::default() }.is_good());
        assert!(!Outcome { faults: vec!["lost".to_owned()], ..Outcome::default() }.is_good());
    }
}
