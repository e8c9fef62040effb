//! What can fail below the commands: always this node's trouble, never part of an answer.

use std::io;

/// An error of the store of this node. Inside apply it stops the node.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused a file operation.
    #[error("state store: {0}")]
    Io(#[from] io::Error),
    /// The LSM store reported an error.
    #[error("state store: {0}")]
    Lsm(#[from] fjall::Error),
    /// Bytes on disk are not what this version writes.
    #[error("state store is damaged: {0}")]
    Corrupt(String),
    /// The disk is full. Nothing was changed, nothing is left of the attempt, and it can be repeated.
    #[error("state store: no room, nothing was written: {0}")]
    NoRoom(String),
    /// A snapshot stream broke its format, order or checksum.
    #[error("snapshot refused: {0}")]
    Snapshot(String),
}

impl StorageError {
    /// Whether this node's bytes are not what was written, rather than an operation that failed.
    pub fn is_damage(&self) -> bool {
        match self {
            StorageError::Corrupt(_) => true,
            StorageError::Io(_) | StorageError::NoRoom(_) | StorageError::Snapshot(_) => false,
            StorageError::Lsm(fjall::Error::Storage(error)) => {
                !matches!(error, fjall::LsmError::Io(_))
            }
            StorageError::Lsm(error) => matches!(
                error,
                fjall::Error::Decompress(_)
                    | fjall::Error::InvalidTag(_)
                    | fjall::Error::InvalidTrailer
            ),
        }
    }

    /// The kind of the failed file operation, if that is what this is.
    pub(crate) fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            StorageError::Io(error)
            | StorageError::Lsm(
                fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)),
            ) => Some(error.kind()),
            StorageError::NoRoom(_) => Some(io::ErrorKind::StorageFull),
            StorageError::Lsm(_) | StorageError::Corrupt(_) | StorageError::Snapshot(_) => None,
        }
    }

    /// Whether a file operation failed because there was no room, or the quota is used up.
    pub(crate) fn is_full_disk(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self.io_kind(), Some(StorageFull | QuotaExceeded))
    }

    /// A `Corrupt` that names the row it was found in.
    pub fn corrupt_row(what: &str, key: &[u8]) -> Self {
        StorageError::Corrupt(format!("{what} at key {}", key.escape_ascii()))
    }
}
