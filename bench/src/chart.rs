//! Line and scatter charts as SVG text, for pages that must open without anything else.
//!
//! Axes are linear or logarithmic; ticks are round numbers. Points carry their values as tooltips.
//! What cannot be drawn (not finite, or not positive on a logarithmic axis) is left out.

use std::fmt::{self, Write};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 45.0;
/// Colours that stay apart for most eyes (Okabe and Ito 2008).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933"];
/// Ticks wanted on a linear axis, at most.
const TICKS_MAX: f64 = 8.0;

/// How numbers become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Equal steps are equally long.
    Linear,
    /// Equal factors are equally long.
    Log,
}

/// One axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What it shows, with the unit.
    pub(crate) label: String,
    /// See [`Scale`].
    pub(crate) scale: Scale,
    /// Names for certain values instead of round numbers; empty for round numbers.
    pub(crate) named: Vec<(f64, &'static str)>,
}

impl Axis {
    /// An axis with round numbers as ticks.
    pub(crate) fn new(label: &str, scale: Scale) -> Self {
        Self { label: label.to_owned(), scale, named: Vec::new() }
    }
}

/// A line, or points without a line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// For the legend.
    pub(crate) name: String,
    /// Position in the list of colours, so that a name has the same one in all charts of a page.
    pub(crate) colour: usize,
    /// Places, with a text for the tooltip; its first line also stands beside a point without a line.
    pub(crate) points: Vec<(f64, f64, String)>,
    /// Whether the points are joined.
    pub(crate) joined: bool,
}

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// Above it.
    pub(crate) title: String,
    /// To the right.
    pub(crate) x: Axis,
    /// Upwards.
    pub(crate) y: Axis,
    /// What it shows.
    pub(crate) lines: Vec<Line>,
}

/// The values of an axis that are shown, and where they go.
struct Range {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>, scale: Scale, from: f64, to: f64) -> Option<Self> {
        let drawable = values.filter(|&value| is_drawable(value, scale));
        let (low, high) = drawable
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if low > high {
            return None;
        }
        let (low, high) = match scale {
            Scale::Linear if low >= 0.0 => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Linear => (low, if high > low { high } else { low + 1.0 }),
            Scale::Log => (low / 1.2, high * 1.2),
        };
        Some(Self { scale, low, high, from, to })
    }

    fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + part * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.high - self.low) / TICKS_MAX;
                let magnitude = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
                let step = step.into_iter().find(|&step| step >= rough).unwrap_or(rough);
                let first = (self.low / step).ceil() as i64;
                let last = (self.high / step).floor() as i64;
                (first..=last).map(|count| count as f64 * step).collect()
            }
            Scale::Log => {
                let decades = (self.high / self.low).log10();
                let factors: &[f64] = if decades > 4.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let exponents = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
                exponents
                    .flat_map(|exponent| {
                        factors.iter().map(move |factor| factor * 10_f64.powi(exponent))
                    })
                    .filter(|tick| (self.low..=self.high).contains(tick))
                    .collect()
            }
        }
    }
}

fn is_drawable(value: f64, scale: Scale) -> bool {
    value.is_finite() && (scale == Scale::Linear || value > 0.0)
}

/// Text that is safe between tags and in attributes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number as short as it can be read.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{}M", trim(value / 1e6)),
        size if size >= 1e3 => format!("{}k", trim(value / 1e3)),
        _ => trim(value),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let x = Range::of(points().map(|point| point.0), self.x.scale, LEFT, right);
        let y = Range::of(points().map(|point| point.1), self.y.scale, bottom, TOP);
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" font-size=\"11\" font-family=\"sans-serif\">"
        )?;
        writeln!(f, "<text x=\"{LEFT}\" y=\"18\" font-size=\"13\">{}</text>", escape(&self.title))?;
        match (x, y) {
            (Some(x), Some(y)) => {
                self.write_axes(f, &x, &y)?;
                self.write_lines(f, &x, &y)?;
            }
            _ => writeln!(f, "<text x=\"{LEFT}\" y=\"60\">nothing was measured</text>")?,
        }
        writeln!(f, "</svg>")
    }
}

