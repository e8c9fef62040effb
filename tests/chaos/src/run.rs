//! One run: clients, faults in a seeded order, a comparison of all states after every heal, and the
//! verdict of all checkers.

use crate::check::{self, Verdict, invariants};
use crate::faults::{Arena, DEEP, Fault, SHALLOW};
use crate::journal::{History, Journal};
use crate::workload::{ACCOUNTS, DEPOSIT, Shared, account};
use crate::world::{HEAL_WAIT, World};
use kvorum_tests::client::{Client, text};
use kvorum_tests::random::Random;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What a run is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    pub lasts: Duration,
    /// At most this many faults; none: as many as fit.
    pub faults_max: Option<u64>,
    /// Whether disks, clocks and snapshots are disturbed, too.
    pub deep: bool,
    /// Sets of clients.
    pub sets: usize,
    /// Pause of a client between two operations.
    pub pause: Duration,
    /// Fewer operations with a known outcome than this fail the run.
    pub operations_min: u64,
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    pub plan: Plan,
    pub history: History,
    pub verdict: Verdict,
    pub injected: BTreeMap<Fault, u64>,
    pub effects: BTreeMap<String, u64>,
    pub comparisons: u64,
    pub inside: usize,
    /// Why the run does not count, beside violations.
    pub shortcomings: Vec<String>,
}

impl Report {
    /// Whether nothing was wrong and enough was done.
    pub fn is_good(&self) -> bool {
        self.verdict.violations.is_empty()
            && self.verdict.undecided.is_empty()
            && self.shortcomings.is_empty()
    }
}

