//! What COMMAND DOCS says of a command beyond its arguments: cost, history, successors.
//!
//! Arguments are printed from [`crate::commands::syntax`]. What Redis 7.0.15 says of a command is
//! said here too wherever it is true of Kvorum; a test lists where it is not.

/// Remarks of a declaration: `Docs::COST_1`, `Docs::cost("O(N) ..").history(&[..])`.
#[derive(Clone, Copy, Debug)]
pub struct Docs {
    /// Time it takes, in O notation with the meaning of its letters; empty where none is stated.
    pub complexity: &'static str,
    /// Redis version and what changed in it, oldest first.
    pub history: &'static [(&'static str, &'static str)],
    /// Redis version since when it should not be used, and what to use.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Redis's mark of a command for those who work on the server itself.
    pub for_developers: bool,
}

impl Docs {
    /// No remark.
    pub const NONE: Docs =
        Docs { complexity: "", history: &[], deprecated: None, for_developers: false };
    /// Constant time.
    pub const COST_1: Docs = Docs::cost("O(1)");
    /// A container: what its subcommands cost.
    pub const CONTAINER: Docs = Docs::cost("Depends on subcommand.");

    /// Time it takes.
    pub const fn cost(complexity: &'static str) -> Docs {
        Docs { complexity, ..Docs::NONE }
    }

    /// The same with its history.
    pub const fn history(self, history: &'static [(&'static str, &'static str)]) -> Docs {
        Docs { history, ..self }
    }

    /// The same, not to be used since a version of Redis.
    pub const fn deprecated(self, since: &'static str, replaced_by: &'static str) -> Docs {
        Docs { deprecated: Some((since, replaced_by)), ..self }
    }

    /// The same, for those who work on the server itself.
    pub const fn for_developers(self) -> Docs {
        Docs { for_developers: true, ..self }
    }
}
