//! What handlers are given: exactly what their kind of command may touch.

use crate::commands::error::{CommandError, Failure};
use crate::node_control::NodeControl;
use crate::session::Session;
use protocol::slot::key_slot;
use std::cell::Cell;
use storage::StorageError;
use storage::key::UserKey;
use storage::keyspace::{Found, Loaded, Reader, Writer};
use storage::limits::USER_KEY_BYTES_MAX;
use storage::value::{Record, ValueKind};

/// A connection's command: sees its session and the registries of the node.
pub struct SessionContext<'a> {
    /// The connection's state.
    pub session: &'a mut Session,
    /// The node.
    pub node: &'a dyn NodeControl,
}

/// A node's command: may wait.
#[derive(Clone, Copy)]
pub struct NodeContext<'a> {
    /// The connection's state.
    pub session: &'a Session,
    /// The node.
    pub node: &'a dyn NodeControl,
}

/// One consistent version of the data.
pub struct ReadContext<'a> {
    /// The data, at the time of the last applied entry.
    pub reader: Reader<'a>,
    /// The database selected.
    pub database: u8,
    /// How many databases there are.
    pub databases: u16,
    /// For figures only (TTL, OBJECT IDLETIME), never for existence: milliseconds since 1970.
    pub clock_ms: u64,
    /// A random number (from the entry's seed when run from the log).
    pub random: u64,
    /// Lookups that found their key, and those that did not.
    pub found: Cell<(u64, u64)>,
}

impl<'a> ReadContext<'a> {
    /// A context without lookups so far.
    pub fn new(
        reader: Reader<'a>,
        database: u8,
        databases: u16,
        clock_ms: u64,
        random: u64,
    ) -> Self {
        ReadContext { reader, database, databases, clock_ms, random, found: Cell::default() }
    }

    /// The record of a key of the selected database, unless it is missing or overdue.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Record>, StorageError> {
        let record = match key.len() {
            ..=USER_KEY_BYTES_MAX => self.reader.lookup(self.database, user_key(key))?,
            // Writes refuse such a key, so there is none.
            _ => None,
        };
        let (hits, misses) = self.found.get();
        let hit = u64::from(record.is_some());
        self.found.set((hits + hit, misses + 1 - hit));
        Ok(record)
    }

    /// The record of a key that must hold a string.
    pub fn lookup_string(&self, key: &[u8]) -> Result<Option<Record>, Failure> {
        let record = self.lookup(key)?;
        expect_string(record.as_ref())?;
        Ok(record)
    }
}

/// One batch of changes, at one log index, on every node alike.
pub struct WriteContext<'a, 'txn> {
    /// The data and its changes.
    pub writer: &'a mut Writer<'txn>,
    /// The database selected.
    pub database: u8,
    /// How many databases there are, as the leader stamped it on the entry.
    pub databases: u16,
    /// Random numbers that are the same on every node.
    pub random: &'a mut SeededRandom,
}

impl WriteContext<'_, '_> {
    /// Looks a key up for a change that does not need its value.
    pub fn find(&mut self, key: &[u8]) -> Result<Found, StorageError> {
        self.writer.find(self.database, user_key(key))
    }

    /// Loads a key of the selected database for a change.
    pub fn load(&mut self, key: &[u8]) -> Result<Loaded, StorageError> {
        self.writer.load(self.database, user_key(key))
    }

    /// Loads a key that must be missing or hold a string.
    pub fn load_string(&mut self, key: &[u8]) -> Result<Loaded, Failure> {
        let loaded = self.load(key)?;
        expect_string(loaded.record())?;
        Ok(loaded)
    }

    /// Sets a loaded key to a string with a deadline or none.
    pub fn store_string(
        &mut self,
        found: impl Into<Found>,
        value: &[u8],
        deadline_ms: Option<u64>,
    ) -> Result<(), StorageError> {
        self.writer.store(found, ValueKind::STRING, &[value], deadline_ms)
    }

    /// The time of the entry, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.writer.now_ms()
    }
}

/// A key with its hash slot.
pub fn user_key(key: &[u8]) -> UserKey<'_> {
    UserKey { slot: key_slot(key), bytes: key }
}

fn expect_string(record: Option<&Record>) -> Result<(), CommandError> {
    match record.map(|record| record.kind) {
        None | Some(ValueKind::String(_)) => Ok(()),
    }
}

/// Random numbers that follow from a seed of the log entry alone (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        SeededRandom(seed)
    }

    /// The next number, uniform over all 64-bit values.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_those_of_every_other_node() {
        let mut random = SeededRandom::new(1234567);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(first, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }
}
