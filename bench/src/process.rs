//! What a process has used so far, as Linux tells it in `/proc`: CPU time, memory, bytes written; and
//! what has been written to a disk by anybody.
//!
//! `write_bytes` of a process counts whole folios of the page cache when they become dirty. A small
//! write into a file whose pages are cached in large folios counts as up to a mebibyte or two, though
//! the disk gets only the blocks that changed. What the disk got is in `/proc/diskstats`, for all
//! processes together; while one peer is measured at a time that is its own.
//!
//! CPU time comes in ticks of 10 ms, so figures of windows below a second are coarse. The time that
//! the kernel spends on loopback packets is charged to whichever side it interrupts.

use serde::Serialize;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Length of a tick in `/proc/PID/stat`: `USER_HZ` is 100 on every Linux that Rust supports.
const TICK: Duration = Duration::from_millis(10);

/// Bytes that a disk at rest still gets: time marks of Raft, and what the system itself notes down.
const REST_BYTES_MAX: u64 = 1 << 20;
/// Pause between two looks at whether a disk rests.
const REST_PAUSE: Duration = Duration::from_millis(250);

/// A process whose use is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Its part in the measurement, for example `leader`.
    pub(crate) name: String,
    /// Its process id.
    pub(crate) pid: u32,
}

/// What is watched during a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// The servers, the leader first.
    pub(crate) processes: Vec<Watched>,
    /// The disk that holds their data.
    pub(crate) disk: Option<Disk>,
}

/// A block device, by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    major: u64,
    minor: u64,
}

impl Disk {
    /// The device that holds `directory`; `None` where it is on none.
    pub(crate) fn of(directory: &Path) -> Option<Self> {
        let device = fs::metadata(directory).ok()?.dev();
        let disk = Self::from_number(device);
        disk.written_in(&fs::read_to_string("/proc/diskstats").ok()?).map(|_| disk)
    }

    /// As glibc's `gnu_dev_major` and `gnu_dev_minor` split it.
    fn from_number(device: u64) -> Self {
        Self {
            major: (device >> 8) & 0xfff | (device >> 32) & !0xfff,
            minor: device & 0xff | (device >> 12) & !0xff & 0xffff_ffff,
        }
    }

    /// Waits until next to nothing has been written to it for `still`: flushes and compactions have
    /// come to rest. Says whether that came within `longest`.
    pub(crate) async fn rest(self, still: Duration, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        let mut quiet = (Instant::now(), self.written_bytes());
        while Instant::now() < deadline {
            tokio::time::sleep(REST_PAUSE).await;
            let written = self.written_bytes();
            if written.saturating_sub(quiet.1) > REST_BYTES_MAX {
                quiet = (Instant::now(), written);
            } else if quiet.0.elapsed() >= still {
                return true;
            }
        }
        false
    }

    /// Bytes written to it since it exists; 0 where `/proc` does not tell.
    pub(crate) fn written_bytes(self) -> u64 {
        let stats = fs::read_to_string("/proc/diskstats").unwrap_or_default();
        self.written_in(&stats).unwrap_or_default()
    }

    /// Field 10 of the line of the device, in sectors of 512 bytes whatever the device has.
    fn written_in(self, diskstats: &str) -> Option<u64> {
        diskstats.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let numbers: [u64; 2] = [fields.next()?.parse().ok()?, fields.next()?.parse().ok()?];
            let sectors: u64 = fields.nth(7)?.parse().ok()?;
            (numbers == [self.major, self.minor]).then_some(sectors * 512)
        })
    }
}

/// Totals of one process at one moment; zero where `/proc` does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    cpu: Duration,
    resident_bytes: u64,
    written_bytes: u64,
}

impl Sample {
    /// User and system time since it began.
    pub(crate) fn cpu(&self) -> Duration {
        self.cpu
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    /// Reads the totals of `pid` now.
    pub(crate) fn take(pid: u32) -> Self {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        Self {
            cpu: cpu_time(&read("stat")).unwrap_or_default(),
            resident_bytes: labelled(&read("status"), "VmRSS:").unwrap_or_default() * 1024,
            written_bytes: labelled(&read("io"), "write_bytes:").unwrap_or_default(),
        }
    }
}

/// What a process used between two samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// Its part in the measurement.
    pub(crate) name: String,
    /// User and system time divided by successful operations, in microseconds.
    pub(crate) cpu_us_per_operation: f64,
    /// Share of one core, in percent.
    pub(crate) cpu_percent: f64,
    /// Resident memory at the end, in bytes.
    pub(crate) resident_bytes: u64,
    /// Bytes of pages made dirty, by whole folios: an upper bound of what the disk got.
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// The difference of two samples that are `elapsed` apart and saw `operations` successes.
    pub(crate) fn between(
        name: &str,
        before: Sample,
        after: Sample,
        operations: u64,
        elapsed: Duration,
    ) -> Self {
        let cpu_us = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6;
        let share = |total: f64| if total > 0.0 { cpu_us / total } else { 0.0 };
        Self {
            name: name.to_owned(),
            cpu_us_per_operation: share(operations as f64),
            cpu_percent: share(elapsed.as_secs_f64() * 1e6) * 100.0,
            resident_bytes: after.resident_bytes,
            written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
        }
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted behind the name, which may hold anything.
fn cpu_time(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    TICK.checked_mul(user.checked_add(system)?)
}

/// The first number behind `label` at the begin of a line.
fn labelled(text: &str, label: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(label)?.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 1 1 0 -1 4194560 9 0 0 0 120 30 0 0 20 0 5 0 1 2 3";
        assert_eq!(cpu_time(stat), Some(Duration::from_millis(1_500)));
        assert_eq!(cpu_time("7 (cut"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let sample = Sample::take(std::process::id());
        assert!(sample.resident_bytes > 0);
    }

    #[test]
    fn bytes_of_a_disk_are_found_by_its_numbers() {
        let stats =
            "   8       0 sda 1 0 8 0 5 0 40 0 0 0 0\n 254       1 vda1 1 0 8 0 5 0 48 0 0 0 0\n";
        assert_eq!(Disk { major: 8, minor: 0 }.written_in(stats), Some(40 * 512));
        assert_eq!(Disk { major: 254, minor: 1 }.written_in(stats), Some(48 * 512));
        assert_eq!(Disk { major: 9, minor: 0 }.written_in(stats), None);
        assert_eq!(Disk::from_number(0xfe01), Disk { major: 254, minor: 1 });
        assert_eq!(Disk::from_number(0x0010_0801), Disk { major: 8, minor: 0x101 });
    }

    #[test]
    fn use_is_a_difference() {
        let at = |ms, written_bytes| Sample {
            cpu: Duration::from_millis(ms),
            resident_bytes: 9,
            written_bytes,
        };
        let usage =
            Usage::between("n", at(100, 10), at(300, 50), 100_000, Duration::from_millis(400));
        assert_eq!((usage.cpu_us_per_operation, usage.cpu_percent), (2.0, 50.0));
        assert_eq!((usage.resident_bytes, usage.written_bytes), (9, 40));
        let idle = Usage::between("n", at(1, 0), at(1, 0), 0, Duration::ZERO);
        assert_eq!((idle.cpu_us_per_operation, idle.cpu_percent), (0.0, 0.0));
    }
}
