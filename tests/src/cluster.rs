//! Real processes that form a cluster, below one temporary directory.
//!
//! What a test waits for is what a node says of itself in INFO; the harness keeps no opinion of
//! its own on who leads.

use crate::client::Client;
use crate::node::{Node, wait_until};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// How long a cluster may take to form, to elect a leader, or to bring its nodes together.
pub const CLUSTER_WAIT: Duration = Duration::from_secs(40);

/// Nodes that belong together; not all of them need to run.
pub struct Cluster {
    pub nodes: Vec<Node>,
    root: Option<TempDir>,
}

impl Cluster {
    /// Starts `count` nodes with these settings (`name=value`) and waits until all agree on who
    /// leads.
    pub fn start(count: usize, settings: &[&str]) -> Self {
        let mut cluster = Self::prepare(count, settings);
        for node in &mut cluster.nodes {
            node.spawn();
        }
        cluster.wait_ready();
        cluster
    }

    /// Nodes that will form a cluster once they are started.
    pub fn prepare(count: usize, settings: &[&str]) -> Self {
        let root = tempfile::Builder::new().prefix("kvorum-test-").tempdir();
        let root = root.expect("a temporary directory");
        let args = set_args(settings);
        let mut nodes: Vec<Node> = (0..count).map(|_| Node::new(root.path(), &args)).collect();
        if count > 1 {
            let all: Vec<String> = nodes.iter().map(|node| node.addr.clone()).collect();
            for node in &mut nodes {
                let expect = ["--bootstrap-expect".into(), count.to_string()];
                node.args.extend(expect);
                node.args.extend(["--join".into(), all.join(",")]);
            }
        }
        Cluster { nodes, root: Some(root) }
    }

    /// Another node with an empty directory, not started, that is told to join these addresses;
    /// none: it waits to be added. Its position is returned.
    pub fn add_node(&mut self, settings: &[&str], join: &[&str]) -> usize {
        let root = self.root.as_ref().expect("the directory stays until the end").path();
        let mut args = set_args(settings);
        if !join.is_empty() {
            args.extend(["--join".into(), join.join(",")]);
        }
        self.nodes.push(Node::new(root, &args));
        self.nodes.len() - 1
    }

    /// Starts every node that does not run, and waits until all agree on who leads.
    pub fn start_all(&mut self) {
        for node in &mut self.nodes {
            if !node.is_running() {
                node.kill();
                node.spawn();
            }
        }
        self.wait_ready();
    }

    /// Waits until every node answers and all agree on who leads.
    pub fn wait_ready(&mut self) {
        for node in &mut self.nodes {
            node.wait_ready();
        }
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.leader_among(&all);
    }

    /// The leader, once all running nodes agree on one.
    pub fn leader(&mut self) -> usize {
        let running: Vec<usize> =
            (0..self.nodes.len()).filter(|at| self.nodes[*at].is_running()).collect();
        self.leader_among(&running)
    }

    /// The leader, once these nodes agree that it is one of them.
    pub fn leader_among(&self, among: &[usize]) -> usize {
        let mut found = None;
        wait_until(CLUSTER_WAIT, "the nodes agree on a leader", || {
            let infos: Vec<_> = among.iter().map(|at| self.nodes[*at].info("raft")).collect();
            let says = |at: usize, name: &str| infos[at].get(name).cloned().unwrap_or_default();
            let leads = |at: &usize| says(*at, "raft_role") == "leader";
            let leaders: Vec<usize> = (0..among.len()).filter(leads).collect();
            let [leader] = leaders[..] else { return false };
            let id = says(leader, "raft_node_id");
            found = Some(among[leader]);
            (0..among.len()).all(|at| says(at, "raft_leader_id") == id)
        });
        found.expect("the wait ends with a leader")
    }

    /// Some running node that does not lead.
    pub fn follower(&mut self) -> usize {
        let leader = self.leader();
        self.others(leader)[0]
    }

    /// All nodes but this one.
    pub fn others(&self, but: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| *at != but).collect()
    }

    /// A connection to the leader.
    pub fn leader_client(&mut self) -> Client {
        let leader = self.leader();
        self.nodes[leader].client()
    }

    /// Addresses of all nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.addr.clone()).collect()
    }

    /// Waits until all running nodes have applied the same last entry.
    pub fn wait_converged(&mut self) {
        let running: Vec<usize> =
            (0..self.nodes.len()).filter(|at| self.nodes[*at].is_running()).collect();
        wait_until(CLUSTER_WAIT, "the nodes have applied the same entries", || {
            let figures = running.iter().map(|at| {
                let info = self.nodes[*at].info("raft");
                (
                    info.get("raft_last_applied_index").cloned(),
                    info.get("raft_current_index").cloned(),
                )
            });
            let figures: Vec<_> = figures.collect();
            let (applied, last) = &figures[0];
            applied.is_some() && applied == last && figures.iter().all(|other| *other == figures[0])
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(root) = self.root.take()
        {
            eprintln!("---- data and output of the nodes are kept in {}", root.keep().display());
        }
    }
}

fn set_args(settings: &[&str]) -> Vec<String> {
    settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]).collect()
}
