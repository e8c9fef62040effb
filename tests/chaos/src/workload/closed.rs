//! Keys whose epoch is over: each is read once more, so that a lost last write shows.
//!
//! An epoch is closed in the middle of the next one, when no client is at work on it any more (one
//! that still waits for an answer only makes the last read say less), and when the run ends.

use super::{EPOCH_BLOCKS, EPOCH_OPERATIONS, REGISTERS, Shared, TEXTS, Worker};
use kvorum_tests::history::Action;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the last reads of a run may take, once all faults have ended.
const LAST_READS_WAIT: Duration = Duration::from_secs(60);

/// Of which epochs all keys were to be read, and those that are still to be read.
#[derive(Debug, Default)]
pub(super) struct Closed {
    keys: Vec<String>,
    registers: u64,
    texts: u64,
}

impl Closed {
    /// Closes the epochs of registers before this one.
    pub(super) fn registers(&mut self, before: u64) {
        for epoch in self.registers..before {
            self.keys.extend((0..REGISTERS).map(|place| format!("r{epoch}:{place}")));
        }
        self.registers = self.registers.max(before);
    }

    /// Closes the epochs of texts before this one.
    pub(super) fn texts(&mut self, before: u64) {
        for epoch in self.texts..before {
            self.keys.extend((0..TEXTS).map(|place| format!("t{epoch}:{place}")));
        }
        self.texts = self.texts.max(before);
    }
}

impl Shared {
    /// Changes what is closed.
    pub(super) fn close<T>(&self, change: impl FnOnce(&mut Closed) -> T) -> T {
        change(&mut self.closed.lock().expect("no client panicked"))
    }

    /// Reads all keys that were not read since their last epoch, the current one being over; for the
    /// end of a run, when all other clients have ended and all nodes serve.
    ///
    /// # Errors
    /// Some cannot be read.
    pub fn read_last(self: &Arc<Self>) -> Result<(), String> {
        let epochs = |count: u64, length: u64| count.div_ceil(length);
        let registers = epochs(self.registers.load(Ordering::Relaxed), EPOCH_OPERATIONS);
        let texts = epochs(self.blocks.load(Ordering::Relaxed), EPOCH_BLOCKS);
        self.close(|closed| {
            closed.registers(registers);
            closed.texts(texts);
        });
        let mut worker = Worker::new(usize::MAX >> 32, self.clone());
        let begun = Instant::now();
        while worker.read_closed() {
            if begun.elapsed() > LAST_READS_WAIT {
                return Err(self.close(|closed| format!("cannot be read: {:?}", closed.keys)));
            }
        }
        Ok(())
    }
}

impl Worker {
    /// Reads a key of a closed epoch, which stays one to be read if there is no answer; false: there
    /// is none.
    pub(super) fn read_closed(&mut self) -> bool {
        let Some(key) = self.shared.close(|closed| closed.keys.pop()) else { return false };
        let is_known = if key.starts_with('t') {
            self.run_block(Vec::new(), vec![key.clone()])
        } else {
            let place = key.rsplit(':').next().and_then(|place| place.parse().ok());
            let place = place.expect("a register's name ends with its place");
            let request = vec!["GET".to_owned(), key.clone()];
            self.operate(key.clone(), place, Action::Read(None), request)
        };
        if !is_known {
            self.shared.close(|closed| closed.keys.push(key));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_closed_epoch_is_read_once() {
        let mut closed = Closed::default();
        closed.registers(0);
        closed.texts(0);
        assert!(closed.keys.is_empty(), "the first epoch goes on");
        closed.registers(2);
        closed.registers(1);
        closed.texts(1);
        assert_eq!(closed.keys.len(), 2 * REGISTERS + TEXTS as usize);
        assert!(closed.keys.contains(&"r1:5".to_owned()));
        closed.keys.clear();
        closed.registers(3);
        closed.texts(1);
        assert!(closed.keys.iter().all(|key| key.starts_with("r2:")), "{closed:?}");
        assert_eq!(closed.keys.len(), REGISTERS);
    }
}
