//! Replication: one Raft group of a node, hidden from everything above.
//!
//! In reading order: `types` (the only file with openraft's generics) and `runtime`; `log_store` and `applier`
//! put its log and state machine onto `storage`; `codec`, `reply_codec` and `frame` are the wire
//! format between peers, `peer_link` and `network` its client side, `peer_server`, `strangers` and
//! `append_stream` its server side;
//! `proposer` is group commit, `barrier` the read barrier, `relay` the way to both from other threads,
//! `forward` what followers send; `node` ties them together; `identity`, `introduction`, `bootstrap`, `probe`, `start_over` and `orders` are about who is a
//! member; `duties` is what a node does regularly, `disk_room` what it does on a full disk, `damage` on a damaged one; `view` shows it all as a status.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod any_bytes;
mod append_stream;
pub(crate) mod applier;
pub(crate) mod backlog;
pub(crate) mod barrier;
pub(crate) mod bootstrap;
pub(crate) mod codec;
mod confirm;
pub(crate) mod damage;
pub(crate) mod disk_room;
pub(crate) mod duties;
pub(crate) mod error;
mod forward;
mod frame;
pub(crate) mod identity;
pub(crate) mod introduction;
mod log_store;
mod network;
pub(crate) mod node;
mod orders;
mod peer_link;
pub(crate) mod peer_server;
mod peers;
mod probe;
pub(crate) mod proposer;
mod relay;
mod reply_codec;
mod responder;
mod runtime;
pub(crate) mod start_over;
mod strangers;
pub(crate) mod types;
mod view;

pub(crate) use types::NodeAddress;
pub(crate) use view::split_address;
