//! Kvorum: a Redis-protocol server whose acknowledged writes survive.
//!
//! Modules in reading order, from below: [`commands`] declares and implements every command;
//! [`state_machine`] applies log entries, purely; the node's registries are [`config`],
//! [`clients`], [`metrics`], [`slowlog`] and [`status`], seen by commands through [`node_control`].

pub mod clients;
pub mod clock;
pub mod commands;
pub mod config;
pub mod limits;
pub mod metrics;
pub mod node_control;
pub mod redact;
pub mod session;
pub mod slowlog;
pub mod state_machine;
pub mod status;
