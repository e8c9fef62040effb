//! When to try again what met a full disk, and how clients get to know of it.

use crate::space::{Lack, Space};
use std::sync::Arc;
use std::time::Duration;

/// The first pause; each further one in a row is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest: so late, at most, is it noticed that there is room again.
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// Attempts of one thread. While the last one failed, the room counts as low, whatever the file
/// system says of it: clients get an error instead of waiting.
pub(super) struct Retry<'a> {
    space: Option<&'a Arc<Space>>,
    lack: Option<Lack>,
    pause: Duration,
}

impl<'a> Retry<'a> {
    /// Nothing failed yet.
    pub(super) fn new(space: Option<&'a Arc<Space>>) -> Self {
        Self { space, lack: None, pause: PAUSE }
    }

    /// After a failed attempt: how long to rest before the next.
    pub(super) fn failed(&mut self) -> Duration {
        self.lack = self.space.map(Lack::of);
        let pause = self.pause;
        self.pause = PAUSE_MAX.min(pause * 2);
        pause
    }

    /// After an attempt that went well.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.space);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Room;

    #[test]
    fn pauses_grow_and_the_room_is_low_until_it_goes_well() {
        let dir = tempfile::tempdir().unwrap();
        let space = Arc::new(Space::new(dir.path(), 1));
        let room = || space.measure().unwrap().1;
        let mut retry = Retry::new(Some(&space));
        assert_eq!(room(), Room::Enough);
        let pauses: Vec<u128> = (0..6).map(|_| retry.failed().as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(room(), Room::Low);
        retry.reset();
        assert_eq!((room(), retry.failed()), (Room::Enough, PAUSE));
        drop(retry);
        assert_eq!(room(), Room::Enough);
    }
}
