//! A log without threads: whoever opened it says when the writer works.
//!
//! What the threads of a log do, in turns, on the caller's thread and by the caller's clock: for
//! simulations, where the order of everything has to come from one place. A driver that is dropped
//! is a power cut as far as the log can see one: what was queued is answered with an error, and
//! nothing is written any more.

use std::io;
use std::time::Instant;

use super::writer::Writer;

/// Gives the writer of a log its turns; see `RaftLog::open_driven`.
pub struct Driver {
    pub(super) writer: Writer,
}

impl Driver {
    /// Writes and syncs what is queued, calls back, and prepares and puts away segments. False: the
    /// log was closed, and this was its last turn.
    pub fn turn(&mut self) -> bool {
        while self.writer.keeper.step() {}
        self.writer.turn()
    }

    /// When a turn is due even if nothing is queued.
    pub fn due(&self) -> Option<Instant> {
        self.writer.deadline()
    }

    /// Why nothing is written any more.
    pub fn failure(&self) -> Option<io::Error> {
        self.writer.shared.failure()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.writer.keeper.stop();
        self.writer.shared.end();
    }
}
