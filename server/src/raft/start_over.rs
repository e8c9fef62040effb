//! How a node that leads a cluster of its own, and never held data, becomes a member of another.
//!
//! A node that is started without further settings is a cluster of one, so this is what a node is
//! that somebody wants to add. It gives itself up, identity and log and state, and starts over as a
//! new node: ids are never reused. The order of steps keeps that safe:
//!
//! 1. Raft is shut down: nothing is acknowledged any more.
//! 2. The whole log is read. It must begin at its beginning and hold no write of a client and no
//!    other member, ever; if it does, the process starts again as it was.
//! 3. The order to start over is written to the file `rejoin`, durably.
//! 4. The process starts again. Before it opens anything it removes identity, log and state, and
//!    notes in the file that this is done. Until then a crash leads back here; from then on the
//!    directory is that of a new node, which joins the cluster through the addresses in the file.
//! 5. Once it is a voter, the file is removed.
//!
//! ```text
//! kvorum-rejoin 1
//! forget                (until identity, log and state are removed)
//! join <host:port>      (one or more)
//! ```

use crate::raft::codec::Wire;
use crate::raft::node::Shared;
use crate::raft::types::*;
use crate::state_machine::{Entry, Operation};
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use storage::log::{EntryKind, LogEntry};

const FILE: &str = "rejoin";
const HEADER: &str = "kvorum-rejoin 1";

/// Entries of a log that is worth reading: what a node without data writes is a few each start.
const ENTRIES_MAX: u64 = 100_000;

/// Bytes of entries read at once.
const READ_BYTES: usize = 1 << 20;

/// Why a node cannot be given up, as a part of a sentence about it.
pub(crate) type Reason = String;

/// Whether a node leads a cluster of its own that never held data nor another member.
pub(crate) fn check_blank(shared: &Shared) -> Result<(), Reason> {
    let metrics = shared.raft.server_metrics();
    let membership = metrics.borrow_watched().membership_config.clone();
    let own = shared.identity.node_id();
    let members = membership.nodes().count();
    if shared.identity.state().removed {
        return Err("it was removed from its cluster; give it an empty data directory".to_owned());
    }
    if members != 1 || !membership.voter_ids().eq([own]) {
        return Err(format!("it is a member of a cluster of {members} nodes"));
    }
    check_log(shared)
}

/// Reads the whole log.
fn check_log(shared: &Shared) -> Result<(), Reason> {
    let (purged, last) = shared.log.state();
    let end = last.map_or(0, |last| last.index + 1);
    if purged.is_some() || end > ENTRIES_MAX {
        return Err("it has a history".to_owned());
    }
    let own = shared.identity.node_id();
    let mut next = 0;
    while next < end {
        let entries = shared.log.read(next..end, READ_BYTES);
        let entries = entries.map_err(|error| format!("its log cannot be read: {error}"))?;
        if entries.first().is_none_or(|first| first.position.index != next) {
            return Err("its log has a gap".to_owned());
        }
        next += entries.len() as u64;
        entries.into_iter().try_for_each(|entry| check_entry(entry, own))?;
    }
    Ok(())
}

fn check_entry(entry: LogEntry, own: u64) -> Result<(), Reason> {
    match entry.kind {
        EntryKind::Blank => Ok(()),
        EntryKind::Membership => match Membership::from_bytes(entry.payload) {
            Ok(membership) if membership.nodes().all(|(id, _)| *id == own) => Ok(()),
            Ok(_) => Err("it had other members".to_owned()),
            Err(error) => Err(format!("its log cannot be read: {error}")),
        },
        EntryKind::Normal if holds_data(&entry.payload) => Err("it has data, or had".to_owned()),
        EntryKind::Normal => Ok(()),
    }
}

fn holds_data(entry: &Bytes) -> bool {
    let Ok(entry) = Entry::decode(entry) else { return true };
    entry.operations.iter().any(|operation| match operation {
        Operation::Command { .. } | Operation::Multi { .. } => true,
        Operation::TimeMark { .. } => false,
    })
}

