//! Nodes that do nothing, for tests that show an invariant what it must let pass and what not.
//!
//! Each has a log and a state, empty at first, on a disk of its own, and whatever figures a test gives
//! it. Nothing happens in between: a view shows exactly what was set.

use super::{Invariant, Look, View};
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::engine::{DurableState, SharedDriver, SimEngine};
use crate::trace::Trace;
use bytes::{BufMut, Bytes, BytesMut};
use kvorum::simulation::Observed;
use parking_lot::Mutex;
use std::sync::Arc;
use storage::key;
use storage::log::{EntryKind, LogEntry, LogOptions, LogPosition, RaftLog};
use storage::txn::Engine;

/// Three nodes, 1 to 3.
pub(super) struct Scene {
    pub(super) view: View,
    disks: Vec<SimDisk>,
    drivers: Vec<SharedDriver>,
}

impl Scene {
    pub(super) fn new() -> Scene {
        let mut scene = Scene { view: View::default(), disks: Vec::new(), drivers: Vec::new() };
        for id in 1..=3 {
            let trace = Trace::begin();
            let disk = SimDisk::new(id, trace.clone());
            let options = LogOptions { segment_bytes: 16 << 10, ..LogOptions::new("simulated") };
            let opened = RaftLog::open_driven(Arc::new(disk.clone()), options, Arc::new(|| ()));
            let (log, driver) = opened.unwrap();
            let driver: SharedDriver = Arc::new(Mutex::new(Some(driver)));
            let state = DurableState::default();
            let engine = SimEngine::open(id, state, driver.clone(), trace, Dice::new(id)).unwrap();
            let applied = Default::default();
            let seen = Observed {
                term: 1,
                leads: false,
                runs: true,
                applied,
                received: 0,
                membership_known: None,
                membership_applied: None,
            };
            scene.view.nodes.insert(id, Look { seen, log, engine, life: 1 });
            scene.disks.push(disk);
            scene.drivers.push(driver);
        }
        scene
    }

    pub(super) fn node(&mut self, id: u64) -> &mut Look {
        self.view.nodes.get_mut(&id).unwrap()
    }

    /// Says that a node has applied so many entries, the last of this term, and shows this time.
    pub(super) fn applied(&mut self, id: u64, log_index: u64, term: u64, now_ms: u64) {
        let applied = &mut self.node(id).seen.applied;
        (applied.log_index, applied.term, applied.now_ms) = (log_index, term, now_ms);
    }

    /// Appends an entry to the log of a node.
    pub(super) fn append(&mut self, id: u64, (index, term): (u64, u64), text: &'static str) {
        self.put(id, (index, term), EntryKind::Normal, Bytes::from_static(text.as_bytes()));
    }

    /// Appends a membership with these sets of voters to the log of a node.
    pub(super) fn append_voters(&mut self, id: u64, (index, term): (u64, u64), sets: &[&[u64]]) {
        let mut payload = BytesMut::new();
        payload.put_u32_le(sets.len() as u32);
        for set in sets {
            payload.put_u32_le(set.len() as u32);
            set.iter().for_each(|voter| payload.put_u64_le(*voter));
        }
        payload.put_u32_le(9);
        for node in 1..=9 {
            payload.put_u64_le(node);
            // Two addresses without a letter.
            payload.put_u64_le(0);
        }
        self.put(id, (index, term), EntryKind::Membership, payload.freeze());
    }

    fn put(&mut self, id: u64, (index, term): (u64, u64), kind: EntryKind, payload: Bytes) {
        let position = LogPosition { term, index };
        let entry = LogEntry { position, kind, payload };
        self.node(id).log.shard(0).append(vec![entry], Box::new(|_| ()));
        self.turn(id);
    }

    /// Forgets what a log holds behind `index`, of this term.
    pub(super) fn truncate(&mut self, id: u64, (index, term): (u64, u64)) {
        self.node(id).log.shard(0).truncate_after(Some(LogPosition { term, index }));
        self.turn(id);
    }

    /// Forgets what a log holds up to `index`, of this term.
    pub(super) fn purge(&mut self, id: u64, (index, term): (u64, u64)) {
        self.node(id).log.shard(0).purge(LogPosition { term, index });
        self.turn(id);
    }

    /// Has the disk of a node fail, and its log notice.
    pub(super) fn fail_log(&mut self, id: u64) {
        self.disks[id as usize - 1].fail_after(0);
        self.append(id, (0, 1), "never written");
        assert!(self.node(id).log.failure().is_some());
    }

    /// Applies a row to the state of a node, and says that it did.
    pub(super) fn apply(&mut self, id: u64, log_index: u64, value: &'static str) {
        let node = self.node(id);
        let mut txn = node.engine.write(log_index);
        txn.put(key::meta(0, "row").as_slice(), Bytes::from_static(value.as_bytes()));
        txn.commit();
        node.seen.applied.log_index = log_index;
    }

    fn turn(&self, id: u64) {
        let mut driver = self.drivers[id as usize - 1].lock();
        driver.as_mut().unwrap().turn();
    }

    /// Shows what is there now to an invariant, which must let it pass.
    pub(super) fn passes(&self, invariant: &mut impl Invariant) {
        assert_eq!(invariant.check(&self.view), Ok(()));
    }

    /// Shows what is there now to an invariant, which must report it in these words, among others.
    pub(super) fn fails(&self, invariant: &mut impl Invariant, words: &str) {
        let violation = invariant.check(&self.view).expect_err(words);
        assert!(violation.contains(words), "{violation}");
    }
}
