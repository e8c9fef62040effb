//! Lines of a section, and figures in Redis's forms.

use std::fmt::Display;

/// A section that is being written.
pub(super) struct Section {
    text: String,
}

impl Section {
    pub(super) fn new(title: &str) -> Self {
        Section { text: format!("# {title}\r\n") }
    }

    /// Adds `name:value`.
    pub(super) fn add(&mut self, name: &str, value: impl Display) {
        self.text.push_str(&format!("{name}:{value}\r\n"));
    }

    /// Adds a size, and the same with `_human` at the end of its name.
    pub(super) fn add_bytes(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(&format!("{name}_human"), human_bytes(bytes));
    }

    /// Adds 1 or 0.
    pub(super) fn add_flag(&mut self, name: &str, truth: bool) {
        self.add(name, u8::from(truth));
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// A size for people: `0B`, `1.16M`, `23.54G`.
pub(super) fn human_bytes(bytes: u64) -> String {
    let units = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    match units.iter().find(|(bits, _)| bytes >> bits > 0) {
        Some((bits, unit)) => format!("{:.2}{unit}", bytes as f64 / f64::from(2).powi(*bits)),
        None => format!("{bytes}B"),
    }
}

/// `part` of `whole`, 0 when there is nothing.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
