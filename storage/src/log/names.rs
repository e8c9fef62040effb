//! Names of the files in a log directory.
//!
//! `log.id` identifies the log; `0000000001.seg` and so on are segments by number, in use or
//! prepared to be the next; `spare-N.free` are zero-filled or retired files that may become
//! segments; `*.tmp` are unfinished and removed at the next open.

pub(super) const IDENTITY: &str = "log.id";
pub(super) const IDENTITY_UNFINISHED: &str = "log.id.tmp";

pub(super) fn segment(seq: u32) -> String {
    format!("{seq:010}.seg")
}

pub(super) fn spare(number: u64) -> String {
    format!("spare-{number}.free")
}

pub(super) fn unfinished(number: u64) -> String {
    format!("spare-{number}.tmp")
}

pub(super) fn segment_seq(name: &str) -> Option<u32> {
    let seq = name.strip_suffix(".seg")?.parse().ok()?;
    (seq > 0 && segment(seq) == name).then_some(seq)
}

pub(super) fn spare_number(name: &str) -> Option<u64> {
    name.strip_prefix("spare-")?.strip_suffix(".free")?.parse().ok()
}

pub(super) fn is_unfinished(name: &str) -> bool {
    name == IDENTITY_UNFINISHED || (name.starts_with("spare-") && name.ends_with(".tmp"))
}
