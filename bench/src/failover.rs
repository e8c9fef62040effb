//! What clients see when leadership moves or a leader dies, and whether anything acknowledged is lost.
//!
//! Writers keep a fixed rate against three nodes, each write to a key of its own. Leadership is then
//! handed over, or the leader killed as `kill -9` does and started again, many times. A writer sends
//! one write at a time; it follows redirects, and after an error or a lost connection it repeats the
//! same write on the next node, as client libraries do. The *gap* of a writer at an event is its
//! longest time without an acknowledgement around it; at the end every key whose write was
//! acknowledged must be on every node.
//!
//! A transfer after which the same node leads has moved nothing: it counts as a miss, never as an
//! event, because a gap of nothing would only improve the figures.
//!
//! A gap cannot be measured finer than the interval of a writer, which is printed.

mod report;
mod writer;

use crate::control;
use crate::error::Failure;
use crate::machine::Machine;
use crate::peers::{Servers, in_thread};
use crate::stats::Spread;
use crate::target::{Leader, Peer, Running};
use report::{Gaps, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use writer::WriterLog;

/// Time before the first event, so that writers run evenly.
const WARMUP: Duration = Duration::from_secs(2);
/// Time after an event in which gaps are its own; longer than a killed node stays down, so that its
/// return is seen too.
const OBSERVE: Duration = Duration::from_secs(7);
/// Time that a killed node stays down: long enough to tell an election from waiting for its return.
const DOWN: Duration = Duration::from_secs(5);
/// Time behind that before the next event, so that a gap belongs to one event only.
const REST: Duration = Duration::from_secs(2);
/// Longest that another node may take to lead after a transfer was asked for.
const MOVE_MAX: Duration = Duration::from_secs(5);
/// Pause between two looks at who leads.
const MOVE_PAUSE: Duration = Duration::from_millis(50);

/// What happens to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// `RAFT.TRANSFER_LEADER`.
    Transfer,
    /// `kill -9`, and a start on the same data some seconds later.
    Kill,
}

/// What is run.
pub(crate) struct Options {
    /// What happens, one after another.
    pub(crate) kinds: Vec<Kind>,
    /// How often each happens.
    pub(crate) rounds: usize,
    /// Writers, each with one connection.
    pub(crate) writers: usize,
    /// Writes due per second, of all writers.
    pub(crate) rate: f64,
    /// Where it runs.
    pub(crate) servers: Servers,
}

/// One transfer or kill, as the writers saw it; times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    /// What happened.
    kind: Kind,
    /// Longest time without an acknowledgement to anybody.
    gap_of_all_ms: f64,
    /// Longest gap of each writer: the middle and the extremes over the writers.
    gap_of_writers_ms: Spread,
    /// The gap that 99 % of the writers did not exceed.
    gap_p99_of_writers_ms: f64,
}

/// What a run found.
#[derive(Serialize)]
pub(crate) struct Failover {
    machine: Machine,
    writers: usize,
    rate: f64,
    events: Vec<Event>,
    /// What was to happen and did not: transfers that moved nothing.
    misses: Vec<String>,
    /// The longest gap of a client, over the events of each kind.
    gaps: Vec<Gaps>,
    verdicts: Vec<Verdict>,
    acknowledged: u64,
    /// Acknowledged writes that a node did not have at the end: `node key`, the first few.
    missing: Vec<String>,
    missing_count: u64,
    /// Attempts that failed and were repeated.
    repeated: u64,
    /// Writes that were given up; nothing is known of them.
    given_up: u64,
    /// Kinds of errors seen, with their counts.
    errors: BTreeMap<String, u64>,
}

