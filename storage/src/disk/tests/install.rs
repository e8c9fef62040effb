//! Power cuts while a generation is made and CURRENT is switched to it: at the very first opening of a
//! folder, and during the installation of a snapshot.
//!
//! Nothing here says what is durable: it is computed from the syncs that went through the engine's
//! door ([`sync`](super::super::sync)). The folder is copied before and after each of them and at each
//! step of the installation. Then the power is cut: what was written to a file since its last sync may be
//! there, torn or missing, and each name that was made, changed or removed since the last sync of its
//! folder may be as it is or as it was. What comes out must open, and show the old state whole or
//! the new one whole; the new one once the installation has returned.
//!
//! Assumed, because fjall's own syncs cannot be seen from here, is what its sources say: when a load
//! returns, the tables (`keyspaces/<n>/tables/<m>`), the lists of them (`keyspaces/<n>/v<m>`,
//! `keyspaces/<n>/current`), `version` and `0.jnl` of a generation are durable, with the names in these
//! folders. Not so the names in `keyspaces`, which fjall leaves unsynced, and which count as such here.
//! Before its last load has returned, a generation may lose anything.
//!
//! `KVORUM_INSTALL_CRASH_IMAGES` says how many images of an installation are opened.

use super::super::generation::KEYSPACES_DIR;
use super::super::sync::recorder::{self, Moment};
use super::*;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// What of all this is seen, and what is believed.
const KNOWN: &str = "of a state, the syncs of CURRENT, its folder and the names of keyspaces are \
                     recorded; those of fjall (tables, lists of tables, version, 0.jnl, and the \
                     names beside them) are assumed to be done when a load returns";

fn images() -> u64 {
    let set = std::env::var("KVORUM_INSTALL_CRASH_IMAGES").ok();
    set.map_or(96, |count| count.parse().expect("a number"))
}

/// What a name in a folder leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Folder,
    /// A file, by its number: a rename changes no file, it changes names.
    File(u64),
}

/// The names in the folders whose syncs are the engine's own affair, below the engine's folder.
type Names = BTreeMap<PathBuf, Entry>;

/// The names in a folder, if it is there.
fn names_in(root: &Path, folder: &Path) -> Names {
    let mut names = Names::new();
    for entry in fs::read_dir(root.join(folder)).into_iter().flatten() {
        let entry = entry.unwrap();
        let known = entry.metadata().unwrap();
        let leads_to = if known.is_dir() { Entry::Folder } else { Entry::File(known.ino()) };
        names.insert(folder.join(entry.file_name()), leads_to);
    }
    names
}

/// The engine's folder itself, and those that fjall makes keyspaces in.
fn own_folders(root: &Path) -> Vec<PathBuf> {
    let generations = current::generations(root).unwrap();
    let keyspaces = generations.into_iter().map(|number| {
        let dir = current::generation_dir(Path::new(""), number);
        dir.join(KEYSPACES_DIR)
    });
    std::iter::once(PathBuf::new()).chain(keyspaces).collect()
}

/// What has been synced so far.
#[derive(Clone, Debug, Default)]
struct Durable {
    /// Names, of each folder as it was when it was synced last.
    names: Names,
    /// Files, by number, as they were when they were synced last.
    files: BTreeMap<u64, Vec<u8>>,
}

/// A copy of the folder at one moment, with what was durable then.
struct Image {
    copy: PathBuf,
    what: String,
    durable: Durable,
    /// The names at that moment; copying changes the numbers of files.
    names: Names,
    /// Content of the engine's own files, by number, also of those whose name is gone.
    files: BTreeMap<u64, Vec<u8>>,
    /// Whether all of the new generation is loaded.
    loaded: bool,
    /// Whether whoever asked for the new state was told that it is there.
    promised: bool,
}

/// Records what happens to a folder.
struct Recording {
    root: PathBuf,
    copies: PathBuf,
    durable: Durable,
    files: BTreeMap<u64, Vec<u8>>,
    /// Keeps the numbers of files from being used again.
    held: Vec<fs::File>,
    loaded: bool,
    promised: bool,
    images: Vec<Image>,
}

impl Recording {
    /// Of `root`, all of which is durable now; copies go below `copies`.
    fn start(root: &Path, copies: &Path) -> Arc<Mutex<Self>> {
        let (root, copies) = (fs::canonicalize(root).unwrap(), copies.to_owned());
        let mut recording = Recording {
            durable: Durable::default(),
            files: BTreeMap::new(),
            held: Vec::new(),
            images: Vec::new(),
            loaded: false,
            promised: false,
            root,
            copies,
        };
        let folders = own_folders(&recording.root);
        let names = folders.iter().flat_map(|folder| names_in(&recording.root, folder));
        recording.durable.names = names.collect();
        recording.read_files();
        recording.durable.files = recording.files.clone();
        let recording = Arc::new(Mutex::new(recording));
        let list = recording.clone();
        recorder::record(move |path, moment| list.lock().synced(path, moment));
        recording
    }

