//! What has to hold at every moment; one file each.
//!
//! All are looked at after each step of simulated time. They keep what they saw, so that a node
//! that is down or cut off is still held to what it showed before.

mod applied_forward;
mod election_safety;
mod leader_completeness;
mod log_matching;
mod membership;
mod purge;
mod raft_runs;
mod read_barriers;
mod state_machine_safety;
mod time_forward;

use crate::clients::Clients;
use crate::cluster::Incarnation;
use std::collections::BTreeMap;

pub use applied_forward::AppliedForward;
pub use election_safety::ElectionSafety;
pub use leader_completeness::LeaderCompleteness;
pub use log_matching::LogMatching;
pub use membership::MembershipSteps;
pub use purge::PurgeBehindDurable;
pub use raft_runs::RaftRuns;
pub use read_barriers::ReadBarriers;
pub use state_machine_safety::{StateMachineSafety, digest};
pub use time_forward::TimeForward;

/// What can be looked at.
pub struct View<'a> {
    /// The nodes that run, by id.
    pub nodes: BTreeMap<u64, Incarnation>,
    /// Who uses them.
    pub clients: &'a Clients,
}

/// Something that has to hold.
pub trait Invariant: Send {
    /// Looks at the run as it is now.
    ///
    /// # Errors
    /// How it is violated.
    fn check(&mut self, view: &View<'_>) -> Result<(), String>;
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
        Box::new(PurgeBehindDurable),
    ]
}
