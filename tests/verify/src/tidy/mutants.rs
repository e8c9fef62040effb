//! The known bugs of `storage/src/mutants.rs` are in no build that did not ask for them: one file
//! looks at the feature, two manifests name it, and nothing turns it on.

use super::source::Source;
use std::fs;
use std::path::Path;

/// Where the switch is.
const SWITCH: &str = "storage/src/mutants.rs";

/// Lines of manifests that may name the feature.
const ALLOWED: &[(&str, &str)] = &[
    ("storage/Cargo.toml", "mutants = []"),
    ("server/Cargo.toml", "mutants = [\"storage/mutants\"]"),
];

/// All manifests that cargo reads features from.
const MANIFESTS: &[&str] = &[
    "Cargo.toml",
    "protocol/Cargo.toml",
    "storage/Cargo.toml",
    "server/Cargo.toml",
    "tests/Cargo.toml",
    "tests/verify/Cargo.toml",
    "tests/chaos/Cargo.toml",
    "tests/sim/Cargo.toml",
    "bench/Cargo.toml",
];

pub(super) fn check(root: &Path, sources: &[Source]) -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    let feature = concat!("feature = \"", "mutants\"");
    for source in sources.iter().filter(|source| source.path != SWITCH) {
        if source.text.contains(feature) {
            problems.push(format!("{}: only {SWITCH} looks at the feature mutants", source.path));
        }
    }
    for path in MANIFESTS {
        let manifest = root.join(path);
        let text = fs::read_to_string(&manifest).map_err(|error| format!("{path}: {error}"))?;
        problems.extend(unwanted(path, &text));
    }
    Ok(problems)
}

fn unwanted(path: &str, manifest: &str) -> Vec<String> {
    let lines = manifest.lines().map(|line| line.split('#').next().unwrap_or(line).trim());
    let named = lines.filter(|line| line.contains("mutants") && !ALLOWED.contains(&(path, line)));
    named.map(|line| format!("{path}: nothing turns the feature mutants on: {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_may_have_the_feature_and_not_turn_it_on() {
        let storage = "[features]\n# for mutants\nmutants = []\n";
        assert_eq!(unwanted("storage/Cargo.toml", storage), Vec::<String>::new());
        assert_eq!(unwanted("bench/Cargo.toml", storage).len(), 1);
        let on = "[features]\ndefault = [\"mutants\"]\nmutants = []\n";
        assert_eq!(unwanted("storage/Cargo.toml", on).len(), 1);
        let by_another = "kvorum = { path = \"..\", features = [\"mutants\"] }";
        assert_eq!(unwanted("tests/Cargo.toml", by_another).len(), 1);
    }
}
