//! Runs requests on the model engine, each as a log entry of its own: for tests of commands.
//!
//! No session, no routing, no expiry in the background: what one handler does, and no more.

use crate::commands;
use crate::commands::context::{ReadContext, SeededRandom, WriteContext, user_key};
use crate::commands::error::{Failure, Outcome};
use crate::commands::spec::Run;
use protocol::{Reply, Request};
use storage::keyspace::{Reader, Writer};
use storage::memory::MemoryEngine;
use storage::meta::KeyCounts;
use storage::txn::Engine;

/// A state to run requests on.
pub(super) struct Runner {
    engine: MemoryEngine,
    /// Log index of the last request that was applied.
    pub(super) log_index: u64,
    /// Time of the entries, in milliseconds since 1970.
    pub(super) now_ms: u64,
    /// Database selected.
    pub(super) database: u8,
    /// What reads are given as their random number.
    pub(super) random: u64,
}

impl Runner {
    /// An empty state at 1,000,000 milliseconds.
    pub(super) fn new() -> Self {
        let engine = MemoryEngine::new();
        Runner { engine, log_index: 0, now_ms: 1_000_000, database: 0, random: 0 }
    }

    /// Runs requests, words parted by spaces, and compares their replies as [`text`] shows them.
    pub(super) fn check(&mut self, steps: &[(&str, &str)]) {
        for (request, expected) in steps {
            assert_eq!(self.run(request), *expected, "{request}");
        }
    }

    /// Runs one request, words parted by spaces.
    pub(super) fn run(&mut self, request: &str) -> String {
        text(&self.request(&request.split(' ').collect::<Vec<_>>()))
    }

    /// Runs one request. An error must leave the state as it was.
    pub(super) fn request<A: AsRef<[u8]>>(&mut self, parts: &[A]) -> Reply {
        let request = Request::from_parts(parts);
        let mut spec = commands::lookup(request.arg(0)).expect("a command");
        if let Run::Container = spec.run {
            let subcommand = commands::lookup_subcommand(spec, request.arg(1));
            spec = subcommand.expect("a subcommand");
        }
        assert!(spec.arity.accepts(request.len()), "{request:?}");
        let outcome = match spec.run {
            Run::Read(run) | Run::Scan(run) => self.read(|ctx| run(ctx, &request)),
            Run::Write { check, apply } => match check(&request) {
                Ok(()) => self.write(|ctx| apply(ctx, &request)),
                Err(error) => Err(error.into()),
            },
            ref other => panic!("{other:?} is not for this runner"),
        };
        match outcome {
            Ok(reply) => reply,
            Err(Failure::Command(error)) => Reply::error(error.to_string()),
            Err(Failure::Storage(error)) => panic!("{error}"),
        }
    }

    fn read<T>(&self, run: impl FnOnce(&ReadContext<'_>) -> T) -> T {
        let txn = self.engine.read();
        let reader = Reader::new(&*txn, 0, self.now_ms);
        run(&ReadContext::new(reader, self.database, 16, self.now_ms, self.random))
    }

    fn write(&mut self, run: impl FnOnce(&mut WriteContext<'_, '_>) -> Outcome) -> Outcome {
        self.log_index += 1;
        let mut txn = self.engine.write(self.log_index);
        let mut writer = Writer::new(&mut *txn, 0, self.now_ms);
        let mut random = SeededRandom::new(self.log_index);
        let database = self.database;
        let outcome = run(&mut WriteContext {
            writer: &mut writer,
            database,
            databases: 16,
            random: &mut random,
        });
        let unchanged = writer.changes() == 0;
        assert!(outcome.is_ok() || unchanged, "an error follows no write");
        writer.settle();
        drop(writer);
        txn.commit();
        outcome
    }

    /// Log index of the last change of a key, 0 when it is absent.
    pub(super) fn version(&self, key: &str) -> u64 {
        let version = |ctx: &ReadContext<'_>| ctx.reader.version(0, user_key(key.as_bytes()));
        self.read(version).expect("memory does not fail")
    }

    /// Keys of a database, and those of them with a deadline.
    pub(super) fn counts(&self, database: u8) -> (u64, u64) {
        let counts = self.read(|ctx| ctx.reader.counts(database));
        let KeyCounts { keys, with_deadline, .. } = counts.expect("memory does not fail");
        (keys, with_deadline)
    }

    /// Every row of the state, and its log index.
    pub(super) fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = self.engine.read();
        let rows = rows.rows(&[], &[u8::MAX; 4]).map(|row| row.expect("memory does not fail"));
        rows.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }
}

/// A reply in a few characters: `OK`, `-ERR ..`, `:1`, `value`, `nil`, `[a b]`.
pub(super) fn text(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) => text.to_string(),
        Reply::Error(text) => format!("-{text}"),
        Reply::Integer(number) => format!(":{number}"),
        Reply::Bulk(bytes) => bytes.escape_ascii().to_string(),
        Reply::Null => "nil".to_owned(),
        Reply::Array(items) => {
            format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(" "))
        }
        other => panic!("{other:?} is not shown here"),
    }
}
