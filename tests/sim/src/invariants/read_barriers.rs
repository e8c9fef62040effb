//! A read uses a barrier, and a state, that reach every write which was acknowledged, to anybody,
//! before the read was asked.

use super::{Invariant, View};

/// See the module.
pub struct ReadBarriers;

impl Invariant for ReadBarriers {
    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for read in view.clients.take_reads() {
            if read.barrier < read.acked || read.log_index < read.barrier {
                return Err(format!(
                    "read {} does not cover {}, acknowledged before",
                    read.what, read.acked
                ));
            }
        }
        Ok(())
    }
}
