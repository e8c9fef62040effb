//! Who this node is: ids that are generated once, persisted before use, and never reused.
//!
//! The file `identity` of the data directory is text, replaced atomically (temporary file, fsync,
//! rename, fsync of the directory):
//!
//! ```text
//! kvorum-identity 2
//! node <node id>
//! log <id of the Raft log beside it>
//! cluster <cluster id, 0: none yet>
//! pledge <cluster id> <initiator's node id>     (only while a cluster is being formed)
//! removed                                       (only after this node was removed)
//! crc <CRC32C of all before it, 8 hexadecimal digits>
//! ```
//!
//! A flipped bit makes another number of a number, and a node with another one's id, or none's, would be
//! taken for somebody else. Version 1 had no checksum; it is still read, and written as version 2 at
//! the next change.
//!
//! A pledge is the promise to become a member of a cluster that is being formed, or of one that
//! invited this node. A node gives one at a time, so that no two clusters can form around it.
//!
//! The id and the log belong together: a node that lost its log lost its votes, and would vote
//! again in a term in which it has voted. So neither is opened with another one beside it.

use parking_lot::Mutex;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FILE: &str = "identity";
const HEADER: &str = "kvorum-identity 2";
/// The header of a file without a checksum.
const HEADER_UNCHECKED: &str = "kvorum-identity 1";
/// What the line of the checksum begins with.
const CHECKSUM: &str = "crc ";

/// The promise to become a member of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pledge {
    /// The cluster.
    pub(crate) cluster_id: u64,
    /// The node that asked for it.
    pub(crate) initiator: u64,
}

/// What the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdentityState {
    pub(crate) node_id: u64,
    pub(crate) log_id: u64,
    pub(crate) cluster_id: u64,
    pub(crate) pledge: Option<Pledge>,
    pub(crate) removed: bool,
}

impl IdentityState {
    /// Reads the identity of a data directory; None when it has none.
    pub(crate) fn read(dir: &Path) -> io::Result<Option<Self>> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(error) => {
                let why = format!("{} cannot be read: {error}", path.display());
                return Err(io::Error::new(error.kind(), why));
            }
        };
        parse(&text)
            .map(Some)
            .ok_or_else(|| lost(&format!("{} is damaged, or of another version", path.display())))
    }
}

/// This node's ids, and the file they are kept in.
#[derive(Debug)]
pub(crate) struct Identity {
    path: PathBuf,
    state: Mutex<IdentityState>,
}

impl Identity {
    /// Loads the identity of a data directory, or gives the directory a new one.
    ///
    /// `fresh_id` is used as the node id of a new identity. `log_id` is that of the log beside it,
    /// which was `used` if anything was ever written to it.
    ///
    /// # Errors
    /// `InvalidData` when the identity or its log is missing, unreadable or not the other's.
    pub(crate) fn open(dir: &Path, fresh_id: u64, log_id: u64, used: bool) -> io::Result<Self> {
        let path = dir.join(FILE);
        let state = match IdentityState::read(dir)? {
            Some(state) if state.log_id == log_id => state,
            Some(state) => {
                return Err(lost(&format!("the log that node {} voted in is gone", state.node_id)));
            }
            None if used => return Err(lost("there is a log, but no identity of its node")),
            None => {
                let state = IdentityState {
                    node_id: fresh_id,
                    log_id,
                    cluster_id: 0,
                    pledge: None,
                    removed: false,
                };
                write(&path, &state)?;
                state
            }
        };
        Ok(Identity { path, state: Mutex::new(state) })
    }

    /// What is known now.
    pub(crate) fn state(&self) -> IdentityState {
        *self.state.lock()
    }

    /// This node's id.
    pub(crate) fn node_id(&self) -> u64 {
        self.state().node_id
    }

    /// The cluster's id, 0 while there is none.
    pub(crate) fn cluster_id(&self) -> u64 {
        self.state().cluster_id
    }

    /// Becomes a member of a cluster; durable when it returns.
    pub(crate) fn adopt_cluster(&self, cluster_id: u64) -> io::Result<()> {
        self.change(|state| {
            state.cluster_id = cluster_id;
            state.pledge = None;
        })
    }

    /// Gives, or takes back, the promise to become a member; durable when it returns.
    pub(crate) fn set_pledge(&self, pledge: Option<Pledge>) -> io::Result<()> {
        self.change(|state| state.pledge = pledge)
    }

    /// Notes that this node was removed from its cluster; durable when it returns.
    pub(crate) fn set_removed(&self) -> io::Result<()> {
        self.change(|state| state.removed = true)
    }

