//! The report of a check, for people.

use super::agreement::LogEnds;
use super::{Contents, SHARD, State};
use std::io::Write;
use std::path::Path;

/// Writes what was found, and the verdict.
pub(super) fn print(dir: &Path, contents: &Contents, problems: &[String]) {
    let mut text = format!("{}\n\n", dir.display());
    text.push_str(&identity(contents));
    text.push_str(&log(contents));
    text.push_str(&state(contents.state.as_ref()));
    text.push('\n');
    for problem in problems {
        text.push_str(&format!("DAMAGED: {problem}\n"));
    }
    match problems.len() {
        0 => text.push_str("sound: log and state are whole and belong together\n"),
        1 => text.push_str("1 problem\n"),
        count => text.push_str(&format!("{count} problems\n")),
    }
    say(&text);
}

/// Writes that a part could not be read for damage.
pub(super) fn print_damaged(dir: &Path, why: &str) {
    say(&format!("{}\n\nDAMAGED: {why}\n", dir.display()));
}

fn say(text: &str) {
    // The exit code says it, too, when nobody reads this.
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
}

fn identity(contents: &Contents) -> String {
    let Some(identity) = contents.identity else { return "identity  none yet\n".to_owned() };
    let mut text = format!("identity  node {}", identity.node_id);
    match (identity.cluster_id, identity.pledge) {
        (0, None) => text.push_str(", of no cluster yet"),
        (0, Some(pledge)) => {
            text.push_str(&format!(", pledged to cluster {:016x}", pledge.cluster_id));
        }
        (cluster_id, _) => text.push_str(&format!(", cluster {cluster_id:016x}")),
    }
    if identity.removed {
        text.push_str(", removed from it");
    }
    text + "\n"
}

fn log(contents: &Contents) -> String {
    let log = &contents.log;
    let records: u64 = log.segments.iter().map(|segment| segment.records).sum();
    let bytes: u64 = log.segments.iter().map(|segment| segment.bytes).sum();
    let segments = log.segments.len();
    let mut text = format!("log       {segments} segments, {records} records, {bytes} bytes\n");
    if let Some(shard) = log.shards.get(&u32::from(SHARD)) {
        let ends = LogEnds::of(shard);
        let entries = match shard.first_index {
            Some(first) => {
                format!("entries {} to {} (term {})", first + 1, ends.last, ends.last_term)
            }
            None => "no entries".to_owned(),
        };
        text.push_str(&format!(
            "          {entries}, purged up to {}, known as committed {}\n",
            ends.purged, ends.committed
        ));
        if let Some(vote) = shard.vote {
            let (node, term) = (vote.node_id, vote.term);
            text.push_str(&format!("          vote for node {node} in term {term}\n"));
        }
    }
    if log.torn_bytes > 0 {
        text.push_str(&format!(
            "          {} bytes of an interrupted write; the next start drops them, nothing of \
             them was acknowledged\n",
            log.torn_bytes
        ));
    }
    text
}

fn state(state: Option<&State>) -> String {
    let Some(State { applied, membership, rows, .. }) = state else {
        return "state     none yet; the log holds everything\n".to_owned();
    };
    let mut text = format!(
        "state     up to entry {} (term {}), time {} ms\n          {} rows: {} keys, {} of them \
         with a deadline; {} bytes of keys and values\n",
        applied.log_index,
        applied.term,
        applied.now_ms,
        rows.rows,
        rows.keys,
        rows.keys_with_deadline,
        rows.bytes
    );
    if rows.dropped_rows > 0 {
        let dropped = rows.dropped_rows;
        text.push_str(&format!("          {dropped} rows of flushed databases to be removed\n"));
    }
    let voters: Vec<u64> = membership.voter_ids().collect();
    for (id, address) in membership.nodes() {
        let role = if voters.contains(id) { "voter" } else { "learner" };
        text.push_str(&format!("member    node {id} at {address}, {role}\n"));
    }
    text
}
