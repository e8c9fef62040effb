//! What a comparison found: points, rounds, medians and ratios, as tables and as JSON.
//!
//! A ratio is throughput over throughput of the same point. Its middle is the ratio of the medians;
//! its spread comes from the ratios inside each round, because peers that were measured seconds
//! apart saw the same machine.

use crate::machine::Machine;
use crate::process::Usage;
use crate::stats::{Latency, Spread};
use crate::target::Peer;
use crate::workload::Verb;
use clap::ValueEnum;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A load that every peer gets: `set-c50-p16` is SET on 50 connections with pipelines of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The requests.
    pub(crate) verb: Verb,
    /// Connections, 1 to 10000.
    pub(crate) connections: usize,
    /// Requests in a round, 1 to 1024.
    pub(crate) pipeline: usize,
}

impl Point {
    /// Whether `peer` is measured here: reads only where nothing but memory is read.
    pub(crate) fn applies_to(self, peer: Peer) -> bool {
        let writes_only = !matches!(self.verb, Verb::Get | Verb::Mix);
        writes_only || !matches!(peer, Peer::RedisAlways | Peer::RedisWait)
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut parts = text.split('-');
            let verb = Verb::from_str(parts.next()?, true).ok()?;
            let connections = parts.next()?.strip_prefix('c')?.parse().ok()?;
            let pipeline = parts.next()?.strip_prefix('p')?.parse().ok()?;
            let bounded = (1..=10_000).contains(&connections) && (1..=1_024).contains(&pipeline);
            (parts.next().is_none() && bounded).then_some(Self { verb, connections, pipeline })
        };
        parse().ok_or_else(|| format!("{text:?} is not like set-c50-p16"))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = format!("{:?}", self.verb).to_lowercase();
        f.pad(&format!("{verb}-c{}-p{}", self.connections, self.pipeline))
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One run of one peer at one point.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    /// Which servers.
    pub(crate) peer: Peer,
    /// Which load.
    pub(crate) point: Point,
    /// Counted from 0.
    pub(crate) round: usize,
    /// Successful operations per second.
    pub(crate) operations_per_second: f64,
    /// Latencies of all successes.
    pub(crate) latency: Option<Latency>,
    /// Longest time without a success, in milliseconds.
    pub(crate) longest_gap_ms: f64,
    /// Requests that were no success.
    pub(crate) failures: u64,
    /// What the servers and the generator used.
    pub(crate) usage: Vec<Usage>,
}

/// The rounds of one peer at one point in short.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    peer: Peer,
    point: Point,
    operations_per_second: Spread,
    p50_us: Option<Spread>,
    p99_us: Option<Spread>,
    cpu_us_per_operation: Vec<(String, f64)>,
    failures: u64,
}

impl Summary {
    fn of(peer: Peer, point: Point, all: &[Measurement]) -> Option<Self> {
        let rounds: Vec<&Measurement> =
            all.iter().filter(|one| one.peer == peer && one.point == point).collect();
        let latencies = || rounds.iter().filter_map(|one| one.latency.as_ref());
        let processes = rounds.first().map_or(0, |one| one.usage.len());
        let cpu = (0..processes).filter_map(|index| {
            let used = rounds.iter().filter_map(|one| one.usage.get(index));
            let name = used.clone().next()?.name.clone();
            Some((name, Spread::of(used.map(|usage| usage.cpu_us_per_operation))?.median))
        });
        Some(Self {
            peer,
            point,
            operations_per_second: Spread::of(rounds.iter().map(|one| one.operations_per_second))?,
            p50_us: Spread::of(latencies().map(|latency| latency.p50_us)),
            p99_us: Spread::of(latencies().map(|latency| latency.p99_us)),
            cpu_us_per_operation: cpu.collect(),
            failures: rounds.iter().map(|one| one.failures).sum(),
        })
    }
}

/// Which peer Kvorum is held against, and what is expected.
struct Pairing {
    peer: Peer,
    against: Peer,
    reads: bool,
    /// Smallest ratio that is expected with 50 connections or more.
    expected: Option<f64>,
}

/// Writes are held against the peer that syncs as much, reads against Redis in memory.
const PAIRINGS: [Pairing; 5] = [
    Pairing {
        peer: Peer::KvorumOne,
        against: Peer::RedisAlways,
        reads: false,
        expected: Some(0.7),
    },
    Pairing {
        peer: Peer::KvorumThree,
        against: Peer::RedisWait,
        reads: false,
        expected: Some(0.8),
    },
    Pairing { peer: Peer::KvorumThree, against: Peer::RedisAlways, reads: false, expected: None },
    Pairing { peer: Peer::KvorumOne, against: Peer::RedisMemory, reads: true, expected: None },
    Pairing {
        peer: Peer::KvorumThree,
        against: Peer::RedisMemory,
        reads: true,
        expected: Some(0.6),
    },
];
/// Connections from which on an expectation holds.
const EXPECTED_FROM_CONNECTIONS: usize = 50;

