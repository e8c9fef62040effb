//! Sections server, modules, cluster, keyspace.

use super::figures::Section;
use super::{REDIS_VERSION, Sources, process};

pub(super) fn server(from: &Sources<'_>, section: &mut Section) {
    let settings = from.node.settings().load();
    let started_ms = from.node.metrics().started_ms;
    let uptime_s = (from.now_us / 1000).saturating_sub(started_ms) / 1000;
    section.add("redis_version", REDIS_VERSION);
    section.add("kvorum_version", env!("CARGO_PKG_VERSION"));
    section.add("redis_mode", "standalone");
    section.add("os", process::operating_system());
    section.add("arch_bits", usize::BITS);
    section.add("process_id", std::process::id());
    section.add("run_id", process::run_id());
    // As Redis: the TLS port where it is the only one.
    let port = u64::from(settings.listen_address().1);
    section.add("tcp_port", if settings.plain_is_off() { settings.tls_port } else { port });
    section.add("server_time_usec", from.now_us);
    section.add("uptime_in_seconds", uptime_s);
    section.add("uptime_in_days", uptime_s / 86_400);
    section.add("executable", process::executable());
    section.add_flag("io_threads_active", settings.connection_threads() > 1);
}

/// There are no modules.
pub(super) fn modules(_: &Sources<'_>, _: &mut Section) {}

/// See `commands/cluster`: the commands work although this says 0.
pub(super) fn cluster(_: &Sources<'_>, section: &mut Section) {
    section.add_flag("cluster_enabled", false);
}

/// The average time to live is exact, where Redis prints an estimate.
pub(super) fn keyspace(from: &Sources<'_>, section: &mut Section) {
    for (database, counts) in from.node.key_counts().into_iter().filter(|(_, c)| c.keys > 0) {
        let (keys, expires) = (counts.keys, counts.with_deadline);
        let ttl = counts.average_ttl_ms(from.node.clock().unix_ms());
        section.add(
            &format!("db{database}"),
            format_args!("keys={keys},expires={expires},avg_ttl={ttl}"),
        );
    }
}
