//! The goals of the project as measurements: which figure, at least, aim, and whether reached.
//!
//! All goals but two are ratios of figures from one interleaved run, so that they mean the same on
//! every machine. The middle of a verdict is the ratio of the medians, its spread the ratios inside
//! rounds; reached is judged by the middle.

use crate::comparison::{Idle, Measurement};
use crate::point::{Asked, Case, Dataset, Point};
use crate::stats::Spread;
use crate::target::Peer;
use crate::workload::Verb;
use serde::Serialize;
use std::fmt;

/// The data of all goals.
pub(crate) const DATASET: Dataset = Dataset { keys: 100_000, value_bytes: 100 };

const SET_ALONE: Point = Point::new(Verb::Set, 1, 1);
const SET: Point = Point::new(Verb::Set, 50, 1);
const SET_16: Point = Point::new(Verb::Set, 50, 16);
const SET_256_16: Point = Point::new(Verb::Set, 256, 16);
const GET: Point = Point::new(Verb::Get, 50, 1);
const GET_16: Point = Point::new(Verb::Get, 50, 16);
const MIX: Point = Point::new(Verb::Mix, 50, 1);

/// The loads that the goals need, in the order in which they are measured.
pub(crate) const POINTS: [Point; 11] = [
    SET,
    SET_16,
    SET_256_16,
    SET_ALONE,
    GET,
    GET_16,
    GET.to(Asked::Follower),
    GET_16.to(Asked::Follower),
    GET.to(Asked::Readonly),
    GET_16.to(Asked::Readonly),
    MIX,
];

/// What a goal is about.
enum Figure {
    /// Throughput of Kvorum over that of another peer, which is asked at its leader.
    Throughput(Peer, Point, Peer),
    /// Median latency of Kvorum over that of another peer.
    MedianLatency(Peer, Point, Peer),
    /// 99th percentile of reads beside writes over that of reads alone, of one peer.
    ReadsBesideWrites(Peer, Point, Point),
    /// CPU of one process for each operation, in microseconds.
    Cpu(Peer, Point, &'static str),
    /// CPU of the busiest process of a peer at rest, in percent of a core.
    Idle(Peer),
}

/// A figure and its bounds.
struct Goal {
    name: &'static str,
    figure: Figure,
    /// The bound; a figure on it counts as reached.
    bound: f64,
    aim: f64,
    /// Whether larger is better.
    larger: bool,
}

const fn at_least(name: &'static str, figure: Figure, bound: f64, aim: f64) -> Goal {
    Goal { name, figure, bound, aim, larger: true }
}

const fn at_most(name: &'static str, figure: Figure, bound: f64, aim: f64) -> Goal {
    Goal { name, figure, bound, aim, larger: false }
}

use Figure::{Cpu, Idle as AtRest, MedianLatency, ReadsBesideWrites, Throughput};
use Peer::{EtcdThree, KvorumOne, KvorumThree, RedisAlways, RedisMemory, RedisWait};

const GOALS: [Goal; 20] = [
    at_least("3 nodes SET c50 / Redis 1+2 WAIT", Throughput(KvorumThree, SET, RedisWait), 1.3, 1.8),
    at_least(
        "3 nodes SET c50 P16 / Redis 1+2 WAIT",
        Throughput(KvorumThree, SET_16, RedisWait),
        1.7,
        2.5,
    ),
    at_least(
        "3 nodes SET c256 P16 / Redis 1+2 WAIT",
        Throughput(KvorumThree, SET_256_16, RedisWait),
        2.0,
        3.0,
    ),
    at_least("3 nodes SET c50 / etcd 3 nodes", Throughput(KvorumThree, SET, EtcdThree), 4.0, 8.0),
    at_least("3 nodes SET c50 / Redis always", Throughput(KvorumThree, SET, RedisAlways), 0.5, 0.7),
    at_least(
        "3 nodes SET c50 P16 / Redis always",
        Throughput(KvorumThree, SET_16, RedisAlways),
        0.65,
        0.95,
    ),
    at_most(
        "3 nodes SET c1, p50 / Redis 1+2 WAIT",
        MedianLatency(KvorumThree, SET_ALONE, RedisWait),
        1.0,
        0.7,
    ),
    at_least("1 node SET c50 / Redis always", Throughput(KvorumOne, SET, RedisAlways), 1.0, 1.3),
    at_least(
        "1 node SET c50 P16 / Redis always",
        Throughput(KvorumOne, SET_16, RedisAlways),
        1.3,
        1.8,
    ),
    at_least(
        "1 node SET c256 P16 / Redis always",
        Throughput(KvorumOne, SET_256_16, RedisAlways),
        1.5,
        2.0,
    ),
    at_least("GET leader c50 / Redis memory", Throughput(KvorumThree, GET, RedisMemory), 0.8, 1.0),
    at_least(
        "GET leader c50 P16 / Redis memory",
        Throughput(KvorumThree, GET_16, RedisMemory),
        0.7,
        1.2,
    ),
    at_least(
        "GET follower c50 / Redis memory",
        Throughput(KvorumThree, GET.to(Asked::Follower), RedisMemory),
        0.4,
        0.7,
    ),
    at_least(
        "GET follower c50 P16 / Redis memory",
        Throughput(KvorumThree, GET_16.to(Asked::Follower), RedisMemory),
        0.5,
        0.8,
    ),
    at_least(
        "READONLY GET c50 / Redis memory",
        Throughput(KvorumThree, GET.to(Asked::Readonly), RedisMemory),
        0.9,
        1.0,
    ),
    at_least(
        "READONLY GET c50 P16 / Redis memory",
        Throughput(KvorumThree, GET_16.to(Asked::Readonly), RedisMemory),
        0.9,
        1.5,
    ),
    at_most("GET p99 in 50/50 / GET p99 alone", ReadsBesideWrites(KvorumThree, MIX, GET), 3.0, 1.5),
    at_most("CPU us/SET, leader, c50 P16", Cpu(KvorumThree, SET_16, "leader"), 2.2, 2.2),
    at_most("CPU us/SET, follower, c50 P16", Cpu(KvorumThree, SET_16, "follower"), 1.5, 1.5),
    at_most("idle, % of a core, busiest of 3", AtRest(KvorumThree), 1.0, 1.0),
];

/// What became of a goal.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    name: &'static str,
    /// The figure from the medians; `None` when it was not measured.
    value: Option<f64>,
    /// The figure inside each round.
    in_rounds: Option<Spread>,
    bound: f64,
    aim: f64,
    larger_is_better: bool,
}

