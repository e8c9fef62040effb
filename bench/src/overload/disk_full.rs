//! Disks that fill up under writes: on one node, on a follower and on the leader of three.
//!
//! Each node whose disk fills has a small tmpfs of its own as its data directory, which needs root.
//! Another program takes all that is left, at once and to the last byte. Then writes must fail
//! clearly or go on elsewhere, reads go on, no process end, everything come back when there is room,
//! and every acknowledged write be there.

use super::report::Line;
use super::victim::{once, whole};
use crate::error::Failure;
use crate::target::{Peer, Running, Site};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Settings under which a small disk is enough.
const SETTINGS: [&str; 5] = [
    "log-segment-bytes=8mb",
    "log-max-bytes=32mb",
    "overlay-bytes=8mb",
    "disk-free-min=64mb",
    "follower-writes=forward",
];
/// Size of a disk.
const DISK: &str = "size=256m";
/// How long writes go on while the disk is full.
const FULL: Duration = Duration::from_secs(4);
/// How long the nodes may take to notice room, or want of it.
const NOTICE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, PartialEq)]
enum Whose {
    OnlyOne,
    Follower,
    Leader,
}

const SCENARIOS: [(&str, Whose); 3] = [
    ("disk full: one node", Whose::OnlyOne),
    ("disk full: a follower of three", Whose::Follower),
    ("disk full: the leader of three", Whose::Leader),
];

/// A small disk at a directory, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).ok()?;
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    /// Takes all the room there is.
    fn fill(&self) -> std::io::Result<()> {
        let mut file = File::create(self.filling())?;
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        Ok(())
    }

    fn make_room(&self) -> std::io::Result<()> {
        fs::remove_file(self.filling())
    }

    fn filling(&self) -> PathBuf {
        self.0.join("filling")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: its processes have only just been killed.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Runs those that are wanted; says so where this machine cannot.
pub(super) async fn run(site: &Site, wants: &dyn Fn(&str) -> bool) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for (position, (name, whose)) in SCENARIOS.into_iter().enumerate() {
        if !wants(name) {
            continue;
        }
        let data = site.data.join(format!("full-{position}"));
        let settings = SETTINGS.map(str::to_owned).to_vec();
        let site = Site { data, kvorum_settings: settings, ..site.clone() };
        let peer = if whose == Whose::OnlyOne { Peer::KvorumOne } else { Peer::KvorumThree };
        let directories = (0..peer.nodes()).map(|index| site.data.join(format!("{peer}-{index}")));
        let mounts: Option<Vec<Mount>> = directories.map(|at| Mount::new(&at)).collect();
        let Some(mounts) = mounts else {
            lines.push(Line::not_run(name, "mounting a tmpfs needs root"));
            continue;
        };
        let mut running = Running::start(peer, &site).await?;
        let leader = running.leader().await?.position;
        let full = if whose == Whose::Follower { (leader + 1) % 3 } else { leader };
        let mut trial = Trial { running, full, acked: 0, refused: 0, misses: Vec::new() };
        trial.run(&mounts[full], whose).await?;
        let note = format!("{} acknowledged, {} refused", trial.acked, trial.refused);
        lines.push(Line::told(name, note, trial.misses));
    }
    Ok(lines)
}

struct Trial {
    running: Running,
    full: usize,
    /// Keys 0 to here are acknowledged.
    acked: u64,
    refused: u64,
    misses: Vec<String>,
}

impl Trial {
    async fn run(&mut self, mount: &Mount, whose: Whose) -> Result<(), Failure> {
        let addresses = self.running.addresses();
        let own = addresses[self.full].clone();
        let other = addresses[(self.full + 1) % addresses.len()].clone();
        for _ in 0..500 {
            self.write(&own);
        }
        mount.fill()?;
        self.wait("the node notices", || has(&own, "disk_room:exhausted"));
        let elsewhere = if whose == Whose::OnlyOne { &own } else { &other };
        if whose == Whose::Leader {
            self.wait("another node leads", || has(&own, "role:slave"));
        }
        let (acked, begun) = (self.acked, Instant::now());
        while begun.elapsed() < FULL {
            self.write(elsewhere);
            self.read(&own, elsewhere);
        }
        match whose {
            Whose::OnlyOne if self.acked > acked => self.misses.push("written when full".into()),
            Whose::OnlyOne => {}
            _ if self.acked == acked => self.misses.push("the others did not go on".into()),
            _ => {}
        }
        if let Err(failure) = self.running.leader().await {
            self.misses.push(failure.to_string());
        }
        mount.make_room()?;
        self.wait("the node notices room", || has(&own, "disk_room:ok"));
        for _ in 0..100 {
            self.write(&own);
        }
        for key in 0..self.acked {
            let found = once(&own, &format!("GET full:{key}"));
            if !found.as_ref().is_ok_and(|found| found.ends_with(&format!("value-{key}"))) {
                self.misses.push(format!("full:{key} is {found:?}"));
                break;
            }
        }
        Ok(())
    }

    /// Writes the next key; one that was refused is not there.
    fn write(&mut self, address: &str) {
        let key = self.acked;
        match once(address, &format!("SET full:{key} value-{key}")) {
            Ok(reply) if reply == "+OK" => self.acked += 1,
            Ok(reply) if reply.starts_with("-MISCONF The disk is nearly full") => {
                self.refused += 1;
                let found = once(address, &format!("EXISTS full:{key}"));
                if found != Ok(":0".to_owned()) {
                    self.misses.push(format!("refused, but EXISTS says {found:?}"));
                }
            }
            other => self.misses.push(format!("a write got {other:?}")),
        }
        self.misses.truncate(5);
    }

    /// A node that has no room for what the others have sends its readers there.
    fn read(&mut self, address: &str, elsewhere: &str) {
        let moved = |reply: &String| address != elsewhere && reply.starts_with("-MOVED");
        let reply = match once(address, "GET full:0") {
            Ok(reply) if moved(&reply) => once(elsewhere, "GET full:0"),
            reply => reply,
        };
        match reply {
            Ok(reply) if reply.ends_with("value-0") => {}
            other => self.misses.push(format!("a read got {other:?}")),
        }
    }

    fn wait(&mut self, what: &str, reached: impl Fn() -> bool) {
        let begun = Instant::now();
        while !reached() {
            if begun.elapsed() > NOTICE {
                self.misses.push(format!("not within {NOTICE:?}: {what}"));
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Whether a node's INFO has this line.
fn has(address: &str, line: &str) -> bool {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    let section = if name == "role" { "INFO replication" } else { "INFO persistence" };
    whole(address, section).is_ok_and(|info| crate::control::field(&info, name) == Some(value))
}
