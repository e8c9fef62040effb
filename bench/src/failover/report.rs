//! Transfers and kills as text and as a chart.

use super::{Event, Failover, Kind};
use crate::chart::{Axis, Chart, Line, Page, Scale};
use crate::stats::Spread;
use std::fmt;

impl Failover {
    fn of_kind(&self, kind: Kind) -> Vec<&Event> {
        self.events.iter().filter(|event| event.kind == kind).collect()
    }

    fn bound_ms(&self, kind: Kind) -> f64 {
        self.bounds_ms[match kind {
            Kind::Transfer => 0,
            Kind::Kill => 1,
        }]
    }

    /// Whether nothing is missing and every gap is within its bound.
    pub(crate) fn holds(&self) -> bool {
        let within = |event: &Event| event.gap_of_writers_ms.max <= self.bound_ms(event.kind);
        self.missing_count == 0 && self.given_up == 0 && self.events.iter().all(within)
    }

    /// The page of this run.
    pub(crate) fn page(&self) -> Page {
        let line = |name: &str, colour, kind, figure: fn(&Event) -> f64| {
            let events = self.of_kind(kind).into_iter().enumerate();
            let points = events.map(|(position, event)| {
                let (place, ms) = (position as f64 + 1.0, figure(event));
                (place, ms, format!("{name} {place}: {ms:.1} ms"))
            });
            Line { name: name.to_owned(), colour, points: points.collect(), joined: true }
        };
        let worst = |event: &Event| event.gap_of_writers_ms.max;
        let middle = |event: &Event| event.gap_of_writers_ms.median;
        let chart = Chart {
            title: "Time without an acknowledgement".to_owned(),
            x: Axis::new("event", Scale::Linear),
            y: Axis::new("ms", Scale::Log),
            lines: vec![
                line("transfer, worst", 0, Kind::Transfer, worst),
                line("transfer, median", 5, Kind::Transfer, middle),
                line("kill, worst", 1, Kind::Kill, worst),
                line("kill, median", 4, Kind::Kill, middle),
            ],
        };
        Page {
            title: format!("Change of leaders, {}", self.machine.date),
            tables: self.to_string(),
            sections: vec![("What clients see".to_owned(), vec![chart])],
        }
    }
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.machine.heading(), self.machine.command)?;
        for warning in self.machine.warnings() {
            writeln!(f, "! {warning}")?;
        }
        let interval_ms = self.writers as f64 / self.rate * 1e3;
        writeln!(
            f,
            "{} writers, {:.0} writes/s in all, one per writer every {interval_ms:.1} ms",
            self.writers, self.rate
        )?;
        writeln!(f, "longest time without an acknowledgement around each event, in ms")?;
        for kind in [Kind::Transfer, Kind::Kill] {
            let events = self.of_kind(kind);
            for (position, event) in events.iter().enumerate() {
                writeln!(
                    f,
                    "  {kind:?} {:>3}: anybody {:>8.1}, writers: median {:>8.1}, p99 {:>8.1}, \
                     worst {:>8.1}",
                    position + 1,
                    event.gap_of_all_ms,
                    event.gap_of_writers_ms.median,
                    event.gap_p99_of_writers_ms,
                    event.gap_of_writers_ms.max
                )?;
            }
            let worst = Spread::of(events.iter().map(|event| event.gap_of_writers_ms.max));
            if let Some(worst) = worst {
                let bound = self.bound_ms(kind);
                let word = if worst.max <= bound { "holds" } else { "MISSED" };
                writeln!(
                    f,
                    "  {kind:?}: worst writer of an event: median {:.1}, [{:.1}..{:.1}] of {}, \
                     <= {bound:.0} {word}",
                    worst.median,
                    worst.min,
                    worst.max,
                    events.len()
                )?;
            }
        }
        writeln!(
            f,
            "{} writes acknowledged, {} missing on some node, {} given up, {} attempts repeated",
            self.acknowledged, self.missing_count, self.given_up, self.repeated
        )?;
        for (kind, count) in &self.errors {
            writeln!(f, "  {count} x {kind}")?;
        }
        for key in &self.missing {
            writeln!(f, "! missing: {key}")?;
        }
        Ok(())
    }
}
