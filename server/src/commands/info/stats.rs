//! Sections stats, commandstats, errorstats, latencystats.

use super::Sources;
use super::figures::{Section, ratio};

pub(super) fn stats(from: &Sources<'_>, section: &mut Section) {
    let metrics = from.node.metrics();
    let (input_bps, output_bps) = metrics.net_bytes_per_second();
    section.add("total_connections_received", metrics.connections_received.get());
    section.add("total_commands_processed", metrics.commands_processed.get());
    section.add("instantaneous_ops_per_sec", metrics.commands_per_second());
    section.add("total_net_input_bytes", metrics.net_input_bytes.get());
    section.add("total_net_output_bytes", metrics.net_output_bytes.get());
    section.add("instantaneous_input_kbps", format_args!("{:.2}", input_bps / 1024.0));
    section.add("instantaneous_output_kbps", format_args!("{:.2}", output_bps / 1024.0));
    let counters = [
        ("rejected_connections", &metrics.connections_rejected),
        ("tls_handshakes_failed", &metrics.tls_handshakes_failed),
        ("expired_keys", &metrics.expired_keys),
        ("evicted_clients", &metrics.evicted_clients),
        ("keyspace_hits", &metrics.keyspace_hits),
        ("keyspace_misses", &metrics.keyspace_misses),
        ("total_error_replies", &metrics.error_replies),
        ("client_query_buffer_limit_disconnections", &metrics.input_limit_disconnections),
        ("client_output_buffer_limit_disconnections", &metrics.output_limit_disconnections),
        ("reads_served", &metrics.reads_processed),
        ("writes_served", &metrics.writes_processed),
        ("read_barriers", &metrics.read_barriers),
        ("read_barrier_reads", &metrics.read_barrier_reads),
        ("requests_held", &metrics.requests_held),
        ("requests_redirected", &metrics.requests_redirected),
        ("requests_overloaded", &metrics.requests_overloaded),
        ("writes_without_room", &metrics.writes_without_room),
        ("outcomes_unknown", &metrics.outcomes_unknown),
    ];
    for (name, counter) in counters {
        section.add(name, counter.get());
    }
    section.add("evicted_keys", 0);
    section.add("sync_full", from.status.snapshots_sent);
}

pub(super) fn command_stats(from: &Sources<'_>, section: &mut Section) {
    for (name, command) in from.node.metrics().commands() {
        let (calls, rejected) = (command.calls.get(), command.rejected.get());
        if calls == 0 && rejected == 0 {
            continue;
        }
        let micros = command.nanos.get() / 1000;
        section.add(
            &format!("cmdstat_{name}"),
            format_args!(
                "calls={calls},usec={micros},usec_per_call={:.2},rejected_calls={rejected},\
                 failed_calls={}",
                ratio(micros, calls),
                command.failed.get(),
            ),
        );
    }
}

pub(super) fn error_stats(from: &Sources<'_>, section: &mut Section) {
    for (prefix, count) in from.node.metrics().errors() {
        section.add(&format!("errorstat_{prefix}"), format_args!("count={count}"));
    }
}

pub(super) fn latency_stats(from: &Sources<'_>, section: &mut Section) {
    for (name, command) in from.node.metrics().commands() {
        if command.latency.count() == 0 {
            continue;
        }
        let micros = |percent| command.latency.percentile(percent) as f64 / 1000.0;
        section.add(
            &format!("latency_percentiles_usec_{name}"),
            format_args!(
                "p50={:.3},p99={:.3},p99.9={:.3}",
                micros(50.0),
                micros(99.0),
                micros(99.9)
            ),
        );
    }
}
