//! Why a log could not be opened or verified.
//!
//! Errors of a running log are plain `io::Error`s given to the callbacks: after the first of them
//! the log is failed for good, and only a restart, which comes through here, brings it back.

use std::io;
use std::path::PathBuf;

/// What keeps a log from being opened or verified.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused a file operation.
    #[error("log: {action}: {source}")]
    Io {
        /// What was being done, with the file's name.
        action: String,
        /// The refusal.
        source: io::Error,
    },
    /// Bytes that had been synced are damaged or missing. The log must not be used: entries or
    /// votes that this node promised to keep may be gone, so the node has to rejoin by snapshot
    /// under a new id.
    #[error("log is damaged: segment {segment}, offset {offset}: {what}")]
    Corrupt {
        /// Number of the segment, 0 for the file that identifies the log.
        segment: u32,
        /// Offset of the damage in the segment's file, in bytes.
        offset: u64,
        /// What was found there.
        what: String,
    },
    /// Another process has this log open.
    #[error("log {0} is in use by another process")]
    Locked(PathBuf),
    /// The log was written by a version whose format this one does not know.
    #[error("log segment {segment} has format version {version}, this program reads version 1")]
    Version {
        /// Number of the segment, 0 for the file that identifies the log.
        segment: u32,
        /// The version found.
        version: u8,
    },
    /// The options contradict each other or the format.
    #[error("log options: {0}")]
    Options(String),
}

impl LogError {
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> LogError {
        let action = action.into();
        move |source| LogError::Io { action, source }
    }

    pub(super) fn corrupt(segment: u32, offset: u64, what: impl Into<String>) -> LogError {
        LogError::Corrupt { segment, offset, what: what.into() }
    }
}
