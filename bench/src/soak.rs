//! A long run: an open loop at a share of the measured maximum, watched second by second.
//!
//! Averages hide what happens when compaction falls behind or a log grows. So the servers are filled,
//! their maximum is measured in a closed loop, and then they get a fixed rate below it for minutes,
//! while memory and disk use are sampled. Latencies count from when a request was due.
//!
//! Not judged: whether the rate is what a user has; the share is relative to this machine.

use crate::control;
use crate::error::Failure;
use crate::load::{self, Outcome};
use crate::machine::Machine;
use crate::peers::{Servers, in_thread, plan, start_and_fill};
use crate::point::{Case, Dataset, Point};
use crate::process::{Disk, Sample, Usage, Watch, Watched};
use crate::speed;
use crate::stats::{Class, Latency, Series};
use crate::steady::{find_rate, rest};
use crate::target::{Peer, Running};
use crate::workload::Presence;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

mod report;

/// Time between two samples of memory and disk use.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Most bytes of requests that all connections may hold at once.
const CONNECTION_BYTES_MAX: usize = 1 << 30;

/// What is run.
pub(crate) struct Options {
    /// Who is measured.
    pub(crate) peer: Peer,
    /// The load; its rate is found unless it has one.
    pub(crate) point: Point,
    /// The data.
    pub(crate) dataset: Dataset,
    /// Part of the maximum, above 0 and at most 1.
    pub(crate) share: f64,
    /// How long the maximum is measured.
    pub(crate) maximum: Duration,
    /// Time at the rate before counting begins.
    pub(crate) warmup: Duration,
    /// Length of the run.
    pub(crate) duration: Duration,
    /// Where it runs.
    pub(crate) servers: Servers,
}

impl Options {
    /// Checks bounds that involve several options.
    pub(crate) fn check(&self) -> Result<(), String> {
        let case = Case { dataset: self.dataset, point: self.point };
        case.workload().check(self.point.pipeline)?;
        if !self.point.applies_to(self.peer) {
            return Err(format!("{} does not take {}", self.peer, self.point));
        }
        let in_flight = self.point.connections * self.point.pipeline * self.dataset.value_bytes;
        if in_flight > CONNECTION_BYTES_MAX {
            return Err(format!("the connections would hold {in_flight} bytes at once"));
        }
        Ok(())
    }
}

/// Memory and disk use at one moment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Watermark {
    /// Since the warm-up began, in seconds.
    second: f64,
    /// Resident memory of each process, the leader first.
    resident_bytes: Vec<u64>,
    /// Bytes on disk of each node, in the order of their addresses.
    disk_bytes: Vec<u64>,
    /// The same of the first node, by the first folder or file below its directory.
    parts: BTreeMap<String, u64>,
    /// What a fixed piece of work took on each processor, in milliseconds of its time.
    work_ms: Vec<f64>,
}

/// What a long run found.
#[derive(Serialize)]
pub(crate) struct Soak {
    machine: Machine,
    peer: Peer,
    case: Case,
    /// Time for writing every key once, in seconds, the start of the servers included.
    fill_s: f64,
    /// In a closed loop; `None` when the rate was given.
    maximum_per_second: Option<f64>,
    /// Requests due per second.
    rate: f64,
    duration_s: f64,
    operations_per_second: f64,
    latency: Option<Latency>,
    latency_of_reads: Option<Latency>,
    latency_of_writes: Option<Latency>,
    /// How late the generator was by itself.
    lag: Option<Latency>,
    longest_gap_ms: f64,
    /// Successes in the last minute over those in the first (or in the halves of a shorter run).
    last_over_first: Option<f64>,
    failures: u64,
    series: Series,
    watermarks: Vec<Watermark>,
    /// Bytes of keys and values, once.
    data_bytes: u64,
    /// How long Kvorum's log may be; `None` for others.
    log_limit_bytes: Option<u64>,
    usage: Vec<Usage>,
    disk_written_bytes: Option<u64>,
}

/// Starts the peer, fills it, finds its maximum and runs it at a share of that.
///
/// Errors: it cannot be started, filled or loaded.
pub(crate) async fn run(options: &Options) -> Result<Soak, Failure> {
    let stage = options.servers.stage(&[options.peer])?;
    if let Some(missing) = stage.missing.first() {
        return Err(Failure::new(missing.clone()));
    }
    let began = Instant::now();
    let mut target = start_and_fill(options.peer, &stage.site, options.dataset).await?;
    let fill_s = began.elapsed().as_secs_f64();
    let case = Case { dataset: options.dataset, point: options.point };
    let leader = target.leader().await?;
    let log_limit = log_limit(options.peer, &target).await?;
    let disk = Disk::of(target.directory());
    rest(disk).await;
    let (maximum, rate) =
        find_rate(options.peer, &leader, case, options.share, options.maximum).await?;
    rest(disk).await;
    let minutes = options.duration.as_secs_f64() / 60.0;
    eprintln!("{rate:.0}/s for {minutes:.1} minutes");
    let mut plan = plan(options.peer, &leader, case, options.warmup, options.duration);
    plan.rate = Some(rate);
    plan.workload.presence = Presence::Filled;
    plan.drain = plan.drain.max(Duration::from_secs(30));
    let sampler = Sampler::start(leader.processes.clone(), target.data_directories());
    let watch = Watch { processes: leader.processes, disk };
    let outcome = in_thread(move || load::run(&plan, &watch)).await??;
    let watermarks = sampler.stop()?;
    let soak = Soak::new(options, stage.machine, fill_s, maximum, rate, outcome, watermarks);
    Ok(Soak { log_limit_bytes: log_limit, ..soak })
}

