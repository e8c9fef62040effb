//! What the operating system says about this process. Linux only; elsewhere figures are missing.

use std::sync::LazyLock;

/// Memory of the process and the machine, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// Resident and belonging to no file: heap and stacks.
    pub(super) anonymous: u64,
    /// Resident.
    pub(super) resident: u64,
    /// Most that was ever resident.
    pub(super) resident_peak: u64,
    /// Of the whole machine.
    pub(super) machine: u64,
}

/// Reads the memory figures; None where the system does not tell.
pub(super) fn memory() -> Option<Memory> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let machine = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some(Memory {
        anonymous: kilobytes(&status, "RssAnon:")?,
        resident: kilobytes(&status, "VmRSS:")?,
        resident_peak: kilobytes(&status, "VmHWM:")?,
        machine: kilobytes(&machine, "MemTotal:")?,
    })
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Seconds of processor time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CpuTime {
    pub(super) system: f64,
    pub(super) user: f64,
    pub(super) system_children: f64,
    pub(super) user_children: f64,
}

/// Clock ticks in a second: fixed in Linux's interface to programs (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the processor time of the whole process.
pub(super) fn cpu_time() -> Option<CpuTime> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let seconds = |field: usize| Some(fields.get(field)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some(CpuTime {
        user: seconds(11)?,
        system: seconds(12)?,
        user_children: seconds(13)?,
        system_children: seconds(14)?,
    })
}

/// Name and release of the operating system, with the machine's architecture.
pub(super) fn operating_system() -> String {
    let read = |name| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.map_or_else(|_| String::new(), |text| text.trim().to_owned())
    };
    let (system, release) = (read("ostype"), read("osrelease"));
    let system = if system.is_empty() { std::env::consts::OS.to_owned() } else { system };
    format!("{system} {release} {}", std::env::consts::ARCH)
}

/// Path of the program.
pub(super) fn executable() -> String {
    std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string())
}

/// 40 hexadecimal digits that differ in every process.
pub(super) fn run_id() -> &'static str {
    static RUN_ID: LazyLock<String> = LazyLock::new(|| {
        let digits: String =
            (0..3).map(|_| format!("{:016x}", crate::random::random_u64())).collect();
        digits[..40].to_owned()
    });
    &RUN_ID
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_memory_time_and_an_id() {
        let memory = memory().unwrap();
        assert!(0 < memory.anonymous && memory.anonymous <= memory.resident);
        assert!(memory.resident <= memory.resident_peak && memory.resident_peak <= memory.machine);
        let cpu = cpu_time().unwrap();
        assert!(cpu.user >= 0.0 && cpu.system >= 0.0);
        assert_eq!((run_id().len(), run_id()), (40, run_id()));
        assert!(operating_system().contains(std::env::consts::ARCH));
    }
}
