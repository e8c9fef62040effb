//! Who has connected to the peer listener and has not yet sent a frame that this node takes.
//!
//! Anybody who reaches the port can connect and say nothing. There is room for every next connection, as the
//! oldest of such makes way, so that they keep no member out.

use crate::limits::STRANGERS_MAX;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// All of them; clones share the list.
#[derive(Clone, Default)]
pub(crate) struct Strangers {
    list: Arc<Mutex<List>>,
}

#[derive(Default)]
struct List {
    /// Oldest first.
    waiting: VecDeque<(u64, CancellationToken)>,
    entered: u64,
}

impl Strangers {
    /// Another one. The oldest is shown out if there are too many.
    pub(crate) fn enter(&self) -> Stranger {
        let mut list = self.list.lock();
        if list.waiting.len() >= STRANGERS_MAX
            && let Some((_, oldest)) = list.waiting.pop_front()
        {
            oldest.cancel();
        }
        let (number, shown_out) = (list.entered, CancellationToken::new());
        list.entered += 1;
        list.waiting.push_back((number, shown_out.clone()));
        Stranger { number, shown_out, strangers: self.clone() }
    }
}

/// One of them, until it is dropped: because it is known now, or gone.
pub(crate) struct Stranger {
    number: u64,
    /// Cancelled when it has to make way.
    pub(crate) shown_out: CancellationToken,
    strangers: Strangers,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.list.lock().waiting.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_way_and_who_is_known_never() {
        let strangers = Strangers::default();
        let known = strangers.enter();
        let was_known = known.shown_out.clone();
        drop(known);
        let silent: Vec<Stranger> = (0..STRANGERS_MAX + 3).map(|_| strangers.enter()).collect();
        assert!(!was_known.is_cancelled());
        let gone = silent.iter().filter(|stranger| stranger.shown_out.is_cancelled());
        assert_eq!(gone.map(|stranger| stranger.number).collect::<Vec<_>>(), [1, 2, 3]);
        drop(silent);
        assert!(strangers.list.lock().waiting.is_empty());
    }
}
