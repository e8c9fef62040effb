//! A figure of a run, the bound it is held to, and whether it is within.

use serde::Serialize;
use std::fmt;

/// Which side of the bound is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Side {
    AtLeast,
    AtMost,
    Below,
}

/// A figure beside its bound. A figure on the bound is within, unless it has to be below; one that is
/// missing is not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Bound {
    name: &'static str,
    value: Option<f64>,
    side: Side,
    bound: f64,
    /// Why it counts as held although the figure is not within.
    excuse: Option<String>,
}

impl Bound {
    /// The figure must not be below `bound`.
    pub(crate) fn at_least(name: &'static str, value: Option<f64>, bound: f64) -> Self {
        Self { name, value, side: Side::AtLeast, bound, excuse: None }
    }

    /// The figure must not be above `bound`.
    pub(crate) fn at_most(name: &'static str, value: Option<f64>, bound: f64) -> Self {
        Self { name, value, side: Side::AtMost, bound, excuse: None }
    }

    /// The figure must be below `bound`.
    pub(crate) fn below(name: &'static str, value: Option<f64>, bound: f64) -> Self {
        Self { name, value, side: Side::Below, bound, excuse: None }
    }

    /// The same bound, which also counts as held where `excuse` names what was the limit instead.
    pub(crate) fn unless(self, excuse: Option<String>) -> Self {
        Self { excuse, ..self }
    }

    fn is_within(&self) -> bool {
        self.value.is_some_and(|value| match self.side {
            Side::AtLeast => value >= self.bound,
            Side::AtMost => value <= self.bound,
            Side::Below => value < self.bound,
        })
    }

    /// Whether the figure is there and within, or excused.
    pub(crate) fn holds(&self) -> bool {
        self.is_within() || self.value.is_some() && self.excuse.is_some()
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let sign = match self.side {
            Side::AtLeast => ">=",
            Side::AtMost => "<=",
            Side::Below => "<",
        };
        let word = match &self.excuse {
            _ if self.is_within() => "holds",
            Some(excuse) if self.holds() => excuse,
            _ => "MISSED",
        };
        write!(f, "  {:38}{value:>10}  {sign:2} {:<8.2} {word}", self.name, self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_on_the_bound_is_within_and_none_is_not() {
        let check = |bound: Bound, holds: bool, word: &str| {
            assert_eq!(bound.holds(), holds, "{bound}");
            assert!(bound.to_string().ends_with(word), "{bound}");
        };
        check(Bound::at_least("x", Some(2.0), 2.0), true, "holds");
        check(Bound::at_least("x", Some(1.9), 2.0), false, "MISSED");
        check(Bound::at_most("x", Some(2.0), 2.0), true, "holds");
        check(Bound::at_most("x", Some(2.1), 2.0), false, "MISSED");
        check(Bound::below("x", Some(1.9), 2.0), true, "holds");
        check(Bound::below("x", Some(2.0), 2.0), false, "MISSED");
        check(Bound::at_most("x", None, 2.0), false, "MISSED");
        check(Bound::at_most("x", Some(f64::NAN), 2.0), false, "MISSED");
        let excused = |value| Bound::at_least("x", value, 2.0).unless(Some("CPU".to_owned()));
        check(excused(Some(1.0)), true, "CPU");
        check(excused(Some(3.0)), true, "holds");
        check(excused(None), false, "MISSED");
    }
}
