//! Rules of this repository that the compiler and its lints do not know.
//!
//! Each rule is a function from the source files to problems, in a file of its own; exceptions are
//! listed beside the rule, each with its reason, and an exception that nothing needs any more is a
//! problem, too.

mod commands;
mod layers;
mod map;
mod mutants;
mod shape;
mod source;
mod words;

use std::path::Path;

/// Applies all rules.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let sources = source::all(root).map_err(|error| format!("tidy: {error}"))?;
    let mut problems = Vec::new();
    problems.extend(layers::check(&sources));
    problems.extend(words::check(&sources));
    problems.extend(shape::check(&sources));
    problems.extend(commands::check(root, &sources)?);
    problems.extend(map::check(root)?);
    problems.extend(mutants::check(root, &sources)?);
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = problems.iter().map(|problem| format!("tidy: {problem}")).collect();
    Err(lines.join("\n"))
}

/// Problems for exceptions that were not used.
fn unused<'a>(rule: &str, names: impl Iterator<Item = (&'a str, bool)>) -> Vec<String> {
    let unused = names.filter(|(_, used)| !used);
    unused.map(|(name, _)| format!("{rule}: the exception for {name} is not needed")).collect()
}