impl Verdict {
    fn of(goal: &Goal, all: &[Measurement], idle: &[Idle]) -> Self {
        let found = goal.figure.evaluate(all, idle);
        Self {
            name: goal.name,
            value: found.map(|ratio| ratio.median),
            in_rounds: found.map(|ratio| ratio.in_rounds),
            bound: goal.bound,
            aim: goal.aim,
            larger_is_better: goal.larger,
        }
    }

    fn is_within(&self, bound: f64) -> bool {
        self.value.is_some_and(
            |value| if self.larger_is_better { value >= bound } else { value <= bound },
        )
    }

    /// Whether there is a figure.
    pub(crate) fn is_measured(&self) -> bool {
        self.value.is_some()
    }

    /// Whether the figure was measured and is within its bound.
    pub(crate) fn is_reached(&self) -> bool {
        self.is_within(self.bound)
    }

    /// In a word or two.
    pub(crate) fn word(&self) -> &'static str {
        match self.value {
            None => "NOT MEASURED",
            Some(_) if self.is_within(self.aim) => "aim reached",
            Some(_) if self.is_reached() => "reached",
            Some(_) => "MISSED",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let rounds = self
            .in_rounds
            .map_or(String::new(), |rounds| format!("[{:.2}..{:.2}]", rounds.min, rounds.max));
        let sign = if self.larger_is_better { ">=" } else { "<=" };
        write!(
            f,
            "{:38}{value:>7}  {rounds:16}{sign} {:<5} aim {:<5} {}",
            self.name,
            self.bound,
            self.aim,
            self.word()
        )
    }
}

/// The verdicts on all goals.
pub(crate) fn verdicts(all: &[Measurement], idle: &[Idle]) -> Vec<Verdict> {
    GOALS.iter().map(|goal| Verdict::of(goal, all, idle)).collect()
}

/// Whether a goal needs `peer` to be measured at `point`.
pub(crate) fn need(peer: Peer, point: Point) -> bool {
    GOALS.iter().any(|goal| goal.figure.sources().contains(&(peer, point)))
}

/// A figure over a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RatioOf {
    /// Median over median.
    pub(crate) median: f64,
    /// Inside each round that has both.
    pub(crate) in_rounds: Spread,
}

/// The ratio of `figure` between two peers or cases; `None` when they have no round in common, or
/// when it would divide by zero.
pub(crate) fn ratio(
    all: &[Measurement],
    mine: (Peer, Case),
    theirs: (Peer, Case),
    figure: impl Fn(&Measurement) -> f64,
) -> Option<RatioOf> {
    let rounds_of = |(peer, case): (Peer, Case)| -> Vec<(usize, f64)> {
        let of_them = all.iter().filter(|one| one.peer == peer && one.case == case);
        of_them.map(|one| (one.round, figure(one))).filter(|(_, value)| *value > 0.0).collect()
    };
    let (mine, theirs) = (rounds_of(mine), rounds_of(theirs));
    let in_rounds = Spread::of(mine.iter().filter_map(|(round, value)| {
        let (_, other) = theirs.iter().find(|(other, _)| other == round)?;
        Some(value / other)
    }))?;
    let median = |rounds: &[(usize, f64)]| Some(Spread::of(rounds.iter().map(|one| one.1))?.median);
    Some(RatioOf { median: median(&mine)? / median(&theirs)?, in_rounds })
}

fn case(point: Point) -> Case {
    Case { dataset: DATASET, point }
}

