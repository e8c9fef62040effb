//! What the node counts: commands, bytes, errors, latencies, rates.
//!
//! The hot path records with relaxed atomics in slots found by number, without a lock, a hash or an
//! allocation (but for a command's first call). Reading may tear between counters; each counter by
//! itself is exact. Prometheus text and INFO are both rendered from here.

mod histogram;
mod rates;

pub use histogram::Histogram;
pub use rates::Rates;

use crate::commands::numbering;
use crate::commands::spec::CommandSpec;
use crate::limits::ERROR_PREFIXES_MAX;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A counter that any thread may raise: each raises a stripe of its own, so that the line of memory
/// which it is in does not travel between cores with every request.
#[derive(Debug, Default)]
pub struct Counter([Stripe; STRIPES]);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

/// As many as threads that serve connections by default.
const STRIPES: usize = 4;

/// The stripe of the calling thread.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    OWN.with(|own| *own)
}

impl Counter {
    /// Raises it by one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Raises it by `amount`.
    pub fn add(&self, amount: u64) {
        self.0[stripe()].0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    fn reset(&self) {
        self.0.iter().for_each(|stripe| stripe.0.store(0, Ordering::Relaxed));
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// With a reply that is no error.
    Ok,
    /// It ran and its reply is an error.
    Failed,
}

/// Figures of one command or subcommand.
#[derive(Debug, Default)]
pub struct CommandMetrics {
    /// Calls that ran.
    pub calls: Counter,
    /// Nanoseconds they took together, waiting for the cluster included.
    pub nanos: Counter,
    /// Calls refused before they ran.
    pub rejected: Counter,
    /// Calls that ran and answered with an error.
    pub failed: Counter,
    /// Their latencies.
    pub latency: Histogram,
}

/// All counters of a node.
#[derive(Debug)]
pub struct Metrics {
    /// When these began to be kept (the start of the node), in milliseconds since 1970.
    pub started_ms: u64,
    /// Connections accepted.
    pub connections_received: Counter,
    /// Connections refused because of `maxclients`.
    pub connections_rejected: Counter,
    /// TLS handshakes of clients and peers that failed.
    pub tls_handshakes_failed: Counter,
    /// Commands that ran.
    pub commands_processed: Counter,
    /// Bytes received from clients.
    pub net_input_bytes: Counter,
    /// Bytes sent to clients.
    pub net_output_bytes: Counter,
    /// Reads of a key that was there.
    pub keyspace_hits: Counter,
    /// Reads of a key that was not.
    pub keyspace_misses: Counter,
    /// Keys removed because they were overdue, as applied here.
    pub expired_keys: Counter,
    /// Reads answered by this node.
    pub reads_processed: Counter,
    /// Writes answered by this node.
    pub writes_processed: Counter,
    /// Error replies.
    pub error_replies: Counter,
    /// Clients closed because their replies piled up.
    pub output_limit_disconnections: Counter,
    /// Clients closed because their input piled up.
    pub input_limit_disconnections: Counter,
    /// Clients closed because all of them together had too much memory.
    pub evicted_clients: Counter,
    /// Requests that waited for a leader.
    pub requests_held: Counter,
    /// Requests answered by MOVED or REDIRECT.
    pub requests_redirected: Counter,
    /// Requests refused because too many waited.
    pub requests_overloaded: Counter,
    /// Writes refused because the disk is nearly full.
    pub writes_without_room: Counter,
    /// Writes whose outcome could not be told.
    pub outcomes_unknown: Counter,
    /// Read barriers asked of the cluster.
    pub read_barriers: Counter,
    /// Reads those barriers served.
    pub read_barrier_reads: Counter,
    /// Clients waiting in WAIT or behind CLIENT PAUSE.
    pub blocked_clients: Gauge,
    commands: Vec<CommandMetrics>,
    errors: Mutex<BTreeMap<String, u64>>,
    rates: Mutex<Rates>,
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn decrement(&self) {
        let before = self.0.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a gauge is decremented as often as incremented");
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            started_ms: crate::clock::unix_ms(),
            connections_received: Counter::default(),
            connections_rejected: Counter::default(),
            tls_handshakes_failed: Counter::default(),
            commands_processed: Counter::default(),
            net_input_bytes: Counter::default(),
            net_output_bytes: Counter::default(),
            keyspace_hits: Counter::default(),
            keyspace_misses: Counter::default(),
            expired_keys: Counter::default(),
            reads_processed: Counter::default(),
            writes_processed: Counter::default(),
            error_replies: Counter::default(),
            output_limit_disconnections: Counter::default(),
            input_limit_disconnections: Counter::default(),
            requests_held: Counter::default(),
            requests_redirected: Counter::default(),
            evicted_clients: Counter::default(),
            requests_overloaded: Counter::default(),
            writes_without_room: Counter::default(),
            outcomes_unknown: Counter::default(),
            read_barriers: Counter::default(),
            read_barrier_reads: Counter::default(),
            blocked_clients: Gauge::default(),
            commands: std::iter::repeat_with(CommandMetrics::default)
                .take(numbering::count())
                .collect(),
            errors: Mutex::default(),
            rates: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Counts a command that ran `times` times, for `nanos` each; its latency too when `track_latency`.
    pub fn record(
        &self,
        spec: &'static CommandSpec,
        times: u64,
        nanos: u64,
        outcome: CommandOutcome,
        track_latency: bool,
    ) {
        let command = self.command(spec);
        command.calls.add(times);
        command.nanos.add(times * nanos);
        if outcome == CommandOutcome::Failed {
            command.failed.add(times);
        }
        if track_latency {
            command.latency.record(nanos, times);
        }
        self.commands_processed.add(times);
    }

    /// Counts a command refused before it ran.
    pub fn record_rejected(&self, spec: &'static CommandSpec) {
        self.command(spec).rejected.increment();
    }

    /// Counts an error reply by its prefix (`ERR`, `WRONGTYPE`).
    pub fn record_error(&self, text: &str) {
        self.error_replies.increment();
        let prefix = text.split(' ').next().unwrap_or_default();
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(prefix) {
            *count += 1;
        } else if errors.len() < ERROR_PREFIXES_MAX {
            errors.insert(prefix.to_owned(), 1);
        } else {
            *errors.entry("OTHERS".to_owned()).or_default() += 1;
        }
    }

    /// Figures of one command.
    pub fn command(&self, spec: &'static CommandSpec) -> &CommandMetrics {
        &self.commands[numbering::number(spec)]
    }

    /// Full names and figures of all commands, by number.
    pub fn commands(&self) -> impl Iterator<Item = (&'static str, &CommandMetrics)> {
        let named = |(number, metrics)| (numbering::full_name(number), metrics);
        self.commands.iter().enumerate().map(named)
    }

    /// Error replies by prefix.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// Takes a sample of what the figures per second are averaged from. To be called every
    /// [`crate::limits::RATE_SAMPLE_MS`].
    pub fn tick(&self, monotonic_us: u64) {
        let (commands, input) = (self.commands_processed.get(), self.net_input_bytes.get());
        self.rates.lock().sample(monotonic_us, [commands, input, self.net_output_bytes.get()]);
    }

    /// Commands per second, lately.
    pub fn commands_per_second(&self) -> u64 {
        self.rates.lock().per_second()[0] as u64
    }

    /// Bytes received and sent per second, lately.
    pub fn net_bytes_per_second(&self) -> (f64, f64) {
        let [_, input, output] = self.rates.lock().per_second();
        (input, output)
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        let counters = [
            &self.connections_received,
            &self.connections_rejected,
            &self.tls_handshakes_failed,
            &self.commands_processed,
            &self.net_input_bytes,
            &self.net_output_bytes,
            &self.keyspace_hits,
            &self.keyspace_misses,
            &self.expired_keys,
            &self.reads_processed,
            &self.writes_processed,
            &self.error_replies,
            &self.output_limit_disconnections,
            &self.input_limit_disconnections,
            &self.requests_held,
            &self.requests_redirected,
            &self.evicted_clients,
            &self.requests_overloaded,
            &self.writes_without_room,
            &self.outcomes_unknown,
            &self.read_barriers,
            &self.read_barrier_reads,
        ];
        counters.iter().for_each(|counter| counter.reset());
        for command in &self.commands {
            let counters = [&command.calls, &command.nanos, &command.rejected, &command.failed];
            counters.iter().for_each(|counter| counter.reset());
            command.latency.reset();
        }
        self.errors.lock().clear();
        *self.rates.lock() = Rates::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::lookup;

    #[test]
    fn commands_errors_and_resets_are_counted() {
        let metrics = Metrics::default();
        let strlen = lookup(b"strlen").unwrap();
        metrics.record(strlen, 1, 3_000, CommandOutcome::Ok, true);
        metrics.record(strlen, 1, 5_000, CommandOutcome::Failed, false);
        metrics.record_rejected(strlen);
        metrics.record_error("ERR no such key");
        metrics.record_error("ERR syntax error");
        metrics.record_error("WRONGTYPE x");
        let figures = metrics.command(strlen);
        assert_eq!((figures.calls.get(), figures.nanos.get()), (2, 8_000));
        assert_eq!((figures.failed.get(), figures.rejected.get()), (1, 1));
        assert_eq!(figures.latency.count(), 1);
        assert_eq!(metrics.commands_processed.get(), 2);
        let called: Vec<_> = metrics.commands().filter(|(_, m)| m.calls.get() > 0).collect();
        assert_eq!((called.len(), called[0].0), (1, "strlen"));
        let errors: Vec<_> = metrics.errors().into_iter().collect();
        assert_eq!(errors, [("ERR".to_owned(), 2), ("WRONGTYPE".to_owned(), 1)]);
        metrics.reset();
        assert_eq!((figures.calls.get(), figures.latency.count()), (0, 0));
        assert!(metrics.errors().is_empty() && metrics.error_replies.get() == 0);
    }

    #[test]
    fn error_prefixes_are_bounded() {
        let metrics = Metrics::default();
        for n in 0..ERROR_PREFIXES_MAX + 5 {
            metrics.record_error(&format!("E{n} text"));
        }
        assert_eq!(metrics.errors().len(), ERROR_PREFIXES_MAX + 1);
        assert_eq!(metrics.errors()["OTHERS"], 5);
    }

    #[test]
    fn rates_come_from_ticks() {
        let metrics = Metrics::default();
        metrics.tick(0);
        metrics.commands_processed.add(50);
        metrics.net_input_bytes.add(1000);
        metrics.tick(100_000);
        assert_eq!(metrics.commands_per_second(), 500);
        assert_eq!(metrics.net_bytes_per_second(), (10_000.0, 0.0));
    }
}
