//! A script that shows a difference, made short: fewer requests, then fewer and shorter arguments.

use super::pair::{Difference, Pair};
use super::{Report, Step};

/// How often a script is tried; a shrunk script serves a reader, it need not be the shortest.
const TRIES_MAX: usize = 600;

struct Shrinking<'a> {
    pair: &'a mut Pair,
    steps: Vec<Step>,
    difference: Difference,
    tries: usize,
}

/// The shortest script found that still shows a difference, which its last request shows.
pub(super) fn shrink(
    pair: &mut Pair,
    mut steps: Vec<Step>,
    found: Difference,
) -> (Vec<Step>, Difference) {
    steps.truncate(found.at + 1);
    let mut shrinking = Shrinking { pair, steps, difference: found, tries: 0 };
    shrinking.fewer_steps();
    shrinking.fewer_args();
    shrinking.shorter_args();
    shrinking.fewer_steps();
    (shrinking.steps, shrinking.difference)
}

impl Shrinking<'_> {
    /// Keeps `candidate` if it shows a difference too.
    fn keep_if_it_differs(&mut self, mut candidate: Vec<Step>) -> bool {
        if self.tries >= TRIES_MAX || candidate.is_empty() {
            return false;
        }
        self.tries += 1;
        let Some(found) = self.pair.run(&candidate, &mut Report::default()) else { return false };
        // The same command, lest one difference hides another.
        let name = |steps: &[Step], at: usize| steps[at].args[0].to_ascii_lowercase();
        if name(&candidate, found.at) != name(&self.steps, self.steps.len() - 1) {
            return false;
        }
        candidate.truncate(found.at + 1);
        self.steps = candidate;
        self.difference = found;
        true
    }

    fn fewer_steps(&mut self) {
        let mut len = self.steps.len() / 2;
        while len > 0 {
            let mut end = self.steps.len().saturating_sub(1);
            while end > 0 {
                let start = end.saturating_sub(len);
                let mut fewer = self.steps.clone();
                fewer.drain(start..end);
                self.keep_if_it_differs(fewer);
                end = start.min(self.steps.len().saturating_sub(1));
            }
            len /= 2;
        }
    }

    fn fewer_args(&mut self) {
        for step in (0..self.steps.len()).rev() {
            let mut arg = self.steps.get(step).map_or(0, |step| step.args.len());
            while arg > 1 {
                arg -= 1;
                let mut fewer = self.steps.clone();
                if fewer.get(step).is_some_and(|step| step.args.len() > arg) {
                    fewer[step].args.remove(arg);
                    self.keep_if_it_differs(fewer);
                }
            }
        }
    }

    fn shorter_args(&mut self) {
        for step in (0..self.steps.len()).rev() {
            let args = self.steps.get(step).map_or(0, |step| step.args.len());
            for arg in 1..args {
                while let Some(len) = self.steps.get(step).and_then(|step| step.args.get(arg)) {
                    let len = len.len() / 2;
                    let mut shorter = self.steps.clone();
                    shorter[step].args[arg].truncate(len);
                    if len == 0 || !self.keep_if_it_differs(shorter) {
                        break;
                    }
                }
            }
        }
    }
}