    /// Notes what is in the engine's own files.
    fn read_files(&mut self) {
        for (name, entry) in names_in(&self.root, Path::new("")) {
            if let Entry::File(number) = entry {
                let path = self.root.join(name);
                if self.files.insert(number, fs::read(&path).unwrap()).is_none() {
                    self.held.push(fs::File::open(&path).unwrap());
                }
            }
        }
    }

    fn synced(&mut self, path: &Path, moment: Moment) {
        let path = fs::canonicalize(path).unwrap();
        // The folder's own name is its owner's: here it is there.
        let Ok(path) = path.strip_prefix(self.root.clone()).map(Path::to_owned) else { return };
        if moment == Moment::After {
            self.make_durable(&path);
        }
        self.take(format!("{moment:?} the sync of '{}'", path.display()));
    }

    fn make_durable(&mut self, path: &Path) {
        self.read_files();
        let full = self.root.join(path);
        if full.is_dir() {
            self.durable.names.retain(|name, _| name.parent() != Some(path));
            self.durable.names.extend(names_in(&self.root, path));
        } else {
            let number = fs::metadata(&full).unwrap().ino();
            self.durable.files.insert(number, self.files[&number].clone());
        }
    }

    fn take(&mut self, what: String) {
        self.read_files();
        let copy = self.copies.join(self.images.len().to_string());
        copy_dir(&self.root, &copy);
        let folders = own_folders(&self.root);
        let names = folders.iter().flat_map(|folder| names_in(&self.root, folder)).collect();
        self.images.push(Image {
            copy,
            what,
            durable: self.durable.clone(),
            names,
            files: self.files.clone(),
            loaded: self.loaded,
            promised: self.promised,
        });
    }

    /// Ends the recording.
    fn finish(recording: &Mutex<Self>) -> Vec<Image> {
        recorder::stop();
        std::mem::take(&mut recording.lock().images)
    }
}

impl Image {
    /// A folder that a power cut at this moment may leave.
    fn cut(&self, to: &Path, random: &mut Random) {
        copy_dir(&self.copy, to);
        let all: BTreeSet<&PathBuf> = self.names.keys().chain(self.durable.names.keys()).collect();
        for name in all {
            let (now, synced) = (self.names.get(name), self.durable.names.get(name));
            let left = if now == synced || random.below(2) == 0 { now } else { synced };
            let path = to.join(name);
            match left {
                None if path.is_dir() => fs::remove_dir_all(&path).unwrap(),
                None if path.exists() => fs::remove_file(&path).unwrap(),
                // Its folder went with the name of a folder above.
                Some(_) if !path.parent().unwrap().exists() => {}
                Some(Entry::File(number)) if self.files.contains_key(number) => {
                    fs::write(&path, self.left_in(*number, random)).unwrap();
                }
                // What was removed may only be there again if nobody needs it: see `spoil`.
                None | Some(_) => {}
            }
        }
        let named = match current::read(to) {
            Ok(Some(Current::Ready(number))) => Some(number),
            _ => None,
        };
        for number in current::generations(to).unwrap() {
            // The last load of the new one may not be over; an old one may be going.
            if Some(number) != named || !self.loaded && number == 2 {
                let mut inside = Vec::new();
                below(&current::generation_dir(to, number), &mut inside);
                inside.iter().filter(|path| path.exists()).for_each(|path| spoil(path, random));
            }
        }
    }

    /// What may be in a file: all that was synced and, of what came later, anything.
    fn left_in(&self, number: u64, random: &mut Random) -> Vec<u8> {
        let content = self.files[&number].clone();
        if self.durable.files.get(&number) == Some(&content) {
            return content;
        }
        match random.below(4) {
            0 => content,
            1 => Vec::new(),
            2 => content[..random.below(content.len() + 1)].to_vec(),
            _ => vec![0; content.len()],
        }
    }
}

/// All files and folders below `dir`, folders after what is in them.
fn below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, found);
        }
        found.push(path);
    }
}

/// What may become of a file that was not synced: gone, cut, or with a part that never arrived.
fn spoil(path: &Path, random: &mut Random) {
    if path.is_dir() {
        if random.below(8) == 0 {
            fs::remove_dir_all(path).unwrap();
        }
        return;
    }
    let length = fs::metadata(path).unwrap().len() as usize;
    let file = || fs::File::options().write(true).open(path).unwrap();
    match random.below(4) {
        0 => fs::remove_file(path).unwrap(),
        1 => file().set_len(random.below(length + 1) as u64).unwrap(),
        2 if length > 0 => {
            let from = random.below(length);
            let lost = (random.below(64 << 10) + 1).min(length - from);
            file().write_all_at(&vec![0; lost], from as u64).unwrap();
        }
        _ => {}
    }
}

