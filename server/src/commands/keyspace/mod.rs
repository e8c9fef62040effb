//! Commands on keys of any type.

use crate::commands::spec::CommandSpec;

/// The commands of this chapter.
pub static COMMANDS: &[CommandSpec] = &[];
