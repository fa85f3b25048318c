//! Writing: a directory that takes files, of the host or of a sandbox that has ended.
//!
//! A file has no name until it is whole, and then takes the place of what was there. What lies in lower
//! layers is never touched: directories are made anew above them, as overlayfs would.
//!
//! What goes into a sandbox is made in a directory of its state, which the next `cp` removes if this one is killed.
//! On the host's side, a new file is there or not; between the two calls by which it replaces another, a kill leaves
//! it under a name that begins with `.wardian-new-`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::tree::{Bytes, Directory, Entry, Lower, open_below};

/// Nothing of the lower directory shows through; see "whiteouts and opaque directories" in the kernel's
/// overlayfs.rst. The mounts of sandboxes have `userxattr`.
const OPAQUE: &str = "user.overlay.opaque";

#[derive(Debug)]
pub(super) struct Target {
    /// Where things are written.
    upper: OwnedFd,
    lower: Option<Lower>,
    /// Of the same file system: where things are made that are to be moved to their place.
    workshop: Option<Rc<OwnedFd>>,
}

impl Target {
    /// A directory of the host.
    pub(super) fn plain(upper: OwnedFd) -> Self {
        Self {
            upper,
            lower: None,
            workshop: None,
        }
    }

    /// A directory of a sandbox; `None` if it has no upper layer to be written to.
    pub(super) fn layered(directory: Directory, workshop: Rc<OwnedFd>) -> Option<Self> {
        let Directory { upper, lower } = directory;
        Some(Self {
            upper: upper?,
            lower,
            workshop: Some(workshop),
        })
    }

    fn below(&self, upper: OwnedFd, lower: Option<Lower>) -> Self {
        let workshop = self.workshop.clone();
        Self {
            upper,
            lower,
            workshop,
        }
    }

    fn workshop(&self) -> &OwnedFd {
        self.workshop.as_deref().unwrap_or(&self.upper)
    }

    /// What is there now.
    pub(super) fn entry(&self, name: &OsStr) -> io::Result<Entry> {
        let lower = match &self.lower {
            None => None,
            Some(Lower::Directory(fd)) => Some(Lower::Directory(fd.try_clone()?)),
            Some(Lower::Snapshot(tree, node)) => Some(Lower::Snapshot(tree.clone(), *node)),
        };
        let upper = Some(self.upper.try_clone()?);
        Directory { upper, lower }.entry(name)
    }

    /// The directory of this name, made if nothing is there. `mode` has to be within what the umask allows.
    pub(super) fn enter(&self, name: &OsStr, mode: u32) -> io::Result<Self> {
        match self.entry(name)? {
            Entry::Directory(Directory { upper, lower }) => match (upper, lower) {
                (Some(upper), lower) => Ok(self.below(upper, lower)),
                (None, lower) => self.raise(name, lower),
            },
            Entry::Nothing => self.make(name, mode),
            Entry::File { .. } | Entry::Symlink(_) | Entry::Special => {
                Err(io::ErrorKind::NotADirectory.into())
            }
        }
    }

    /// A directory of the lower layer gets one above it, so that things can be put there.
    fn raise(&self, name: &OsStr, lower: Option<Lower>) -> io::Result<Self> {
        let (mode, owner) = match &lower {
            Some(Lower::Directory(fd)) => {
                let status = rustix::fs::fstat(fd)?;
                let owner = (status.st_uid, status.st_gid);
                (status.st_mode & 0o7777, Some(owner))
            }
            Some(Lower::Snapshot(..)) | None => (0o755, None),
        };
        rustix::fs::mkdirat(&self.upper, name, Mode::RWXU)?;
        let upper = open_below(self.upper.as_fd(), name, OFlags::DIRECTORY)?;
        if let Some((uid, gid)) = owner.filter(|_| rustix::process::geteuid().is_root()) {
            let (uid, gid) = (
                rustix::fs::Uid::from_raw(uid),
                rustix::fs::Gid::from_raw(gid),
            );
            rustix::fs::fchown(&upper, Some(uid), Some(gid))?;
        }
        rustix::fs::fchmod(&upper, Mode::from_raw_mode(mode))?;
        Ok(self.below(upper, lower))
    }

    fn make(&self, name: &OsStr, mode: u32) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(mode | 0o700);
        if self.lower.is_none() {
            rustix::fs::mkdirat(&self.upper, name, mode)?;
            let made = open_below(self.upper.as_fd(), name, OFlags::DIRECTORY)?;
            return Ok(self.below(made, None));
        }
        // What was deleted stays so: a whiteout gives way to a directory that shows nothing of the lower one.
        let (workshop, unnamed) = (self.workshop(), unnamed()?);
        rustix::fs::mkdirat(workshop, &unnamed, mode)?;
        let made = open_below(workshop.as_fd(), &unnamed, OFlags::DIRECTORY)?;
        let named = rustix::fs::fsetxattr(&made, OPAQUE, b"y", XattrFlags::empty())
            .and_then(
                |()| match rustix::fs::unlinkat(&self.upper, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => Ok(()),
                    Err(errno) => Err(errno),
                },
            )
            .and_then(|()| rustix::fs::renameat(workshop, &unnamed, &self.upper, name));
        if let Err(errno) = named {
            let _ = rustix::fs::unlinkat(workshop, &unnamed, AtFlags::REMOVEDIR);
            return Err(errno.into());
        }
        Ok(self.below(made, None))
    }

    /// In one step, in place of what is there, which must not be a directory.
    pub(super) fn put_file(&self, name: &OsStr, content: &mut Bytes, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o777 | 0o600);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.upper, ".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => {
                let file = fill(file, content)?;
                let link = |directory: &OwnedFd, name: &OsStr| {
                    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
                    rustix::fs::linkat(CWD, itself, directory, name, AtFlags::SYMLINK_FOLLOW)
                };
                match link(&self.upper, name) {
                    Err(Errno::EXIST) => {
                        self.put(name, |directory, unnamed| Ok(link(directory, unnamed)?))
                    }
                    linked => Ok(linked?),
                }
            }
            // Not all file systems have files without names.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                self.put(name, |directory, unnamed| {
                    let file = rustix::fs::openat(directory, unnamed, flags, mode)?;
                    fill(file, content).map(drop)
                })
            }
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn put_link(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        self.put(name, |directory, unnamed| {
            Ok(rustix::fs::symlinkat(target, directory, unnamed)?)
        })
    }

    fn put(
        &self,
        name: &OsStr,
        make: impl FnOnce(&OwnedFd, &OsStr) -> io::Result<()>,
    ) -> io::Result<()> {
        let (workshop, unnamed) = (self.workshop(), unnamed()?);
        let made = make(workshop, &unnamed)
            .and_then(|()| Ok(rustix::fs::renameat(workshop, &unnamed, &self.upper, name)?));
        if made.is_err() {
            let _ = rustix::fs::unlinkat(workshop, &unnamed, AtFlags::empty());
        }
        made
    }
}

fn fill(file: OwnedFd, content: &mut Bytes) -> io::Result<File> {
    let mut file = File::from(file);
    match content {
        // The kernel may share their blocks.
        Bytes::File(content) => io::copy(content, &mut file)?,
        Bytes::Memory(content) => io::copy(content, &mut file)?,
    };
    Ok(file)
}

/// A name that nobody can have foreseen.
fn unnamed() -> io::Result<OsString> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!(".wardian-new-{:016x}", u64::from_ne_bytes(random)).into())
}