impl Figure {
    /// What must be measured for it.
    fn sources(&self) -> Vec<(Peer, Point)> {
        match *self {
            Figure::Throughput(peer, point, against) => {
                vec![(peer, point), (against, point.on_leader())]
            }
            Figure::MedianLatency(peer, point, against) => vec![(peer, point), (against, point)],
            Figure::ReadsBesideWrites(peer, mixed, alone) => vec![(peer, mixed), (peer, alone)],
            Figure::Cpu(peer, point, _) => vec![(peer, point)],
            Figure::Idle(_) => Vec::new(),
        }
    }

    fn evaluate(&self, all: &[Measurement], idle: &[Idle]) -> Option<RatioOf> {
        let p99_of_reads =
            |one: &Measurement| one.latency_of_reads.as_ref().map_or(0.0, |latency| latency.p99_us);
        match *self {
            Figure::Throughput(peer, point, against) => {
                let (mine, theirs) = (case(point), case(point.on_leader()));
                ratio(all, (peer, mine), (against, theirs), |one| one.operations_per_second)
            }
            Figure::MedianLatency(peer, point, against) => {
                let p50 =
                    |one: &Measurement| one.latency.as_ref().map_or(0.0, |latency| latency.p50_us);
                ratio(all, (peer, case(point)), (against, case(point)), p50)
            }
            Figure::ReadsBesideWrites(peer, mixed, alone) => {
                ratio(all, (peer, case(mixed)), (peer, case(alone)), p99_of_reads)
            }
            Figure::Cpu(peer, point, process) => {
                let rounds = all.iter().filter(|one| one.peer == peer && one.case == case(point));
                let of_round = |one: &Measurement| {
                    let named = one.usage.iter().filter(|usage| usage.name.starts_with(process));
                    Some(Spread::of(named.map(|usage| usage.cpu_us_per_operation))?.max)
                };
                absolute(Spread::of(rounds.filter_map(of_round))?)
            }
            Figure::Idle(peer) => {
                let of_peer = idle.iter().filter(|idle| idle.peer == peer);
                let busiest = |idle: &Idle| {
                    Some(Spread::of(idle.usage.iter().map(|usage| usage.cpu_percent))?.max)
                };
                absolute(Spread::of(of_peer.filter_map(busiest))?)
            }
        }
    }
}

fn absolute(spread: Spread) -> Option<RatioOf> {
    Some(RatioOf { median: spread.median, in_rounds: spread })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::tests::measured;

    fn verdict(name: &str, all: &[Measurement]) -> Verdict {
        verdicts(all, &[]).into_iter().find(|verdict| verdict.name == name).unwrap()
    }

    #[test]
    fn every_goal_is_measured_by_the_points_and_has_an_aim_beyond_its_bound() {
        for goal in &GOALS {
            let further = if goal.larger { goal.aim >= goal.bound } else { goal.aim <= goal.bound };
            assert!(further, "{}", goal.name);
            for (peer, point) in goal.figure.sources() {
                assert!(POINTS.contains(&point), "{} needs {point}", goal.name);
                assert!(point.applies_to(peer), "{} needs {point} of {peer}", goal.name);
            }
        }
    }

    #[test]
    fn verdicts_tell_aim_bound_miss_and_absence() {
        let name = "3 nodes SET c50 / Redis 1+2 WAIT";
        for (rate, word) in [(180.0, "aim reached"), (130.0, "reached"), (129.0, "MISSED")] {
            let mut all = measured(KvorumThree, case(SET), &[rate]);
            all.extend(measured(RedisWait, case(SET), &[100.0]));
            assert_eq!(verdict(name, &all).word(), word, "{rate}");
        }
        let alone = measured(KvorumThree, case(SET), &[1.0]);
        assert_eq!(verdict(name, &alone).word(), "NOT MEASURED");
        assert!(!verdict(name, &alone).is_reached());
    }

    #[test]
    fn followers_are_held_against_the_leader_of_the_other_and_latency_the_other_way_round() {
        let mut all = measured(KvorumThree, case(GET.to(Asked::Follower)), &[40.0]);
        all.extend(measured(RedisMemory, case(GET), &[100.0]));
        assert_eq!(verdict("GET follower c50 / Redis memory", &all).value, Some(0.4));
        // `measured` gives one operation a second the latency of a second.
        let mut all = measured(KvorumThree, case(SET_ALONE), &[2.0]);
        all.extend(measured(RedisWait, case(SET_ALONE), &[1.0]));
        let latency = verdict("3 nodes SET c1, p50 / Redis 1+2 WAIT", &all);
        assert!((latency.value.unwrap() - 0.5).abs() < 0.01, "{latency}");
        assert_eq!(latency.word(), "aim reached");
    }

    #[test]
    fn cpu_is_that_of_the_busiest_of_its_kind() {
        let all = measured(KvorumThree, case(SET_16), &[100.0]);
        assert_eq!(verdict("CPU us/SET, follower, c50 P16", &all).value, Some(3.0));
        assert_eq!(verdict("CPU us/SET, leader, c50 P16", &all).value, Some(1.0));
    }
}
