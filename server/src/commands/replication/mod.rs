//! Commands on replication: roles, waiting for copies, handing over, members.
//!
//! Orders to the cluster go through [`crate::node_control::NodeControl::order`] and may be given on
//! any node; they are answered when they are done.

mod failover;
mod raft;
mod readonly;
mod role;
#[cfg(test)]
mod tests;
mod wait;

use crate::commands::spec::CommandSpec;

/// The commands of this chapter.
pub static COMMANDS: &[CommandSpec] = &[
    readonly::ASKING,
    failover::FAILOVER,
    raft::CLUSTER,
    raft::INDEX,
    raft::NODE,
    raft::PEER,
    raft::SNAPSHOT,
    raft::TRANSFER_LEADER,
    readonly::READONLY,
    readonly::READWRITE,
    role::ROLE,
    wait::WAIT,
    wait::WAITAOF,
];
