//! Which generation of the state counts: the file `CURRENT`, replaced atomically.
//!
//! One line: `kvorum-state format=2 generation=<n> phase=<creating|ready> crc32c=<8 hex digits>`, the
//! checksum being that of everything before ` crc32c=`. A generation is a folder `state.g<n>` beside
//! it. `creating` is written before the very first generation exists and means that nothing was ever
//! stored. So a missing CURRENT beside a generation is damage, never a reason to start empty.

use super::sync::{sync_dir, sync_file};
use crate::error::StorageError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Version of everything this engine keeps in its folder. 2: deadlines are ordered within their
/// keyspaces.
const FORMAT: u32 = 2;
const FILE: &str = "CURRENT";
const TEMPORARY_FILE: &str = "CURRENT.tmp";
const LOCK_FILE: &str = "LOCK";
const GENERATION_PREFIX: &str = "state.g";

/// What CURRENT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Current {
    /// The first generation is being made; there is no data yet.
    Creating,
    /// This generation holds the state.
    Ready(u64),
}

/// Takes the folder's lock, held until the file is dropped.
pub(super) fn lock(dir: &Path) -> Result<File, StorageError> {
    let file =
        File::options().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
        Err(fs::TryLockError::WouldBlock) => {
            let text = format!("{} is in use by another process", dir.display());
            Err(io::Error::new(io::ErrorKind::WouldBlock, text).into())
        }
    }
}

/// The folder of a generation.
pub(super) fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{GENERATION_PREFIX}{generation}"))
}

/// The generations that have a folder.
pub(super) fn generations(dir: &Path) -> Result<Vec<u64>, StorageError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(GENERATION_PREFIX));
        if let Some(number) = number {
            let unreadable = || StorageError::Corrupt(format!("unknown entry {}", name.display()));
            found.push(number.parse().map_err(|_| unreadable())?);
        }
    }
    Ok(found)
}

/// Reads CURRENT; None when there is none.
pub(super) fn read(dir: &Path) -> Result<Option<Current>, StorageError> {
    match fs::read(dir.join(FILE)) {
        Ok(bytes) => parse(&bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes the new CURRENT beside the old one, durably; [`switch`] makes it count.
pub(super) fn prepare(dir: &Path, current: Current) -> Result<(), StorageError> {
    let path = dir.join(TEMPORARY_FILE);
    let mut file = File::create(&path)?;
    file.write_all(&encode(current))?;
    Ok(sync_file(&file, &path)?)
}

/// Makes the prepared CURRENT count. After an error it is unknown which of the two does.
pub(super) fn switch(dir: &Path) -> Result<(), StorageError> {
    fs::rename(dir.join(TEMPORARY_FILE), dir.join(FILE))?;
    Ok(sync_dir(dir)?)
}

fn encode(current: Current) -> Vec<u8> {
    let (generation, phase) = match current {
        Current::Creating => (0, "creating"),
        Current::Ready(generation) => (generation, "ready"),
    };
    let text = format!("kvorum-state format={FORMAT} generation={generation} phase={phase}");
    let crc = crc32c::crc32c(text.as_bytes());
    format!("{text} crc32c={crc:08x}\n").into_bytes()
}

fn parse(bytes: &[u8]) -> Result<Current, StorageError> {
    let damaged = |why: String| StorageError::Corrupt(format!("{FILE} {why}"));
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("is not text".to_owned()))?;
    let fields: Vec<&str> = text.split([' ', '\n']).collect();
    let &["kvorum-state", format, generation, phase, _, ""] = &fields[..] else {
        return Err(damaged(format!("is unreadable: {}", bytes.escape_ascii())));
    };
    if format != format!("format={FORMAT}") {
        return Err(damaged(format!("says {format}, known is format={FORMAT}")));
    }
    let generation = generation.strip_prefix("generation=").and_then(|text| text.parse().ok());
    let current = match (phase, generation) {
        ("phase=creating", Some(0)) => Current::Creating,
        ("phase=ready", Some(generation)) => Current::Ready(generation),
        _ => return Err(damaged(format!("is unreadable: {}", bytes.escape_ascii()))),
    };
    if encode(current) != bytes {
        return Err(damaged("fails its checksum".to_owned()));
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        for current in [Current::Creating, Current::Ready(1), Current::Ready(u64::MAX)] {
            prepare(dir.path(), current).unwrap();
            switch(dir.path()).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Some(current));
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let good = encode(Current::Ready(12));
        assert_eq!(parse(&good).unwrap(), Current::Ready(12));
        for position in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[position] ^= 1 << bit;
                assert!(parse(&bad).is_err(), "{}", bad.escape_ascii());
            }
            assert!(parse(&good[..position]).is_err(), "cut at {position}");
        }
        let other = String::from_utf8(good).unwrap().replace("format=2", "format=1");
        assert!(parse(other.as_bytes()).unwrap_err().to_string().contains("known is format=2"));
    }
}
