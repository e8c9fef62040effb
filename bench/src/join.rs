//! A node joins a filled cluster under load: how long it takes, and what clients feel of it.
//!
//! The peer is filled and comes to rest. An open loop of SETs runs for a while; then the same loop
//! runs again, a new node is started with `--join`, and the loop ends when that node says that it
//! votes. Latencies of the two loops count from when requests were due. At the end the new node is
//! asked for sampled keys after READONLY, and must have what the leader has.
//!
//! The rate of a join is the bytes of keys and values over the time from starting the process to
//! its vote, so it contains the start of the process and the entries that came meanwhile.
//!
//! Not measured: nodes on machines of their own. Here all share their cores and one disk; what was
//! used of both is shown.

use crate::control;
use crate::error::Failure;
use crate::keys::{Random, push_digits};
use crate::load::{self, Outcome, Plan, Stop};
use crate::machine::Machine;
use crate::peers::{Servers, Stage, in_thread, plan, start_and_fill};
use crate::point::{Case, Dataset, Point};
use crate::process::{Disk, Sample, Usage, Watch, Watched};
use crate::stats::{Latency, Series};
use crate::steady::{find_rate, rest};
use crate::target::{Peer, Running};
use redis_protocol::resp2::types::OwnedFrame;
use serde::Serialize;
use std::time::{Duration, Instant};

mod report;

/// Pause between two looks at the new node.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Longest that the new node may take to apply what the leader had when the load ended.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);
/// Replies that are awaited after the load, at most so long.
const DRAIN: Duration = Duration::from_secs(30);

/// What is run.
pub(crate) struct Options {
    /// Kvorum with one or three nodes.
    pub(crate) peer: Peer,
    /// The load; its rate is found unless it has one.
    pub(crate) point: Point,
    /// The data.
    pub(crate) dataset: Dataset,
    /// Part of the maximum, above 0 and at most 1.
    pub(crate) share: f64,
    /// How long the maximum is measured.
    pub(crate) maximum: Duration,
    /// Time at the rate before counting begins, in both loops.
    pub(crate) warmup: Duration,
    /// Length of the loop before the join.
    pub(crate) before: Duration,
    /// Longest that the join may take.
    pub(crate) longest: Duration,
    /// Keys that the new node is asked for.
    pub(crate) samples: u32,
    /// Where it runs.
    pub(crate) servers: Servers,
}

impl Options {
    /// Checks bounds that involve several options.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.peer.is_kvorum() {
            return Err("only a node of Kvorum can be joined".to_owned());
        }
        let case = Case { dataset: self.dataset, point: self.point };
        case.workload().check(self.point.pipeline)
    }
}

/// What clients saw in one of the two loops.
#[derive(Serialize)]
pub(crate) struct Phase {
    seconds: f64,
    operations_per_second: f64,
    latency: Option<Latency>,
    /// How late the generator was by itself.
    lag: Option<Latency>,
    longest_gap_ms: f64,
    failures: u64,
    series: Series,
}

impl Phase {
    fn of(outcome: &Outcome) -> Self {
        let tally = &outcome.tally;
        Self {
            seconds: outcome.window.as_secs_f64(),
            operations_per_second: outcome.operations_per_second(),
            latency: tally.latency_of_all(),
            lag: tally.lag(),
            longest_gap_ms: tally.longest_gap.as_secs_f64() * 1e3,
            failures: tally.failures(),
            series: tally.series(),
        }
    }
}

/// What was found on the new node afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Compared {
    /// Keys that both were asked for.
    keys: usize,
    /// The first keys whose values differ, or that a node does not have.
    different: Vec<String>,
    /// How many those are.
    different_count: usize,
}

/// What a join found.
#[derive(Serialize)]
pub(crate) struct Join {
    machine: Machine,
    peer: Peer,
    case: Case,
    /// In a closed loop; `None` when the rate was given.
    maximum_per_second: Option<f64>,
    /// Requests due per second.
    rate: f64,
    /// Whether the disk was still before the measurements.
    rested: bool,
    before: Phase,
    during: Phase,
    /// From starting the process until it votes; `None` when it did not in time.
    join_s: Option<f64>,
    /// From starting the process until it answers.
    answers_s: Option<f64>,
    /// Bytes of keys and values, once.
    data_bytes: u64,
    /// Bytes that the disk got while the node joined, from all processes.
    disk_written_bytes: Option<u64>,
    /// Snapshots that the new node received.
    snapshots_received: Option<u64>,
    /// All processes while the node joined: the leader first, then the others, the new node, the client.
    usage: Vec<Usage>,
    compared: Compared,
}

