//! One row of the table of settings, and how rows are written.

use super::kind::Kind;

/// One row.
pub struct Setting {
    /// Its name, as everywhere.
    pub name: &'static str,
    /// Another name that CONFIG and the other sources accept.
    pub alias: Option<&'static str>,
    /// Default, as text.
    pub default: &'static str,
    /// Unit of a bare number, empty when there is none.
    pub unit: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Whether CONFIG SET may change it.
    pub mutable: bool,
    /// Whether its value is kept out of tracing and of the printed configuration.
    pub secret: bool,
    /// Its type, bounds and field.
    pub kind: Kind,
}

/// A row that may change while the node runs.
pub(super) const fn row(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    doc: &'static str,
) -> Setting {
    Setting { name, alias: None, default, unit: "", doc, mutable: true, secret: false, kind }
}

impl Setting {
    pub(super) const fn at_start(mut self) -> Self {
        self.mutable = false;
        self
    }

    pub(super) const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    pub(super) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}