/// Starts three nodes, moves and kills their leaders under load, and checks what is left.
///
/// Errors: nodes do not start, or do not agree on a leader again.
pub(crate) async fn run(options: &Options) -> Result<Failover, Failure> {
    let stage = options.servers.stage(&[Peer::KvorumThree])?;
    let mut running = Running::start(Peer::KvorumThree, &stage.site).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (addresses, stop) = (running.addresses(), Arc::clone(&stop));
        let (writers, rate) = (options.writers, options.rate);
        in_thread(move || writer::write_until(&addresses, writers, rate, &stop))
    };
    let events = async {
        let happened = happen(options, &mut running).await;
        stop.store(true, Ordering::Relaxed);
        happened
    };
    let (happened, logs) = futures_util::future::join(events, writing).await;
    let (happened, logs) = (happened?, logs??);
    running.leader().await?;
    let events: Vec<Event> =
        happened.events.iter().filter_map(|&(kind, at)| Event::of(kind, at, &logs)).collect();
    let gaps = Gaps::of_each_kind(&events);
    let mut failover = Failover {
        machine: stage.machine,
        writers: options.writers,
        rate: options.rate,
        events,
        misses: happened.misses,
        verdicts: Verdict::of_all(&gaps),
        gaps,
        acknowledged: logs.iter().map(|log| log.acknowledged.len() as u64).sum(),
        missing: Vec::new(),
        missing_count: 0,
        repeated: logs.iter().map(|log| log.repeated).sum(),
        given_up: logs.iter().map(|log| log.given_up).sum(),
        errors: BTreeMap::new(),
    };
    for log in &logs {
        for (kind, count) in &log.errors {
            *failover.errors.entry(kind.clone()).or_default() += count;
        }
    }
    for address in running.addresses() {
        let (count, examples) = writer::missing(&address, &logs).await?;
        failover.missing_count += count;
        failover.missing.extend(examples.iter().map(|key| format!("{address} {key}")));
    }
    Ok(failover)
}

/// What was done to leaders.
#[derive(Default)]
struct Happened {
    /// What, and when it began.
    events: Vec<(Kind, Instant)>,
    /// Transfers that moved nothing.
    misses: Vec<String>,
}

/// Lets everything happen and says when it did.
async fn happen(options: &Options, running: &mut Running) -> Result<Happened, Failure> {
    let mut happened = Happened::default();
    tokio::time::sleep(WARMUP).await;
    for &kind in &options.kinds {
        for round in 1..=options.rounds {
            let leader = running.leader().await?;
            let at = Instant::now();
            let (led_by, miss) = match kind {
                Kind::Transfer => {
                    let asked = control::ask(&leader.address, None, &[b"RAFT.TRANSFER_LEADER"]);
                    let asked = asked.await.map(drop);
                    let led_by = next_leader(running, leader.position).await?.address;
                    let miss = miss_of_transfer(asked, &leader.address, &led_by);
                    (led_by, miss)
                }
                Kind::Kill => {
                    running.kill(leader.position)?;
                    tokio::time::sleep(DOWN).await;
                    running.restart(leader.position)?;
                    (running.leader().await?.address, None)
                }
            };
            eprintln!("{kind:?} {round}: {} -> {led_by}", leader.address);
            match miss {
                Some(miss) => {
                    eprintln!("! {kind:?} {round}: {miss}");
                    happened.misses.push(format!("{kind:?} {round}: {miss}"));
                }
                None => happened.events.push((kind, at)),
            }
            tokio::time::sleep(OBSERVE.saturating_sub(at.elapsed()) + REST).await;
        }
    }
    Ok(happened)
}

/// Who leads when no longer the node at `position`, or still that one after [`MOVE_MAX`].
async fn next_leader(running: &mut Running, position: usize) -> Result<Leader, Failure> {
    let deadline = Instant::now() + MOVE_MAX;
    loop {
        let leader = running.leader().await?;
        if leader.position != position || Instant::now() > deadline {
            return Ok(leader);
        }
        tokio::time::sleep(MOVE_PAUSE).await;
    }
}

