//! Whether all work of a workspace has been brought home.
//!
//! An apply that leaves nothing behind writes down a digest of the work beside it, in `applied.digest`. Work that is
//! done later has another digest. Losing the file means no more than being asked once too often.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use gix::bstr::{BStr, BString, ByteSlice};
use sha2::{Sha256, digest::Digest as _};

use super::work::Seen;
use super::{ReviewError, open_upper};
use crate::changes::{self, ChangesError, DEEPEST};

const APPLIED: &str = "applied.digest";

/// Of all that was done in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkDigest(String);

impl WorkDigest {
    /// Of a session clone; `None` if nothing was done in it.
    pub fn of_session(workspace: &Path) -> Result<Option<Self>, ReviewError> {
        Ok(Seen::look(workspace)?.map(|seen| seen.digest()))
    }

    /// Of an overlay. Its directory may change by the hour, so this is of what was written alone.
    pub fn of_overlay(workspace: &Path) -> Result<Option<Self>, ReviewError> {
        let mut hash = Hash::default();
        let upper = open_upper(workspace)?;
        let is_empty = add_directory(&mut hash, upper.as_fd(), BStr::new(""), 0)?;
        Ok((!is_empty).then(|| hash.finish()))
    }

    pub fn is_applied(&self, workspace: &Path) -> bool {
        fs::read(workspace.join(APPLIED)).is_ok_and(|known| known == self.0.as_bytes())
    }

    /// Remembers that all of it is with the user.
    pub fn remember(&self, workspace: &Path) -> io::Result<()> {
        let (path, new) = (
            workspace.join(APPLIED),
            workspace.join(format!("{APPLIED}.new")),
        );
        fs::write(&new, &self.0)?;
        fs::rename(&new, &path)
    }

    /// Some of it is with the user no longer.
    pub fn forget(workspace: &Path) -> io::Result<()> {
        match fs::remove_file(workspace.join(APPLIED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Of parts, each with its length before it.
#[derive(Default)]
pub(super) struct Hash(Sha256);

impl Hash {
    pub(super) fn add(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    pub(super) fn finish(self) -> WorkDigest {
        let mut hex = String::new();
        for byte in self.0.finalize() {
            let _ = write!(hex, "{byte:02x}");
        }
        WorkDigest(hex)
    }
}

/// Whoever writes a file moves its ctime, whatever else they set back. Says whether there was nothing.
fn add_directory(
    hash: &mut Hash,
    directory: BorrowedFd<'_>,
    path: &BStr,
    depth: usize,
) -> Result<bool, ChangesError> {
    if depth > DEEPEST {
        return Err(ChangesError::TooMany);
    }
    let entries = changes::entries(directory)?;
    for entry in &entries {
        let status = &entry.status;
        let mut path = BString::from(path);
        path.push(b'/');
        path.extend_from_slice(&entry.name);
        hash.add(&path);
        hash.add(format!(
            "{:o} {} {}",
            status.st_mode, status.st_ino, status.st_rdev
        ));
        if entry.is_directory() {
            let below = changes::open_directory(directory, entry.name.as_bstr())
                .map_err(|errno| changes::failed(format!("openat({path:?})"), errno))?;
            add_directory(hash, below.as_fd(), path.as_bstr(), depth + 1)?;
        } else {
            hash.add(format!(
                "{} {}.{}",
                status.st_size, status.st_ctime, status.st_ctime_nsec
            ));
        }
    }
    Ok(entries.is_empty())
}
