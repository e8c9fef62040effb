//! Sections clients, memory, persistence, cpu.

use super::figures::{Section, human_bytes, ratio};
use super::{Sources, process};
use crate::clients::Client;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::space::Room;

pub(super) fn clients(from: &Sources<'_>, section: &mut Section) {
    let clients = from.node.clients().list();
    let most = |bytes: fn(&Arc<Client>) -> u64| clients.iter().map(bytes).max().unwrap_or(0);
    let members = from.status.members.iter();
    let peers = members.filter(|member| member.connected && member.id != from.status.node_id);
    let monitors = clients.iter().filter(|client| client.is_monitor.load(Ordering::Relaxed));
    section.add("connected_clients", clients.len());
    section.add("cluster_connections", peers.count());
    section.add("maxclients", from.node.settings().load().maxclients);
    let input = most(|client| client.input_bytes.load(Ordering::Relaxed));
    let output = most(|client| client.output_bytes.load(Ordering::Relaxed));
    section.add("client_recent_max_input_buffer", input);
    section.add("client_recent_max_output_buffer", output);
    section.add("blocked_clients", from.node.metrics().blocked_clients.get());
    section.add("monitor_clients", monitors.count());
}

/// `used_memory` is what is resident and belongs to no file.
pub(super) fn memory(from: &Sources<'_>, section: &mut Section) {
    let (engine, log) = (from.node.engine_stats(), from.node.log_stats());
    let settings = from.node.settings().load();
    if let Some(memory) = process::memory() {
        let percent = 100.0 * ratio(memory.anonymous, memory.resident_peak);
        section.add_bytes("used_memory", memory.anonymous);
        section.add_bytes("used_memory_rss", memory.resident);
        section.add_bytes("used_memory_peak", memory.resident_peak);
        section.add("used_memory_peak_perc", format_args!("{percent:.2}%"));
        section.add_bytes("total_system_memory", memory.machine);
        let fragmentation = ratio(memory.resident, memory.anonymous);
        section.add("mem_fragmentation_ratio", format_args!("{fragmentation:.2}"));
    }
    let buffers = |client: &Arc<Client>| {
        let counters = [&client.input_bytes, &client.input_free_bytes, &client.output_bytes];
        counters.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum::<u64>()
    };
    let clients = from.node.clients().list();
    section.add("mem_clients_normal", clients.iter().map(buffers).sum::<u64>());
    section.add("mem_overlay", engine.overlay_bytes);
    section.add("mem_overlay_limit", settings.overlay_bytes);
    section.add("mem_log_cache", log.cache_bytes);
    section.add("mem_log_cache_limit", settings.log_cache_bytes);
    section.add("mem_block_cache_limit", engine.cache_bytes_max);
    section.add("number_of_cached_scripts", 0);
    section.add("maxmemory", 0);
    section.add("maxmemory_human", human_bytes(0));
    section.add("maxmemory_policy", "noeviction");
}

/// The log is Redis's append-only file, the tables are its snapshot. A failed write or fsync ends
/// the process, so that the last ones of a process that answers were good; `err` says that writes are
/// refused because the disk is nearly full.
pub(super) fn persistence(from: &Sources<'_>, section: &mut Section) {
    let (engine, log) = (from.node.engine_stats(), from.node.log_stats());
    let status = &from.status;
    section.add_flag("loading", status.snapshot_receiving);
    section.add(
        "rdb_changes_since_last_save",
        status.applied_index.saturating_sub(status.durable_index),
    );
    section.add_flag("rdb_bgsave_in_progress", from.figures.snapshot_building);
    section.add("rdb_last_save_time", from.node.last_save_ms() / 1000);
    section.add("rdb_last_bgsave_status", "ok");
    section.add("rdb_saves", status.snapshots_created);
    section.add_flag("aof_enabled", true);
    let writable = from.node.disk_space().room == Room::Enough;
    section.add("aof_last_write_status", if writable { "ok" } else { "err" });
    section.add("aof_current_size", log.bytes);
    section.add("aof_pending_bio_fsync", log.queued);
    section.add("appendfsync", from.node.settings().load().appendfsync.name());
    let disk = from.node.disk_space();
    section.add("disk_room", disk.room.name());
    section.add("disk_free_bytes", disk.free_bytes);
    section.add("disk_free_min", from.node.settings().load().disk_free_min_bytes);
    section.add("storage_engine", engine.engine);
    section.add("storage_disk_bytes", engine.disk_bytes);
    section.add("storage_overlay_rows", engine.overlay_rows);
    section.add("storage_flushes", engine.flushes);
    section.add("storage_last_flush_ms", engine.last_flush_ms);
    section.add("storage_stalls", engine.stalls);
    section.add("storage_rests", engine.rests);
    section.add("storage_lookups_ahead", engine.lookups_ahead);
    section.add("storage_level_0_runs", engine.level_0_runs);
}

pub(super) fn cpu(_: &Sources<'_>, section: &mut Section) {
    let Some(time) = process::cpu_time() else {
        return;
    };
    let figures = [
        ("used_cpu_sys", time.system),
        ("used_cpu_user", time.user),
        ("used_cpu_sys_children", time.system_children),
        ("used_cpu_user_children", time.user_children),
    ];
    for (name, seconds) in figures {
        section.add(name, format_args!("{seconds:.6}"));
    }
}
