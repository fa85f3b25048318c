//! A journal on disk: the file that grows, and those that have grown enough.
//!
//! ```text
//! journal.1.jsonl.zst   journal.48211.jsonl.zst   journal.96044.jsonl   journal.jsonl
//! records 1 to 48210    48211 to 96043            96044 to ...          the newest; is written
//! ```
//!
//! A sealed segment is named by the number of its first record. Together they are one journal: the first record of a
//! segment carries the digest of the last record of the one before, so that the chain needs nothing more, and leaving
//! one out breaks it. Sealed segments are packed (Zstandard) in the background.

mod pack;
mod reader;
mod seal;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use pack::pack_sealed;
pub use reader::Segments;
pub(crate) use seal::{begin_next, tidy};

/// What is appended to the name of a packed segment.
const PACKED: &str = ".zst";

/// A sealed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The number of its first record, as its name says.
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
    pub(crate) packed: bool,
}

impl Segment {
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// `journal.48211.jsonl` for `journal.jsonl`.
pub(crate) fn path_of(journal: &Path, first: u64) -> PathBuf {
    journal.with_extension(format!("{first}.jsonl"))
}

/// The sealed segments of the journal at `journal`, oldest first. One that is there twice, packed and not, as a crash
/// can leave it, is listed once.
pub(crate) fn sealed(journal: &Path) -> io::Result<Vec<Segment>> {
    let directory = match journal.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(Vec::new()),
    };
    let stem = journal.file_stem().and_then(OsStr::to_str).unwrap_or("");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let named = entry
            .file_name()
            .to_str()
            .and_then(|name| parse(stem, name));
        if let Some((first, packed)) = named {
            let path = entry.path();
            found.push(Segment {
                first,
                path,
                packed,
            });
        }
    }
    // The plain one first, which is then the one that stays.
    found.sort_by_key(|segment| (segment.first, segment.packed));
    found.dedup_by_key(|segment| segment.first);
    Ok(found)
}

/// `journal.12.jsonl.zst` is record 12 and on, packed.
fn parse(stem: &str, name: &str) -> Option<(u64, bool)> {
    let rest = name.strip_prefix(stem)?.strip_prefix('.')?;
    let (rest, packed) = match rest.strip_suffix(PACKED) {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let digits = rest.strip_suffix(".jsonl")?;
    let first: u64 = digits.parse().ok()?;
    // One spelling for each number.
    (first > 0 && first.to_string() == digits).then_some((first, packed))
}

/// The number of the first record in a file that is not packed; `None` if there is none that can be read.
pub(crate) fn first_record(file: &File) -> io::Result<Option<u64>> {
    let mut start = [0; 40];
    let read = rustix::io::pread(file, &mut start, 0)?;
    let number = || {
        let rest = start[..read].strip_prefix(br#"{"seq":"#)?;
        let digits = rest.split(|byte| *byte == b',').next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    Ok(number())
}

#[cfg(test)]
mod tests;