    /// Whether a frame of `cluster_id` is for this node; adopts the cluster it is pledged to.
    pub(crate) fn admits(&self, cluster_id: u64) -> io::Result<bool> {
        let state = self.state();
        if state.cluster_id != 0 {
            return Ok(state.cluster_id == cluster_id);
        }
        match state.pledge {
            Some(pledge) if pledge.cluster_id == cluster_id => {
                self.adopt_cluster(cluster_id)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn change(&self, change: impl FnOnce(&mut IdentityState)) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut next = *state;
        change(&mut next);
        if next != *state {
            write(&self.path, &next)?;
            *state = next;
        }
        Ok(())
    }
}

fn lost(what: &str) -> io::Error {
    let why = format!("{what}; give this node an empty data directory, and it joins as a new one");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn checksum(text: &str) -> String {
    format!("{CHECKSUM}{:08x}\n", crc32c::crc32c(text.as_bytes()))
}

fn parse(text: &str) -> Option<IdentityState> {
    let checked = text.rfind(CHECKSUM).map(|at| text.split_at(at));
    let mut lines = match checked {
        Some((text, crc)) if crc == checksum(text) => text.lines(),
        Some(_) => return None,
        None => text.lines(),
    };
    if lines.next()? != if checked.is_some() { HEADER } else { HEADER_UNCHECKED } {
        return None;
    }
    let mut state =
        IdentityState { node_id: 0, log_id: 0, cluster_id: 0, pledge: None, removed: false };
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["node", id] => state.node_id = id.parse().ok()?,
            ["log", id] => state.log_id = id.parse().ok()?,
            ["cluster", id] => state.cluster_id = id.parse().ok()?,
            ["pledge", cluster_id, initiator] => {
                let (cluster_id, initiator) = (cluster_id.parse().ok()?, initiator.parse().ok()?);
                state.pledge = Some(Pledge { cluster_id, initiator });
            }
            ["removed"] => state.removed = true,
            _ => return None,
        }
    }
    (state.node_id != 0).then_some(state)
}

fn write(path: &Path, state: &IdentityState) -> io::Result<()> {
    let IdentityState { node_id, log_id, cluster_id, .. } = state;
    let mut text = format!("{HEADER}\nnode {node_id}\nlog {log_id}\ncluster {cluster_id}\n");
    if let Some(pledge) = state.pledge {
        text.push_str(&format!("pledge {} {}\n", pledge.cluster_id, pledge.initiator));
    }
    if state.removed {
        text.push_str("removed\n");
    }
    text.push_str(&checksum(&text));
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_and_never_changes_its_node() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::open(dir.path(), 17, 1, false).unwrap();
        let pledge = Pledge { cluster_id: 5, initiator: 3 };
        identity.set_pledge(Some(pledge)).unwrap();
        drop(identity);
        let identity = Identity::open(dir.path(), 99, 1, true).unwrap();
        assert_eq!((identity.node_id(), identity.state().pledge), (17, Some(pledge)));
        assert!(!identity.admits(6).unwrap() && identity.admits(5).unwrap());
        assert!(!identity.admits(6).unwrap());
        identity.set_removed().unwrap();
        let state = Identity::open(dir.path(), 99, 1, true).unwrap().state();
        assert_eq!((state.cluster_id, state.pledge, state.removed), (5, None, true));
    }

    #[test]
    fn an_unreadable_identity_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let texts = ["", "kvorum-identity 3\nnode 1\n", "kvorum-identity 1\nnode x\n"];
        for text in texts.iter().map(|text| text.as_bytes()).chain([&[0xFF, 0xFE][..]]) {
            fs::write(&path, text).unwrap();
            let error = Identity::open(dir.path(), 17, 1, false).unwrap_err().to_string();
            for part in [path.to_str().unwrap(), "damaged", "empty data directory"] {
                assert!(error.contains(part), "{error:?} does not say {part:?}");
            }
            assert_eq!(fs::read(&path).unwrap(), text);
        }
    }

    #[test]
    fn every_flipped_bit_of_an_identity_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::open(dir.path(), 1_387_475_556, 1, false).unwrap();
        identity.set_pledge(Some(Pledge { cluster_id: 5, initiator: 3 })).unwrap();
        identity.set_removed().unwrap();
        let path = dir.path().join(FILE);
        let sound = fs::read(&path).unwrap();
        assert!(IdentityState::read(dir.path()).unwrap().is_some_and(|state| state.removed));
        for bit in 0..8 * sound.len() {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            assert!(IdentityState::read(dir.path()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_identity_without_a_checksum_is_read_and_gets_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, "kvorum-identity 1\nnode 17\nlog 1\ncluster 5\n").unwrap();
        let identity = Identity::open(dir.path(), 99, 1, true).unwrap();
        assert_eq!((identity.node_id(), identity.cluster_id()), (17, 5));
        identity.set_removed().unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains(CHECKSUM));
        assert_eq!(Identity::open(dir.path(), 99, 1, true).unwrap().node_id(), 17);
    }

    #[test]
    fn neither_identity_nor_log_is_used_with_another_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::open(dir.path(), 17, 1, true).is_err(), "a log of an unknown node");
        Identity::open(dir.path(), 17, 1, false).unwrap();
        for used in [false, true] {
            assert!(Identity::open(dir.path(), 99, 2, used).is_err(), "a log of another node");
        }
        assert_eq!(Identity::open(dir.path(), 99, 1, true).unwrap().node_id(), 17);
    }
}
