//! Setting refs, as git does it: `<ref>.lock`, then a rename. See the comment on lock files in git's lockfile.h.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::refs::FullName;

use super::desk::{Desk, name_file, remove_file, sync_directory};
use super::destination::Destination;
use super::{Moved, Signature, TransferError, Wanted, io_error, reflog};

/// The lock of a ref or of `packed-refs`, with what is to become its content.
#[derive(Debug)]
pub(super) struct Lock {
    /// The file that is locked.
    pub(super) path: PathBuf,
    lock: PathBuf,
    /// The other name of the lock, by which it is known to be ours.
    ours: PathBuf,
    is_held: bool,
}

/// While another git removes directories that have become empty.
const ATTEMPTS: usize = 5;

impl Lock {
    /// `name` is relative to the common directory.
    pub(super) fn take(
        destination: &Destination,
        desk: &Desk,
        number: usize,
        name: &[u8],
        content: &[u8],
    ) -> Result<Self, TransferError> {
        let path = destination
            .common_dir
            .join(std::ffi::OsStr::from_bytes(name));
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        let taken = Self {
            lock: lock.into(),
            ours: desk.directory.join(format!("lock-{number}")),
            path,
            is_held: false,
        };
        let place = [name, b".lock"].concat();
        fs::write(name_file(&taken.ours), place).map_err(io_error(&taken.ours))?;
        let mut file = File::create(&taken.ours).map_err(io_error(&taken.ours))?;
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(io_error(&taken.ours))?;
        destination.share(&taken.ours)?;
        taken.link(destination)
    }

    fn link(mut self, destination: &Destination) -> Result<Self, TransferError> {
        for attempt in 1.. {
            make_parents(destination, &self.lock)?;
            match fs::hard_link(&self.ours, &self.lock) {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let path = self.lock.clone();
                    return Err(TransferError::Locked { path });
                }
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => {}
                Err(error) => return Err(io_error(&self.lock)(error)),
            }
        }
        self.is_held = true;
        Ok(self)
    }

    /// `content` becomes that of the file, which is ours alone until then.
    pub(super) fn commit_with(self, content: &[u8]) -> Result<(), TransferError> {
        let mut file = File::create(&self.lock).map_err(io_error(&self.lock))?;
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(io_error(&self.lock))?;
        self.commit()
    }

    /// What the lock holds becomes the content of the file.
    pub(super) fn commit(mut self) -> Result<(), TransferError> {
        remove_empty_directory(&self.path);
        fs::rename(&self.lock, &self.path).map_err(io_error(&self.path))?;
        self.is_held = false;
        remove_file(&self.ours)?;
        sync_directory(self.path.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_held {
            let _ = fs::remove_file(&self.lock);
        }
    }
}

/// Sets all refs, or none if one of them is not as expected.
pub(super) fn set_all(
    destination: &Destination,
    desk: &Desk,
    wanted: &[Wanted],
    signature: &Signature,
    message: &str,
) -> Result<Vec<Moved>, TransferError> {
    let mut locked = Vec::new();
    for (number, wanted) in wanted.iter().enumerate() {
        let content = format!("{}\n", wanted.tip);
        let name = wanted.name.as_bstr();
        let lock = Lock::take(destination, desk, number, name, content.as_bytes())?;
        let found = destination.check(&wanted.name, wanted.expected, wanted.tip)?;
        if found != Some(wanted.tip) {
            locked.push((wanted, found, lock));
        }
    }
    let mut moved = Vec::new();
    for (wanted, old, lock) in locked {
        lock.commit()?;
        // Not before the ref: a log of what did not happen would be worse than none.
        reflog::append(
            destination,
            &wanted.name,
            old,
            wanted.tip,
            signature,
            message,
        )?;
        moved.push(Moved {
            name: wanted.name.to_string(),
            old: old.map(|id| id.to_string()),
            new: wanted.tip.to_string(),
        });
    }
    Ok(moved)
}

/// Directories above `file`, below the common directory.
///
/// # Errors
///
/// If they lead out of it: a repository that came from a stranger can hold links.
pub(super) fn make_parents(destination: &Destination, file: &Path) -> Result<(), TransferError> {
    let mut missing = Vec::new();
    let mut directory = file.parent();
    while let Some(path) = directory.filter(|path| !path.is_dir()) {
        missing.push(path);
        directory = path.parent();
    }
    for path in missing.into_iter().rev() {
        match fs::create_dir(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
            made => {
                made.map_err(io_error(path))?;
                destination.share(path)?;
            }
        }
    }
    let parent = file.parent().unwrap_or(&destination.common_dir);
    let root = fs::canonicalize(&destination.common_dir).map_err(io_error(parent))?;
    match fs::canonicalize(parent) {
        Ok(place) if place.starts_with(&root) => Ok(()),
        Ok(_) => Err(io_error(parent)(std::io::Error::other(
            "a symlink leads out of the repository",
        ))),
        // Removed again by another git: the caller finds out.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error(parent)(error)),
    }
}

/// Git leaves such where refs were deleted; one with refs in it stays, and the rename fails.
fn remove_empty_directory(path: &Path) {
    if !path.is_dir() {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        remove_empty_directory(&entry.path());
    }
    let _ = fs::remove_dir(path);
}

/// Removes directories that have become empty, from that of `name` up to `refs/heads` and the like.
pub(super) fn remove_empty_parents(root: &Path, name: &FullName) {
    let mut path = root.join(std::ffi::OsStr::from_bytes(name.as_bstr()));
    // The name itself, and what always is there: `refs/heads`.
    let depth = name.as_bstr().iter().filter(|byte| **byte == b'/').count();
    for _ in 2..depth.max(2) {
        path.pop();
        if fs::remove_dir(&path).is_err() {
            return;
        }
    }
}
