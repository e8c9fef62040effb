//! The Rust files of the workspace, and what of them is code.

use std::fs;
use std::io;
use std::path::Path;

/// Packages that the rules are about.
const PACKAGES: &[&str] = &["protocol", "storage", "server", "tests", "bench"];

/// One file.
pub(crate) struct Source {
    /// From the workspace root, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl Source {
    /// Whether the whole file is tests or serves only them.
    pub(crate) fn is_test(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        parts[0] == "tests"
            || parts.iter().any(|part| matches!(*part, "tests" | "tests.rs"))
            || self.path.starts_with("protocol/fuzz/")
            || is_for_tests_by_its_parent(&self.path)
    }

    /// Lines before the tests, with their numbers from 1, without comments.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().take(self.lines_without_tests()).enumerate();
        lines.map(|(at, line)| (at + 1, line.split("//").next().unwrap_or(line)))
    }

    /// Number of lines before the tests that end the file.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let mut lines = self.text.lines().enumerate().peekable();
        while let Some((at, line)) = lines.next() {
            let next = lines.peek().map_or("", |(_, line)| line);
            if line == "#[cfg(test)]" && next.starts_with("mod tests") {
                return at;
            }
        }
        self.text.lines().count()
    }
}

/// Modules that their parent declares under `#[cfg(test)]`.
fn is_for_tests_by_its_parent(path: &str) -> bool {
    ["fake_node.rs", "test_support.rs", "reference_server.rs"]
        .iter()
        .any(|name| path.ends_with(&format!("/{name}")))
}

/// All files, sorted by path.
pub(crate) fn all(root: &Path) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    for package in PACKAGES {
        walk(root, &root.join(package), &mut found)?;
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if path.is_dir() && !matches!(name, "target" | "node_modules") && !name.starts_with('.') {
            walk(root, &path, found)?;
        } else if name.ends_with(".rs") {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let text = fs::read_to_string(&path)?;
            found.push(Source { path: relative.to_string_lossy().replace('\\', "/"), text });
        }
    }
    Ok(())
}

/// Whether `name` stands in `line` as a path of its own, not as the end of a longer name.
pub(crate) fn mentions(line: &str, name: &str) -> bool {
    let continues = |text: char| text.is_alphanumeric() || text == '_';
    line.match_indices(name).any(|(at, _)| {
        let after = &line[at + name.len()..];
        let ends_in_name = name.ends_with(continues);
        let begins_here = !line[..at].ends_with(continues);
        let ends_here = !ends_in_name || !after.starts_with(continues);
        begins_here && ends_here
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_whole() {
        assert!(mentions("use storage::txn;", "storage::"));
        assert!(!mentions("use cold_storage::txn;", "storage::"));
        assert!(mentions("let map: HashMap<u8, u8>", "HashMap"));
        assert!(!mentions("let map: HashMaps", "HashMap"));
        assert!(mentions("use crate::net::listener", "crate::net"));
        assert!(!mentions("use crate::network", "crate::net"));
    }

    #[test]
    fn comments_and_tests_are_no_code() {
        let text = "//! Header\nfn a() {} // why\n#[cfg(test)]\nmod tests {\n}\n".to_owned();
        let source = Source { path: "server/src/a.rs".to_owned(), text };
        let code: Vec<_> = source.code().collect();
        assert_eq!(code, [(1, ""), (2, "fn a() {} ")]);
    }
}
