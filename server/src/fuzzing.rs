//! The decoders of what peers send, for fuzz targets outside this crate. Changes no behaviour.

use crate::raft::any_bytes::{self, MESSAGES};

/// Reads an input, made from the numbers of `next`, as a message between peers whose kind is chosen
/// by the first number. Returns how many executions of its decoder that was.
///
/// # Panics
/// What was read is written in another way, or cannot be read again.
pub fn peer_message(next: &mut dyn FnMut() -> u64) -> u64 {
    let kind = (next() % MESSAGES.len() as u64) as usize;
    (MESSAGES[kind].read)(MESSAGES[kind].name, next)
}

/// Reads an input, made from the numbers of `next`, as a frame between peers. Returns how many
/// executions of its decoder that was.
///
/// # Panics
/// What was read is written in another way, or room is made for what is only claimed.
pub fn peer_frame(next: &mut dyn FnMut() -> u64) -> u64 {
    any_bytes::frame(next)
}
