//! A read uses a barrier, and a state, that reach every write which was acknowledged, to anybody,
//! before the read was asked.

use super::{Invariant, View};

/// See the module.
pub struct ReadBarriers;

impl Invariant for ReadBarriers {
    fn check(&mut self, view: &View) -> Result<(), String> {
        for read in &view.reads {
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

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;
    use crate::clients::ReadUse;

    #[test]
    fn a_barrier_or_a_state_before_what_was_acknowledged_is_seen() {
        let mut scene = Scene::new();
        let mut show = |acked, barrier, log_index| {
            let what = "of a test".to_owned();
            scene.view.reads = vec![ReadUse { what, acked, barrier, log_index }];
            ReadBarriers.check(&scene.view)
        };
        assert_eq!((show(0, 0, 0), show(7, 7, 7), show(7, 8, 9)), (Ok(()), Ok(()), Ok(())));
        for (acked, barrier, log_index) in [(7, 6, 9), (7, 8, 7), (7, 7, 6)] {
            let violation = show(acked, barrier, log_index).unwrap_err();
            assert!(violation.contains("does not cover 7"), "{violation}");
        }
    }
}
