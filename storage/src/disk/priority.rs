//! What the threads that flush, compact and free leave to requests.
//!
//! A compaction takes seconds of a processor, and the thread that applies entries rests hundreds of times
//! in that time. Beside a thread of low priority it often finds its processor taken by another that
//! serves requests, while the compaction has one to itself: the scheduler does not take that one for
//! free. A thread under `SCHED_IDLE` it does. But on a machine with other work such a thread may get
//! next to nothing, and level 0 would fill up: then compactions go on as other threads do, for as
//! long. `SCHED_IDLE` can be left again only with `CAP_SYS_NICE` or a limit `RLIMIT_NICE`; without
//! these compactions have a low priority and no more.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};

/// The nice value of threads that flush, compact and free.
const BACKGROUND_NICE: i32 = 10;
/// Rows that a compaction writes between two looks at whether it became urgent.
const ROWS_BETWEEN_LOOKS: u32 = 256;

/// Lets this thread, and those it starts, use what the threads of requests leave of the processors:
/// flushes and compactions come in waves, and are early enough at a tenth of a busy core.
pub(super) fn yield_to_requests() {
    // It is only politeness: without it, everything works as well.
    let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
}

/// Whether compactions are urgent, because loads wait for them or soon will.
#[derive(Clone, Default)]
pub(super) struct Urgency(Arc<AtomicBool>);

impl Urgency {
    pub(super) fn set(&self, is_urgent: bool) {
        self.0.store(is_urgent, Relaxed);
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A compaction on this thread, which leaves the processors to all others unless it is urgent. The
/// thread is as before when this is dropped.
pub(super) struct Standing {
    urgency: Urgency,
    is_idle: bool,
    rows: u32,
}

impl Standing {
    pub(super) fn new(urgency: Urgency) -> Self {
        let mut standing = Self { urgency, is_idle: false, rows: 0 };
        standing.look();
        standing
    }

    /// Counts a row; looks from time to time.
    pub(super) fn row(&mut self) {
        self.rows += 1;
        if self.rows == ROWS_BETWEEN_LOOKS {
            self.rows = 0;
            self.look();
        }
    }

    fn look(&mut self) {
        let idle = !self.urgency.is_urgent() && may_idle();
        if idle != self.is_idle {
            self.is_idle = idle;
            set_idle(idle);
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if self.is_idle {
            set_idle(false);
        }
    }
}

/// Puts this thread under `SCHED_IDLE`, or back, as far as that is allowed.
fn set_idle(idle: bool) {
    let policy =
        if idle { NormalThreadSchedulePolicy::Idle } else { NormalThreadSchedulePolicy::Other };
    let policy = ThreadSchedulePolicy::Normal(policy);
    // It sets the nice value, too, and may fail there though the policy is set.
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
    yield_to_requests();
}

fn is_idle() -> bool {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    thread_schedule_policy().is_ok_and(|policy| policy == idle)
}

/// Whether this process may leave `SCHED_IDLE`, tried once.
fn may_idle() -> bool {
    static MAY_IDLE: OnceLock<bool> = OnceLock::new();
    *MAY_IDLE.get_or_init(|| {
        // A thread that could not go back would stay there.
        let thread = std::thread::Builder::new().name("state-priority".to_owned());
        let tried = thread.spawn(|| {
            yield_to_requests();
            set_idle(true);
            let was_idle = is_idle();
            set_idle(false);
            was_idle && !is_idle()
        });
        tried.is_ok_and(|thread| thread.join().unwrap_or(false))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn a_compaction_is_idle_until_it_is_urgent_and_its_thread_is_not() {
        let thread = std::thread::spawn(|| {
            yield_to_requests();
            let urgency = Urgency::default();
            let mut compaction = Standing::new(urgency.clone());
            assert_eq!(is_idle(), may_idle());
            urgency.set(true);
            compaction.row();
            assert_eq!(is_idle(), may_idle(), "it does not look at each row");
            (0..ROWS_BETWEEN_LOOKS).for_each(|_| compaction.row());
            assert_eq!((is_idle(), nice()), (false, BACKGROUND_NICE));
            urgency.set(false);
            (0..ROWS_BETWEEN_LOOKS).for_each(|_| compaction.row());
            assert_eq!(is_idle(), may_idle());
            drop(compaction);
            assert_eq!((is_idle(), nice()), (false, BACKGROUND_NICE));
            urgency.set(true);
            let _compaction = Standing::new(urgency);
            assert!(!is_idle());
        });
        thread.join().unwrap();
    }
}
