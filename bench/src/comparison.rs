//! What a comparison found: measurements, their medians, and ratios; as tables, JSON and a page.
//!
//! A ratio is throughput over throughput of the same load. Its middle is the ratio of the medians;
//! its spread comes from the ratios inside each round, because peers that were measured seconds
//! apart saw the same machine.

mod page;
mod table;

pub(crate) use page::{percentile_axis, percentile_line, time_line};

use crate::goals::{self, Verdict};
use crate::machine::Machine;
use crate::point::Case;
use crate::process::Usage;
use crate::stats::{Latency, Series, Spread};
use crate::target::Peer;
use serde::Serialize;

/// Share of a core in percent, for each thread, from which on the generator may be the limit.
const CLIENT_BUSY_PERCENT: f64 = 85.0;

/// One run of one peer at one point.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    /// Which servers.
    pub(crate) peer: Peer,
    /// Which load on which data.
    #[serde(flatten)]
    pub(crate) case: Case,
    /// Counted from 0.
    pub(crate) round: usize,
    /// Successful operations per second.
    pub(crate) operations_per_second: f64,
    /// Latencies of all successes.
    pub(crate) latency: Option<Latency>,
    /// Latencies of reads alone.
    pub(crate) latency_of_reads: Option<Latency>,
    /// The run over time.
    pub(crate) series: Series,
    /// Longest time without a success, in milliseconds.
    pub(crate) longest_gap_ms: f64,
    /// 99 % of the rounds of an open loop were begun at most this late by the generator itself.
    pub(crate) lag_p99_us: Option<f64>,
    /// Requests that were no success.
    pub(crate) failures: u64,
    /// What the servers and the generator used.
    pub(crate) usage: Vec<Usage>,
    /// Bytes that the disk got meanwhile.
    pub(crate) disk_written_bytes: Option<u64>,
}

/// What one process used, medians of the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Used {
    /// Its part, for example `leader`.
    pub(crate) name: String,
    /// User and system time for each success, in microseconds.
    pub(crate) cpu_us_per_operation: Spread,
    /// Share of one core, in percent.
    pub(crate) cpu_percent: Spread,
    /// Resident memory at the end of a round, in bytes.
    pub(crate) resident_bytes: Spread,
    /// Bytes of pages made dirty for each success, see [`crate::process`].
    pub(crate) written_bytes_per_operation: Spread,
}

/// The rounds of one peer at one point in short.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Which servers.
    pub(crate) peer: Peer,
    /// Which load on which data.
    #[serde(flatten)]
    pub(crate) case: Case,
    /// Successful operations per second.
    pub(crate) operations_per_second: Spread,
    /// Percentiles of latency, in microseconds.
    pub(crate) p50_us: Option<Spread>,
    /// See `p50_us`.
    pub(crate) p90_us: Option<Spread>,
    /// See `p50_us`.
    pub(crate) p99_us: Option<Spread>,
    /// See `p50_us`.
    pub(crate) p999_us: Option<Spread>,
    /// The slowest success.
    pub(crate) max_us: Option<Spread>,
    /// 99th percentile of reads alone.
    pub(crate) p99_us_of_reads: Option<Spread>,
    /// Longest time without a success, in milliseconds.
    pub(crate) longest_gap_ms: Spread,
    /// The servers, the leader first, and the generator last.
    pub(crate) used: Vec<Used>,
    /// Bytes that the disk got from all servers of the peer, for each success.
    pub(crate) disk_bytes_per_operation: Option<Spread>,
    /// Requests that were no success, in all rounds.
    pub(crate) failures: u64,
}

impl Summary {
    fn of(peer: Peer, case: Case, all: &[Measurement]) -> Option<Self> {
        let rounds: Vec<&Measurement> =
            all.iter().filter(|one| one.peer == peer && one.case == case).collect();
        let spread = |figure: fn(&Latency) -> f64| {
            Spread::of(rounds.iter().filter_map(|one| one.latency.as_ref()).map(figure))
        };
        let reads = rounds.iter().filter_map(|one| one.latency_of_reads.as_ref());
        let processes = rounds.first().map_or(0, |one| one.usage.len());
        Some(Self {
            peer,
            case,
            operations_per_second: Spread::of(rounds.iter().map(|one| one.operations_per_second))?,
            p50_us: spread(|latency| latency.p50_us),
            p90_us: spread(|latency| latency.p90_us),
            p99_us: spread(|latency| latency.p99_us),
            p999_us: spread(|latency| latency.p999_us),
            max_us: spread(|latency| latency.max_us),
            p99_us_of_reads: Spread::of(reads.map(|latency| latency.p99_us)),
            longest_gap_ms: Spread::of(rounds.iter().map(|one| one.longest_gap_ms))?,
            used: (0..processes).filter_map(|index| Used::of(&rounds, index)).collect(),
            disk_bytes_per_operation: Spread::of(rounds.iter().filter_map(|one| {
                Some(one.disk_written_bytes? as f64 / one.latency.as_ref()?.count as f64)
            })),
            failures: rounds.iter().map(|one| one.failures).sum(),
        })
    }

    /// Whether the generator used so much of its core that it may be what was measured.
    pub(crate) fn client_was_busy(&self) -> bool {
        self.used.last().is_some_and(|client| client.cpu_percent.median > CLIENT_BUSY_PERCENT)
    }
}

