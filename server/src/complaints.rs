//! Traces of what strangers can provoke as often as they like: at most one a second.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two traces.
const PAUSE: Duration = Duration::from_secs(1);

/// What was traced last of one kind, and how often it was not since.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    untraced: u64,
}

impl Complaints {
    /// Whether another is to be traced now, with the number of those before it that were not.
    pub(crate) fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if state.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            state.untraced += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.untraced))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_is_traced_with_the_number_of_others() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.due_at(now), Some(0));
        for _ in 0..500 {
            assert_eq!(complaints.due_at(now + PAUSE / 2), None);
        }
        assert_eq!(complaints.due_at(now + PAUSE), Some(500));
        assert_eq!(complaints.due_at(now + PAUSE), None);
        assert_eq!(complaints.due_at(now + 3 * PAUSE), Some(1));
    }
}