/// Tells contents of folders apart.
fn fingerprint(dir: &Path) -> BTreeMap<PathBuf, (u64, u32)> {
    let mut found = Vec::new();
    below(dir, &mut found);
    let of = |path: PathBuf| {
        let content = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let known = (content.len() as u64, crc32c::crc32c(&content));
        (path.strip_prefix(dir).unwrap().to_owned(), known)
    };
    found.into_iter().map(of).collect()
}

/// Opens what a power cut left; returns the state that it shows. `seen` collects what was opened.
fn open_cut(image: &Image, number: u64, seen: &mut BTreeSet<u64>) -> State {
    let dir = tempfile::tempdir().unwrap();
    image.cut(dir.path(), &mut Random(number));
    let mut hasher = DefaultHasher::new();
    fingerprint(dir.path()).hash(&mut hasher);
    seen.insert(hasher.finish());
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let engine = open(dir.path());
        let seen = state(&engine);
        put(&engine, 1000, "later", "written");
        assert_eq!(engine.flush().unwrap(), 1000);
        (seen, generation_dirs(dir.path()))
    }));
    let what = &image.what;
    let (seen, generations) = opened.unwrap_or_else(|_| panic!("image {number}, {what}"));
    assert_eq!(generations, 1, "image {number}, {what}: leftovers stay");
    seen
}

#[test]
fn power_may_fail_at_every_sync_of_the_first_opening() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recording = Recording::start(dir.path(), copies.path());
    // The first generation is empty, and made before it is named.
    recording.lock().loaded = true;
    let engine = open(dir.path());
    put(&engine, 1, "first", "write");
    assert_eq!(engine.flush().unwrap(), 1);
    recording.lock().promised = true;
    recording.lock().take("after the first flush".to_owned());
    let images = Recording::finish(&recording);
    let mut distinct = BTreeSet::new();
    for (place, image) in images.iter().enumerate() {
        for turn in 0..8 {
            let seen = one_line(&open_cut(image, place as u64 * 100 + turn, &mut distinct));
            let expected = if image.promised { "first=write" } else { "" };
            assert_eq!(seen, expected, "{}", image.what);
        }
    }
    tell("first openings of a state, power cut", images.len() as u64 * 8, distinct.len());
}

/// Says how many images were opened, as a row of the table of `cargo crash-images`.
fn tell(what: &str, images: u64, distinct: usize) {
    println!("| {what} | {images} | {distinct} | the old state or the new one, each time |");
}

/// The moments of one installation of a state that has parts, with the state before and after it.
fn installation(copies: &Path) -> (Vec<Image>, State, State) {
    let (from_dir, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = open(from_dir.path());
    for log_index in 1..=40 {
        let value = format!("new {log_index} {}", "n".repeat(1 << 20));
        put(&from, log_index, &format!("key{log_index:02}"), &value);
    }
    let engine = open(dir.path());
    for log_index in 1..=50 {
        put(&engine, log_index, &format!("key{:02}", log_index % 30), &format!("old {log_index}"));
        if log_index % 20 == 0 {
            engine.flush().unwrap();
        }
    }
    engine.flush().unwrap();
    let old = state(&engine);
    let recording = Recording::start(dir.path(), copies);
    let list = recording.clone();
    hook(&engine, move |step| {
        let mut list = list.lock();
        list.loaded |= step == Step::ImportLoaded;
        list.promised |= step == Step::ImportSwitched;
        list.take(format!("{step:?}"));
        Ok(())
    });
    copy_state(&from, &engine, 1 << 20);
    let images = Recording::finish(&recording);
    let new = state(&engine);
    (images, old, new)
}

#[test]
fn power_may_fail_at_every_sync_of_an_installation() {
    let copies = tempfile::tempdir().unwrap();
    let (moments, old, new) = installation(copies.path());
    let (mut seen_new, mut distinct) = (0, BTreeSet::new());
    for number in 0..images() {
        let image = &moments[number as usize % moments.len()];
        let seen = open_cut(image, number, &mut distinct);
        let is_right = seen == new || seen == old && !image.promised;
        assert!(is_right, "image {number}, {}: neither state", image.what);
        seen_new += u64::from(seen == new && !image.promised);
    }
    assert!(seen_new > 0, "no power cut came between the rename and its sync");
    tell("installations of a snapshot, power cut", images(), distinct.len());
    println!("note: {KNOWN}");
    assert!(distinct.len() as u64 > images() / 4, "too many are alike");
}
