//! INFO: facts and figures of the node as text, section by section.
//!
//! Names, order and form are Redis's where Redis has the figure; a figure that does not exist here
//! is left out, except for the few constants that are true (`evicted_keys:0`) and that tools need.
//! Everything else is measured at the moment of the call. A section is a function of [`Sources`].

mod figures;
mod process;
mod raft;
mod replication;
mod resources;
mod server;
mod stats;
#[cfg(test)]
mod tests;

use crate::node_control::NodeControl;
use crate::status::{ClusterStatus, RaftFigures};
use figures::Section;

/// The Redis whose behaviour is matched.
pub const REDIS_VERSION: &str = "7.0.15";

/// What sections are written from, read once for one INFO.
struct Sources<'a> {
    node: &'a dyn NodeControl,
    status: ClusterStatus,
    figures: RaftFigures,
    now_us: u64,
}

/// Name, title, whether plain INFO shows it, and how it is written.
type SectionRow = (&'static str, &'static str, bool, fn(&Sources<'_>, &mut Section));

/// All sections in the order they are printed.
const SECTIONS: &[SectionRow] = &[
    ("server", "Server", true, server::server),
    ("clients", "Clients", true, resources::clients),
    ("memory", "Memory", true, resources::memory),
    ("persistence", "Persistence", true, resources::persistence),
    ("stats", "Stats", true, stats::stats),
    ("replication", "Replication", true, replication::replication),
    ("cpu", "CPU", true, resources::cpu),
    ("modules", "Modules", true, server::modules),
    ("commandstats", "Commandstats", false, stats::command_stats),
    ("errorstats", "Errorstats", true, stats::error_stats),
    ("latencystats", "Latencystats", false, stats::latency_stats),
    ("cluster", "Cluster", true, server::cluster),
    ("keyspace", "Keyspace", true, server::keyspace),
    ("raft", "Raft", true, raft::raft),
];

/// The sections that `names` ask for: section names, `default`, `all`, `everything`, in any case;
/// none means `default`. Unknown names are ignored. Ports are those for a client that speaks TLS or
/// not.
pub fn render(node: &dyn NodeControl, names: &[&[u8]], tls: bool) -> String {
    let is_asked = |row: &&SectionRow| {
        let (section, _, in_default, _) = row;
        let asks = |name: &&[u8]| match name.to_ascii_lowercase().as_slice() {
            b"all" | b"everything" => true,
            b"default" => *in_default,
            name => name == section.as_bytes(),
        };
        (names.is_empty() && *in_default) || names.iter().any(asks)
    };
    let asked: Vec<&SectionRow> = SECTIONS.iter().filter(is_asked).collect();
    if asked.is_empty() {
        return String::new();
    }
    let sources = Sources {
        node,
        status: node.status().told(tls),
        figures: node.raft_figures(),
        now_us: node.clock().unix_us(),
    };
    let render = |(_, title, _, write): &&SectionRow| {
        let mut section = Section::new(title);
        write(&sources, &mut section);
        section.into_text()
    };
    asked.iter().map(render).collect::<Vec<String>>().join("\r\n")
}
