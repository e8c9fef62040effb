//! A disk in memory that records what is done to it, and can say what a crash at any moment may
//! leave: everything written, or what was synced plus any part of what was not.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::log::disk::{Disk, DiskFile};

/// What reaches the disk as a whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
pub(super) enum Event {
    Create {
        name: String,
        file: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    Write {
        file: usize,
        offset: usize,
        bytes: Vec<u8>,
    },
    Sync {
        file: usize,
    },
    SyncDir,
    /// The test called everything up to this step.
    Called(usize),
    /// Everything up to this step was acknowledged as durable.
    Acked(usize),
    /// Everything up to this step was acknowledged as written: the next sync makes it durable.
    Written(usize),
}

#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) names: BTreeMap<String, usize>,
    pub(super) files: Vec<Vec<u8>>,
}

impl Content {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { name, file } => {
                self.grow(*file);
                self.names.insert(name.clone(), *file);
            }
            Event::Rename { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Event::Remove { name } => drop(self.names.remove(name)),
            Event::Write { file, offset, bytes } => {
                self.grow(*file);
                write(&mut self.files[*file], *offset, bytes);
            }
            Event::Sync { .. }
            | Event::SyncDir
            | Event::Called(_)
            | Event::Acked(_)
            | Event::Written(_) => {}
        }
    }

    fn grow(&mut self, file: usize) {
        if self.files.len() <= file {
            self.files.resize(file + 1, Vec::new());
        }
    }

    pub(super) fn named(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.files[self.names[name]]
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

#[derive(Default)]
struct State {
    content: Content,
    trace: Vec<Event>,
    /// Writes and syncs to let pass before all fail; `None`: none fails.
    fail_after: Option<usize>,
    /// Names containing this cannot be created.
    refuse_create: Option<String>,
    /// How often that happened.
    refused: usize,
}

#[derive(Clone, Default)]
pub(super) struct MemoryDisk {
    state: Arc<Mutex<State>>,
    locked: Arc<AtomicBool>,
}

impl MemoryDisk {
    pub(super) fn with(content: Content) -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.state.lock().content = content;
        disk
    }

    pub(super) fn note(&self, event: Event) {
        self.state.lock().trace.push(event);
    }

    pub(super) fn trace(&self) -> Vec<Event> {
        self.state.lock().trace.clone()
    }

    pub(super) fn content(&self) -> Content {
        self.state.lock().content.clone()
    }

    pub(super) fn fail_after(&self, operations: usize) {
        self.state.lock().fail_after = Some(operations);
    }

    pub(super) fn refuse_create(&self, part: Option<&str>) {
        self.state.lock().refuse_create = part.map(str::to_owned);
    }

    pub(super) fn refused(&self) -> usize {
        self.state.lock().refused
    }

    fn act(&self, event: Event) -> io::Result<()> {
        let mut state = self.state.lock();
        if matches!(event, Event::Write { .. } | Event::Sync { .. } | Event::SyncDir)
            && let Some(left) = &mut state.fail_after
        {
            if *left == 0 {
                return Err(io::Error::other("injected"));
            }
            *left -= 1;
        }
        state.content.apply(&event);
        state.trace.push(event);
        Ok(())
    }

    fn file(&self, file: usize) -> Arc<dyn DiskFile> {
        Arc::new(MemoryFile { disk: self.clone(), file })
    }
}

struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Disk for MemoryDisk {
    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Ok(None);
        }
        Ok(Some(Box::new(Guard(Arc::clone(&self.locked)))))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().content.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.state.lock().content.names.get(name).copied();
        file.map(|file| self.file(file)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        if state.refuse_create.as_ref().is_some_and(|part| name.contains(part)) {
            state.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = state.content.files.len();
        let event = Event::Create { name: name.to_owned(), file };
        state.content.apply(&event);
        state.trace.push(event);
        drop(state);
        Ok(self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.act(Event::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.act(Event::Remove { name: name.to_owned() })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.act(Event::SyncDir)
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().content.files[self.file].len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state.lock();
        let content = &state.content.files[self.file];
        let from = content.get(offset as usize..).unwrap_or_default();
        let len = from.len().min(buffer.len());
        buffer[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (file, offset, bytes) = (self.file, offset as usize, bytes.to_vec());
        self.disk.act(Event::Write { file, offset, bytes })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.act(Event::Sync { file: self.file })
    }
}

/// How unsynced work fares in a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// None of it arrived.
    All,
    /// Each sector of each write arrived or not, in any order.
    Any,
    /// As `Any`, and one sector arrived in part.
    Torn,
    /// Only the later half of each file's unsynced sectors arrived.
    Front,
}

/// The world up to some event, with what is certain and what is not.
#[derive(Clone, Default)]
pub(super) struct Replay {
    /// How many events there were.
    events: usize,
    /// Everything that was written.
    pub(super) written: Content,
    /// What is certain to be there.
    durable: Content,
    /// File, offset, bytes and number of the event.
    unsynced: Vec<(usize, usize, Vec<u8>, usize)>,
    unsynced_names: Vec<Event>,
    /// Steps acknowledged as written, with the number of the event, that no sync has covered.
    written_steps: Vec<(usize, usize)>,
    pub(super) called: usize,
    /// Everything up to this step has to be there after a power cut.
    pub(super) acked: usize,
}

impl Replay {
    /// Begins with a disk on which everything is durable.
    pub(super) fn from(content: Content) -> Replay {
        Replay { written: content.clone(), durable: content, ..Replay::default() }
    }

    pub(super) fn apply(&mut self, event: &Event) {
        self.events += 1;
        if let Event::Remove { name } = event {
            // What was in it may go before its name does.
            let removed = self.written.names[name];
            self.durable.files[removed].clear();
            self.unsynced.retain(|(file, ..)| *file != removed);
        }
        self.written.apply(event);
        match event {
            Event::Create { file, .. } => {
                self.durable.grow(*file);
                self.unsynced_names.push(event.clone());
            }
            Event::Rename { .. } | Event::Remove { .. } => self.unsynced_names.push(event.clone()),
            Event::Write { file, offset, bytes } => {
                self.durable.grow(*file);
                self.unsynced.push((*file, *offset, bytes.clone(), self.events));
            }
            Event::Sync { file: synced } => {
                let durable = &mut self.durable;
                self.unsynced.retain(|(file, offset, bytes, _)| {
                    if file == synced {
                        write(&mut durable.files[*file], *offset, bytes);
                    }
                    file != synced
                });
                self.ack_what_is_synced();
            }
            Event::SyncDir => {
                for event in self.unsynced_names.drain(..) {
                    self.durable.apply(&event);
                }
            }
            Event::Called(step) => self.called = *step,
            Event::Acked(step) => self.acked = self.acked.max(*step),
            Event::Written(step) => self.written_steps.push((*step, self.events)),
        }
    }

    /// A step that was written has to be there once no write before its acknowledgement is unsynced.
    fn ack_what_is_synced(&mut self) {
        let oldest = self.unsynced.iter().map(|(.., number)| *number).min().unwrap_or(usize::MAX);
        let synced = self.written_steps.extract_if(.., |(_, number)| *number < oldest);
        self.acked = synced.map(|(step, _)| step).fold(self.acked, usize::max);
    }

    /// What a power cut now may leave; `random` gives numbers below its argument.
    pub(super) fn cut(&self, loss: Loss, random: &mut dyn FnMut(usize) -> usize) -> Content {
        let mut content = self.durable.clone();
        if loss == Loss::All {
            return content;
        }
        for event in &self.unsynced_names[..random(self.unsynced_names.len() + 1)] {
            content.apply(event);
        }
        let files: BTreeSet<usize> = self.unsynced.iter().map(|(file, ..)| *file).collect();
        for file in files {
            let writes: Vec<_> = self.unsynced.iter().filter(|(f, ..)| *f == file).collect();
            let end =
                writes.iter().map(|(_, offset, bytes, _)| offset + bytes.len()).max().unwrap();
            let sectors: BTreeSet<usize> = writes
                .iter()
                .flat_map(|(_, at, bytes, _)| at / SECTOR..(at + bytes.len()).div_ceil(SECTOR))
                .collect();
            let torn = (loss == Loss::Torn).then(|| random(sectors.len()));
            for (nth, sector) in sectors.iter().enumerate() {
                let mut upto = end.min((sector + 1) * SECTOR);
                if torn == Some(nth) {
                    upto = sector * SECTOR + random(SECTOR);
                }
                let range = sector * SECTOR..upto;
                let touching = writes
                    .iter()
                    .filter(|(_, at, bytes, _)| *at < range.end && at + bytes.len() > range.start);
                let versions = touching.clone().count();
                let arrived = match loss {
                    Loss::Front if nth < sectors.len() / 2 => 0,
                    Loss::Front => versions,
                    _ => random(versions + 1),
                };
                for (_, at, bytes, _) in touching.take(arrived) {
                    let from = range.start.max(*at);
                    let part = &bytes[from - at..range.end.min(at + bytes.len()) - at];
                    write(&mut content.files[file], from, part);
                }
            }
        }
        content
    }
}
