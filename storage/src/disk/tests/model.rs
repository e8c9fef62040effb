//! Random histories on the disk engine and on the model engine, with restarts in between.

use super::*;
use crate::memory::MemoryEngine;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    /// A batch: key numbers and value lengths (None removes).
    Commit(Vec<(u8, Option<u16>)>),
    /// A batch that is dropped.
    Abandon(Vec<(u8, Option<u16>)>),
    Flush,
    Reopen,
    /// A read that is kept, and compared at the end of this life of the engine.
    Hold,
    /// The state is exported and installed again.
    Reinstall,
    /// A range is compared.
    Range(u8, u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let change = || (0..40u8, prop::option::weighted(0.7, 0..600u16));
    let changes = move || prop::collection::vec(change(), 0..30);
    let op = prop_oneof![
        12 => changes().prop_map(Op::Commit),
        2 => changes().prop_map(Op::Abandon),
        2 => Just(Op::Flush),
        2 => Just(Op::Reopen),
        2 => Just(Op::Hold),
        1 => Just(Op::Reinstall),
        4 => (0..40u8, 0..40u8).prop_map(|(one, other)| Op::Range(one, other)),
    ];
    prop::collection::vec(op, 1..40)
}

fn key(number: u8) -> Bytes {
    // Some keys differ behind the sixteenth byte only.
    if number.is_multiple_of(2) {
        format!("{number:02}")
    } else {
        format!("sixteen bytes ..{number:02}")
    }
    .into()
}

/// Both engines, and the state after every log index that a restart may come back to.
struct Pair {
    dir: tempfile::TempDir,
    disk: Option<DiskEngine>,
    memory: MemoryEngine,
    history: BTreeMap<u64, State>,
    held: Vec<Box<dyn ReadTxn + Send + Sync>>,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Some(DiskEngine::open(small(dir.path())).unwrap());
        let (memory, history) = (MemoryEngine::new(), BTreeMap::from([(0, State::new())]));
        Self { dir, disk, memory, history, held: Vec::new() }
    }

    fn disk(&self) -> &DiskEngine {
        self.disk.as_ref().unwrap()
    }

    fn run(&mut self, op: &Op, value: &str) {
        match op {
            Op::Commit(changes) => {
                self.disk().wait_for_room().unwrap();
                let log_index = self.memory.read().log_index() + 1;
                for engine in [self.disk.as_ref().unwrap() as &dyn Engine, &self.memory] {
                    batch(engine, log_index, changes, value).commit();
                }
                self.history.insert(log_index, state(&self.memory));
            }
            Op::Abandon(changes) => {
                let log_index = self.memory.read().log_index() + 3;
                drop(batch(self.disk(), log_index, changes, "abandoned "));
            }
            Op::Flush => {
                let durable = self.disk().flush().unwrap();
                assert_eq!(durable, self.memory.read().log_index());
            }
            Op::Reopen => self.reopen(),
            Op::Hold => self.held.push(self.disk().read()),
            Op::Reinstall => {
                copy_state(&self.memory, self.disk(), 2000);
                assert_eq!(self.disk().durable_index(), self.memory.read().log_index());
            }
            Op::Range(one, other) => {
                let (start, end) = (key(*one.min(other)), key(*one.max(other)));
                let (start, end) = (start.clone().min(end.clone()), start.max(end));
                let range = |engine: &dyn Engine| -> State {
                    engine.read().rows(&start, &end).map(text).collect()
                };
                assert_eq!(range(self.disk()), range(&self.memory));
            }
        }
    }

    /// Everything after the durable log index is lost; the model goes back there.
    fn reopen(&mut self) {
        self.compare_held();
        drop(self.disk.take());
        self.disk = Some(DiskEngine::open(small(self.dir.path())).unwrap());
        let durable = self.disk().durable_index();
        assert_eq!(self.disk().read().log_index(), durable);
        assert_eq!(state(self.disk()), self.history[&durable], "reopened at {durable}");
        self.memory = MemoryEngine::new();
        copy_state(self.disk(), &self.memory, 1000);
        self.history.split_off(&(durable + 1));
    }

    fn compare_held(&mut self) {
        for read in self.held.drain(..) {
            assert_eq!(state_of(&*read), self.history[&read.log_index()]);
        }
    }

    fn compare(&self) {
        assert_eq!(state(self.disk()), state(&self.memory));
        for number in 0..40 {
            let got = self.disk().read().get(&key(number)).unwrap();
            assert_eq!(got, self.memory.read().get(&key(number)).unwrap());
        }
    }
}

fn batch<'a>(
    engine: &'a dyn Engine,
    log_index: u64,
    changes: &[(u8, Option<u16>)],
    value: &str,
) -> Box<dyn crate::txn::WriteTxn + 'a> {
    let mut txn = engine.write(log_index);
    for (number, length) in changes {
        match length {
            Some(length) => txn.put(&key(*number), value.repeat(usize::from(*length) / 8).into()),
            None => txn.delete(&key(*number)),
        }
    }
    txn
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_disk_engine_equals_the_model(ops in ops()) {
        let mut pair = Pair::new();
        for (step, op) in ops.iter().enumerate() {
            pair.run(op, &format!("{step:06}, "));
        }
        pair.compare();
        pair.reopen();
        pair.compare();
    }
}
