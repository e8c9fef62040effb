//! The fingerprint of a run: a hash over every event with its time, and counters of what happened.
//!
//! Two runs of a seed are the same if their fingerprints are. `KVORUM_SIM_TRACE=1` prints the
//! events, to find where two runs part.

use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Once};
use tokio::sync::Notify;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

thread_local! {
    /// Panics of this thread, which is one run's.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Has panics counted from now on, beside what is done about them otherwise.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
    PANICS.set(0);
}

/// Panics since the run of this thread began.
pub fn panics() -> u64 {
    PANICS.get()
}

/// Clones share one trace.
#[derive(Clone)]
pub struct Trace {
    begun: Instant,
    state: Arc<Mutex<State>>,
    noted: Arc<Notify>,
    prints: bool,
}

#[derive(Default)]
struct State {
    hash: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Trace {
    /// An empty trace that begins now. Must be called inside the run's runtime.
    pub fn begin() -> Trace {
        count_panics();
        let prints = std::env::var_os("KVORUM_SIM_TRACE").is_some();
        let (state, noted) = (Arc::default(), Arc::default());
        Trace { begun: Instant::now(), state, noted, prints }
    }

    /// Notes an event of this kind, and counts it.
    pub fn note(&self, kind: &'static str, what: impl Display) {
        let line = format!("{} {kind} {what}", self.now_us());
        if self.prints {
            println!("{line}");
        }
        let mut state = self.state.lock();
        state.hash = xxh3_64_with_seed(line.as_bytes(), state.hash);
        *state.counts.entry(kind).or_default() += 1;
        drop(state);
        self.noted.notify_one();
    }

    /// Waits for an event, unless there was one since the last wait.
    pub async fn noted(&self) {
        self.noted.notified().await;
    }

    /// Microseconds since the beginning.
    pub fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    /// Events so far by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().counts.clone()
    }
}
