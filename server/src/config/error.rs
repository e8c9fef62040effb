//! What can be wrong with a configuration, said so that it can be mended.

use std::fmt;
use std::path::PathBuf;

/// Where a value comes from; later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table.
    Default,
    /// The configuration file.
    File,
    /// A `KVORUM_...` variable.
    Environment,
    /// The command line.
    Flag,
    /// CONFIG SET.
    Runtime,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Default => "default",
            Source::File => "configuration file",
            Source::Environment => "environment",
            Source::Flag => "command line",
            Source::Runtime => "CONFIG SET",
        })
    }
}

/// Why a configuration is refused. Values are never quoted: one may be a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// No such setting.
    #[error("{source_}: unknown setting '{name}'{}", hint(.nearest))]
    Unknown {
        /// The name as it was given.
        name: String,
        /// The setting with the most similar name.
        nearest: Option<&'static str>,
        /// Where it was given.
        source_: Source,
    },
    /// The value does not fit the setting.
    #[error("{source_}: setting '{name}': {reason}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// What is wrong.
        reason: String,
        /// Where it was given.
        source_: Source,
    },
    /// The value of this environment variable is no text.
    #[error("environment variable {0}: its value is not UTF-8")]
    NoText(String),
    /// Settings contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// The file cannot be read, or is no TOML.
    #[error("configuration file {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn hint(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}

/// Why CONFIG SET changed nothing; the text is Redis's reply.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SetError {
    /// No such setting.
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// A setting that refuses.
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Refused {
        /// The name as it was given.
        name: String,
        /// What is wrong.
        reason: String,
    },
}