impl Chart {
    fn write_axes(&self, f: &mut fmt::Formatter<'_>, x: &Range, y: &Range) -> fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let named = |axis: &Axis, range: &Range| -> Vec<(f64, String)> {
            let names = axis.named.iter().map(|(value, name)| (*value, (*name).to_owned()));
            let inside = |value: &f64| (range.low..=range.high).contains(value);
            let named: Vec<_> = names.filter(|(value, _)| inside(value)).collect();
            let round = || range.ticks().into_iter().map(|tick| (tick, short(tick))).collect();
            if named.is_empty() { round() } else { named }
        };
        for (tick, name) in named(&self.x, x) {
            let at = x.place(tick);
            writeln!(
                f,
                "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                bottom + 15.0
            )?;
        }
        for (tick, name) in named(&self.y, y) {
            let at = y.place(tick);
            writeln!(
                f,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                LEFT - 5.0,
                at + 4.0
            )?;
        }
        writeln!(
            f,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            escape(&self.x.label)
        )?;
        let middle = f64::midpoint(TOP, bottom);
        writeln!(
            f,
            "<text x=\"14\" y=\"{middle:.1}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 14 {middle:.1})\">{}</text>",
            escape(&self.y.label)
        )
    }

    fn write_lines(&self, f: &mut fmt::Formatter<'_>, x: &Range, y: &Range) -> fmt::Result {
        for line in &self.lines {
            let colour = COLOURS[line.colour % COLOURS.len()];
            let drawable = line.points.iter().filter(|point| {
                is_drawable(point.0, self.x.scale) && is_drawable(point.1, self.y.scale)
            });
            let mut path = String::new();
            for (horizontal, vertical, text) in drawable {
                let (across, up) = (x.place(*horizontal), y.place(*vertical));
                write!(path, "{}{across:.1} {up:.1}", if path.is_empty() { "M" } else { "L" })?;
                writeln!(
                    f,
                    "<circle cx=\"{across:.1}\" cy=\"{up:.1}\" r=\"{}\" fill=\"{colour}\">\
                     <title>{}</title></circle>",
                    if line.joined { 1.5 } else { 4.0 },
                    escape(text)
                )?;
                if let Some(label) = text.lines().next().filter(|_| !line.joined) {
                    let (left, down) = (across + 6.0, up - 5.0);
                    let label = escape(label);
                    writeln!(
                        f,
                        "<text x=\"{left:.1}\" y=\"{down:.1}\" font-size=\"8\">{label}</text>"
                    )?;
                }
            }
            if line.joined && !path.is_empty() {
                writeln!(f, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\"/>")?;
            }
        }
        let shown = self.lines.iter().filter(|line| !line.points.is_empty());
        for (position, line) in shown.enumerate() {
            let (left, down) = (WIDTH - RIGHT + 12.0, TOP + 14.0 * position as f64 + 6.0);
            writeln!(
                f,
                "<rect x=\"{left}\" y=\"{:.1}\" width=\"9\" height=\"9\" fill=\"{}\"/>\
                 <text x=\"{}\" y=\"{down:.1}\">{}</text>",
                down - 8.0,
                COLOURS[line.colour % COLOURS.len()],
                left + 13.0,
                escape(&line.name)
            )?;
        }
        Ok(())
    }
}

/// A page that holds everything it shows.
pub(crate) struct Page {
    /// At the top and in the tab.
    pub(crate) title: String,
    /// The tables, as on the terminal.
    pub(crate) tables: String,
    /// Headings with their charts.
    pub(crate) sections: Vec<(String, Vec<Chart>)>,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = escape(&self.title);
        writeln!(
            f,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <style>body{{font-family:sans-serif;margin:2em;max-width:1600px}}\
             pre{{font-size:12px;overflow-x:auto}}svg{{margin:4px;max-width:100%}}</style></head>\
             <body><h1>{title}</h1>"
        )?;
        for (heading, charts) in &self.sections {
            writeln!(f, "<h2>{}</h2>", escape(heading))?;
            for chart in charts {
                write!(f, "{chart}")?;
            }
        }
        writeln!(f, "<h2>Tables</h2><pre>{}</pre></body></html>", escape(&self.tables))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, points: &[(f64, f64)]) -> Chart {
        let points = points.iter().map(|&(x, y)| (x, y, format!("{x} & {y}"))).collect();
        Chart {
            title: "a < b".to_owned(),
            x: Axis::new("x", Scale::Linear),
            y: Axis::new("y", scale),
            lines: vec![Line { name: "line".to_owned(), colour: 9, points, joined: true }],
        }
    }

    #[test]
    fn places_follow_the_scale() {
        let linear = Range { scale: Scale::Linear, low: 0.0, high: 10.0, from: 100.0, to: 200.0 };
        assert_eq!((linear.place(0.0), linear.place(5.0)), (100.0, 150.0));
        let log = Range { scale: Scale::Log, low: 1.0, high: 100.0, from: 200.0, to: 0.0 };
        assert!((log.place(10.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn ticks_are_round_and_few() {
        let ticks = |scale, low, high| Range { scale, low, high, from: 0.0, to: 1.0 }.ticks();
        assert_eq!(ticks(Scale::Linear, 0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(Scale::Log, 0.5, 20.0), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
        for high in [0.001, 0.7, 3.0, 1_234.0, 9e9] {
            let count = ticks(Scale::Linear, 0.0, high).len();
            assert!((3..=9).contains(&count), "{high}: {count}");
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let text = chart(Scale::Log, &[(0.0, 1.0), (1.0, 0.0), (2.0, f64::NAN), (3.0, 4.0)]);
        let text = text.to_string();
        assert_eq!(text.matches("<circle").count(), 2);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        assert!(text.contains("a &lt; b") && text.contains("3 &amp; 4"));
        assert!(chart(Scale::Log, &[]).to_string().contains("nothing was measured"));
        let flat = chart(Scale::Linear, &[(0.0, 0.0), (0.0, 0.0)]).to_string();
        assert!(!flat.contains("NaN"), "{flat}");
    }

    #[test]
    fn a_page_is_whole() {
        let page = Page {
            title: "T".to_owned(),
            tables: "a <b> c".to_owned(),
            sections: vec![("S".to_owned(), vec![chart(Scale::Linear, &[(1.0, 2.0)])])],
        };
        let text = page.to_string();
        assert!(text.starts_with("<!DOCTYPE html>") && text.trim_end().ends_with("</html>"));
        assert!(text.contains("a &lt;b&gt; c") && text.contains("<h2>S</h2>"));
    }
}
