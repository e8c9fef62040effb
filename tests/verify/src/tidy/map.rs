//! The map in the README and the paths named in the documentation are those of the tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Folders of which the map names every file and folder that is not hidden.
const MAPPED: &[&str] = &["", "server/src"];
/// What lies beside the sources and needs no place on the map.
const BESIDE: &[&str] =
    &["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "target", "kvorum-data", "kvorum-demo"];
/// What paths in documentation begin with.
const ROOTS: &[&str] = &["protocol/", "storage/", "server/", "tests/", "bench/"];

pub(super) fn check(root: &Path) -> Result<Vec<String>, String> {
    let failed = |path: &Path, error| format!("{}: {error}", path.display());
    let readme = root.join("README.md");
    let text = fs::read_to_string(&readme).map_err(|error| failed(&readme, error))?;
    let named = paths(&text);
    let mut problems = missing(root, "README.md", &named);
    for folder in MAPPED {
        let dir = root.join(folder);
        for entry in fs::read_dir(&dir).map_err(|error| failed(&dir, error))? {
            let entry = entry.map_err(|error| failed(&dir, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || BESIDE.contains(&name.as_str()) {
                continue;
            }
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            // A module with a folder of its name is one place.
            let module = path.trim_end_matches(".rs");
            if !named.iter().any(|known| known.trim_end_matches(".rs") == module) {
                problems.push(format!("README.md: the map does not name {path}"));
            }
        }
    }
    let docs = root.join("server/docs");
    for entry in fs::read_dir(&docs).map_err(|error| failed(&docs, error))? {
        let path = entry.map_err(|error| failed(&docs, error))?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            problems.extend(missing(root, &name, &paths(&text)));
        }
    }
    Ok(problems)
}

/// Paths between backquotes that begin at the root, without a closing `/`.
fn paths(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_path = |word: &&str| {
        ROOTS.iter().any(|root| word.starts_with(root)) && !word.contains([' ', '*', '<', '\n'])
    };
    quoted.filter(is_path).map(|word| word.trim_end_matches('/').to_owned()).collect()
}

fn missing(root: &Path, document: &str, named: &BTreeSet<String>) -> Vec<String> {
    let exists =
        |path: &&String| root.join(path).exists() || root.join(format!("{path}.rs")).exists();
    let gone = named.iter().filter(|path| !exists(path));
    gone.map(|path| format!("{document}: there is no {path}")).collect()
}

#[cfg(test)]
mod tests {
    use super::paths;

    #[test]
    fn paths_are_what_stands_between_backquotes() {
        let text = "see `server/src/net/` and `SET k v`, not server/src/raft; `tests/scripts/<x>`";
        let found: Vec<String> = paths(text).into_iter().collect();
        assert_eq!(found, ["server/src/net"]);
    }
}
