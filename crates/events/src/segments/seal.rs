//! From one segment to the next.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{first_record, path_of, sealed};

/// Puts `records` into a new growing file, and seals the one there was, which begins with record `first`.
///
/// There is a journal at `journal` at every moment: the old file first gets its second name, and then the new one, that
/// has its records already, takes the place of the first.
pub(crate) fn begin_next(journal: &Path, first: u64, records: &[u8]) -> io::Result<File> {
    let new = new_path(journal);
    remove_if_there(&new)?;
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::EXCL
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?);
    let placed = file
        .write_all(records)
        .and_then(|()| fs::hard_link(journal, path_of(journal, first)))
        .and_then(|()| fs::rename(&new, journal));
    if let Err(error) = placed {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    Ok(file)
}

/// Takes back what a writer left that died between the steps of [`begin_next`]: `growing` is what is at `journal`.
pub(crate) fn tidy(journal: &Path, growing: &File) -> io::Result<()> {
    remove_if_there(&new_path(journal))?;
    let Some(first) = first_record(growing)? else {
        return Ok(());
    };
    let identity = |status: rustix::fs::Stat| (status.st_dev, status.st_ino);
    let own = identity(rustix::fs::fstat(growing)?);
    for segment in sealed(journal)? {
        let is_same = || rustix::fs::lstat(&segment.path).map(identity) == Ok(own);
        if segment.first == first && is_same() {
            fs::remove_file(&segment.path)?;
        }
    }
    Ok(())
}

fn new_path(journal: &Path) -> PathBuf {
    journal.with_extension("jsonl.new")
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
