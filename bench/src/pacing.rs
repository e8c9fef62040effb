//! When rounds are sent: as soon as the last one is answered, or at fixed times whatever happens.
//!
//! In an open loop the rounds of a connection are due at equal intervals, and connections are
//! staggered so that they share the interval evenly. A round that cannot be sent when it is due,
//! because the server has not answered the one before, is sent as soon as possible, and its latency
//! counts from when it was *due*. So a stall of 100 ms shows as the many requests that would have
//! arrived meanwhile: there is no coordinated omission. What is still unsent when the run is given
//! up counts as unanswered.
//!
//! A server sees at most one round of each connection at a time; what is due beyond that waits here.
//!
//! tokio's timers tick in milliseconds, which would add up to one to every latency. Waiting is
//! therefore done by one timer of the kernel for each thread ([`Pacer`]), exact to some tens of
//! microseconds; how late this program was by itself is recorded as the generator's lag.

use crate::load::{Plan, Shared};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The due times of one connection.
#[derive(Debug)]
struct Schedule {
    origin: Instant,
    /// Between two rounds of this connection, in seconds.
    interval_s: f64,
    /// Part of an interval by which this connection comes after the first.
    offset: f64,
    next: u64,
}

impl Schedule {
    /// Rounds of `pipeline` requests so that `connections` together send `rate` requests a second.
    fn new(origin: Instant, rate: f64, pipeline: usize, index: usize, connections: usize) -> Self {
        assert!(rate > 0.0 && index < connections);
        Self {
            origin,
            interval_s: connections as f64 * pipeline as f64 / rate,
            offset: index as f64 / connections as f64,
            next: 0,
        }
    }

    /// When the next round is due.
    fn due(&self) -> Instant {
        self.due_of(self.next)
    }

    fn due_of(&self, round: u64) -> Instant {
        self.origin + Duration::from_secs_f64((round as f64 + self.offset) * self.interval_s)
    }

    /// Rounds not sent yet that are due inside `[start, end)`.
    fn left_between(&self, start: Instant, end: Instant) -> u64 {
        (self.next..)
            .map(|round| self.due_of(round))
            .take_while(|due| *due < end)
            .filter(|due| *due >= start)
            .count() as u64
    }
}

/// When one connection may send its rounds.
pub(crate) struct Turns {
    open: Option<(Schedule, Rc<Pacer>)>,
}

impl Turns {
    /// The turns of connection `index` of `plan`, from `origin` on; `pacer` where it has a rate.
    pub(crate) fn new(
        plan: &Plan,
        index: usize,
        origin: Instant,
        pacer: Option<Rc<Pacer>>,
    ) -> Self {
        let schedule = |rate| Schedule::new(origin, rate, plan.pipeline, index, plan.connections);
        Self { open: plan.rate.map(schedule).zip(pacer) }
    }

    /// Whether another round may be sent, now or later.
    pub(crate) fn are_left(&self, shared: &Shared) -> bool {
        let next = self.open.as_ref().map_or_else(Instant::now, |(schedule, _)| schedule.due());
        next < shared.end() && shared.requests_left.get() != Some(0)
    }

    /// Waits until the next round is due and says since when; `None` in a closed loop: it is now.
    pub(crate) async fn next(&mut self, shared: &Shared) -> Option<Instant> {
        let (schedule, pacer) = self.open.as_mut()?;
        let due = schedule.due();
        schedule.next += 1;
        if Instant::now() < due {
            pacer.until(due).await;
            if due >= shared.window.start {
                shared.tally.borrow_mut().record_lag(due.elapsed());
            }
        }
        Some(due)
    }

    /// Counts the rounds of `pipeline` requests that were due and never sent.
    pub(crate) fn abandon(&self, shared: &Shared, pipeline: usize) {
        if let Some((schedule, _)) = &self.open {
            let window = shared.window;
            let unsent = schedule.left_between(window.start, shared.end()) * pipeline as u64;
            let allowed = shared.requests_left.get().unwrap_or(u64::MAX);
            shared.tally.borrow_mut().unanswered += unsent.min(allowed);
        }
    }
}

/// A sleeper in the queue of a [`Pacer`]; ordered by its time alone.
struct Sleeper(Instant, Waker);

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Sleeper {}
impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// Wakes the connections of one thread at exact times.
pub(crate) struct Pacer {
    timer: Timer,
    sleepers: RefCell<BinaryHeap<Reverse<Sleeper>>>,
    armed: Cell<Option<Instant>>,
}

impl Pacer {
    /// Starts the pacer on the current `LocalSet`; it ends with it.
    ///
    /// Errors: the kernel gives no timer.
    pub(crate) fn start() -> io::Result<Rc<Self>> {
        let pacer = Rc::new(Self {
            timer: Timer::new()?,
            sleepers: RefCell::new(BinaryHeap::new()),
            armed: Cell::new(None),
        });
        let this = Rc::clone(&pacer);
        tokio::task::spawn_local(async move {
            while this.timer.expired().await.is_ok() {
                this.wake();
            }
        });
        Ok(pacer)
    }