/// What was seen of the new node while it joined.
struct Watching {
    index: usize,
    answers: Option<Duration>,
    votes: Option<Duration>,
    elapsed: Duration,
    before: Vec<(Watched, Sample)>,
    after: Vec<Sample>,
    disk_written_bytes: Option<u64>,
    info: String,
}

/// Fills the peer, loads it, lets a node join and compares.
///
/// Errors: a node cannot be started, ends, or the cluster cannot be loaded.
pub(crate) async fn run(options: &Options) -> Result<Join, Failure> {
    let stage = options.servers.stage(&[options.peer])?;
    let mut running = start_and_fill(options.peer, &stage.site, options.dataset).await?;
    let disk = Disk::of(running.directory());
    let rested = rest(disk).await;
    let (maximum, rate) = {
        let case = Case { dataset: options.dataset, point: options.point };
        let leader = running.leader().await?;
        find_rate(options.peer, &leader, case, options.share, options.maximum).await?
    };
    let rested = rest(disk).await && rested;
    eprintln!("{rate:.0}/s for {} s", options.before.as_secs());
    let plan = open_loop(options, &mut running, options.before, rate).await?;
    let before = in_thread(move || load::run(&plan, &Watch::default())).await??;
    let stop = Stop::default();
    let mut plan = open_loop(options, &mut running, options.longest, rate).await?;
    plan.stop = stop.clone();
    let loading = in_thread(move || load::run(&plan, &Watch::default()));
    let watching = async {
        tokio::time::sleep(options.warmup).await;
        let seen = watch_join(options, &stage, &mut running, disk).await;
        stop.now();
        seen
    };
    let (seen, during) = futures_util::future::join(watching, loading).await;
    let (seen, during) = (seen?, during??);
    let compared = match seen.votes {
        Some(_) => compare(options, &mut running, seen.index).await?,
        None => Compared::default(),
    };
    let operations = during.tally.operations();
    let pairs = seen.before.iter().zip(&seen.after);
    let usage = pairs.map(|((watched, before), after)| {
        Usage::between(&watched.name, *before, *after, operations, seen.elapsed)
    });
    Ok(Join {
        peer: options.peer,
        case: Case { dataset: options.dataset, point: options.point },
        maximum_per_second: maximum,
        rate,
        rested,
        before: Phase::of(&before),
        during: Phase::of(&during),
        join_s: seen.votes.map(|time| time.as_secs_f64()),
        answers_s: seen.answers.map(|time| time.as_secs_f64()),
        data_bytes: options.dataset.data_bytes(),
        disk_written_bytes: seen.disk_written_bytes,
        snapshots_received: control::field(&seen.info, "raft_snapshots_received")
            .and_then(|count| count.parse().ok()),
        usage: usage.collect(),
        compared,
        machine: stage.machine,
    })
}

async fn open_loop(
    options: &Options,
    running: &mut Running,
    duration: Duration,
    rate: f64,
) -> Result<Plan, Failure> {
    let case = Case { dataset: options.dataset, point: options.point };
    let leader = running.leader().await?;
    let plan = plan(options.peer, &leader, case, options.warmup, duration);
    Ok(Plan { rate: Some(rate), drain: DRAIN, ..plan })
}

