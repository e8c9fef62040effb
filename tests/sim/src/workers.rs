//! Who does a simulated node's work that may block: nobody in particular, some time later.

use crate::dice::Dice;
use kvorum::tasks::{Work, Workers, Working};
use std::time::Duration;
use tokio::time::sleep;

/// Longest time until work is done, in microseconds.
const LONGEST_US: u64 = 60_000;

/// Does work after a while, as a busy disk and busy threads would.
pub struct SlowWorkers {
    dice: Dice,
}

impl SlowWorkers {
    /// Workers whose delays come from `dice`.
    pub fn new(dice: Dice) -> SlowWorkers {
        SlowWorkers { dice }
    }
}

impl Workers for SlowWorkers {
    fn run(&self, work: Work) -> Working {
        let delay = Duration::from_micros(self.dice.between(10, LONGEST_US));
        Box::pin(async move {
            sleep(delay).await;
            work();
        })
    }
}