    /// Completes at `due`, or at once when that has passed.
    pub(crate) fn until(&self, due: Instant) -> Until<'_> {
        Until { pacer: self, due, queued: false }
    }

    /// Wakes everybody whose time has come and arms the timer for the next.
    fn wake(&self) {
        self.armed.set(None);
        let mut sleepers = self.sleepers.borrow_mut();
        let now = Instant::now();
        while let Some(Reverse(first)) = sleepers.peek() {
            if first.0 > now {
                self.arm(first.0);
                return;
            }
            if let Some(Reverse(Sleeper(_, waker))) = sleepers.pop() {
                waker.wake();
            }
        }
    }

    fn arm(&self, due: Instant) {
        if self.armed.get().is_none_or(|armed| due < armed) {
            self.armed.set(Some(due));
            self.timer.set(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// See [`Pacer::until`].
pub(crate) struct Until<'a> {
    pacer: &'a Pacer,
    due: Instant,
    queued: bool,
}

impl Future for Until<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.due {
            return Poll::Ready(());
        }
        if !self.queued {
            self.queued = true;
            let sleeper = Sleeper(self.due, context.waker().clone());
            self.pacer.sleepers.borrow_mut().push(Reverse(sleeper));
            self.pacer.arm(self.due);
        }
        Poll::Pending
    }
}

/// A timer of the kernel, `timerfd`.
#[cfg(target_os = "linux")]
struct Timer(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Timer {
    #[allow(
        deprecated,
        reason = "its successor is unsafe because a type could swap its descriptor; OwnedFd cannot"
    )]
    fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self(tokio::io::unix::AsyncFd::new(descriptor)?))
    }

    fn set(&self, after: Duration) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // Zero would disarm the timer.
        let after = after.max(Duration::from_nanos(1));
        let value =
            Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)
            .expect("a timer that exists takes a valid time");
    }

    async fn expired(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?)) {
                Ok(read) => return read.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

/// Where there is no `timerfd`, tokio's timer with its ticks of a millisecond.
#[cfg(not(target_os = "linux"))]
struct Timer {
    at: Cell<Option<Instant>>,
    changed: tokio::sync::Notify,
}

#[cfg(not(target_os = "linux"))]
impl Timer {
    fn new() -> io::Result<Self> {
        Ok(Self { at: Cell::new(None), changed: tokio::sync::Notify::new() })
    }

    fn set(&self, after: Duration) {
        self.at.set(Some(Instant::now() + after));
        self.changed.notify_one();
    }

    async fn expired(&self) -> io::Result<()> {
        loop {
            let Some(at) = self.at.get() else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {
                    self.at.set(None);
                    return Ok(());
                }
                () = self.changed.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_the_rate_evenly() {
        let origin = Instant::now();
        let mut due: Vec<Duration> = (0..4)
            .flat_map(|index| {
                let schedule = Schedule::new(origin, 2_000.0, 5, index, 4);
                (0..25).map(move |round| schedule.due_of(round) - origin)
            })
            .collect();
        due.sort();
        // 2000 requests a second in rounds of 5 are 400 rounds a second, one every 2.5 ms.
        for (position, due) in due.iter().enumerate() {
            let expected = position as f64 * 0.002_5;
            assert!((due.as_secs_f64() - expected).abs() < 1e-6, "{position}: {due:?}");
        }
    }

    #[test]
    fn what_is_left_is_what_is_due_inside_the_window() {
        let origin = Instant::now();
        let ms = |ms| origin + Duration::from_millis(ms);
        let mut schedule = Schedule::new(origin, 1_000.0, 1, 0, 10);
        assert_eq!(schedule.left_between(ms(0), ms(100)), 10);
        assert_eq!(schedule.left_between(ms(50), ms(100)), 5, "the warm-up is not counted");
        schedule.next = 8;
        assert_eq!(schedule.left_between(ms(50), ms(100)), 2);
        schedule.next = 30;
        assert_eq!(schedule.left_between(ms(50), ms(100)), 0);
    }

    #[test]
    fn the_pacer_wakes_in_the_order_of_time_and_never_early() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let pacer = Pacer::start().unwrap();
            let begin = Instant::now();
            let woken = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = [9_u64, 3, 6, 0]
                .map(|ms| {
                    let (pacer, woken) = (Rc::clone(&pacer), Rc::clone(&woken));
                    tokio::task::spawn_local(async move {
                        pacer.until(begin + Duration::from_millis(ms)).await;
                        assert!(begin.elapsed() >= Duration::from_millis(ms));
                        woken.borrow_mut().push(ms);
                    })
                })
                .into();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*woken.borrow(), [0, 3, 6, 9]);
        });
    }
}
