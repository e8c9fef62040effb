//! One run: clients, faults in a seeded order, a comparison of all states after every heal, and the
//! verdict of all checkers. [`series`] runs clusters of several sizes one after the other, towards
//! one quota.

use crate::check::{self, invariants};
use crate::deck::Deck;
use crate::faults::{self, Arena, Fault};
use crate::journal::{History, Journal};
use crate::report::{INSIDE_PERCENT, Quota, Report};
use crate::workload::{ACCOUNTS, DEPOSIT, Shared, account};
use crate::world::{HEAL_WAIT, World};
use kvorum_tests::client::{Client, text};
use kvorum_tests::linearizability::STEPS_MAX;
use kvorum_tests::random::Random;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Ledger writes that are held on the nodes before they are audited and removed: all states are
/// compared after every heal, which has to stay short.
const LEDGER_KEYS_MAX: usize = 20_000;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    pub lasts: Duration,
    /// At most this many faults; none: as many as fit.
    pub faults_max: Option<u64>,
    /// The run ends as soon as this is reached, if it asks for faults; the end of `lasts` comes
    /// before it: the run does not count.
    pub quota: Quota,
    /// What counts towards the quota already.
    pub before: BTreeMap<Fault, u64>,
    /// Only faults of these classes; none named: of all that are possible.
    pub only: Vec<Fault>,
    /// Whether disks, clocks and snapshots are disturbed, too.
    pub deep: bool,
    /// Sets of clients.
    pub sets: usize,
    /// Pause of a client between two operations.
    pub pause: Duration,
    /// Shortest and longest time a fault lasts, in milliseconds.
    pub rest_ms: (u64, u64),
}

impl Plan {
    fn missing(&self, arena: &Arena, fault: Fault) -> u64 {
        let done = arena.effects.get(&format!("{fault:?}")).copied().unwrap_or(0)
            + self.before.get(&fault).copied().unwrap_or(0);
        self.quota.each.saturating_sub(done)
    }
}

/// Runs a plan on a cluster of each of these sizes, each with an equal part of what is still
/// wanted and of the time that is left. Data is left below `root`.
///
/// # Errors
/// A cluster never started.
///
/// # Panics
/// A client of the harness panicked.
pub fn series(plan: &Plan, sizes: &[usize], root: &Path) -> Result<Report, String> {
    let begun = Instant::now();
    let mut sum = Report { seed: plan.seed, ..Report::default() };
    for (turn, nodes) in sizes.iter().enumerate() {
        let parts = (sizes.len() - turn) as u64;
        let mut part = plan.clone();
        part.nodes = *nodes;
        part.seed = plan.seed.wrapping_add(turn as u64);
        part.lasts = plan.lasts.saturating_sub(begun.elapsed()) / parts as u32;
        part.quota.operations =
            plan.quota.operations.saturating_sub(sum.figures.done).div_ceil(parts);
        part.before = part_done(plan.quota.each, &sum, parts);
        let below = root.join(format!("{turn}-of-{nodes}"));
        std::fs::create_dir(&below).map_err(|error| error.to_string())?;
        let found = run(&part, &below)?;
        let is_wrong = !found.violations.is_empty();
        sum.absorb(found);
        if is_wrong {
            break;
        }
    }
    sum.judge(plan.quota);
    Ok(sum)
}

/// What a class needs not do in this part any more, so that the rest is shared with the parts that
/// follow; classes that did nothing yet are new here.
fn part_done(each: u64, sum: &Report, parts: u64) -> BTreeMap<Fault, u64> {
    let share = |fault: Fault| {
        let missing = each.saturating_sub(sum.effect(fault));
        (fault, each - missing.div_ceil(parts))
    };
    faults::all().map(share).collect()
}

/// Runs a plan; data is left below `root`. The quota is not judged here.
///
/// # Errors
/// The cluster never started, or a fault that is asked for is not possible here.
///
/// # Panics
/// A client of the harness panicked.
pub fn run(plan: &Plan, root: &Path) -> Result<Report, String> {
    let mut world = World::start(root, plan.nodes, plan.deep, plan.deep)?;
    let leader = world.settle(HEAL_WAIT)?;
    let possible = faults::classes(&world, plan.deep);
    if let Some(fault) = plan.only.iter().find(|fault| !possible.contains(fault)) {
        return Err(format!("{fault:?} is not possible here, with {} nodes", plan.nodes));
    }
    let deck = Deck::new(if plan.only.is_empty() { possible } else { plan.only.clone() });
    deposit(&world.members[leader].node.addr)?;
    let journal =
        Journal::create(&root.join("history.jsonl")).map_err(|error| error.to_string())?;
    let journal = Arc::new(journal);
    let shared = Shared::new(journal.clone(), world.addresses.clone(), plan.seed, plan.pause);
    let clients = shared.start(plan.sets);
    let networks = world.wires.is_some();
    let (seed, nodes) = (plan.seed, vec![plan.nodes]);
    let mut report = Report { seed, nodes, networks, ..Report::default() };
    report.classes = deck.classes().iter().copied().collect();
    let arena = Arena::new(world, Random::new(plan.seed), plan.rest_ms, journal.clone());
    let plan = plan.clone();
    let mut nemesis = Nemesis { arena, journal: journal.clone(), plan, deck, comparisons: 0 };
    let begun = Instant::now();
    let worked = nemesis.work();
    report.lasted = begun.elapsed();
    journal.stop();
    clients.into_iter().for_each(|client| client.join().expect("no client panics"));
    let Nemesis { mut arena, comparisons, .. } = nemesis;
    let read = worked.and_then(|()| arena.world.settle(HEAL_WAIT)).and_then(|_| shared.read_last());
    report.violations.extend(read.err());
    let history = journal.finish();
    let begun = Instant::now();
    report.violations.extend(last_look(&mut arena, &history));
    let verdict = check::all(&history, STEPS_MAX);
    report.figures.comparisons = comparisons;
    report.take(&history, verdict);
    report.judged = begun.elapsed();
    report.injected = std::mem::take(&mut arena.injected);
    report.effects = std::mem::take(&mut arena.effects);
    Ok(report)
}

