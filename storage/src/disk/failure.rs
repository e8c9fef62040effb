//! The first failure of a part of the engine, for everybody who asks later.

use crate::error::StorageError;
use std::io;
use std::sync::OnceLock;

/// Nothing, or the first failure.
#[derive(Default)]
pub(super) struct Failure(OnceLock<(io::ErrorKind, String)>);

impl Failure {
    /// Remembers `error`, unless there was one before.
    pub(super) fn set(&self, error: &StorageError) {
        let kind = error.io_kind().unwrap_or(io::ErrorKind::Other);
        let _first_stays = self.0.set((kind, error.to_string()));
    }

    /// Whether nothing failed.
    pub(super) fn is_none(&self) -> bool {
        self.0.get().is_none()
    }

    /// The failure as an error, if there was one.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        let Some((kind, text)) = self.0.get() else {
            return Ok(());
        };
        Err(io::Error::new(*kind, format!("writing failed earlier: {text}")).into())
    }
}