/// What is wrong with a transfer that was `asked` for while `from` led, and after which `led_by` does.
fn miss_of_transfer(asked: io::Result<()>, from: &str, led_by: &str) -> Option<String> {
    match asked {
        Err(error) => Some(format!("{from} did not hand over: {error}")),
        Ok(()) if from == led_by => Some(format!("leadership did not move, {from} still leads")),
        Ok(()) => None,
    }
}

impl Event {
    /// The gaps around `at`; `None` without writers.
    fn of(kind: Kind, at: Instant, logs: &[WriterLog]) -> Option<Self> {
        let (from, to) = (at, at + OBSERVE);
        let mut gaps: Vec<f64> = logs
            .iter()
            .map(|log| longest_gap(&log.acknowledged_at, from, to).as_secs_f64() * 1e3)
            .collect();
        gaps.sort_by(f64::total_cmp);
        let rank = (gaps.len() as f64 * 0.99).ceil() as usize;
        let mut all: Vec<Instant> =
            logs.iter().flat_map(|log| log.acknowledged_at.iter().copied()).collect();
        all.sort();
        Some(Self {
            kind,
            gap_of_all_ms: longest_gap(&all, from, to).as_secs_f64() * 1e3,
            gap_p99_of_writers_ms: *gaps.get(rank.saturating_sub(1))?,
            gap_of_writers_ms: Spread::of(gaps)?,
        })
    }
}

/// The longest time between neighbours of `sorted` that overlaps `from..to`; a silence that lasts
/// until `to` counts up to there.
fn longest_gap(sorted: &[Instant], from: Instant, to: Instant) -> Duration {
    let begin = sorted.partition_point(|&at| at < from);
    let last_before = begin.checked_sub(1).map_or(from, |position| sorted[position]);
    let mut previous = last_before;
    let mut longest = Duration::ZERO;
    for &at in &sorted[begin..] {
        longest = longest.max(at - previous);
        previous = at;
        if at >= to {
            return longest;
        }
    }
    longest.max(to.saturating_duration_since(previous))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_around_an_event() {
        let origin = Instant::now();
        let ms = |ms| origin + Duration::from_millis(ms);
        let times: Vec<Instant> = [0, 10, 20, 150, 160, 170, 990].map(ms).into();
        let gap = |from, to| longest_gap(&times, ms(from), ms(to)).as_millis();
        assert_eq!(gap(25, 165), 130, "it begins before the event");
        assert_eq!(gap(15, 100), 130, "and ends after its time");
        assert_eq!(gap(155, 165), 10);
        assert_eq!(gap(500, 600), 820);
        assert_eq!(gap(1_000, 1_500), 510, "nothing any more");
        assert_eq!(longest_gap(&[], ms(0), ms(70)).as_millis(), 70);
    }

    #[test]
    fn a_transfer_that_moves_nothing_is_a_miss() {
        let miss = |asked, led_by| miss_of_transfer(asked, "a:1", led_by);
        assert_eq!(miss(Ok(()), "b:1"), None);
        assert!(miss(Ok(()), "a:1").unwrap().contains("did not move"));
        assert!(miss(Err(io::Error::other("-ERR no")), "a:1").unwrap().contains("-ERR no"));
    }

    #[test]
    fn an_event_shows_the_slowest_writer_and_the_service() {
        let origin = Instant::now();
        let log = |shift: u64, hole: std::ops::Range<u64>| {
            let times = (0..1_000).map(|step| step * 10 + shift).filter(|at| !hole.contains(at));
            WriterLog {
                acknowledged_at: times.map(|at| origin + Duration::from_millis(at)).collect(),
                ..WriterLog::default()
            }
        };
        let logs = [log(0, 1_000..1_200), log(5, 1_000..1_100)];
        let event = Event::of(Kind::Kill, origin + Duration::from_millis(1_000), &logs).unwrap();
        assert_eq!(event.gap_of_writers_ms.max, 210.0);
        assert_eq!(event.gap_of_all_ms, 110.0);
        assert!(Event::of(Kind::Kill, origin, &[]).is_none());
    }
}