/// What is wrong on the nodes after all.
fn last_look(arena: &mut Arena, history: &History) -> Vec<String> {
    let mut violations: Vec<String> = arena.world.settle(HEAL_WAIT).err().into_iter().collect();
    let ended = arena.world.ended.drain(..).filter(|end| !end.has_old_damage());
    violations.extend(ended.map(|end| format!("ended by itself: {end}")));
    for member in &arena.world.members {
        let wrong = Client::connect(&member.node.addr).and_then(|mut client| {
            let mut wrong = invariants::ledger(history, &mut client)?;
            wrong.extend(invariants::buried(history, &mut client)?);
            Ok(wrong)
        });
        violations.extend(wrong.unwrap_or_else(|error| vec![format!("no answer: {error}")]));
        if member.node.output().contains("panicked at") {
            violations.push(format!("a panic in {}", member.node.addr));
        }
    }
    violations
}

fn deposit(addr: &str) -> Result<(), String> {
    let mut client = Client::connect(addr).map_err(|error| error.to_string())?;
    let mut request = vec!["MSET".to_owned()];
    for number in 0..ACCOUNTS as u64 {
        request.extend([account(number), DEPOSIT.to_string()]);
    }
    match client.call(&request).map(|reply| text(&reply)) {
        Ok(answer) if answer == "OK" => Ok(()),
        other => Err(format!("no deposit: {other:?}")),
    }
}

struct Nemesis {
    arena: Arena,
    journal: Arc<Journal>,
    plan: Plan,
    deck: Deck,
    /// Heals after which all states were equal.
    comparisons: u64,
}

impl Nemesis {
    fn work(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < self.plan.lasts
            && self.plan.faults_max.is_none_or(|max| count < max)
            && !self.is_enough()
        {
            let (plan, arena) = (&self.plan, &self.arena);
            let mut random = self.arena.random.clone();
            let fault = self.deck.draw(&mut random, |class| plan.missing(arena, class));
            self.arena.random = random;
            self.round(fault)?;
            count += 1;
        }
        Ok(())
    }

    /// Whether the quota is reached; a run without one never has enough.
    fn is_enough(&self) -> bool {
        let quota = self.plan.quota;
        quota.each > 0
            && self.journal.known() >= quota.operations
            && self.arena.windows.inside >= quota.operations * INSIDE_PERCENT / 100
            && self.deck.classes().iter().all(|fault| self.plan.missing(&self.arena, *fault) == 0)
    }

    fn round(&mut self, fault: Fault) -> Result<(), String> {
        let known = self.journal.known();
        let random = &mut self.arena.random;
        let processes =
            [Fault::KillOne, Fault::KillLeader, Fault::KillAll, Fault::Pause, Fault::PowerAll];
        if processes.contains(&fault) && random.percent(30) {
            let shape = *random.pick(&[Fault::Isolate, Fault::Pair, Fault::OneWayIn]);
            let leader = self.arena.world.leader().unwrap_or(0);
            self.arena.part(shape, leader, leader);
        }
        let injected = self.arena.inject(fault);
        self.arena.world.net.heal(false);
        let healed = injected.and_then(|()| self.arena.world.settle(HEAL_WAIT));
        let leader = healed.map_err(|error| format!("after {fault:?}: {error}"))?;
        for end in self.arena.world.ended.drain(..) {
            if !fault.may_end(&end, &self.arena.struck) {
                return Err(format!("after {fault:?}: ended by itself: {end}"));
            }
        }
        let waited = Instant::now();
        while self.journal.known() < known + 50 {
            if waited.elapsed() > HEAL_WAIT {
                return Err(format!("after {fault:?}: clients are not served"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _still = self.journal.gate.write().expect("no client panics");
        let compared = self.arena.world.compare(HEAL_WAIT);
        compared.map_err(|error| format!("after {fault:?}: {error}"))?;
        self.comparisons += 1;
        self.audit(leader).map_err(|error| format!("audit after {fault:?}: {error}"))
    }

    /// Once the ledger is long: every node must hold all of it; then its acknowledged part is
    /// removed, and has to stay away. Nobody may write meanwhile.
    fn audit(&self, leader: usize) -> Result<(), String> {
        let mut history = self.journal.history.lock().expect("no client panicked");
        if history.ledger.len() < LEDGER_KEYS_MAX {
            return Ok(());
        }
        for member in &self.arena.world.members {
            let wrong = Client::connect(&member.node.addr)
                .and_then(|mut client| invariants::ledger(&history, &mut client));
            let wrong = wrong.map_err(|error| error.to_string())?;
            if !wrong.is_empty() {
                return Err(format!("{} lacks: {wrong:?}", member.node.addr));
            }
        }
        let buried = Client::connect(&self.arena.world.members[leader].node.addr)
            .and_then(|mut client| invariants::bury(&mut history, &mut client));
        buried.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_has_to_do_what_others_did_not() {
        let mut sum = Report::default();
        let before = part_done(5, &sum, 2);
        assert_eq!(before[&Fault::KillOne], 2, "three of five in the first half");
        sum.effects.insert("KillOne".to_owned(), 4);
        let before = part_done(5, &sum, 1);
        assert_eq!((before[&Fault::KillOne], before[&Fault::Ring]), (4, 0));
    }
}
