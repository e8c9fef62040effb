//! The network between nodes: connections that carry whole frames, late, broken, or not at all.
//!
//! The real frames go through it, read and written by the real peer code. A connection keeps TCP's
//! promises, which the append streams and snapshots rely on: what it carries arrives in order, once,
//! or it breaks. Between connections, and among requests that the peers' server works on side by
//! side (votes, heartbeats, read indexes, their answers), frames also overtake each other, arrive
//! twice, or vanish.
//!
//! Every direction of a pair of nodes is cut or open by itself. Frames on a cut direction wait, as
//! behind a firewall, and arrive long after they were sent, or their connection breaks at last. A
//! crash of either end closes a connection.

use crate::dice::Dice;
use crate::trace::Trace;
use kvorum::simulation::Replica;
use kvorum::transport::{Connecting, Incoming, Outgoing, Transport};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Header of a frame, in bytes; see the table of `server/src/raft/frame.rs`.
const HEADER_BYTES: usize = 48;
/// Where the header holds the kind, and the length of the payload.
const KIND_AT: usize = 5;
const LENGTH_AT: usize = 40;
/// Kinds that the peers' server works on side by side: appends that are no stream, votes, read
/// indexes, questions for saved votes. They vanish alone; of the others only the whole connection breaks.
const LOOSE: [u8; 5] = [2, 3, 4, 10, 21];
/// Answers find their request by its id, in whatever order.
const ANSWER: u8 = 32;
/// How much rarer connections break than loose frames vanish.
const BREAKS_LESS: u64 = 10;
/// How long a cut direction holds frames before the connection breaks, in milliseconds.
const HELD_MS: (u64, u64) = (500, 20_000);
/// From which on a delay counts as a fault.
const LONG_DELAY: Duration = Duration::from_millis(50);
/// Pause between two looks at whether a cut direction is open again.
const CUT_LOOK: Duration = Duration::from_millis(20);
/// Bytes on their way that a node's socket takes before it makes the sender wait.
const SOCKET_BYTES: usize = 4 << 20;

/// The receiving end of one direction.
type SharedWrite = Arc<tokio::sync::Mutex<Outgoing>>;

/// How frames fare.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Delay of a frame, in microseconds.
    pub delay_us: (u64, u64),
    /// Frames lost, sent twice, overtaken: of a thousand where that can be.
    pub lost: u64,
    pub doubled: u64,
    pub overtaken: u64,
}

impl Weather {
    /// A quiet local network.
    pub const CALM: Weather = Weather { delay_us: (100, 1500), lost: 0, doubled: 0, overtaken: 0 };
}

/// A node that can be reached.
#[derive(Clone)]
pub struct Station {
    pub replica: Replica,
    /// Cancelled when this incarnation crashes.
    pub dead: CancellationToken,
}

struct State {
    weather: Weather,
    /// Cut directions, and the event that a frame lost there is.
    cut: BTreeSet<(u64, u64)>,
    cut_by: &'static str,
    stations: BTreeMap<u64, Station>,
}

/// The network; clones share it.
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
    dice: Dice,
    trace: Trace,
}

impl Network {
    /// Nobody is there yet.
    pub fn new(dice: Dice, trace: Trace) -> Network {
        let state = State {
            weather: Weather::CALM,
            cut: BTreeSet::new(),
            cut_by: "frame cut",
            stations: BTreeMap::new(),
        };
        Network { state: Arc::new(Mutex::new(state)), dice, trace }
    }

    /// Changes how frames fare.
    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// Cuts exactly these directions; frames that are lost there are events of the kind `by`.
    pub fn cut(&self, by: &'static str, directions: impl IntoIterator<Item = (u64, u64)>) {
        let mut state = self.state.lock();
        (state.cut, state.cut_by) = (directions.into_iter().collect(), by);
    }

    /// Lets a node be reached.
    pub fn enter(&self, id: u64, station: Station) {
        self.state.lock().stations.insert(id, station);
    }

    /// Nobody listens there any more.
    pub fn leave(&self, id: u64) {
        self.state.lock().stations.remove(&id);
    }

    /// The way of one incarnation of a node to the others.
    pub fn way(&self, from: u64, dead: CancellationToken) -> Way {
        Way { network: self.clone(), from, dead }
    }