impl Used {
    fn of(rounds: &[&Measurement], index: usize) -> Option<Self> {
        let usages = || rounds.iter().filter_map(|one| one.usage.get(index));
        let written = rounds.iter().filter_map(|one| {
            let operations = one.latency.as_ref()?.count as f64;
            Some(one.usage.get(index)?.written_bytes as f64 / operations)
        });
        let zero = Spread { median: 0.0, min: 0.0, max: 0.0 };
        Some(Self {
            name: usages().next()?.name.clone(),
            cpu_us_per_operation: Spread::of(usages().map(|usage| usage.cpu_us_per_operation))?,
            cpu_percent: Spread::of(usages().map(|usage| usage.cpu_percent))?,
            resident_bytes: Spread::of(usages().map(|usage| usage.resident_bytes as f64))?,
            written_bytes_per_operation: Spread::of(written).unwrap_or(zero),
        })
    }
}

/// Which peer Kvorum is held against.
struct Pairing {
    peer: Peer,
    against: Peer,
    reads: bool,
}

/// Writes, and reads among writes, are held against the peers that sync as much, reads against Redis in memory.
const PAIRINGS: [Pairing; 7] = [
    Pairing { peer: Peer::KvorumOne, against: Peer::RedisAlways, reads: false },
    Pairing { peer: Peer::KvorumThree, against: Peer::RedisWait, reads: false },
    Pairing { peer: Peer::KvorumThree, against: Peer::RedisAlways, reads: false },
    Pairing { peer: Peer::KvorumThree, against: Peer::EtcdThree, reads: false },
    Pairing { peer: Peer::KvorumOne, against: Peer::RedisMemory, reads: true },
    Pairing { peer: Peer::KvorumThree, against: Peer::RedisMemory, reads: true },
    Pairing { peer: Peer::KvorumThree, against: Peer::EtcdThree, reads: true },
];

/// Throughput of one peer over that of another.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    #[serde(flatten)]
    case: Case,
    peer: Peer,
    against: Peer,
    /// Median over median.
    of_medians: f64,
    /// Inside each round that both completed.
    in_rounds: Spread,
    /// Requests of either that were no success, in all rounds.
    failures: u64,
}

impl Ratio {
    fn of(case: Case, pairing: &Pairing, all: &[Measurement]) -> Option<Self> {
        // A load for a follower is held against peers that are asked at their leader alone.
        let on_leader = Case { point: case.point.on_leader(), ..case };
        let theirs = if case.point.applies_to(pairing.against) { case } else { on_leader };
        let rate = |one: &Measurement| one.operations_per_second;
        let ratio = goals::ratio(all, (pairing.peer, case), (pairing.against, theirs), rate)?;
        Some(Self {
            case,
            peer: pairing.peer,
            against: pairing.against,
            of_medians: ratio.median,
            in_rounds: ratio.in_rounds,
            failures: all
                .iter()
                .filter(|one| {
                    [(pairing.peer, case), (pairing.against, theirs)]
                        .contains(&(one.peer, one.case))
                })
                .map(|one| one.failures)
                .sum(),
        })
    }
}

/// What the processes of one peer use while nobody asks anything.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Idle {
    /// Which servers.
    pub(crate) peer: Peer,
    /// Its processes, the leader first.
    pub(crate) usage: Vec<Usage>,
}

/// Everything a comparison found.
#[derive(Serialize)]
pub(crate) struct Comparison {
    pub(crate) machine: Machine,
    /// Length of each measurement in seconds.
    seconds: f64,
    /// How often each was made.
    rounds: usize,
    /// Goals and what became of them: all when they were asked for, else those that were measured.
    pub(crate) goals: Vec<Verdict>,
    summaries: Vec<Summary>,
    ratios: Vec<Ratio>,
    idle: Vec<Idle>,
    /// Peers and figures that were wanted and not measured, and why.
    pub(crate) not_measured: Vec<String>,
    /// What went wrong.
    pub(crate) trouble: Vec<String>,
    measurements: Vec<Measurement>,
}

/// The raw figures of a comparison.
#[derive(Default)]
pub(crate) struct Findings {
    /// All runs.
    pub(crate) measurements: Vec<Measurement>,
    /// Peers at rest.
    pub(crate) idle: Vec<Idle>,
    /// See [`Comparison::not_measured`].
    pub(crate) not_measured: Vec<String>,
    /// See [`Comparison::trouble`].
    pub(crate) trouble: Vec<String>,
}

impl Comparison {
    /// Computes medians, ratios and verdicts of what was found for `cases`; `all_goals` also names
    /// the goals that were not measured.
    pub(crate) fn new(
        machine: Machine,
        seconds: f64,
        rounds: usize,
        cases: &[Case],
        all_goals: bool,
        findings: Findings,
    ) -> Self {
        let Findings { measurements, idle, not_measured, trouble } = findings;
        let summaries = cases
            .iter()
            .flat_map(|&case| Peer::ALL.map(|peer| Summary::of(peer, case, &measurements)))
            .flatten()
            .collect();
        let ratios = cases
            .iter()
            .filter(|case| case.point.rate.is_none())
            .flat_map(|&case| {
                let reads = case.point.reads_only();
                let pairings = PAIRINGS.iter().filter(move |pairing| pairing.reads == reads);
                pairings.map(move |pairing| (case, pairing))
            })
            .filter_map(|(case, pairing)| Ratio::of(case, pairing, &measurements))
            .collect();
        let mut goals = goals::verdicts(&measurements, &idle);
        goals.retain(|verdict| all_goals || verdict.is_measured());
        Self {
            machine,
            seconds,
            rounds,
            goals,
            summaries,
            ratios,
            idle,
            not_measured,
            trouble,
            measurements,
        }
    }

    /// Whether everything was measured and every goal that is shown reached.
    pub(crate) fn as_expected(&self) -> bool {
        self.trouble.is_empty() && self.goals.iter().all(Verdict::is_reached)
    }

    /// The cases that were measured, in the order of the summaries.
    fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = self.summaries.iter().map(|summary| summary.case).collect();
        cases.dedup();
        cases
    }
}

#[cfg(test)]
pub(crate) mod tests;
