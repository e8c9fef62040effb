//! Transfers and kills as text and as a chart, and whether the bounds hold.

use super::{Event, Failover, Kind};
use crate::chart::{Axis, Chart, Line, Page, Scale};
use crate::stats::Spread;
use serde::Serialize;
use std::fmt;

/// The longest gap of a client at each event, over all events of one kind; times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Gaps {
    kind: Kind,
    events: usize,
    median_ms: f64,
    /// What 99 % of the events did not exceed: with fewer than a hundred events, the longest.
    p99_ms: f64,
    max_ms: f64,
}

impl Gaps {
    /// For each kind that happened.
    pub(super) fn of_each_kind(events: &[Event]) -> Vec<Self> {
        [Kind::Transfer, Kind::Kill].into_iter().filter_map(|kind| Self::of(kind, events)).collect()
    }

    fn of(kind: Kind, events: &[Event]) -> Option<Self> {
        let of_kind = events.iter().filter(|event| event.kind == kind);
        let mut gaps: Vec<f64> = of_kind.map(|event| event.gap_of_writers_ms.max).collect();
        gaps.sort_by(f64::total_cmp);
        let rank = (gaps.len() as f64 * 0.99).ceil() as usize;
        let p99_ms = *gaps.get(rank.saturating_sub(1))?;
        let spread = Spread::of(gaps.iter().copied())?;
        let (events, median_ms, max_ms) = (gaps.len(), spread.median, spread.max);
        Some(Self { kind, events, median_ms, p99_ms, max_ms })
    }
}

/// A bound of one of the figures in [`Gaps`].
struct Promise {
    text: &'static str,
    kind: Kind,
    figure: fn(&Gaps) -> f64,
    at_most_ms: f64,
}

const fn promise(
    text: &'static str,
    kind: Kind,
    figure: fn(&Gaps) -> f64,
    at_most_ms: f64,
) -> Promise {
    Promise { text, kind, figure, at_most_ms }
}

/// Each is judged by itself: the bounds of the tail and of the worst come from different promises,
/// so that one may be the tighter although it is the weaker figure.
const PROMISES: [Promise; 6] = [
    promise("planned transfer: median <= 0.3 s", Kind::Transfer, |gaps| gaps.median_ms, 300.0),
    promise("planned transfer: p99 <= 0.3 s", Kind::Transfer, |gaps| gaps.p99_ms, 300.0),
    promise("longest gap of a transfer <= 150 ms", Kind::Transfer, |gaps| gaps.max_ms, 150.0),
    promise("killed leader: median <= 1.5 s", Kind::Kill, |gaps| gaps.median_ms, 1_500.0),
    promise("killed leader: p99 <= 3 s", Kind::Kill, |gaps| gaps.p99_ms, 3_000.0),
    promise("killed leader: max <= 2 s", Kind::Kill, |gaps| gaps.max_ms, 2_000.0),
];

/// Whether a bound holds; times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    promise: &'static str,
    measured_ms: f64,
    holds: bool,
}

impl Verdict {
    /// All bounds of what happened.
    pub(super) fn of_all(gaps: &[Gaps]) -> Vec<Self> {
        let judge = |promise: &Promise| {
            let gaps = gaps.iter().find(|gaps| gaps.kind == promise.kind)?;
            let measured_ms = (promise.figure)(gaps);
            let holds = measured_ms <= promise.at_most_ms;
            Some(Self { promise: promise.text, measured_ms, holds })
        };
        PROMISES.iter().filter_map(judge).collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.holds { "holds" } else { "MISSED" };
        write!(f, "{}: {:.1} ms, {word}", self.promise, self.measured_ms)
    }
}

impl Failover {
    fn of_kind(&self, kind: Kind) -> Vec<&Event> {
        self.events.iter().filter(|event| event.kind == kind).collect()
    }

    /// Whether everything happened that was to happen, and no write is missing or was given up.
    pub(crate) fn is_sound(&self) -> bool {
        self.misses.is_empty() && self.missing_count == 0 && self.given_up == 0
    }

    /// Whether it is sound and every bound holds.
    pub(crate) fn holds(&self) -> bool {
        self.is_sound() && self.verdicts.iter().all(|verdict| verdict.holds)
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
        }
        for miss in &self.misses {
            writeln!(f, "! {miss}")?;
        }
        writeln!(f, "longest time that a client waited, over the events")?;
        for gaps in &self.gaps {
            writeln!(
                f,
                "  {:?}: median {:.1}, p99 {:.1}, max {:.1} ms of {} events",
                gaps.kind, gaps.median_ms, gaps.p99_ms, gaps.max_ms, gaps.events
            )?;
        }
        for verdict in &self.verdicts {
            writeln!(f, "  {verdict}")?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Binaries, Machine};

    fn events(kind: Kind, gaps_ms: impl IntoIterator<Item = f64>) -> Vec<Event> {
        let event = |gap| Event {
            kind,
            gap_of_all_ms: 0.0,
            gap_of_writers_ms: Spread { median: 0.0, min: 0.0, max: gap },
            gap_p99_of_writers_ms: gap,
        };
        gaps_ms.into_iter().map(event).collect()
    }

    fn failover(events: Vec<Event>) -> Failover {
        let gaps = Gaps::of_each_kind(&events);
        Failover {
            machine: Machine::describe(std::path::Path::new("/"), Binaries::default()),
            writers: 1,
            rate: 1.0,
            events,
            misses: Vec::new(),
            verdicts: Verdict::of_all(&gaps),
            gaps,
            acknowledged: 0,
            missing: Vec::new(),
            missing_count: 0,
            repeated: 0,
            given_up: 0,
            errors: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn the_tail_over_the_events_is_shown_and_judged() {
        let kills = events(Kind::Kill, (1..=100).map(|number| f64::from(number) * 25.0));
        let failover = failover(kills);
        let expected = Gaps {
            kind: Kind::Kill,
            events: 100,
            median_ms: 1_262.5,
            p99_ms: 2_475.0,
            max_ms: 2_500.0,
        };
        assert_eq!(failover.gaps, [expected]);
        let text = failover.to_string();
        assert!(text.contains("killed leader: median <= 1.5 s: 1262.5 ms, holds\n"), "{text}");
        assert!(text.contains("killed leader: p99 <= 3 s: 2475.0 ms, holds\n"), "{text}");
        assert!(text.contains("killed leader: max <= 2 s: 2500.0 ms, MISSED\n"), "{text}");
        assert!(!text.contains("transfer"), "no transfer happened: {text}");
        assert!(failover.is_sound() && !failover.holds());
    }

    #[test]
    fn a_transfer_has_bounds_of_its_own() {
        let failover = failover(events(Kind::Transfer, [20.0, 140.0, 160.0]));
        let holds: Vec<bool> = failover.verdicts.iter().map(|verdict| verdict.holds).collect();
        assert_eq!(holds, [true, true, false]);
    }

    #[test]
    fn what_did_not_happen_fails_the_run() {
        let mut failover = failover(events(Kind::Transfer, [20.0]));
        assert!(failover.holds());
        failover.misses.push("Transfer 2: leadership did not move".to_owned());
        assert!(!failover.is_sound() && !failover.holds());
        assert!(failover.to_string().contains("! Transfer 2: leadership did not move\n"));
    }
}
