//! Commands on strings.

mod strlen;

use crate::commands::spec::CommandSpec;

/// The commands of this chapter.
pub static COMMANDS: &[CommandSpec] = &[strlen::STRLEN];
