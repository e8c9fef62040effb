//! What goes wrong in a run: shifting subsets of the classes of faults that its seed chose.

use crate::cluster::{Cluster, Crash, DISK_US};
use crate::dice::Dice;
use crate::network::Weather;
use crate::orders;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Frames late, lost, twice, overtaken.
    Weather,
    /// Two sides that do not hear each other.
    Partition,
    /// A node that is not heard, or does not hear.
    OneWay,
    /// Each node reaches its neighbours only: every majority is another.
    Ring,
    /// Two sides that do not hear each other, and one node that hears both.
    Bridge,
    /// One process ends.
    Kill,
    /// The power of one node is cut.
    PowerCut,
    /// The power of all nodes is cut.
    PowerCutAll,
    /// A disk takes long, up to seconds.
    SlowDisk,
    /// A disk fails from some write or sync on.
    FailingDisk,
    /// A node's date is wrong by up to an hour.
    Clock,
    /// Nodes are added and let go.
    Membership,
    /// Leadership is handed over.
    Transfer,
    /// The state is made durable and the log purged.
    Snapshot,
}

use Class::*;

/// What is known of a class: the event of its strikes, and the events that show its effects, which no
/// other class has. Each of them must happen in a run of many seeds.
pub struct Row {
    pub class: Class,
    pub strike: &'static str,
    pub shows: &'static [&'static str],
}