/// Throughput of one peer over that of another.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    point: Point,
    peer: Peer,
    against: Peer,
    /// Median over median.
    of_medians: f64,
    /// Inside each round that both completed.
    in_rounds: Spread,
    expected: Option<f64>,
}

impl Ratio {
    fn of(point: Point, pairing: &Pairing, all: &[Measurement]) -> Option<Self> {
        let rounds_of = |peer| {
            all.iter()
                .filter(move |one| one.peer == peer && one.point == point)
                .map(|one| (one.round, one.operations_per_second))
        };
        let median = |peer| Some(Spread::of(rounds_of(peer).map(|(_, rate)| rate))?.median);
        let in_rounds = rounds_of(pairing.peer).filter_map(|(round, mine)| {
            let (_, theirs) = rounds_of(pairing.against).find(|&(other, _)| other == round)?;
            (theirs > 0.0).then_some(mine / theirs)
        });
        let in_rounds = Spread::of(in_rounds)?;
        let against = median(pairing.against).filter(|&rate| rate > 0.0)?;
        Some(Self {
            point,
            peer: pairing.peer,
            against: pairing.against,
            of_medians: median(pairing.peer)? / against,
            in_rounds,
            expected: pairing.expected.filter(|_| point.connections >= EXPECTED_FROM_CONNECTIONS),
        })
    }

    /// Whether less was reached than expected.
    fn too_low(&self) -> bool {
        self.expected.is_some_and(|expected| self.of_medians < expected)
    }
}

/// Everything a comparison found.
#[derive(Serialize)]
pub(crate) struct Comparison {
    machine: Machine,
    /// Length of each measurement in seconds.
    seconds: f64,
    summaries: Vec<Summary>,
    ratios: Vec<Ratio>,
    /// What could not be measured, and why.
    trouble: Vec<String>,
    measurements: Vec<Measurement>,
}

impl Comparison {
    /// Computes medians and ratios of `measurements`.
    pub(crate) fn new(
        machine: Machine,
        seconds: f64,
        points: &[Point],
        measurements: Vec<Measurement>,
        trouble: Vec<String>,
    ) -> Self {
        let summaries = points
            .iter()
            .flat_map(|&point| Peer::ALL.map(|peer| Summary::of(peer, point, &measurements)))
            .flatten()
            .collect();
        let ratios = points
            .iter()
            .flat_map(|&point| {
                let reads = point.verb == Verb::Get;
                let pairings = PAIRINGS.iter().filter(move |pairing| pairing.reads == reads);
                pairings.map(move |pairing| (point, pairing))
            })
            .filter(|(point, _)| point.verb != Verb::Mix)
            .filter_map(|(point, pairing)| Ratio::of(point, pairing, &measurements))
            .collect();
        Self { machine, seconds, summaries, ratios, trouble, measurements }
    }

