//! Do the tests bite? Gives the product one known bug after another, and runs tests until one fails.
//!
//! ```text
//! cargo mutants-bite                     all mutants; the first test that fails has caught one
//! cargo mutants-bite --only no-fsync     one of them; may be repeated
//! cargo mutants-bite --suite sim         tries the tests of one suite alone, on the mutants that it has to catch
//! cargo mutants-bite --every             goes on after a catch: what each test says of each mutant
//! cargo mutants-bite --list              the mutants, and the tests they are tried on
//! ```
//!
//! The mutants are those of `storage::mutants`, built into a binary and into the unit tests of their
//! own. A catch counts when the same test, of the same build, passes without the mutant. A test that
//! does not end in time catches nothing. Exit code 1: a mutant survived, or a test fails without one.

mod catcher;
mod programs;
mod table;

use catcher::Verdict;
use programs::Programs;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use storage::mutants::Mutant;
use table::{Catcher, Suite, catchers};

/// What is printed of what a test said, in characters.
const SAID_CHARS_MAX: usize = 100;

fn main() -> ExitCode {
    let (mut only, mut every, mut suite) = (Vec::new(), false, None);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        match name.as_str() {
            "--list" => {
                list();
                return ExitCode::SUCCESS;
            }
            "--every" => every = true,
            "--suite" => {
                let wanted = args.next().unwrap_or_default();
                suite = Suite::ALL.iter().copied().find(|suite| suite.name() == wanted);
                if suite.is_none() {
                    return usage(&format!("there is no suite '{wanted}'; see --list"));
                }
            }
            "--only" => {
                let wanted = args.next().unwrap_or_default();
                match Mutant::ALL.iter().find(|mutant| mutant.name() == wanted) {
                    Some(mutant) => only.push(*mutant),
                    None => return usage(&format!("there is no mutant '{wanted}'; see --list")),
                }
            }
            _ => return usage(&format!("'{name}' is no option")),
        }
    }
    let mutants = if only.is_empty() { Mutant::ALL } else { &only[..] };
    let tried = |mutant: &Mutant| {
        let mut catchers = catchers(*mutant);
        catchers.retain(|catcher| suite.is_none_or(|suite| catcher.suite == suite));
        Some((*mutant, catchers)).filter(|(_, catchers)| !catchers.is_empty())
    };
    let mutants: Vec<(Mutant, Vec<Catcher>)> = mutants.iter().filter_map(tried).collect();
    if mutants.is_empty() {
        return usage("that suite has no test for this mutant; see --list");
    }
    let begun = Instant::now();
    let suites = mutants.iter().flat_map(|(_, on)| on).map(|catcher| catcher.suite).collect();
    let programs = match Programs::build(&suites) {
        Ok(programs) => programs,
        Err(why) => return usage(&why),
    };
    say(&format!("built in {:.0} s", begun.elapsed().as_secs_f64()));
    let mut control =
        Control { programs: &programs, passed: BTreeMap::new(), took: Duration::ZERO };
    let rows: Vec<Row> =
        mutants.iter().map(|(mutant, on)| try_mutant(&mut control, *mutant, on, every)).collect();
    print_table(&control, &rows, begun.elapsed());
    let is_good = rows.iter().all(|row| row.outcome.is_ok());
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage(why: &str) -> ExitCode {
    say(why);
    ExitCode::from(2)
}

/// Progress, beside the table.
fn say(line: &str) {
    // Nobody may be looking.
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn list() {
    for mutant in Mutant::ALL {
        println!("{:26}{}", mutant.name(), mutant.what());
        catchers(*mutant).iter().for_each(|catcher| println!("{:26}  {catcher}", ""));
    }
}

/// What became of one mutant.
struct Row {
    mutant: Mutant,
    /// What caught it and what it said; or why nothing did.
    outcome: Result<(Catcher, String), String>,
    took: Duration,
}

/// The tests that were seen to pass without a mutant.
struct Control<'a> {
    programs: &'a Programs,
    passed: BTreeMap<Catcher, bool>,
    took: Duration,
}

impl Control<'_> {
    fn passes(&mut self, catcher: Catcher) -> bool {
        if let Some(passed) = self.passed.get(&catcher) {
            return *passed;
        }
        let begun = Instant::now();
        let verdict = catcher::run(self.programs, catcher, None);
        let passed = verdict == Verdict::Passed;
        if !passed {
            say(&format!("  without a mutant, {catcher}: {verdict:?}"));
        }
        self.took += begun.elapsed();
        self.passed.insert(catcher, passed);
        passed
    }
}

fn try_mutant(control: &mut Control<'_>, mutant: Mutant, on: &[Catcher], every: bool) -> Row {
    say(&format!("{}: {}", mutant.name(), mutant.what()));
    let mut took = Duration::ZERO;
    let mut outcome = Err("SURVIVED".to_owned());
    for catcher in on.iter().copied() {
        let begun = Instant::now();
        let verdict = catcher::run(control.programs, catcher, Some(mutant));
        let seconds = begun.elapsed();
        say(&format!("  {catcher}: {verdict:.200?} in {:.1} s", seconds.as_secs_f64()));
        if outcome.is_err() {
            took += seconds;
        }
        match verdict {
            Verdict::Failed(said) if control.passes(catcher) => {
                outcome = outcome.or(Ok((catcher, said)));
            }
            Verdict::Failed(_) => outcome = Err(format!("{catcher} fails without it, too")),
            Verdict::Broken(why) if outcome.is_err() => outcome = Err(why),
            Verdict::Broken(_) | Verdict::Passed | Verdict::Endless => {}
        }
        if outcome.is_ok() && !every {
            break;
        }
    }
    Row { mutant, outcome, took }
}

fn print_table(control: &Control<'_>, rows: &[Row], took: Duration) {
    println!("| mutant | caught by | seconds | it said |\n|---|---|---|---|");
    for row in rows {
        let seconds = row.took.as_secs_f64();
        let (by, said) = match &row.outcome {
            Ok((catcher, said)) => (catcher.to_string(), said.as_str()),
            Err(why) => (format!("**{why}**"), ""),
        };
        let said: String = said.chars().take(SAID_CHARS_MAX).collect();
        let said = said.replace('|', "/");
        println!("| {} | {by} | {seconds:.1} | {said} |", row.mutant.name());
    }
    let caught = rows.iter().filter(|row| row.outcome.is_ok()).count();
    let passed = control.passed.values().filter(|passed| **passed).count();
    println!(
        "\n{caught} of {} caught; without a mutant, {passed} of these {} tests passed in {:.0} s; all of \
         it took {:.0} s",
        rows.len(),
        control.passed.len(),
        control.took.as_secs_f64(),
        took.as_secs_f64()
    );
}
