//! Writing below one directory: nothing that is there is followed or overwritten.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use wardian_linux::{SyscallError, SyscallResult};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory of ours, by descriptor.
#[derive(Debug)]
pub(super) struct Place {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
}

impl Place {
    pub(super) fn open(path: &Path) -> SyscallResult<Self> {
        let fd = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())
            .map_err(|errno| SyscallError::new(format!("open({path:?}, O_NOFOLLOW)"), errno))?;
        let path = path.to_owned();
        Ok(Self { fd, path })
    }

    /// Makes a directory; it must be new.
    pub(super) fn make(&self, name: &str) -> SyscallResult<Self> {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&self.fd, name, mode)
            .map_err(|errno| self.failed("mkdirat", Path::new(name), errno))?;
        self.enter(Path::new(name))
    }

    /// Opens a directory below, without following any symlink, and makes what is missing with the mode
    /// that `mode` tells for its path.
    pub(super) fn make_all(&self, path: &Path, mode: impl Fn(&Path) -> u32) -> SyscallResult<Self> {
        match self.enter(path) {
            Err(error) if error.errno() == Some(Errno::NOENT.raw_os_error()) => {}
            entered => return entered,
        }
        let mut walked = PathBuf::new();
        for part in path.components() {
            walked.push(part);
            match rustix::fs::mkdirat(&self.fd, &walked, Mode::from_raw_mode(mode(&walked))) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(self.failed("mkdirat", &walked, errno)),
            }
            // What was there may have been a symlink.
            self.enter(&walked)?;
        }
        self.enter(path)
    }

    fn enter(&self, path: &Path) -> SyscallResult<Self> {
        let below = self.path.join(path);
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let fd = rustix::fs::openat2(&self.fd, path, DIRECTORY, Mode::empty(), resolve)
            .map_err(|errno| self.failed("openat2", path, errno))?;
        Ok(Self { fd, path: below })
    }

    /// Makes a file that must be new.
    pub(super) fn file(&self, name: &OsStr, mode: u32) -> SyscallResult<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))
            .map(File::from)
            .map_err(|errno| self.failed("openat", Path::new(name), errno))
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) -> SyscallResult<File> {
        let mut file = self.file(OsStr::new(name), 0o644)?;
        file.write_all(content)
            .map_err(|error| self.failed("write", Path::new(name), error))?;
        Ok(file)
    }

    /// Makes a new name for a file that is open and that has one still.
    pub(super) fn link(&self, name: &str, file: &File) -> SyscallResult<()> {
        // Not by the name that it was opened by: there may be another file by now.
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, open, &self.fd, name, AtFlags::SYMLINK_FOLLOW)
            .map_err(|errno| self.failed("linkat", Path::new(name), errno))
    }

    /// Copies the whole of a file, which shares its blocks if the file system can.
    pub(super) fn copy(&self, name: &str, mut from: &File) -> SyscallResult<()> {
        let mut file = self.file(OsStr::new(name), 0o644)?;
        if rustix::fs::ioctl_ficlone(&file, from).is_ok() {
            return Ok(());
        }
        let mut copy = || {
            from.seek(SeekFrom::Start(0))?;
            std::io::copy(&mut from, &mut file)
        };
        copy()
            .map(drop)
            .map_err(|error| self.failed("write", Path::new(name), error))
    }

    /// Like [`write`](Self::write), for a name with directories before it.
    pub(super) fn write_below(&self, path: &Path, content: &[u8]) -> SyscallResult<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let directory = self.make_all(parent, |_| 0o755)?;
        let mut file = directory.file(path.file_name().unwrap_or_default(), 0o644)?;
        file.write_all(content)
            .map_err(|error| self.failed("write", path, error))
    }

    /// The file appears with its whole content, or not at all.
    pub(super) fn write_at_once(&self, name: &str, content: &[u8]) -> SyscallResult<()> {
        let unfinished = format!(".{name}.new");
        self.write(&unfinished, content)?;
        let flags = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(&self.fd, unfinished, &self.fd, name, flags)
            .map_err(|errno| self.failed("renameat2", Path::new(name), errno))
    }

    pub(super) fn symlink(&self, name: &OsStr, target: &OsStr) -> SyscallResult<()> {
        rustix::fs::symlinkat(target, &self.fd, name)
            .map_err(|errno| self.failed("symlinkat", Path::new(name), errno))
    }

    pub(super) fn has(&self, name: &OsStr) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    pub(super) fn set_mode(&self, mode: u32) -> SyscallResult<()> {
        rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode))
            .map_err(|errno| self.failed("fchmod", Path::new(""), errno))
    }

    pub(super) fn failed(
        &self,
        call: &str,
        path: &Path,
        source: impl Into<std::io::Error>,
    ) -> SyscallError {
        SyscallError::new(format!("{call}({:?})", self.path.join(path)), source)
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether the path has neither `..` nor a root, nor any part that is `.git` to git.
pub(super) fn is_inside(path: &Path) -> bool {
    let is_git = |name: &OsStr| name.eq_ignore_ascii_case(".git");
    !path.as_os_str().is_empty()
        && path.components().all(|part| match part {
            Component::Normal(name) => !is_git(name),
            _ => false,
        })
}
