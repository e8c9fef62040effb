//! The one door through which this engine makes its own files and names durable.
//!
//! What fjall keeps below a generation it syncs itself, but for the names of the folders of its
//! tables: see [`super::generation`]. Tests record what comes through here, to know what a power cut
//! must leave; a sync that does not pass is one that they take for missing.

use crate::mutants::{self, Mutant};
use std::fs::File;
use std::io;
use std::path::Path;

/// Makes what was written to the file at `path` durable; not its name.
pub(super) fn sync_file(file: &File, path: &Path) -> io::Result<()> {
    sync(file, path)
}

/// Makes the names in a folder durable; not what is in the files.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    sync(&File::open(dir)?, dir)
}

/// Sends what was written to a file of fjall's to the disk ahead of fjall's own sync. Nothing is
/// durable by it, as far as anyone may count on it.
pub(super) fn write_back(file: &File) -> io::Result<()> {
    file.sync_data()
}

fn sync(file: &File, path: &Path) -> io::Result<()> {
    if mutants::on(Mutant::SnapshotNotSynced) {
        return Ok(());
    }
    #[cfg(test)]
    recorder::tell(path, recorder::Moment::Before);
    file.sync_all()?;
    #[cfg(test)]
    recorder::tell(path, recorder::Moment::After);
    #[cfg(not(test))]
    let _ = path;
    Ok(())
}

/// Shows the syncs of this thread to a test.
#[cfg(test)]
pub(super) mod recorder {
    use std::cell::RefCell;
    use std::path::Path;

    /// Beside a sync: before it nothing of it is durable, after it all is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::disk) enum Moment {
        Before,
        After,
    }

    type Recorder = Box<dyn FnMut(&Path, Moment)>;

    thread_local! {
        static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
    }

    /// Shows all syncs of this thread from now on to `recorder`.
    pub(in crate::disk) fn record(recorder: impl FnMut(&Path, Moment) + 'static) {
        RECORDER.set(Some(Box::new(recorder)));
    }

    /// Ends it.
    pub(in crate::disk) fn stop() {
        RECORDER.set(None);
    }

    pub(super) fn tell(path: &Path, moment: Moment) {
        RECORDER.with_borrow_mut(|recorder| {
            if let Some(recorder) = recorder {
                recorder(path, moment);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn nothing_else_of_the_engine_syncs() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let in_dir = fs::read_dir(source.join("disk")).unwrap().map(|entry| entry.unwrap().path());
        let files = in_dir.filter(|path| path.is_file()).chain([source.join("disk.rs")]);
        let mut looked_at = 0;
        for path in files.filter(|path| !path.ends_with("sync.rs")) {
            let text = fs::read_to_string(&path).unwrap();
            let syncs = ["sync_all(", "sync_data(", "fsync("];
            assert!(!syncs.iter().any(|call| text.contains(call)), "{}", path.display());
            looked_at += 1;
        }
        assert!(looked_at > 10, "{looked_at}");
    }
}