const fn row(class: Class, strike: &'static str, shows: &'static [&'static str]) -> Row {
    Row { class, strike, shows }
}

/// All classes.
pub const CLASSES: [Row; 14] = [
    row(
        Weather,
        "bad links",
        &["frame delayed", "frame lost", "frame doubled", "frame overtaken", "connection broken"],
    ),
    row(Partition, "partition", &["cut by partition"]),
    row(OneWay, "one-way partition", &["cut one-way"]),
    row(Ring, "ring partition", &["cut by ring"]),
    row(Bridge, "bridge partition", &["cut by bridge"]),
    row(Kill, "kill", &["killed"]),
    row(PowerCut, "power cut of one", &["power of one lost"]),
    row(PowerCutAll, "power cut of all", &["power of all lost"]),
    row(SlowDisk, "slow disk", &["slow turn"]),
    row(FailingDisk, "failing disk", &["log failed"]),
    row(Clock, "wrong clock", &["wrong date"]),
    row(Membership, "members changed", &["node added", "node let go"]),
    row(Transfer, "leadership transfer", &["leadership handed over"]),
    row(Snapshot, "snapshot and purge", &["snapshot made", "log purged"]),
];

/// Power cuts of a thousand that strike amid what a log writes and syncs, not between two such turns, and
/// the operations of the disk until then, at most.
const CUT_IN_TURN_PER_MILLE: u64 = 500;
const CUT_OPERATIONS_MAX: u64 = 6;
/// Time within which the power of all is gone, when it goes in turns, in milliseconds.
const ALL_CUT_WITHIN_MS: u64 = 60;

/// Fewest classes of a run.
const CLASSES_MIN: usize = 3;

/// The classes that a run shall see.
pub fn choose(dice: &Dice) -> Vec<Class> {
    let mut chosen: Vec<Class> =
        CLASSES.iter().map(|row| row.class).filter(|_| dice.chance(600)).collect();
    while chosen.len() < CLASSES_MIN {
        let class = CLASSES[dice.below(CLASSES.len() as u64) as usize].class;
        if !chosen.contains(&class) {
            chosen.push(class);
        }
    }
    chosen
}

/// What a class did, by these counts of events.
pub fn effects_of(row: &Row, counts: &BTreeMap<&'static str, u64>) -> u64 {
    row.shows.iter().filter_map(|event| counts.get(event)).sum()
}

/// What the chosen classes did, by these counts of events.
pub fn effects(chosen: &[Class], counts: &BTreeMap<&'static str, u64>) -> u64 {
    let rows = CLASSES.iter().filter(|row| chosen.contains(&row.class));
    rows.map(|row| effects_of(row, counts)).sum()
}

/// Harms a cluster for so long; ends with a node or two possibly down and the network as it is.
///
/// # Errors
/// A node that does not start again, which is a violation.
pub async fn harm(
    cluster: &Cluster,
    dice: &Dice,
    chosen: &[Class],
    whole: Duration,
) -> io::Result<()> {
    cluster.trace.note("chosen", format_args!("{chosen:?}"));
    let end = Instant::now() + whole;
    while Instant::now() < end {
        sleep(Duration::from_millis(dice.between(100, 2500))).await;
        if dice.chance(250) {
            calm(cluster);
        }
        if dice.chance(600) {
            for id in cluster.ids() {
                cluster.start(id).await?;
            }
        }
        strike(cluster, dice, dice.pick(chosen)).await?;
    }
    Ok(())
}

/// Ends everything that is wrong with network, disks and clocks.
pub fn calm(cluster: &Cluster) {
    cluster.trace.note("calm", "");
    cluster.network.set_weather(Weather::CALM);
    cluster.network.cut("frame cut", []);
    for id in cluster.ids() {
        cluster.set_disk_latency(id, DISK_US);
        cluster.skew(id, 0);
    }
}

async fn strike(cluster: &Cluster, dice: &Dice, class: Class) -> io::Result<()> {
    let ids = cluster.ids();
    let one = dice.pick(&ids);
    if let Some(row) = CLASSES.iter().find(|row| row.class == class) {
        cluster.trace.note(row.strike, one);
    }
    // The invariants are looked at before anything is gone.
    tokio::task::yield_now().await;
    match class {
        Weather => cluster.network.set_weather(weather(dice)),
        Partition | Bridge => {
            // A random side, which may be the majority with or without the leader.
            let side: Vec<u64> = ids.iter().copied().filter(|_| dice.chance(500)).collect();
            let hears_both = |id| class == Bridge && id == one;
            let cut = |from, to| {
                let apart = side.contains(&from) != side.contains(&to);
                apart && !hears_both(from) && !hears_both(to)
            };
            let by = if class == Bridge { "cut by bridge" } else { "cut by partition" };
            cluster.network.cut(by, pairs(&ids, cut));
        }
        OneWay => {
            let outward = dice.chance(500);
            let cut = |from, to| if outward { from == one } else { to == one };
            cluster.network.cut("cut one-way", pairs(&ids, cut));
        }
        Ring => cluster.network.cut("cut by ring", ring(&ids, one)),
        Kill => cluster.crash(one, Crash::Kill),
        PowerCut if dice.chance(CUT_IN_TURN_PER_MILLE) => {
            cluster.fail_disk(one, dice.below(CUT_OPERATIONS_MAX), Crash::PowerCut);
        }
        PowerCut => cluster.crash(one, Crash::PowerCut),
        PowerCutAll => {
            if dice.chance(CUT_IN_TURN_PER_MILLE) {
                for id in &ids {
                    cluster.fail_disk(*id, dice.below(CUT_OPERATIONS_MAX), Crash::PowerCutAll);
                }
                sleep(Duration::from_millis(dice.below(ALL_CUT_WITHIN_MS))).await;
            }
            ids.iter().for_each(|id| cluster.crash(*id, Crash::PowerCutAll));
        }
        SlowDisk => {
            let low = match dice.chance(200) {
                true => dice.between(1_000_000, 4_000_000),
                false => dice.between(5_000, 200_000),
            };
            cluster.set_disk_latency(one, (low, low + dice.between(0, 400_000)));
        }
        FailingDisk => cluster.fail_disk(one, dice.below(20), Crash::LogFailed),
        Clock => cluster.skew(one, dice.between(0, 7_200_000_000) as i64 - 3_600_000_000),
        Membership => orders::change_members(cluster, dice).await?,
        Transfer => orders::transfer(cluster, dice),
        Snapshot => orders::snapshot(cluster, dice),
    }
    Ok(())
}

fn weather(dice: &Dice) -> Weather {
    let low = dice.between(100, 20_000);
    Weather {
        delay_us: (low, low + dice.between(0, 200_000)),
        lost: dice.below(80),
        doubled: dice.below(100),
        overtaken: dice.below(100),
    }
}

/// Each node reaches its neighbours only; three nodes become a line, with `one` in the middle.
fn ring(ids: &[u64], one: u64) -> Vec<(u64, u64)> {
    let count = ids.len();
    let place = |id| ids.iter().position(|other| *other == id).unwrap_or(0);
    let is_apart = |from, to| {
        let distance = place(from).abs_diff(place(to));
        distance.min(count - distance) > 1
    };
    match count {
        0..=3 => pairs(ids, |from, to| from != one && to != one),
        _ => pairs(ids, is_apart),
    }
}

fn pairs(ids: &[u64], cut: impl Fn(u64, u64) -> bool) -> Vec<(u64, u64)> {
    let all = ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to)));
    all.filter(|(from, to)| from != to && cut(*from, *to)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_classes_share_an_event() {
        let mut events = BTreeSet::new();
        for row in &CLASSES {
            for event in row.shows.iter().chain([&row.strike]) {
                assert!(events.insert(*event), "{event} shows {:?} and another class", row.class);
            }
        }
    }

    #[test]
    fn effects_of_another_class_are_none_of_a_class() {
        let counts = BTreeMap::from([("power of one lost", 3), ("killed", 2), ("retired", 5)]);
        assert_eq!(effects(&[PowerCut], &counts), 3);
        assert_eq!(effects(&[PowerCut, Kill], &counts), 5);
        assert_eq!(effects(&[PowerCutAll, Snapshot, FailingDisk], &counts), 0);
    }
}