    /// What cuts this direction, if anything does.
    fn cut_by(&self, from: u64, to: u64) -> Option<&'static str> {
        let state = self.state.lock();
        state.cut.contains(&(from, to)).then_some(state.cut_by)
    }

    fn delay(&self) -> Duration {
        let (low, high) = self.state.lock().weather.delay_us;
        Duration::from_micros(self.dice.between(low, high))
    }

    /// Carries the frames of one direction until either end is gone, or the connection breaks.
    async fn carry(self, way: (u64, u64), read: Incoming, write: Outgoing) {
        let write = Arc::new(tokio::sync::Mutex::new(write));
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::select! {
            biased;
            () = self.deliver(way, queued, &write) => {}
            () = self.take(way, read, queue, &write) => {}
        }
    }

    /// Hands over frames in order, each at its time, or when its direction is open again.
    async fn deliver(
        &self,
        (from, to): (u64, u64),
        mut queued: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
        write: &SharedWrite,
    ) {
        while let Some((at, frame)) = queued.recv().await {
            sleep_until(at).await;
            if let Some(by) = self.cut_by(from, to) {
                self.trace.note(by, format_args!("{from}>{to} {}", frame[KIND_AT]));
                let until = at + Duration::from_millis(self.dice.between(HELD_MS.0, HELD_MS.1));
                while self.cut_by(from, to).is_some() {
                    if Instant::now() >= until {
                        self.trace.note("connection cut", format_args!("{from}>{to}"));
                        return;
                    }
                    sleep(CUT_LOOK).await;
                }
            }
            if write.lock().await.write_all(&frame).await.is_err() {
                return;
            }
        }
    }

    /// Takes frames from their sender and says when they are due.
    async fn take(
        &self,
        (from, to): (u64, u64),
        mut read: Incoming,
        queue: mpsc::UnboundedSender<(Instant, Vec<u8>)>,
        write: &SharedWrite,
    ) {
        while let Ok(frame) = read_frame(&mut read).await {
            let kind = frame[KIND_AT];
            let weather = self.state.lock().weather.clone();
            let is_loose = LOOSE.contains(&kind);
            if is_loose && self.dice.chance(weather.lost) {
                self.trace.note("frame lost", format_args!("{from}>{to} {kind}"));
                continue;
            }
            if !is_loose && self.dice.chance(weather.lost.div_ceil(BREAKS_LESS)) {
                self.trace.note("connection broken", format_args!("{from}>{to}"));
                return;
            }
            let keeps_no_order = is_loose || kind == ANSWER;
            let mut copies = 1;
            if keeps_no_order && self.dice.chance(weather.doubled) {
                self.trace.note("frame doubled", format_args!("{from}>{to} {kind}"));
                copies = 2;
            }
            for _ in 0..copies {
                let delay = self.delay();
                let at = Instant::now() + delay;
                self.trace.note("frame", format_args!("{from}>{to} {kind} {}", frame.len()));
                if delay >= LONG_DELAY {
                    self.trace.note("frame delayed", format_args!("{from}>{to} {kind}"));
                }
                if keeps_no_order && self.dice.chance(weather.overtaken) {
                    let late = at + self.delay() * 3;
                    tokio::spawn(self.clone().late((from, to), late, frame.clone(), write.clone()));
                } else if queue.send((at, frame.clone())).is_err() {
                    return;
                }
            }
        }
    }

    async fn late(self, (from, to): (u64, u64), at: Instant, frame: Vec<u8>, write: SharedWrite) {
        sleep_until(at).await;
        // A closed connection takes no more.
        if self.cut_by(from, to).is_none() && write.lock().await.write_all(&frame).await.is_ok() {
            self.trace.note("frame overtaken", format_args!("{from}>{to} {}", frame[KIND_AT]));
        }
    }
}

async fn read_frame(read: &mut Incoming) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; HEADER_BYTES];
    read.read_exact(&mut frame).await?;
    let length: [u8; 4] = frame[LENGTH_AT..LENGTH_AT + 4].try_into().expect("four bytes");
    frame.resize(HEADER_BYTES + u32::from_le_bytes(length) as usize, 0);
    read.read_exact(&mut frame[HEADER_BYTES..]).await?;
    Ok(frame)
}

/// How one incarnation of a node reaches the others.
#[derive(Clone)]
pub struct Way {
    network: Network,
    from: u64,
    dead: CancellationToken,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Way({})", self.from)
    }
}

impl Transport for Way {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move {
            let to: u64 = address.parse().map_err(io::Error::other)?;
            sleep(self.network.delay()).await;
            let ways = [(self.from, to), (to, self.from)];
            if ways.iter().any(|(from, to)| self.network.cut_by(*from, *to).is_some()) {
                std::future::pending::<()>().await;
            }
            let station = self.network.state.lock().stations.get(&to).cloned();
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let station = station.filter(|_| !self.dead.is_cancelled()).ok_or_else(refused)?;
            self.network.trace.note("connected", format_args!("{}>{to}", self.from));
            let (near, near_wire) = tokio::io::duplex(SOCKET_BYTES);
            let (far, far_wire) = tokio::io::duplex(SOCKET_BYTES);
            let (near_read, near_write) = tokio::io::split(near_wire);
            let (far_read, far_write) = tokio::io::split(far_wire);
            let there = self.network.clone().carry(
                (self.from, to),
                Box::new(near_read),
                Box::new(far_write),
            );
            let back = self.network.clone().carry(
                (to, self.from),
                Box::new(far_read),
                Box::new(near_write),
            );
            let (own_death, their_death) = (self.dead.clone(), station.dead.clone());
            let name = self.from.to_string();
            tokio::spawn(async move {
                let (read, write) = tokio::io::split(far);
                let serving = station.replica.serve(Box::new(read), Box::new(write), &name);
                tokio::select! {
                    biased;
                    () = own_death.cancelled() => {}
                    () = their_death.cancelled() => {}
                    () = there => {}
                    () = back => {}
                    () = serving => {}
                }
            });
            let (read, write) = tokio::io::split(near);
            Ok((Box::new(read) as Incoming, Box::new(write) as Outgoing))
        })
    }
}
