//! What has to hold at every moment; one file each.
//!
//! All are looked at after each step of simulated time. They keep what they saw, so that a node
//! that is down or cut off is still held to what it showed before. They see nodes as plain figures, a
//! log and a state, so that tests can show each of them what must not be.

mod applied_forward;
mod election_safety;
mod leader_completeness;
mod log_matching;
mod membership;
mod membership_known;
mod purge;
mod raft_runs;
mod read_barriers;
#[cfg(test)]
mod scene;
mod state_machine_safety;
mod time_forward;

use crate::clients::{Clients, ReadUse};
use crate::cluster::Cluster;
use crate::engine::SimEngine;
use crate::trace;
use kvorum::simulation::Observed;
use std::collections::BTreeMap;
use storage::log::RaftLog;

pub use applied_forward::AppliedForward;
pub use election_safety::ElectionSafety;
pub use leader_completeness::LeaderCompleteness;
pub use log_matching::LogMatching;
pub use membership::MembershipSteps;
pub use membership_known::MembershipKnown;
pub use purge::PurgeBehindDurable;
pub use raft_runs::RaftRuns;
pub use read_barriers::ReadBarriers;
pub use state_machine_safety::{StateMachineSafety, digest};
pub use time_forward::TimeForward;

/// A node that runs, at the moment of a look.
#[derive(Clone)]
pub struct Look {
    pub seen: Observed,
    pub log: RaftLog,
    pub engine: SimEngine,
    /// Counts the lives of this node.
    pub life: u64,
}

/// What can be looked at.
#[derive(Clone, Default)]
pub struct View {
    /// The nodes that run, by id.
    pub nodes: BTreeMap<u64, Look>,
    /// Reads that were answered since the last look.
    pub reads: Vec<ReadUse>,
    /// Panics since the run began.
    pub panics: u64,
    /// Simulated time since the run began, in microseconds.
    pub now_us: u64,
}

impl View {
    /// The run as it is now; takes the clients' new reads.
    pub fn of(cluster: &Cluster, clients: &Clients) -> View {
        let running = cluster.running().into_iter();
        let nodes = running.map(|(id, node)| {
            let (seen, life) = (node.replica.observe(), node.life);
            (id, Look { seen, log: node.log, engine: node.engine, life })
        });
        View {
            nodes: nodes.collect(),
            reads: clients.take_reads(),
            panics: trace::panics(),
            now_us: cluster.trace.now_us(),
        }
    }
}

/// Something that has to hold.
pub trait Invariant: Send {
    /// Looks at the run as it is now.
    ///
    /// # Errors
    /// How it is violated.
    fn check(&mut self, view: &View) -> Result<(), String>;
}

/// All of them.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(RaftRuns),
        Box::new(ElectionSafety::default()),
        Box::new(LogMatching::default()),
        Box::new(LeaderCompleteness::default()),
        Box::new(StateMachineSafety::default()),
        Box::new(AppliedForward::default()),
        Box::new(TimeForward::default()),
        Box::new(ReadBarriers),
        Box::new(MembershipSteps::default()),
        Box::new(MembershipKnown::default()),
        Box::new(PurgeBehindDurable),
    ]
}