/// Whether addresses can be written to the file, one a line, and read again.
pub(crate) fn check_addresses(addresses: &[String]) -> Result<(), Reason> {
    let is_odd = |address: &&String| {
        address.is_empty() || address.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    match addresses.iter().find(is_odd) {
        _ if addresses.is_empty() => Err("there is no cluster to join".to_owned()),
        Some(odd) => Err(format!("{odd:?} is no address")),
        None => Ok(()),
    }
}

/// Orders the next start to begin as a new node that joins through these addresses.
pub(crate) fn order(dir: &Path, addresses: &[String]) -> io::Result<()> {
    write(dir, true, addresses)
}

/// At a start, before anything is opened: carries an order out. Returns the addresses to join
/// through while that is still to be done.
///
/// # Errors
/// `InvalidData` when the file is none of this version.
pub(crate) fn resume(dir: &Path) -> io::Result<Option<Vec<String>>> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some((forget, addresses)) = parse(&text) else {
        let why = format!("{} is of another version", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    };
    if forget {
        for name in ["identity", "log", "state"] {
            remove(&dir.join(name))?;
        }
        File::open(dir)?.sync_all()?;
        write(dir, false, &addresses)?;
        tracing::info!("starting over as a new node");
    }
    Ok(Some(addresses))
}

/// Forgets the order: the node is a member.
pub(crate) fn finish(dir: &Path) -> io::Result<()> {
    if dir.join(FILE).exists() {
        remove(&dir.join(FILE))?;
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn parse(text: &str) -> Option<(bool, Vec<String>)> {
    let mut lines = text.lines();
    if lines.next()? != HEADER {
        return None;
    }
    let (mut forget, mut addresses) = (false, Vec::new());
    for line in lines {
        match line.split_once(' ') {
            None if line == "forget" => forget = true,
            Some(("join", address)) => addresses.push(address.to_owned()),
            _ => return None,
        }
    }
    (!addresses.is_empty()).then_some((forget, addresses))
}

fn write(dir: &Path, forget: bool, addresses: &[String]) -> io::Result<()> {
    let mut text = format!("{HEADER}\n");
    if forget {
        text.push_str("forget\n");
    }
    addresses.iter().for_each(|address| text.push_str(&format!("join {address}\n")));
    let (path, temporary) = (dir.join(FILE), dir.join("rejoin.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| name(e).unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_order_is_carried_out_once_however_often_the_node_starts() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(resume(dir).unwrap(), None);
        let fill = || {
            fs::write(dir.join("identity"), "old").unwrap();
            fs::create_dir_all(dir.join("log")).unwrap();
            fs::write(dir.join("log/1"), "old").unwrap();
        };
        fill();
        let addresses = vec!["a:1".to_owned(), "b:2".to_owned()];
        order(dir, &addresses).unwrap();
        // A crash in the middle of the removal.
        fs::remove_file(dir.join("identity")).unwrap();
        assert_eq!(resume(dir).unwrap().as_ref(), Some(&addresses));
        assert_eq!(names(dir), ["rejoin"]);
        // What the new node wrote is never removed, as long as it has not joined either.
        fill();
        assert_eq!(resume(dir).unwrap().as_ref(), Some(&addresses));
        assert_eq!(names(dir), ["identity", "log", "rejoin"]);
        finish(dir).unwrap();
        assert_eq!(resume(dir).unwrap(), None);
        assert_eq!(names(dir), ["identity", "log"]);
    }

    #[test]
    fn an_unreadable_order_stops_the_start_and_removes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "kvorum-rejoin 2\njoin a:1\n", "kvorum-rejoin 1\nforget\n", "x"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            fs::write(dir.path().join("identity"), "old").unwrap();
            assert!(resume(dir.path()).is_err(), "{text:?}");
            assert_eq!(names(dir.path()), ["identity", "rejoin"]);
        }
    }
}
