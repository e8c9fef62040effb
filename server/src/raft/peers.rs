//! How peers are reached, and what is measured of each: round trip, last contact, messages. Shown
//! in INFO.

use crate::complaints::Complaints;
use crate::transport::{Tcp, Transport};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Figures of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerFigures {
    /// Round trip of the last answered heartbeat.
    pub(crate) round_trip: Option<Duration>,
    /// When it last answered or asked.
    pub(crate) last_contact: Option<Instant>,
    /// Whether the last attempt to reach it succeeded, or it was heard since.
    pub(crate) connected: bool,
}

/// What is refused; traces of one kind do not silence those of another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refused {
    /// A connection without a handshake.
    Handshake,
    /// Bytes that are no frame.
    Bytes,
    /// A frame of another cluster, for another node, or not of a member.
    Frame,
}

/// Figures of all peers since the start.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) transport: Arc<dyn Transport>,
    figures: Mutex<BTreeMap<u64, PeerFigures>>,
    snapshots_sent: AtomicU64,
    snapshot_bytes_sent: AtomicU64,
    /// Messages sent to peers since the start.
    pub(crate) sent: AtomicU64,
    /// Messages received from peers since the start.
    pub(crate) received: AtomicU64,
    /// Messages and connections of peers refused since the start.
    refused: AtomicU64,
    complaints: [Complaints; 3],
    /// Append requests received that carried entries.
    pub(crate) appends_with_entries: AtomicU64,
    /// Pieces of snapshots received.
    pub(crate) snapshot_pieces: AtomicU64,
}

impl Default for Peers {
    fn default() -> Self {
        Peers::new(Arc::new(Tcp))
    }
}

impl Peers {
    /// Peers that are reached this way.
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        Peers {
            transport,
            figures: Mutex::default(),
            snapshots_sent: AtomicU64::new(0),
            snapshot_bytes_sent: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            complaints: Default::default(),
            appends_with_entries: AtomicU64::new(0),
            snapshot_pieces: AtomicU64::new(0),
        }
    }

    /// Counts a refusal. It is to be traced if this says so: see [`Complaints::due`].
    pub(crate) fn refuse(&self, what: Refused) -> Option<u64> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.complaints[what as usize].due()
    }

    /// Messages and connections of peers refused since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A peer answered a heartbeat.
    pub(crate) fn answered(&self, peer: u64, round_trip: Duration) {
        let mut figures = self.figures.lock();
        let figures = figures.entry(peer).or_default();
        figures.round_trip = Some(round_trip);
        figures.last_contact = Some(Instant::now());
        figures.connected = true;
    }

    /// A peer sent us a request, or answered one that says nothing of the way to it.
    pub(crate) fn heard(&self, peer: u64) {
        let mut figures = self.figures.lock();
        let figures = figures.entry(peer).or_default();
        figures.last_contact = Some(Instant::now());
        figures.connected = true;
    }

    /// A peer did not answer.
    pub(crate) fn lost(&self, peer: u64) {
        self.figures.lock().entry(peer).or_default().connected = false;
    }

    /// What is known of a peer.
    pub(crate) fn figures(&self, peer: u64) -> PeerFigures {
        self.figures.lock().get(&peer).copied().unwrap_or_default()
    }

    /// Part of a snapshot was sent.
    pub(crate) fn count_snapshot_bytes(&self, bytes: usize) {
        self.snapshot_bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A snapshot was sent and installed by its receiver.
    pub(crate) fn count_snapshot_sent(&self) {
        self.snapshots_sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Snapshots sent since the start.
    pub(crate) fn snapshots_sent(&self) -> u64 {
        self.snapshots_sent.load(Ordering::Relaxed)
    }
}
