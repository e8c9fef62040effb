//! What is measured: a load that every peer gets, and the data it runs on.

use crate::etcd::EtcdConnection;
use crate::keys::Distribution;
use crate::target::Peer;
use crate::workload::{Presence, Verb, Workload};
use clap::ValueEnum;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Bytes of a key, see [`crate::keys`].
const KEY_BYTES: u64 = 16;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Asked {
    /// The node that leads.
    Leader,
    /// A node that follows; its reads are linearizable.
    Follower,
    /// A node that follows, after `READONLY`: it answers from what it has.
    Readonly,
}

/// A load, for example `get-c50-p16-follower`: GET, 50 connections, pipelines of 16, to a follower.
///
/// Behind verb, connections and pipeline may come `follower` or `readonly`, `zipf` for zipfian keys,
/// and `r20000` for an open loop of 20,000 requests per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The requests.
    pub(crate) verb: Verb,
    /// Connections, 1 to 10000.
    pub(crate) connections: usize,
    /// Requests in a round, 1 to 1024.
    pub(crate) pipeline: usize,
    /// Who gets them.
    pub(crate) asked: Asked,
    /// How keys are drawn.
    pub(crate) distribution: Distribution,
    /// Requests per second, 1 to 10 million; a closed loop when `None`.
    pub(crate) rate: Option<u32>,
}

impl Point {
    /// A closed loop of uniform keys against the leader.
    pub(crate) const fn new(verb: Verb, connections: usize, pipeline: usize) -> Self {
        let distribution = Distribution::Uniform;
        Self { verb, connections, pipeline, asked: Asked::Leader, distribution, rate: None }
    }

    /// The same load against another node.
    pub(crate) const fn to(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    /// The load that peers get who are asked at their leader alone.
    pub(crate) const fn on_leader(self) -> Self {
        self.to(Asked::Leader)
    }

    /// Whether the load only reads.
    pub(crate) fn reads_only(self) -> bool {
        self.verb == Verb::Get
    }

    /// Whether `peer` is measured here.
    ///
    /// Of the Redis peers, reads alone concern the one that does nothing but read memory; followers are
    /// asked where they can answer linearizably; etcd has no counters and no MSET.
    pub(crate) fn applies_to(self, peer: Peer) -> bool {
        let verb_fits = match peer {
            Peer::RedisAlways | Peer::RedisWait => !self.reads_only(),
            Peer::EtcdThree => EtcdConnection::can(self.verb),
            Peer::KvorumOne | Peer::KvorumThree | Peer::RedisMemory => true,
        };
        let followers = matches!(peer, Peer::KvorumThree | Peer::EtcdThree);
        verb_fits && (followers || self.asked == Asked::Leader)
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
            let mut point = bounded.then_some(Self::new(verb, connections, pipeline))?;
            for part in parts {
                match part {
                    "follower" => point.asked = Asked::Follower,
                    "readonly" => point.asked = Asked::Readonly,
                    "zipf" => point.distribution = Distribution::Zipfian,
                    rate => {
                        let rate: u32 = rate.strip_prefix('r')?.parse().ok()?;
                        point.rate = (1..=10_000_000).contains(&rate).then_some(Some(rate))?;
                    }
                }
            }
            let writes_to_follower = point.asked != Asked::Leader && !point.reads_only();
            (!writes_to_follower).then_some(point)
        };
        parse().ok_or_else(|| {
            format!(
                "{text:?} is not like set-c50-p16, get-c50-p1-follower or set-c50-p1-zipf-r9000"
            )
        })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = format!("{:?}", self.verb).to_lowercase();
        let mut text = format!("{verb}-c{}-p{}", self.connections, self.pipeline);
        match self.asked {
            Asked::Leader => {}
            Asked::Follower => text.push_str("-follower"),
            Asked::Readonly => text.push_str("-readonly"),
        }
        if self.distribution == Distribution::Zipfian {
            text.push_str("-zipf");
        }
        if let Some(rate) = self.rate {
            text.push_str(&format!("-r{rate}"));
        }
        f.pad(&text)
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The data that peers hold while they are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Dataset {
    /// Size of the key space; every key is written once before the first round.
    pub(crate) keys: u64,
    /// Size of each value in bytes.
    pub(crate) value_bytes: usize,
}

impl Dataset {
    /// Bytes of keys and values, once.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.keys * (KEY_BYTES + self.value_bytes as u64)
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys, values of {} bytes", self.keys, self.value_bytes)
    }
}

/// A load on a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    /// The data.
    pub(crate) dataset: Dataset,
    /// The load.
    pub(crate) point: Point,
}

impl Case {
    /// The requests of this case.
    pub(crate) fn workload(&self) -> Workload {
        Workload {
            verb: self.point.verb,
            read_percent: 50,
            mset_keys: 10,
            keys: self.dataset.keys,
            first_key: 0,
            presence: Presence::Unknown,
            distribution: self.point.distribution,
            value_bytes: self.dataset.value_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_have_names() {
        for name in [
            "set-c50-p1",
            "get-c1-p16",
            "mix-c256-p16",
            "get-c50-p16-follower",
            "get-c1-p1-readonly-zipf-r100",
            "set-c1000-p1-zipf",
        ] {
            assert_eq!(name.parse::<Point>().unwrap().to_string(), name);
        }
        for name in [
            "set",
            "set-c0-p1",
            "set-c1-p1025",
            "set-50-1",
            "del-c1-p1",
            "set-c1-p1-x",
            "set-c1-p1-r0",
            "set-c1-p1-follower",
        ] {
            assert!(name.parse::<Point>().is_err(), "{name}");
        }
    }

    #[test]
    fn peers_get_what_they_can_answer() {
        let applies = |name: &str| -> Vec<Peer> {
            let point: Point = name.parse().unwrap();
            Peer::ALL.into_iter().filter(|&peer| point.applies_to(peer)).collect()
        };
        assert_eq!(applies("set-c1-p1"), Peer::ALL);
        assert_eq!(applies("incr-c1-p1").len(), 5);
        use Peer::{EtcdThree, KvorumOne, KvorumThree, RedisMemory};
        assert_eq!(applies("mix-c1-p1"), Peer::ALL);
        assert_eq!(applies("get-c1-p1"), [KvorumOne, KvorumThree, RedisMemory, EtcdThree]);
        assert_eq!(applies("get-c1-p1-follower"), [KvorumThree, EtcdThree]);
    }
}
