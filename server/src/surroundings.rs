//! What lies around a replica and can be replaced: the way to its peers, the date, and who does work
//! that may block. Its disks are handed in as the log and the engine.

use crate::clock::{Clock, SystemClock};
use crate::tasks::{Threads, Workers};
use crate::transport::{Tcp, Transport};
use std::sync::Arc;

/// The surroundings of one replica.
#[derive(Clone)]
pub struct Surroundings {
    /// Reaches the peers.
    pub transport: Arc<dyn Transport>,
    /// The date that a leader stamps entries with.
    pub clock: Arc<dyn Clock>,
    /// Do what may block.
    pub workers: Arc<dyn Workers>,
}

impl Default for Surroundings {
    /// TCP, the operating system's clock, and threads.
    fn default() -> Self {
        let (transport, clock) = (Arc::new(Tcp), Arc::new(SystemClock));
        Surroundings { transport, clock, workers: Arc::new(Threads::default()) }
    }
}
