//! A number for every command and subcommand, so that figures about them are plain arrays.
//!
//! Numbers follow the table: they are dense, start at 0, and mean nothing outside this process.
//! [`number`] finds one from the place of a declaration in its slice, without hashing.

use super::spec::CommandSpec;
use super::{TABLE, lookup, lookup_subcommand};
use protocol::Request;
use std::sync::LazyLock;

struct Numbering {
    /// Slices of declarations, ascending by address: first address, length in bytes, first number.
    slices: Vec<(usize, usize, usize)>,
    /// By number: the full name and the declaration.
    entries: Vec<(String, &'static CommandSpec)>,
}

static NUMBERING: LazyLock<Numbering> = LazyLock::new(|| {
    let mut numbering = Numbering { slices: Vec::new(), entries: Vec::new() };
    for chapter in TABLE {
        numbering.add(chapter, "");
        for container in *chapter {
            numbering.add(container.subcommands, &format!("{}|", container.name));
        }
    }
    numbering.slices.sort_unstable();
    numbering
});

impl Numbering {
    fn add(&mut self, slice: &'static [CommandSpec], prefix: &str) {
        if slice.is_empty() {
            return;
        }
        let start = slice.as_ptr() as usize;
        self.slices.push((start, size_of_val(slice), self.entries.len()));
        self.entries.extend(slice.iter().map(|spec| (format!("{prefix}{}", spec.name), spec)));
    }
}

/// How many numbers there are.
pub fn count() -> usize {
    NUMBERING.entries.len()
}

/// The number of a declaration of the table.
///
/// Panics when `spec` is a copy made elsewhere: only the table's own declarations have numbers.
pub fn number(spec: &'static CommandSpec) -> usize {
    let address = std::ptr::from_ref(spec) as usize;
    let slices = &NUMBERING.slices;
    let after = slices.partition_point(|(start, _, _)| *start <= address);
    let (start, bytes, first) = slices[after.checked_sub(1).expect("a declaration of the table")];
    assert!(address < start + bytes, "a declaration of the table");
    first + (address - start) / size_of::<CommandSpec>()
}

/// The declaration with this number.
pub fn spec(number: usize) -> &'static CommandSpec {
    NUMBERING.entries[number].1
}

/// The name with this number; a subcommand's has its container: `config|set`.
pub fn full_name(number: usize) -> &'static str {
    &NUMBERING.entries[number].0
}

/// The full name of a declaration of the table.
pub fn full_name_of(spec: &'static CommandSpec) -> &'static str {
    full_name(number(spec))
}

/// The declaration of a full name, in any case.
pub fn find(full_name: &[u8]) -> Option<&'static CommandSpec> {
    match full_name.iter().position(|byte| *byte == b'|') {
        None => lookup(full_name),
        Some(bar) => lookup_subcommand(lookup(&full_name[..bar])?, &full_name[bar + 1..]),
    }
}

/// The declaration that a request names, its subcommand included where it has one.
pub fn resolve(request: &Request) -> Option<&'static CommandSpec> {
    let command = lookup(request.get(0)?)?;
    let subcommand = request.get(1).and_then(|name| lookup_subcommand(command, name));
    Some(subcommand.unwrap_or(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_lead_back() {
        for n in 0..count() {
            assert_eq!(number(spec(n)), n);
            let found = find(full_name(n).as_bytes()).unwrap();
            assert!(std::ptr::eq(found, spec(n)), "{}", full_name(n));
        }
    }

    #[test]
    fn requests_name_commands_and_subcommands() {
        let name = |parts: &[&str]| resolve(&Request::from_parts(parts)).map(full_name_of);
        assert_eq!(name(&["StrLen", "k"]), Some("strlen"));
        assert_eq!(name(&["config", "GET", "x"]), Some("config|get"));
        assert_eq!(name(&["config", "nothing"]), Some("config"));
        assert_eq!(name(&["nothing"]), None);
        assert_eq!(name(&[]), None);
    }
}