/// What INFO says of the length of Kvorum's log.
async fn log_limit(peer: Peer, running: &Running) -> Result<Option<u64>, Failure> {
    if !peer.is_kvorum() {
        return Ok(None);
    }
    let address = running.addresses().remove(0);
    let reply = control::ask(&address, None, &[b"INFO", b"replication"]).await?;
    let info = control::text(&reply).unwrap_or_default();
    let limit = control::field(&info, "repl_backlog_size").and_then(|bytes| bytes.parse().ok());
    limit.map(Some).ok_or_else(|| Failure::new("INFO names no limit of the log"))
}

impl Soak {
    fn new(
        options: &Options,
        machine: Machine,
        fill_s: f64,
        maximum_per_second: Option<f64>,
        rate: f64,
        outcome: Outcome,
        watermarks: Vec<Watermark>,
    ) -> Self {
        let tally = &outcome.tally;
        let series = tally.series();
        Self {
            machine,
            peer: options.peer,
            case: Case { dataset: options.dataset, point: options.point },
            fill_s,
            maximum_per_second,
            rate,
            duration_s: options.duration.as_secs_f64(),
            operations_per_second: outcome.operations_per_second(),
            latency: tally.latency_of_all(),
            latency_of_reads: tally.latency(Class::Read),
            latency_of_writes: tally.latency(Class::Write),
            lag: tally.lag(),
            longest_gap_ms: tally.longest_gap.as_secs_f64() * 1e3,
            last_over_first: last_over_first(&series, options.duration),
            failures: tally.failures(),
            series,
            watermarks,
            data_bytes: options.dataset.data_bytes(),
            log_limit_bytes: None,
            usage: outcome.usage,
            disk_written_bytes: outcome.disk_written_bytes,
        }
    }

    /// Most bytes on the disk of one node over the bytes of keys and values.
    fn disk_factor(&self) -> f64 {
        let most = self.watermarks.iter().flat_map(|mark| &mark.disk_bytes).max();
        most.map_or(0.0, |&bytes| bytes as f64 / self.data_bytes as f64)
    }
}

/// Successes in the last minute of a run of `duration` over those in its first.
///
/// What came in after the window, because it was late, counts for neither.
fn last_over_first(series: &Series, duration: Duration) -> Option<f64> {
    let slices = (duration.as_secs_f64() / series.slice_s).round() as usize;
    let minute = ((60.0 / series.slice_s) as usize).min(slices / 2);
    let sum = |from: usize| -> u64 {
        series.slices.iter().skip(from).take(minute).map(|slice| slice.operations).sum()
    };
    let first = sum(0);
    (first > 0).then(|| sum(slices - minute) as f64 / first as f64)
}

/// Samples memory and disk use on a thread of its own.
struct Sampler {
    stop: Arc<AtomicBool>,
    marks: mpsc::Receiver<Watermark>,
    thread: std::thread::JoinHandle<()>,
}

impl Sampler {
    fn start(processes: Vec<Watched>, directories: Vec<PathBuf>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (sender, marks) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            for count in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let resident = |process: &Watched| Sample::take(process.pid).resident_bytes();
                let mark = Watermark {
                    second: began.elapsed().as_secs_f64(),
                    resident_bytes: processes.iter().map(resident).collect(),
                    disk_bytes: directories.iter().map(|directory| disk_bytes(directory)).collect(),
                    parts: directories.first().map(|first| parts(first)).unwrap_or_default(),
                    work_ms: speed::measure(),
                };
                if sender.send(mark).is_err() {
                    return;
                }
                let next = SAMPLE_EVERY * (count + 1);
                std::thread::sleep(next.saturating_sub(began.elapsed()));
            }
        });
        Self { stop, marks, thread }
    }

    fn stop(self) -> Result<Vec<Watermark>, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::new("the sampler failed"))?;
        Ok(self.marks.try_iter().collect())
    }
}

/// Bytes of disk blocks below `path`; files that vanish meanwhile count as nothing.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.blocks() * 512;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| disk_bytes(&entry.path())).sum()
}

fn parts(directory: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), disk_bytes(&entry.path())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Slice;

    #[test]
    fn the_last_minute_is_held_against_the_first() {
        let slice = |operations| Slice { operations, p50_us: 0.0, p99_us: 0.0, max_us: 0.0 };
        let series = |counts: &[(usize, u64)]| Series {
            slice_s: 1.0,
            slices: counts.iter().flat_map(|&(n, each)| vec![slice(each); n]).collect(),
        };
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let falling = series(&[(60, 100), (60, 90), (60, 80)]);
        assert_eq!(last_over_first(&falling, minutes(3)), Some(0.8));
        let late = series(&[(60, 100), (60, 100), (5, 1_000)]);
        assert_eq!(last_over_first(&late, minutes(2)), Some(1.0), "late replies are left out");
        let short = series(&[(10, 100), (10, 50)]);
        assert_eq!(last_over_first(&short, Duration::from_secs(20)), Some(0.5));
        let stalled = series(&[(60, 100)]);
        assert_eq!(last_over_first(&stalled, minutes(2)), Some(0.0), "nothing came any more");
        assert_eq!(last_over_first(&series(&[]), minutes(2)), None);
    }

    #[test]
    fn disk_use_counts_blocks_in_all_folders() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("log")).unwrap();
        fs::write(directory.path().join("log/1"), vec![1; 100_000]).unwrap();
        fs::write(directory.path().join("lock"), b"x").unwrap();
        let parts = parts(directory.path());
        assert!(parts["log"] >= 100_000 && parts["log"] < 200_000, "{parts:?}");
        assert_eq!(disk_bytes(directory.path()), parts.values().sum::<u64>());
        assert_eq!(disk_bytes(&directory.path().join("gone")), 0);
    }
}
