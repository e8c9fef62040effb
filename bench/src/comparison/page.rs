//! A comparison as charts: latency over throughput, percentiles, latency over time.

use super::{Comparison, Measurement};
use crate::chart::{Axis, Chart, Line, Page, Scale};
use crate::point::{Case, Dataset};
use crate::stats::{Latency, Series};
use crate::target::Peer;

/// Parts of all replies that have a tick, on an axis of one over what is slower.
const PERCENTILES: [(f64, &str); 6] = [
    (1.0, "0"),
    (2.0, "50 %"),
    (10.0, "90 %"),
    (100.0, "99 %"),
    (1_000.0, "99.9 %"),
    (10_000.0, "99.99 %"),
];
/// Where the slowest reply of a curve is drawn, at most.
const LAST_PLACE: f64 = 100_000.0;

/// The axis of the share of replies that were faster, stretched towards the slow end.
pub(crate) fn percentile_axis() -> Axis {
    let mut axis = Axis::new("share of replies that took at most as long", Scale::Log);
    axis.named = PERCENTILES.to_vec();
    axis
}

/// A curve of percentiles, in milliseconds.
pub(crate) fn percentile_line(name: &str, colour: usize, latency: &Latency) -> Line {
    // The slowest of n replies stands for the last n-th of them.
    let last = (latency.count as f64).min(LAST_PLACE);
    let points = latency.curve.iter().map(|&(part, us)| {
        let place = if part < 1.0 { (1.0 / (1.0 - part)).min(last) } else { last };
        (place, us / 1e3, format!("{name}: {} % within {:.3} ms", part * 100.0, us / 1e3))
    });
    Line { name: name.to_owned(), colour, points: points.collect(), joined: true }
}

/// 99th percentiles over time, in milliseconds over seconds.
pub(crate) fn time_line(name: &str, colour: usize, series: &Series) -> Line {
    let points = series.slices.iter().enumerate().map(|(position, slice)| {
        let (second, ms) = (position as f64 * series.slice_s, slice.p99_us / 1e3);
        (second, ms, format!("{name}: {second:.1} s, p99 {ms:.3} ms, {} replies", slice.operations))
    });
    Line { name: name.to_owned(), colour, points: points.collect(), joined: true }
}

impl Comparison {
    /// The page of this comparison.
    pub(crate) fn page(&self) -> Page {
        let cases = self.cases();
        let each = |chart: fn(&Self, Case) -> Chart| {
            cases.iter().map(|&case| chart(self, case)).collect::<Vec<_>>()
        };
        Page {
            title: format!("Kvorum beside its peers, {}", self.machine.date),
            tables: self.to_string(),
            sections: vec![
                ("Latency over throughput".to_owned(), self.latency_over_throughput()),
                ("Percentiles".to_owned(), each(Self::percentiles)),
                ("Latency over time".to_owned(), each(Self::over_time)),
            ],
        }
    }

    /// One chart for reads and one for writes: every load of every peer is a point. Where there is more
    /// than one dataset, the name of a point has its own.
    fn latency_over_throughput(&self) -> Vec<Chart> {
        let datasets: Vec<Dataset> =
            self.summaries.iter().map(|summary| summary.case.dataset).collect();
        let chart = |title: &str, reads: bool| {
            let line = |peer: Peer| {
                let of_peer = self.summaries.iter().filter(|summary| {
                    summary.peer == peer && summary.case.point.reads_only() == reads
                });
                let points = of_peer.filter_map(|summary| {
                    let (rate, ms) =
                        (summary.operations_per_second.median, summary.p99_us?.median / 1e3);
                    let Case { point, dataset } = summary.case;
                    let several = datasets.iter().any(|other| *other != dataset);
                    let of = if several { format!(", {dataset}") } else { String::new() };
                    let text = format!("{point}{of}\n{peer}: {rate:.0}/s, p99 {ms:.3} ms");
                    Some((rate, ms, text))
                });
                let (name, colour) = (peer.to_string(), peer.position());
                Line { name, colour, points: points.collect(), joined: false }
            };
            Chart {
                title: title.to_owned(),
                x: Axis::new("operations per second", Scale::Log),
                y: Axis::new("p99 in ms", Scale::Log),
                lines: Peer::ALL.map(line).into(),
            }
        };
        vec![chart("Writes and mixes", false), chart("Reads", true)]
    }

    fn percentiles(&self, case: Case) -> Chart {
        let lines = self.middle_rounds(case).into_iter().filter_map(|one| {
            Some(percentile_line(&one.peer.to_string(), one.peer.position(), one.latency.as_ref()?))
        });
        Chart {
            title: format!("{}, {}", case.point, case.dataset),
            x: percentile_axis(),
            y: Axis::new("latency in ms", Scale::Log),
            lines: lines.collect(),
        }
    }

    fn over_time(&self, case: Case) -> Chart {
        let rounds = self.middle_rounds(case).into_iter();
        Chart {
            title: format!("{}, {}", case.point, case.dataset),
            x: Axis::new("seconds", Scale::Linear),
            y: Axis::new("p99 in ms", Scale::Log),
            lines: rounds
                .map(|one| time_line(&one.peer.to_string(), one.peer.position(), &one.series))
                .collect(),
        }
    }

    /// For each peer the round whose throughput is in the middle.
    fn middle_rounds(&self, case: Case) -> Vec<&Measurement> {
        let of_peer = |peer: Peer| {
            let all = self.measurements.iter();
            let mut rounds: Vec<&Measurement> =
                all.filter(|one| one.peer == peer && one.case == case).collect();
            rounds.sort_by(|one, other| {
                one.operations_per_second.total_cmp(&other.operations_per_second)
            });
            rounds.get(rounds.len() / 2).copied()
        };
        Peer::ALL.into_iter().filter_map(of_peer).collect()
    }
}
