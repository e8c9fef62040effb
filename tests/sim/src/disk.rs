//! A disk in memory that forgets in a crash what was not synced, or keeps any part of it.
//!
//! A power cut leaves of each unsynced write nothing, all, or some of its sectors, and a beginning of
//! the unsynced changes of names. The end of a process alone leaves all, still unsynced. The disk of
//! a crashed node fails every call of what still holds it.

use crate::dice::Dice;
use crate::trace::Trace;
use parking_lot::Mutex;
use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use storage::log::{Disk, DiskFile};

/// What reaches the disk as a whole or not at all, in bytes.
const SECTOR: usize = 512;
/// The event of a power cut that lost anything.
pub const LOST: &str = "unsynced data lost";

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Default)]
struct Content {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
}

impl Content {
    fn change(&mut self, change: &NameChange) {
        match change {
            NameChange::Create(name, file) => {
                self.names.insert(name.clone(), *file);
            }
            NameChange::Rename(from, to) => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            NameChange::Remove(name) => drop(self.names.remove(name)),
        }
    }

    fn write(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        let content = &mut self.files[file];
        if content.len() < offset + bytes.len() {
            content.resize(offset + bytes.len(), 0);
        }
        content[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

#[derive(Clone, Default)]
struct State {
    written: Content,
    durable: Content,
    unsynced: Vec<(usize, usize, Vec<u8>)>,
    unsynced_names: Vec<NameChange>,
    /// Writes and syncs to let pass before all fail.
    fail_after: Option<u64>,
    crashed: bool,
}

impl State {
    fn act(&mut self) -> io::Result<()> {
        match &mut self.fail_after {
            _ if self.crashed => Err(io::Error::other("the node crashed")),
            Some(0) => Err(io::Error::other("the disk fails")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn rename(&mut self, change: NameChange) -> io::Result<()> {
        self.act()?;
        self.written.change(&change);
        self.unsynced_names.push(change);
        Ok(())
    }
}

/// One node's disk; clones share it.
#[derive(Clone)]
pub struct SimDisk {
    id: u64,
    state: Arc<Mutex<State>>,
    trace: Trace,
}

impl SimDisk {
    /// An empty disk of a node.
    pub fn new(id: u64, trace: Trace) -> SimDisk {
        SimDisk { id, state: Arc::default(), trace }
    }

    /// Whether it is to fail or fails already.
    pub fn is_failing(&self) -> bool {
        self.state.lock().fail_after.is_some()
    }

    /// The end of the process: the disk that the next one finds.
    pub fn kill(&self) -> SimDisk {
        let mut state = self.state.lock();
        let left = State { fail_after: None, ..state.clone() };
        state.crashed = true;
        self.with(left)
    }

    fn with(&self, state: State) -> SimDisk {
        SimDisk { id: self.id, state: Arc::new(Mutex::new(state)), trace: self.trace.clone() }
    }

    /// Lets so many writes and syncs pass, then fails all.
    pub fn fail_after(&self, operations: u64) {
        self.state.lock().fail_after = Some(operations);
    }

    /// A power cut: the disk that is found after it. What is lost by it is an event.
    pub fn crash(&self, dice: &Dice) -> SimDisk {
        let mut state = self.state.lock();
        state.crashed = true;
        let mut left = state.durable.clone();
        let names = dice.below(state.unsynced_names.len() as u64 + 1) as usize;
        for change in &state.unsynced_names[..names] {
            left.change(change);
        }
        let mut is_lost = names < state.unsynced_names.len();
        for (file, offset, bytes) in &state.unsynced {
            match dice.below(3) {
                0 => is_lost = true,
                1 => left.write(*file, *offset, bytes),
                _ => {
                    let mut from = 0;
                    while from < bytes.len() {
                        // Up to the next boundary of a sector on the disk.
                        let upto = bytes.len().min(from + SECTOR - (offset + from) % SECTOR);
                        match dice.chance(500) {
                            true => left.write(*file, offset + from, &bytes[from..upto]),
                            false => is_lost = true,
                        }
                        from = upto;
                    }
                }
            }
        }
        if is_lost {
            self.trace.note(LOST, self.id);
        }
        self.with(State { written: left.clone(), durable: left, ..State::default() })
    }

    fn file(&self, file: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), file })
    }
}

impl Disk for SimDisk {
    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        Ok(Some(Box::new(())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().written.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.state.lock().written.names.get(name).copied();
        file.map(|file| self.file(file)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let file = state.written.files.len();
        state.written.files.push(Vec::new());
        state.durable.files.push(Vec::new());
        state.rename(NameChange::Create(name.to_owned(), file))?;
        drop(state);
        Ok(self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state.lock().rename(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state.lock().rename(NameChange::Remove(name.to_owned()))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.act()?;
        for change in std::mem::take(&mut state.unsynced_names) {
            state.durable.change(&change);
        }
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().written.files[self.file].len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state.lock();
        let from = state.written.files[self.file].get(offset as usize..).unwrap_or_default();
        let len = from.len().min(buffer.len());
        buffer[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.act()?;
        let (id, file, len) = (self.disk.id, self.file, bytes.len());
        self.disk.trace.note("disk write", format_args!("{id} {file} {offset} {len}"));
        state.written.write(self.file, offset as usize, bytes);
        state.unsynced.push((self.file, offset as usize, bytes.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.act()?;
        self.disk.trace.note("disk sync", format_args!("{} {}", self.disk.id, self.file));
        for (file, offset, bytes) in std::mem::take(&mut state.unsynced) {
            if file == self.file {
                state.durable.write(file, offset, &bytes);
            } else {
                state.unsynced.push((file, offset, bytes));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNCED: &[u8] = &[1; 3 * SECTOR];
    const UNSYNCED: &[u8] = &[2; 3 * SECTOR];

    /// What a power cut leaves of a file whose beginning was synced, and whether its name is there.
    fn left(seed: u64) -> (Vec<u8>, bool) {
        let disk = SimDisk::new(1, Trace::begin());
        let file = disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        file.write_all_at(SYNCED, 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(UNSYNCED, SYNCED.len() as u64).unwrap();
        disk.rename("a", "b").unwrap();
        let found = disk.crash(&Dice::new(seed));
        assert!(file.write_all_at(SYNCED, 0).is_err(), "the dead write nothing");
        let names = found.list().unwrap();
        assert_eq!(names.len(), 1, "{names:?}");
        let file = found.open(&names[0]).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        (bytes, names[0] == "b")
    }

    #[tokio::test]
    async fn a_power_cut_loses_any_part_of_what_was_not_synced_and_nothing_else() {
        let left: Vec<_> = (0..100).map(left).collect();
        assert!(left.iter().all(|(bytes, _)| bytes.starts_with(SYNCED)));
        let unsynced = |(bytes, _): &(Vec<u8>, bool)| bytes[SYNCED.len()..].to_vec();
        assert!(left.iter().any(|left| unsynced(left).is_empty()));
        assert!(left.iter().any(|left| unsynced(left) == UNSYNCED));
        assert!(left.iter().any(|left| {
            let torn = unsynced(left);
            torn.contains(&2) && torn != UNSYNCED
        }));
        assert!(left.iter().any(|(_, renamed)| *renamed));
        assert!(left.iter().any(|(_, renamed)| !*renamed));
    }

    #[tokio::test]
    async fn the_end_of_a_process_loses_nothing() {
        let disk = SimDisk::new(1, Trace::begin());
        let file = disk.create("a").unwrap();
        file.write_all_at(UNSYNCED, 0).unwrap();
        let found = disk.kill();
        assert_eq!(found.open("a").unwrap().len().unwrap(), UNSYNCED.len() as u64);
        // It is not synced by that.
        let found = (0..100).map(|seed| found.crash(&Dice::new(seed)));
        assert!(found.into_iter().any(|found| found.list().unwrap().is_empty()));
    }
}
