//! How fast the processors are at the moment.
//!
//! A virtual machine shares its processors' execution units and caches with others that nobody here
//! sees: neither `/proc/stat` nor a load average says so, and code takes up to twice as long. So a
//! fixed piece of work, of instructions that a processor does several of at once, is done on each
//! processor in turn and timed by the time that it had the processor for.

/// Steps of the piece of work: about a millisecond.
const STEPS: u64 = 400_000;

/// The time that the piece of work takes on each processor that this thread may use, in milliseconds;
/// empty where that cannot be told. Takes about as many milliseconds.
#[cfg(target_os = "linux")]
pub(crate) fn measure() -> Vec<f64> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use rustix::time::{ClockId, clock_gettime};
    let Ok(all) = sched_getaffinity(None) else { return Vec::new() };
    let mut times = Vec::new();
    for processor in (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor)) {
        let mut one = CpuSet::new();
        one.set(processor);
        if sched_setaffinity(None, &one).is_err() {
            continue;
        }
        let now = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
        };
        let begun = now();
        std::hint::black_box(work(STEPS));
        times.push(now() - begun);
    }
    // What remains of this thread may be anywhere again.
    let _ = sched_setaffinity(None, &all);
    times
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn measure() -> Vec<f64> {
    Vec::new()
}

/// Chains of dependent instructions, as many as a processor has units for.
fn work(steps: u64) -> u64 {
    let mut chains = [1_u64, 2, 3, 4, 5, 6];
    for step in 0..steps {
        for (place, chain) in chains.iter_mut().enumerate() {
            *chain = std::hint::black_box(chain.wrapping_add(step) ^ (*chain >> (place + 1)));
        }
    }
    chains.into_iter().fold(0, u64::wrapping_add)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn every_processor_is_measured_and_the_thread_may_go_anywhere_again() {
        let processors = std::thread::available_parallelism().unwrap().get();
        let times = measure();
        assert_eq!(times.len(), processors);
        assert!(times.iter().all(|time| *time > 0.0), "{times:?}");
        assert_eq!(std::thread::available_parallelism().unwrap().get(), processors);
    }
}
