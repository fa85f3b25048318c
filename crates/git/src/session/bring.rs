//! Copies of the user's files in a session's upper layer. Nothing is followed on either side.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use wardian_linux::SyscallError;

use super::changes::{Bring, Found, Times};
use super::place::{Place, is_inside};
use super::{Brought, SessionError, Skipped};
use crate::repository::{Repository, files};

/// Makes of an upper layer what was found in the work tree.
pub(super) fn changes(
    repository: &Repository,
    upper: &Place,
    found: Found,
) -> Result<Brought, SessionError> {
    let mut copier = Copier::new(repository, upper)?;
    for Bring { path, times } in &found.bring {
        copier.file(path, *times)?;
    }
    for path in &found.removed {
        copier.parent_of(path)?;
    }
    let mut brought = copier.brought;
    brought.skipped.extend(found.skipped);
    brought.skipped.sort_by(|a, b| a.0.cmp(&b.0));
    brought.removed = found.removed;
    Ok(brought)
}

/// Copies what is to come although it is ignored: files, and directories with all that is in them.
pub(super) fn included(
    repository: &Repository,
    upper: &Place,
    paths: &[PathBuf],
    brought: Brought,
) -> Result<Brought, SessionError> {
    let mut copier = Copier::new(repository, upper)?;
    copier.brought = brought;
    for path in paths {
        if !is_inside(path) {
            return Err(SessionError::IncludeOutside(path.clone()));
        }
        copier.include(path)?;
    }
    Ok(copier.brought)
}

struct Copier<'a> {
    worktree: OwnedFd,
    upper: &'a Place,
    brought: Brought,
}

impl<'a> Copier<'a> {
    fn new(repository: &Repository, upper: &'a Place) -> Result<Self, SessionError> {
        Ok(Self {
            worktree: files::directory(repository.worktree())?,
            upper,
            brought: Brought::default(),
        })
    }

    fn include(&mut self, path: &Path) -> Result<(), SessionError> {
        match self.look(path) {
            Ok((_, status)) if is_directory(&status) => self.include_directory(path),
            Ok(_) => self.file(path, Times::Keep),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(SessionError::IncludeMissing(path.to_owned())),
            // A symlink on the way there: whatever it leads to was not named.
            Err(Errno::LOOP | Errno::XDEV) => Err(SessionError::IncludeOutside(path.to_owned())),
            Err(errno) => Err(SyscallError::new(format!("openat2({path:?})"), errno).into()),
        }
    }

    fn include_directory(&mut self, path: &Path) -> Result<(), SessionError> {
        self.upper.make_all(path, |path| self.mode_of(path))?;
        let names = match self.names(path) {
            Ok(names) => names,
            Err(errno) => return self.skip(path, "getdents64", errno),
        };
        for name in names {
            let path = path.join(name);
            if !is_inside(&path) {
                self.brought.skipped.push((path, Skipped::Repository));
                continue;
            }
            match self.look(&path) {
                Ok((_, status)) if is_directory(&status) => self.include_directory(&path)?,
                Ok(_) => self.file(&path, Times::Keep)?,
                Err(errno) => self.skip(&path, "fstatat", errno)?,
            }
        }
        Ok(())
    }

    /// Copies one file or symlink, unless it is there already.
    fn file(&mut self, path: &Path, times: Times) -> Result<(), SessionError> {
        let name = path.file_name().unwrap_or_default();
        let (parent, status) = match self.look(path) {
            Ok(found) => found,
            Err(errno) => return self.skip(path, "fstatat", errno),
        };
        let to = self.parent_of(path)?;
        if to.has(name) {
            return Ok(());
        }
        let bytes = match FileType::from_raw_mode(status.st_mode) {
            FileType::Symlink => {
                let target = match rustix::fs::readlinkat(&parent, name, Vec::new()) {
                    Ok(target) => target,
                    Err(errno) => return self.skip(path, "readlinkat", errno),
                };
                to.symlink(name, os_str(&target))?;
                target.as_bytes().len() as u64
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
                    Ok(file) => copy(&File::from(file), &to, name, times)?,
                    Err(errno) => return self.skip(path, "openat", errno),
                }
            }
            _ => {
                self.brought
                    .skipped
                    .push((path.to_owned(), Skipped::Special));
                return Ok(());
            }
        };
        self.brought.files += 1;
        self.brought.bytes += bytes;
        Ok(())
    }

    /// The parent directory and what is known of `path` in the work tree, without following anything.
    fn look(&self, path: &Path) -> rustix::io::Result<(OwnedFd, Stat)> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = self.directory(parent)?;
        let name = path.file_name().unwrap_or_default();
        let status = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((parent, status))
    }

    fn directory(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.worktree, path, flags, Mode::empty(), resolve)
    }

    fn names(&self, path: &Path) -> rustix::io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self.directory(path)?.as_fd())? {
            let entry = entry?;
            if ![c".", c".."].contains(&entry.file_name()) {
                names.push(PathBuf::from(os_str(entry.file_name())));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The directory of the upper layer in which `path` is to be; made like the user's.
    fn parent_of(&self, path: &Path) -> Result<Place, SessionError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok(self.upper.make_all(parent, |path| self.mode_of(path))?)
    }

    fn mode_of(&self, path: &Path) -> u32 {
        let status = self
            .look(path)
            .ok()
            .filter(|(_, status)| is_directory(status));
        // A session must be able to look into its own directories.
        status.map_or(0o755, |(_, status)| status.st_mode & 0o777 | 0o700)
    }

    fn skip(&mut self, path: &Path, call: &str, errno: Errno) -> Result<(), SessionError> {
        let problem = SyscallError::new(format!("{call}({path:?})"), errno).to_string();
        let skipped = (path.to_owned(), Skipped::Unreadable(problem));
        self.brought.skipped.push(skipped);
        Ok(())
    }
}

/// Content, permissions and times, but neither owner nor setuid bits. Returns how many bytes.
fn copy(from: &File, to: &Place, name: &OsStr, times: Times) -> Result<u64, SessionError> {
    let failed = |call: &str, source: std::io::Error| to.failed(call, Path::new(name), source);
    let status = rustix::fs::fstat(from).map_err(|errno| failed("fstat", errno.into()))?;
    let target = to.file(name, 0o600)?;
    if rustix::fs::ioctl_ficlone(&target, from).is_err() {
        std::io::copy(&mut &*from, &mut &target).map_err(|error| failed("write", error))?;
    }
    rustix::fs::fchmod(&target, Mode::from_raw_mode(status.st_mode & 0o777))
        .map_err(|errno| failed("fchmod", errno.into()))?;
    if times == Times::Keep {
        let time = Timespec {
            tv_sec: status.st_mtime,
            tv_nsec: status.st_mtime_nsec.cast_signed(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::futimens(&target, &times).map_err(|errno| failed("futimens", errno.into()))?;
    }
    Ok(status.st_size.cast_unsigned())
}

fn is_directory(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::Directory
}

fn os_str(text: &std::ffi::CStr) -> &OsStr {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(text.to_bytes())
}