    /// Whether everything was measured and no ratio is below what is expected.
    pub(crate) fn as_expected(&self) -> bool {
        self.trouble.is_empty() && !self.ratios.iter().any(Ratio::too_low)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(
            f,
            "{}: {} x {}, {} MiB, Linux {}, {}",
            machine.date,
            machine.cores,
            machine.processor,
            machine.memory_bytes >> 20,
            machine.kernel,
            machine.filesystem
        )?;
        writeln!(f, "{} ({}); {}", machine.kvorum, machine.commit, machine.redis)?;
        for warning in machine.warnings().iter().chain(&self.trouble) {
            writeln!(f, "! {warning}")?;
        }
        let mut shown = None;
        for summary in &self.summaries {
            if shown != Some(summary.point) {
                shown = Some(summary.point);
                writeln!(
                    f,
                    "\n{:14}{:>10}  {:21}{:>9}{:>9}  CPU us/operation",
                    summary.point, "ops/s", "[min..max]", "p50 ms", "p99 ms"
                )?;
            }
            writeln!(f, "{summary}")?;
        }
        if !self.ratios.is_empty() {
            writeln!(f, "\nratios of throughput [min..max inside one round]")?;
        }
        for ratio in &self.ratios {
            writeln!(f, "{ratio}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = &self.operations_per_second;
        let ms = |spread: &Option<Spread>| {
            spread.map(|spread| format!("{:.3}", spread.median / 1e3)).unwrap_or_default()
        };
        let cpu: Vec<String> = self
            .cpu_us_per_operation
            .iter()
            .map(|(name, cpu)| format!("{name} {cpu:.2}"))
            .collect();
        write!(
            f,
            "  {:12}{:>10.0}  {:21}{:>9}{:>9}  {}",
            self.peer,
            rate.median,
            format!("[{:.0}..{:.0}]", rate.min, rate.max),
            ms(&self.p50_us),
            ms(&self.p99_us),
            cpu.join(", ")
        )?;
        if self.failures > 0 {
            write!(f, "  ! {} failures", self.failures)?;
        }
        Ok(())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.expected {
            Some(expected) if self.too_low() => format!("TOO LOW, expected {expected:.2}"),
            Some(expected) => format!("as expected, {expected:.2} or more"),
            None => String::new(),
        };
        write!(
            f,
            "  {:12} {:>10} / {:12} {:>6.2}  [{:.2}..{:.2}]  {verdict}",
            self.point,
            self.peer,
            self.against,
            self.of_medians,
            self.in_rounds.min,
            self.in_rounds.max
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn measured(peer: Peer, point: &str, rates: &[f64]) -> Vec<Measurement> {
        rates
            .iter()
            .enumerate()
            .map(|(round, &operations_per_second)| Measurement {
                peer,
                point: point.parse().unwrap(),
                round,
                operations_per_second,
                latency: None,
                longest_gap_ms: 0.0,
                failures: 0,
                usage: Vec::new(),
            })
            .collect()
    }

    fn compare(points: &[&str], measurements: Vec<Measurement>) -> Comparison {
        let points: Vec<Point> = points.iter().map(|point| point.parse().unwrap()).collect();
        let machine = Machine::describe(Path::new("/"), None, None);
        Comparison::new(machine, 1.0, &points, measurements, Vec::new())
    }

    #[test]
    fn points_have_names() {
        for name in ["set-c50-p1", "get-c1-p16", "mix-c256-p16"] {
            assert_eq!(name.parse::<Point>().unwrap().to_string(), name);
        }
        for name in ["set", "set-c0-p1", "set-c1-p1025", "set-50-1", "del-c1-p1", "set-c1-p1-x"] {
            assert!(name.parse::<Point>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_ratio_has_the_medians_in_its_middle_and_the_rounds_at_its_ends() {
        let mut all = measured(Peer::KvorumOne, "set-c50-p1", &[70.0, 90.0, 40.0]);
        all.extend(measured(Peer::RedisAlways, "set-c50-p1", &[100.0, 90.0, 80.0]));
        let comparison = compare(&["set-c50-p1"], all);
        let [ratio] = comparison.ratios.as_slice() else { panic!("one pair was measured") };
        assert!((ratio.of_medians - 70.0 / 90.0).abs() < 1e-9);
        assert_eq!(ratio.in_rounds, Spread { median: 0.7, min: 0.5, max: 1.0 });
        assert!(comparison.as_expected());
        assert!(comparison.to_string().contains("0.78  [0.50..1.00]"), "{comparison}");
    }

    #[test]
    fn a_low_ratio_is_not_as_expected_with_many_connections_only() {
        for (point, as_expected) in [("set-c50-p1", false), ("set-c1-p1", true)] {
            let mut all = measured(Peer::KvorumThree, point, &[79.0]);
            all.extend(measured(Peer::RedisWait, point, &[100.0]));
            assert_eq!(compare(&[point], all).as_expected(), as_expected, "{point}");
        }
    }

    #[test]
    fn reads_are_held_against_memory_and_rounds_that_miss_are_left_out() {
        let mut all = measured(Peer::KvorumThree, "get-c50-p1", &[60.0, 61.0]);
        all.extend(measured(Peer::RedisMemory, "get-c50-p1", &[100.0]));
        let comparison = compare(&["get-c50-p1"], all);
        let [ratio] = comparison.ratios.as_slice() else { panic!("one pair was measured") };
        assert_eq!((ratio.against, ratio.in_rounds.max), (Peer::RedisMemory, 0.6));
        let alone = compare(&["get-c50-p1"], measured(Peer::KvorumOne, "get-c50-p1", &[1.0]));
        assert_eq!((alone.ratios.len(), alone.summaries.len()), (0, 1));
        let dead = measured(Peer::RedisMemory, "get-c50-p1", &[0.0]);
        let all = [measured(Peer::KvorumThree, "get-c50-p1", &[1.0]), dead].concat();
        assert!(compare(&["get-c50-p1"], all).ratios.is_empty(), "nothing is divided by zero");
    }

    #[test]
    fn trouble_is_not_as_expected() {
        let mut comparison = compare(&["set-c50-p1"], Vec::new());
        assert!(comparison.as_expected());
        comparison.trouble.push("kvorum-1 ended".to_owned());
        assert!(!comparison.as_expected());
        assert!(comparison.to_string().contains("! kvorum-1 ended"));
    }
}
