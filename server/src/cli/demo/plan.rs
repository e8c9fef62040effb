//! What a demo starts, and where. The number of nodes and the ports belong to the data (members
//! know each other by address), so they are kept in the directory and cannot change later.

use serde::Deserialize;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;

/// Peers connect to the client port plus this.
const PEER_PORT_OFFSET: u16 = 10_000;
const NODES: u16 = 3;
const BASE_PORT: u16 = 6379;
const FILE: &str = "demo.toml";

/// The whole demo.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Directory of everything.
    pub(super) dir: PathBuf,
    /// Number of nodes.
    pub(super) nodes: u16,
    /// Client port of node 1.
    base_port: u16,
    /// Whether the directory was used before.
    pub(super) is_continued: bool,
}

/// One node of it.
#[derive(Clone, Debug)]
pub(super) struct NodePlan {
    /// From 1.
    pub(super) number: u16,
    /// `host:port` for clients.
    pub(super) listen: String,
    /// Client port.
    pub(super) port: u16,
    /// `host:port` for peers.
    pub(super) peer_listen: String,
    /// Its data.
    pub(super) data_dir: PathBuf,
    /// What it writes about itself.
    pub(super) log_file: PathBuf,
    /// Client addresses of all nodes, when there are others.
    pub(super) join: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Saved {
    nodes: u16,
    base_port: u16,
}

impl Plan {
    /// The plan for a directory, which may hold an earlier demo.
    pub(super) fn new(
        dir: PathBuf,
        nodes: Option<u16>,
        base_port: Option<u16>,
    ) -> Result<Self, String> {
        let saved = load(&dir.join(FILE))?;
        let is_continued = saved.is_some();
        if let Some(saved) = &saved {
            let other = |asked: Option<u16>, known| asked.is_some_and(|asked| asked != known);
            if other(nodes, saved.nodes) || other(base_port, saved.base_port) {
                return Err(format!(
                    "{} holds a demo of {} nodes from port {}; start it with these, or use \
                     another --data-dir",
                    dir.display(),
                    saved.nodes,
                    saved.base_port
                ));
            }
        }
        let saved = saved.unwrap_or(Saved { nodes: NODES, base_port: BASE_PORT });
        let nodes = nodes.unwrap_or(saved.nodes);
        let base_port = base_port.unwrap_or(saved.base_port);
        let last = u32::from(base_port) + u32::from(nodes) - 1 + u32::from(PEER_PORT_OFFSET);
        if last > u32::from(u16::MAX) {
            return Err(format!(
                "--base-port {base_port} leaves no room for the peers' ports, which are \
                 {PEER_PORT_OFFSET} above"
            ));
        }
        Ok(Plan { dir, nodes, base_port, is_continued })
    }

    /// The node of this number, from 1.
    pub(super) fn node(&self, number: u16) -> NodePlan {
        let port = |number: u16| self.base_port + number - 1;
        let address = |port: u16| format!("127.0.0.1:{port}");
        let join = match self.nodes {
            1 => Vec::new(),
            nodes => (1..=nodes).map(|number| address(port(number))).collect(),
        };
        NodePlan {
            number,
            listen: address(port(number)),
            port: port(number),
            peer_listen: address(port(number) + PEER_PORT_OFFSET),
            data_dir: self.dir.join(format!("node-{number}")),
            log_file: self.dir.join(format!("node-{number}.log")),
            join,
        }
    }

    /// Refuses when a port is taken.
    pub(super) fn check_ports(&self) -> Result<(), String> {
        for number in 1..=self.nodes {
            let node = self.node(number);
            for (address, whose) in [(&node.listen, "clients"), (&node.peer_listen, "peers")] {
                TcpListener::bind(address).map_err(|error| {
                    let port = address.rsplit(':').next().unwrap_or(address);
                    format!(
                        "port {port} (for {whose} of node {number}) cannot be used: {error}. Stop \
                         what uses it, or choose other ports with --base-port; nothing was started"
                    )
                })?;
            }
        }
        Ok(())
    }

    /// Makes the directory, and keeps in it what must stay the same.
    pub(super) fn save(&self) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: {error}", self.dir.display());
        fs::create_dir_all(&self.dir).map_err(failed)?;
        let text = format!(
            "# Kept by kvorum demo: the nodes know each other by these ports.\n\
             nodes = {}\nbase-port = {}\n",
            self.nodes, self.base_port
        );
        fs::write(self.dir.join(FILE), text).map_err(failed)
    }
}

fn load(path: &PathBuf) -> Result<Option<Saved>, String> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let saved = toml::from_str(&text);
            saved.map(Some).map_err(|error| format!("{}: {error}", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_nodes_and_ports() {
        let dir = tempfile::tempdir().unwrap();
        let new = |nodes, base_port| Plan::new(dir.path().to_owned(), nodes, base_port);
        let first = new(Some(5), Some(7000)).unwrap();
        assert!(!first.is_continued);
        first.save().unwrap();
        let again = new(None, None).unwrap();
        assert_eq!((again.nodes, again.base_port, again.is_continued), (5, 7000, true));
        for (nodes, base_port) in [(Some(3), None), (None, Some(7001))] {
            let refused = new(nodes, base_port).unwrap_err();
            assert!(refused.contains("5 nodes from port 7000"), "{refused}");
        }
    }

    #[test]
    fn ports_stay_in_range() {
        let at = |base_port| Plan::new("nowhere".into(), Some(3), Some(base_port));
        let last = at(55_533).unwrap().node(3);
        assert_eq!(
            (last.listen.as_str(), last.peer_listen.as_str()),
            ("127.0.0.1:55535", "127.0.0.1:65535")
        );
        assert!(at(55_534).unwrap_err().contains("--base-port 55534"));
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        // The system may choose a port that leaves no room above it for peers.
        let base_port = port.checked_sub(PEER_PORT_OFFSET).unwrap();
        let plan = Plan::new("nowhere".into(), Some(1), Some(base_port)).unwrap();
        let refused = plan.check_ports().unwrap_err();
        assert!(refused.contains(&format!("port {port} (for peers of node 1)")), "{refused}");
    }

    #[test]
    fn a_lone_node_joins_nobody() {
        let plan = Plan::new("nowhere".into(), Some(1), None).unwrap();
        assert!(plan.node(1).join.is_empty());
    }
}
