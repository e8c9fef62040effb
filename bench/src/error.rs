//! Why a measurement could not be made: one sentence for the person at the terminal.
//!
//! Invariant: a [`Failure`] ends the command; what goes wrong with single requests is counted in
//! `stats`, not reported here.

use std::fmt;
use std::io;

/// A sentence that says what failed and, where known, what to do about it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure with this text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}
