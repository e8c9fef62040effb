//! A comparison as tables for a terminal.

use super::{Comparison, Ratio, Summary};
use crate::stats::Spread;
use std::fmt;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine.heading())?;
        writeln!(f, "{}", self.machine.command)?;
        writeln!(f, "{} rounds of {} s, medians [min..max]", self.rounds, self.seconds)?;
        for warning in self.machine.warnings().iter().chain(&self.trouble) {
            writeln!(f, "! {warning}")?;
        }
        for missing in &self.not_measured {
            writeln!(f, "not measured: {missing}")?;
        }
        let mut shown = None;
        for summary in &self.summaries {
            if shown != Some(summary.case) {
                shown = Some(summary.case);
                write_head(f, summary)?;
            }
            writeln!(f, "{summary}")?;
        }
        self.write_use(f)?;
        if !self.ratios.is_empty() {
            writeln!(f, "\nratios of throughput [min..max inside one round]")?;
        }
        for ratio in &self.ratios {
            writeln!(f, "{ratio}")?;
        }
        if !self.goals.is_empty() {
            writeln!(f, "\n{:38}{:>7}  [rounds]", "goals", "value")?;
        }
        for verdict in &self.goals {
            writeln!(f, "{verdict}")?;
        }
        Ok(())
    }
}

fn write_head(f: &mut fmt::Formatter<'_>, summary: &Summary) -> fmt::Result {
    writeln!(f, "\n{}, {}", summary.case.point, summary.case.dataset)?;
    write!(f, "  {:12}{:>10}  {:21}", "", "ops/s", "[min..max]")?;
    for name in ["p50 ms", "p90", "p99", "p99.9", "max", "gap ms"] {
        write!(f, "{name:>9}")?;
    }
    writeln!(f, "  CPU us/operation; client % of a core")
}

impl Comparison {
    /// Memory and bytes written, which are no matter of latency and need columns of their own.
    fn write_use(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.summaries.is_empty() {
            writeln!(
                f,
                "\n  {:24}{:13}{:24}{:>10}  pages dirtied, bytes/operation",
                "", "", "RSS in MiB", "disk B/op"
            )?;
        }
        for summary in &self.summaries {
            let servers = summary.used.split_last().map_or(&[][..], |(_client, servers)| servers);
            let each = |figure: fn(&super::Used) -> f64| -> String {
                let all: Vec<String> =
                    servers.iter().map(|used| format!("{:.0}", figure(used))).collect();
                all.join(" + ")
            };
            writeln!(
                f,
                "  {:24}{:13}{:24}{:>10}  {}",
                summary.case.point,
                summary.peer,
                each(|used| used.resident_bytes.median / f64::from(1 << 20)),
                summary
                    .disk_bytes_per_operation
                    .map_or(String::new(), |spread| format!("{:.0}", spread.median)),
                each(|used| used.written_bytes_per_operation.median)
            )?;
        }
        for idle in &self.idle {
            let shares: Vec<String> = idle
                .usage
                .iter()
                .map(|usage| format!("{} {:.1} %", usage.name, usage.cpu_percent))
                .collect();
            writeln!(f, "  at rest: {:12} {} of a core", idle.peer, shares.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = &self.operations_per_second;
        let range = format!("[{:.0}..{:.0}]", rate.min, rate.max);
        write!(f, "  {:12}{:>10.0}  {range:21}", self.peer, rate.median)?;
        let ms = |spread: &Option<Spread>| {
            spread.map(|spread| format!("{:.3}", spread.median / 1e3)).unwrap_or_default()
        };
        for spread in [&self.p50_us, &self.p90_us, &self.p99_us, &self.p999_us, &self.max_us] {
            write!(f, "{:>9}", ms(spread))?;
        }
        let cpu: Vec<String> = self
            .used
            .iter()
            .map(|used| format!("{} {:.2}", used.name, used.cpu_us_per_operation.median))
            .collect();
        write!(f, "{:>9.1}  {}", self.longest_gap_ms.median, cpu.join(", "))?;
        if let Some(client) = self.used.last() {
            write!(f, "; {:.0} %", client.cpu_percent.median)?;
        }
        if self.client_was_busy() {
            write!(f, "  ! the client may be the limit")?;
        }
        if self.failures > 0 {
            write!(f, "  ! {} failures", self.failures)?;
        }
        Ok(())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {:24} {:>10} / {:12} {:>6.2}  [{:.2}..{:.2}]",
            self.case.point,
            self.peer,
            self.against,
            self.of_medians,
            self.in_rounds.min,
            self.in_rounds.max
        )?;
        match self.failures {
            0 => Ok(()),
            failures => write!(f, "  ! {failures} failed requests"),
        }
    }
}