/// Runs a plan; data is left below `root`.
///
/// # Errors
/// The cluster never started.
///
/// # Panics
/// A client of the harness panicked.
pub fn run(plan: Plan, root: &Path) -> Result<Report, String> {
    let mut world = World::start(root, plan.nodes, plan.deep)?;
    let leader = world.settle(HEAL_WAIT)?;
    deposit(&world.members[leader].node.addr)?;
    let journal =
        Journal::create(&root.join("history.jsonl")).map_err(|error| error.to_string())?;
    let journal = Arc::new(journal);
    let shared = Shared::new(journal.clone(), world.addresses(), plan.seed, plan.pause);
    let clients = shared.start(plan.sets);
    let lasts_ms = if plan.deep { (1200, 3500) } else { (500, 1500) };
    let arena = Arena::new(world, Random::new(plan.seed), lasts_ms);
    let mut nemesis = Nemesis { arena, journal: journal.clone(), plan, comparisons: 0 };
    let mut violations = Vec::new();
    if let Err(violation) = nemesis.work() {
        violations.push(violation);
    }
    journal.stop();
    clients.into_iter().for_each(|client| client.join().expect("no client panics"));
    drop(shared);
    let Nemesis { mut arena, journal: its, comparisons, .. } = nemesis;
    drop(its);
    let journal = Arc::into_inner(journal).expect("nobody else writes");
    let history = journal.finish().map_err(|error| error.to_string())?;
    if let Err(violation) = arena.world.settle(HEAL_WAIT) {
        violations.push(violation);
    }
    for member in &arena.world.members {
        let wrong = Client::connect(&member.node.addr)
            .and_then(|mut client| invariants::ledger(&history, &mut client));
        violations.extend(wrong.unwrap_or_else(|error| vec![format!("no answer: {error}")]));
        if member.node.output().contains("panicked at") {
            violations.push(format!("a panic in {}", member.node.addr));
        }
    }
    let mut verdict = check::all(&history);
    if !arena.injected.contains_key(&Fault::Clock) {
        violations.extend(invariants::early(&history.leases, &history.looks));
    }
    verdict.violations.extend(violations);
    let shortcomings = shortcomings(&plan, &history, &arena);
    let (injected, effects) = (arena.injected.clone(), arena.effects.clone());
    let inside = history.inside_windows();
    Ok(Report { plan, history, verdict, injected, effects, comparisons, inside, shortcomings })
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

fn shortcomings(plan: &Plan, history: &History, arena: &Arena) -> Vec<String> {
    let mut all = Vec::new();
    let done = history.done.len() as u64;
    if done < plan.operations_min {
        all.push(format!("{done} operations, {} are needed", plan.operations_min));
    }
    for (fault, count) in &arena.injected {
        if *count > 1 && arena.effects.get(&format!("{fault:?}")).is_none_or(|effect| *effect == 0)
        {
            all.push(format!("{fault:?} was injected {count} times and had no effect"));
        }
    }
    if history.transfers == 0 || history.sums.is_empty() || history.blocks.is_empty() {
        all.push("some kind of client did nothing".to_owned());
    }
    all
}

struct Nemesis {
    arena: Arena,
    journal: Arc<Journal>,
    plan: Plan,
    comparisons: u64,
}

impl Nemesis {
    fn work(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let mut deck: Vec<Fault> = Vec::new();
        let mut count = 0;
        while begun.elapsed() < self.plan.lasts
            && self.plan.faults_max.is_none_or(|max| count < max)
        {
            let fault = match deck.pop() {
                Some(fault) => fault,
                None => {
                    deck = self.shuffled();
                    continue;
                }
            };
            self.round(fault)?;
            count += 1;
        }
        Ok(())
    }

    fn shuffled(&mut self) -> Vec<Fault> {
        let mut deck = SHALLOW.to_vec();
        if self.plan.deep {
            deck.extend(DEEP);
        }
        if self.plan.nodes > 4 {
            deck.push(Fault::Ring);
        }
        for at in (1..deck.len()).rev() {
            deck.swap(at, self.arena.random.below(at + 1));
        }
        deck
    }

    fn round(&mut self, fault: Fault) -> Result<(), String> {
        let known = self.journal.known();
        let begun = self.journal.now();
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
        self.journal.window(begun, &format!("{fault:?}"));
        let healed = injected.and_then(|()| self.arena.world.settle(HEAL_WAIT));
        healed.map_err(|error| format!("after {fault:?}: {error}"))?;
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
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (history, verdict) = (&self.history, &self.verdict);
        let mut row = |name: &str, figure: String| writeln!(out, "| {name} | {figure} |");
        row("seed", self.plan.seed.to_string())?;
        row("nodes", self.plan.nodes.to_string())?;
        row("operations with a known outcome", history.done.len().to_string())?;
        row("of these inside fault windows", self.inside.to_string())?;
        row("operations of unknown outcome", history.unknown.to_string())?;
        row("register operations searched for linearizability", verdict.searched.to_string())?;
        row("MULTI blocks", history.blocks.len().to_string())?;
        row(
            "bank: transfers, sums read",
            format!("{}, {}", history.transfers, history.sums.len()),
        )?;
        row("leases, looks", format!("{}, {}", history.leases.len(), history.looks.len()))?;
        row("ledger writes", history.ledger.len().to_string())?;
        row("heals with equal states", self.comparisons.to_string())?;
        for (fault, count) in &self.injected {
            let effect = self.effects.get(&format!("{fault:?}")).copied().unwrap_or(0);
            row(&format!("fault {fault:?}: injected, in effect"), format!("{count}, {effect}"))?;
        }
        let of_class =
            |name: &String| self.injected.keys().any(|fault| format!("{fault:?}") == *name);
        for (name, count) in self.effects.iter().filter(|(name, _)| !of_class(name)) {
            row(&format!("effect {name}"), count.to_string())?;
        }
        row("violations", verdict.violations.len().to_string())?;
        row("undecided", verdict.undecided.len().to_string())?;
        row("shortcomings", self.shortcomings.len().to_string())?;
        let wrong = verdict.violations.iter().chain(&verdict.undecided).chain(&self.shortcomings);
        for line in wrong.take(20) {
            writeln!(out, "{}", &line[..line.len().min(2000)])?;
        }
        Ok(())
    }
}
