//! Every command of the table has a golden script that sends it, or a reason why not. HELP lists
//! our own subcommands, so there is nothing to compare.

use super::source::Source;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Command and reason.
const WITHOUT_SCRIPT: &[(&str, &str)] = &[
    ("CLUSTER SLAVES", "CLUSTER REPLICAS under its old name"),
    ("LATENCY DOCTOR", "prose of our own"),
    ("MEMORY DOCTOR", "prose of our own"),
    ("RAFT.CLUSTER", "changes the cluster that scripts run on"),
    ("RAFT.CLUSTER INIT", "changes the cluster that scripts run on"),
    ("RAFT.CLUSTER JOIN", "changes the cluster that scripts run on"),
    ("RAFT.NODE", "changes the cluster that scripts run on"),
    ("RAFT.NODE ADD", "changes the cluster that scripts run on"),
    ("RAFT.NODE LIST", "answers differently on every cluster"),
    ("RAFT.NODE PROMOTE", "changes the cluster that scripts run on"),
    ("RAFT.NODE REMOVE", "changes the cluster that scripts run on"),
    ("RAFT.PEER", "answers differently on every node"),
    ("RAFT.SNAPSHOT", "changes the log that scripts run on"),
];

pub(super) fn check(root: &Path, sources: &[Source]) -> Result<Vec<String>, String> {
    let mut sent = BTreeSet::new();
    let scripts = root.join("tests/scripts");
    requests(&scripts, &mut sent).map_err(|error| format!("{}: {error}", scripts.display()))?;
    let in_table =
        |source: &&Source| source.path.starts_with("server/src/commands/") && !source.is_test();
    let names: BTreeSet<String> = sources
        .iter()
        .filter(in_table)
        .flat_map(|source| source.text.lines())
        .filter_map(|line| name_of(line.trim().strip_prefix("syntax: \"")?))
        .collect();
    if names.len() < 100 {
        return Err(format!("tidy: only {} commands found; has their form changed?", names.len()));
    }
    let excused = |name: &String| WITHOUT_SCRIPT.iter().any(|(excused, _)| excused == name);
    let mut problems: Vec<String> = names
        .iter()
        .filter(|name| !name.ends_with(" HELP") && !sent.contains(*name) && !excused(name))
        .map(|name| format!("no script in tests/scripts sends {name}"))
        .collect();
    let needed = WITHOUT_SCRIPT.iter().map(|(name, _)| {
        let name: &str = name;
        (name, names.contains(name) && !sent.contains(name))
    });
    problems.extend(super::unused("commands", needed));
    Ok(problems)
}

/// `CLIENT GETNAME` of `CLIENT GETNAME`, `SET` of `SET key value [NX | XX]`.
fn name_of(syntax: &str) -> Option<String> {
    let is_name = |word: &&str| {
        word.starts_with(|first: char| first.is_ascii_uppercase())
            && word
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || ".-".contains(c))
    };
    let words = syntax.split(['"', ' ']).take_while(|word| is_name(word));
    let words: Vec<&str> = words.take(2).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Collects every word and every pair of words that stands where a script names a command.
fn requests(dir: &Path, sent: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            requests(&path, sent)?;
            continue;
        }
        for line in fs::read_to_string(&path)?.lines() {
            let Some((connection, request)) = line.split_once("> ") else { continue };
            if !connection.chars().all(|c| c.is_ascii_alphanumeric()) {
                continue;
            }
            let words: Vec<String> =
                request.split(' ').take(4).map(|word| word.to_ascii_uppercase()).collect();
            for at in 0..words.len() {
                sent.insert(words[at].clone());
                if let Some(next) = words.get(at + 1) {
                    sent.insert(format!("{} {next}", words[at]));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn a_name_is_the_words_in_capitals() {
        let check = |syntax: &str, expected: &str| assert_eq!(name_of(syntax).unwrap(), expected);
        check("SET key value [NX | XX]\",", "SET");
        check("CLIENT NO-EVICT <ON | OFF>\",", "CLIENT NO-EVICT");
        check("RAFT.NODE ADD host:port\",", "RAFT.NODE ADD");
        check("FLUSHALL [ASYNC | SYNC]\",", "FLUSHALL");
    }
}
