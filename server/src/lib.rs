//! Kvorum: a Redis-protocol server whose acknowledged writes survive.
//!
//! Modules in reading order, from below: [`commands`] declares and implements every command;
//! [`state_machine`] applies log entries, purely; [`raft`] replicates them; [`dispatch`] routes
//! requests; [`net`] is clients' connections. The node's registries are [`config`], [`clients`],
//! [`metrics`], [`slowlog`], [`users`], [`acl_log`] and [`status`], seen by commands through [`node_control`]; [`server`]
//! puts all of it together, `complaints` bounds what strangers can have traced, `tls` keeps its certificates, and [`cli`] is the binary.
//!
//! Use only downwards: net -> dispatch -> raft -> state_machine -> commands -> storage, protocol.

pub mod acl_log;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod commands;
mod complaints;
pub mod config;
mod dispatch;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod limits;
pub mod metrics;
mod net;
pub mod node_control;
mod raft;
mod random;
pub mod redact;
mod server;
pub mod session;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod slowlog;
pub mod state_machine;
pub mod status;
mod stream;
pub mod surroundings;
pub mod tasks;
mod tls;
pub mod transport;
pub mod users;