/// Starts the new node and looks at it until it votes or time is up.
async fn watch_join(
    options: &Options,
    stage: &Stage,
    running: &mut Running,
    disk: Option<Disk>,
) -> Result<Watching, Failure> {
    let mut processes = running.leader().await?.processes;
    processes.push(Watched { name: "client".to_owned(), pid: std::process::id() });
    let mut before: Vec<(Watched, Sample)> =
        processes.into_iter().map(|process| (process.clone(), Sample::take(process.pid))).collect();
    let disk_before = disk.map(Disk::written_bytes);
    let began = Instant::now();
    let index = running.add_node(&stage.site)?;
    before.insert(before.len() - 1, (running.watched(index, "new node"), Sample::default()));
    eprintln!("a node joins");
    let address = running.addresses()[index].clone();
    let (mut answers, mut votes, mut last) = (None, None, String::new());
    while votes.is_none() && began.elapsed() < options.longest {
        running.check(index)?;
        // It does not answer before it listens.
        if let Some(info) = raft_info(&address).await {
            answers.get_or_insert(began.elapsed());
            votes = is_voter(&info).then(|| began.elapsed());
            last = info;
        }
        if votes.is_none() {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
    eprintln!("it votes after {:.1} s", began.elapsed().as_secs_f64());
    let after = before.iter().map(|(process, _)| Sample::take(process.pid)).collect();
    let disk_written_bytes =
        disk.map(Disk::written_bytes).zip(disk_before).map(|(after, before)| after - before);
    let elapsed = began.elapsed();
    Ok(Watching { index, answers, votes, elapsed, before, after, disk_written_bytes, info: last })
}

async fn raft_info(address: &str) -> Option<String> {
    let reply = control::ask(address, None, &[b"INFO", b"raft"]).await.ok()?;
    control::text(&reply)
}

/// Whether a node says that it has joined as a voter and has its data.
fn is_voter(info: &str) -> bool {
    control::field(info, "raft_is_voting") == Some("yes")
        && control::field(info, "raft_state") == Some("up")
}

fn applied_index(info: &str) -> Option<u64> {
    control::field(info, "raft_last_applied_index")?.parse().ok()
}

/// Asks the leader and the new node for the same keys.
///
/// Errors: the new node does not reach the leader in [`CATCH_UP_MAX`], or one does not answer.
async fn compare(
    options: &Options,
    running: &mut Running,
    index: usize,
) -> Result<Compared, Failure> {
    let leader = running.leader().await?.address;
    let new_node = running.addresses()[index].clone();
    let wanted = raft_info(&leader).await.as_deref().and_then(applied_index);
    let wanted = wanted.ok_or_else(|| Failure::new("the leader does not tell its log index"))?;
    let deadline = Instant::now() + CATCH_UP_MAX;
    while raft_info(&new_node).await.as_deref().and_then(applied_index) < Some(wanted) {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("{new_node} lags behind for {CATCH_UP_MAX:?}")));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let keys = sample_keys(options.dataset.keys, options.samples);
    let gets = || keys.iter().map(|key| vec![&b"GET"[..], key]);
    let theirs = control::ask_in_turn(&leader, &gets().collect::<Vec<_>>()).await?;
    let readonly: Vec<Vec<&[u8]>> = [vec![&b"READONLY"[..]]].into_iter().chain(gets()).collect();
    let ours = control::ask_in_turn(&new_node, &readonly).await?;
    Ok(Compared::of(&keys, &theirs, ours.get(1..).unwrap_or_default()))
}

impl Compared {
    /// Keys beside the values of the leader and of the new node.
    fn of(keys: &[Vec<u8>], leader: &[OwnedFrame], new_node: &[OwnedFrame]) -> Self {
        let pairs = keys.iter().zip(leader.iter().zip(new_node));
        let same =
            |a: &OwnedFrame, b: &OwnedFrame| matches!(a, OwnedFrame::BulkString(_)) && a == b;
        let different: Vec<String> = pairs
            .filter(|(_, (theirs, ours))| !same(theirs, ours))
            .map(|(key, _)| String::from_utf8_lossy(key).into_owned())
            .collect();
        let count = different.len();
        Self {
            keys: keys.len(),
            different: different.into_iter().take(10).collect(),
            different_count: count,
        }
    }
}

/// Random keys of the key space, the same each time.
pub(crate) fn sample_keys(keys: u64, count: u32) -> Vec<Vec<u8>> {
    let mut random = Random::new(7);
    let key = |_| {
        let mut key = b"key:".to_vec();
        push_digits(&mut key, random.below(keys));
        key
    };
    (0..count).map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_joined_when_it_votes_and_has_its_data() {
        let info = |voting: &str, state: &str| {
            format!("# Raft\r\nraft_state:{state}\r\nraft_is_voting:{voting}\r\n")
        };
        assert!(is_voter(&info("yes", "up")));
        assert!(!is_voter(&info("no", "up")));
        assert!(!is_voter(&info("yes", "loading")));
        assert!(!is_voter(""));
        assert_eq!(applied_index("raft_last_applied_index:12\r\n"), Some(12));
        assert_eq!(applied_index("raft_last_applied_index:\r\n"), None);
    }

    #[test]
    fn values_that_differ_or_are_missing_are_named() {
        let value = |text: &str| OwnedFrame::BulkString(text.as_bytes().to_vec());
        let keys = [b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
        let theirs = [value("1"), value("2"), OwnedFrame::Null];
        let same = Compared::of(&keys[..2], &theirs[..2], &theirs[..2]);
        assert_eq!((same.keys, same.different_count), (2, 0));
        let ours = [value("1"), value("3"), OwnedFrame::Null];
        let other = Compared::of(&keys, &theirs, &ours);
        assert_eq!(other.different, ["b", "c"], "what neither has was filled and is lost");
    }

    #[test]
    fn sampled_keys_are_of_the_key_space() {
        let keys = sample_keys(10, 100);
        assert_eq!(keys, sample_keys(10, 100));
        assert!(keys.iter().all(|key| key.starts_with(b"key:00000000000") && key.len() == 16));
    }
}
