//! What is shown of one run: a table for people, the same figures as JSON.

use crate::load::{Outcome, Plan};
use crate::process::Usage;
use crate::stats::{Class, ErrorKind, Latency, Series};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The figures of one `load` run; times in microseconds unless the name says otherwise.
#[derive(Serialize)]
pub(crate) struct LoadReport<'a> {
    plan: &'a Plan,
    /// Successful operations per second.
    operations_per_second: f64,
    operations: u64,
    elapsed_s: f64,
    latency: Option<Latency>,
    latency_of_reads: Option<Latency>,
    latency_of_writes: Option<Latency>,
    longest_gap_ms: f64,
    /// How late the generator was by itself, in an open loop.
    lag: Option<Latency>,
    series: Series,
    misses: u64,
    redirects: u64,
    errors: &'a BTreeMap<String, ErrorKind>,
    wait_failed: u64,
    unanswered: u64,
    connection_errors: u64,
    usage: &'a [Usage],
}

impl<'a> LoadReport<'a> {
    /// Collects the figures of `outcome`.
    pub(crate) fn new(plan: &'a Plan, outcome: &'a Outcome) -> Self {
        let tally = &outcome.tally;
        Self {
            plan,
            operations_per_second: outcome.operations_per_second(),
            operations: tally.operations(),
            elapsed_s: outcome.window.as_secs_f64(),
            latency: tally.latency_of_all(),
            latency_of_reads: tally.latency(Class::Read),
            latency_of_writes: tally.latency(Class::Write),
            longest_gap_ms: tally.longest_gap.as_secs_f64() * 1e3,
            lag: tally.lag(),
            series: tally.series(),
            misses: tally.misses,
            redirects: tally.redirects,
            errors: &tally.errors,
            wait_failed: tally.wait_failed,
            unanswered: tally.unanswered,
            connection_errors: tally.connection_errors,
            usage: &outcome.usage,
        }
    }
}

impl fmt::Display for LoadReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        writeln!(
            f,
            "{:?}, {} connections, pipeline {}, {} keys {:?}, values of {} bytes{}{}{}",
            plan.workload.verb,
            plan.connections,
            plan.pipeline,
            plan.workload.keys,
            plan.workload.distribution,
            plan.workload.value_bytes,
            if plan.resp3 { ", RESP3" } else { "" },
            plan.wait.map(|replicas| format!(", WAIT {replicas}")).unwrap_or_default(),
            plan.rate.map(|rate| format!(", open loop at {rate}/s")).unwrap_or_default(),
        )?;
        writeln!(
            f,
            "{:.0} operations/s ({} in {:.2} s)",
            self.operations_per_second, self.operations, self.elapsed_s
        )?;
        writeln!(
            f,
            "{:8} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}   ms",
            "latency", "p50", "p90", "p99", "p99.9", "p99.99", "max"
        )?;
        let both = self.latency_of_reads.is_some() && self.latency_of_writes.is_some();
        let parts = [
            ("all", &self.latency),
            ("reads", if both { &self.latency_of_reads } else { &None }),
            ("writes", if both { &self.latency_of_writes } else { &None }),
        ];
        for (name, latency) in parts {
            if let Some(latency) = latency {
                write_latency(f, name, latency)?;
            }
        }
        if let Some(lag) = &self.lag {
            write_latency(f, "own lag", lag)?;
        }
        writeln!(f, "longest time without a success {:.1} ms", self.longest_gap_ms)?;
        for usage in self.usage {
            writeln!(
                f,
                "{}: {:.2} us CPU per operation, {:.0} % of a core",
                usage.name, usage.cpu_us_per_operation, usage.cpu_percent
            )?;
        }
        self.write_trouble(f)
    }
}

impl LoadReport<'_> {
    fn write_trouble(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("reads found no value", self.misses),
            ("replies were redirects", self.redirects),
            ("writes: WAIT named too few replicas", self.wait_failed),
            ("requests had no reply", self.unanswered),
            ("connections broke or could not be made", self.connection_errors),
        ];
        for (what, count) in counts {
            if count > 0 {
                writeln!(f, "{count} {what}")?;
            }
        }
        for kind in self.errors.values() {
            writeln!(f, "{} errors like: {}", kind.count, kind.example)?;
        }
        Ok(())
    }
}

fn write_latency(f: &mut fmt::Formatter<'_>, name: &str, latency: &Latency) -> fmt::Result {
    write!(f, "{name:8}")?;
    for microseconds in [
        latency.p50_us,
        latency.p90_us,
        latency.p99_us,
        latency.p999_us,
        latency.p9999_us,
        latency.max_us,
    ] {
        write!(f, " {:>10.3}", microseconds / 1e3)?;
    }
    writeln!(f)
}
