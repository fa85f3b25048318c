//! The user's work tree, beneath one descriptor.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::bstr::{BStr, BString, ByteSlice};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{ApplyError, Version};
use crate::changes::FileKind;
use crate::changes::hash;

/// Prefix of files that are about to take their name.
const UNNAMED: &str = ".wardian-new-";

/// More files in a directory are not looked through.
const MOST_FILES: usize = 100_000;

/// What to do about directories below that have a `.git` of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repositories {
    /// Nothing of the tree's own repository lies there.
    Refuse,
    /// The tree is no repository, and may hold some.
    Enter,
}

#[derive(Debug)]
pub struct UserTree {
    top: OwnedFd,
    repositories: Repositories,
    path: PathBuf,
    hash: gix::hash::Kind,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Present {
    Nothing,
    File(Version),
    Directory,
    /// Or a parent that is no directory.
    Other,
    /// A directory on the way has a `.git` of its own.
    OtherRepository,
}

impl UserTree {
    /// `path` is absolute, and the user's own choice.
    pub fn open(
        path: &Path,
        hash: gix::hash::Kind,
        repositories: Repositories,
    ) -> Result<Self, ApplyError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| failed(format!("open({path:?})"), errno))?;
        Ok(Self {
            top,
            repositories,
            path: path.to_owned(),
            hash,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn hash(&self) -> gix::hash::Kind {
        self.hash
    }

    pub(crate) fn look(&self, path: &BStr) -> Result<Present, ApplyError> {
        let (parent, name) = match self.parent(path, Missing::Tell)? {
            Parent::Open(parent, name) => (parent, name),
            Parent::Missing => return Ok(Present::Nothing),
            Parent::Other => return Ok(Present::Other),
            Parent::OtherRepository => return Ok(Present::OtherRepository),
        };
        let call = || format!("fstatat({path:?})");
        let status = match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => status,
            Err(Errno::NOENT) => return Ok(Present::Nothing),
            Err(errno) => return Err(failed(call(), errno)),
        };
        let (kind, id) = match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => return Ok(Present::Directory),
            FileType::Symlink => {
                let target = read_link(&parent, &name).map_err(|errno| failed(call(), errno))?;
                let id = hash::blob(self.hash, target.len() as u64, &target[..]);
                (FileKind::Symlink, id)
            }
            FileType::RegularFile => {
                let file = open_file(&parent, &name)
                    .map_err(|errno| failed(format!("openat2({path:?})"), errno))?;
                let kind = if status.st_mode & 0o100 == 0 {
                    FileKind::Plain
                } else {
                    FileKind::Executable
                };
                (kind, hash::blob(self.hash, status.st_size as u64, file))
            }
            _ => return Ok(Present::Other),
        };
        match id {
            Ok(Some(id)) => Ok(Present::File(Version { kind, id })),
            Ok(None) => Err(ApplyError::Changed(vec![path.to_owned()])),
            Err(error) => Err(failed(
                format!("read({path:?})"),
                Errno::from_io_error(&error).unwrap_or(Errno::IO),
            )),
        }
    }

    /// A regular file's content, or a symlink's target.
    pub(crate) fn read(&self, path: &BStr, kind: FileKind) -> Result<Box<dyn Read>, ApplyError> {
        let Parent::Open(parent, name) = self.parent(path, Missing::Tell)? else {
            return Err(ApplyError::Changed(vec![path.to_owned()]));
        };
        if kind == FileKind::Symlink {
            let target = read_link(&parent, &name)
                .map_err(|errno| failed(format!("readlinkat({path:?})"), errno))?;
            return Ok(Box::new(io::Cursor::new(target)));
        }
        open_file(&parent, &name)
            .map(|file| Box::new(file) as Box<dyn Read>)
            .map_err(|errno| failed(format!("openat2({path:?})"), errno))
    }

    /// Puts a file in place of what is there, in one step.
    pub(super) fn put(
        &self,
        path: &BStr,
        kind: FileKind,
        mut content: impl Read,
    ) -> Result<(), ApplyError> {
        let Parent::Open(parent, name) = self.parent(path, Missing::Make)? else {
            return Err(ApplyError::Changed(vec![path.to_owned()]));
        };
        let shown = |call: &str, errno| failed(format!("{call}({path:?})"), errno);
        let unnamed = unnamed(path);
        let _ = rustix::fs::unlinkat(&parent, &unnamed, AtFlags::empty());
        if kind == FileKind::Symlink {
            let mut target = Vec::new();
            content
                .read_to_end(&mut target)
                .map_err(|error| from_io("read", path, &error))?;
            rustix::fs::symlinkat(OsStr::from_bytes(&target), &parent, &unnamed)
                .map_err(|errno| shown("symlinkat", errno))?;
        } else {
            let executable = if kind == FileKind::Executable {
                0o111
            } else {
                0
            };
            let mode = match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::RegularFile => {
                    // As git does: readers stay, whoever could read may execute.
                    let old = status.st_mode & 0o666;
                    Some(
                        old | if executable == 0 {
                            0
                        } else {
                            (old & 0o444) >> 2
                        },
                    )
                }
                _ => None,
            };
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let new = Mode::from_raw_mode(0o666 | executable);
            let file = rustix::fs::openat(&parent, &unnamed, flags, new)
                .map_err(|errno| shown("openat", errno))?;
            let mut file = File::from(file);
            io::copy(&mut content, &mut file).map_err(|error| from_io("write", path, &error))?;
            if let Some(mode) = mode {
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
                    .map_err(|errno| shown("fchmod", errno))?;
            }
            file.sync_data()
                .map_err(|error| from_io("fdatasync", path, &error))?;
        }
        rustix::fs::renameat(&parent, &unnamed, &parent, &name)
            .map_err(|errno| shown("renameat", errno))
    }

    /// Removes what a kill in [`put`](Self::put) has left, if it has.
    pub(super) fn clean_up(&self, path: &BStr) -> Result<(), ApplyError> {
        let Parent::Open(parent, _) = self.parent(path, Missing::Tell)? else {
            return Ok(());
        };
        match rustix::fs::unlinkat(&parent, unnamed(path), AtFlags::empty()) {
            // Directories may have been made for it.
            Ok(()) => self.remove_empty_parents(path),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(format!("unlinkat({path:?})"), errno)),
        }
    }

    /// Removes a file, and the directories that are empty then.
    pub(super) fn remove(&self, path: &BStr) -> Result<(), ApplyError> {
        let Parent::Open(parent, name) = self.parent(path, Missing::Tell)? else {
            return Ok(());
        };
        match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => self.remove_empty_parents(path),
            Err(errno) => Err(failed(format!("unlinkat({path:?})"), errno)),
        }
    }

    fn remove_empty_parents(&self, path: &BStr) -> Result<(), ApplyError> {
        let mut path = path;
        while let Some(end) = path.rfind_byte(b'/') {
            path = path[..end].as_bstr();
            let Parent::Open(parent, name) = self.parent(path, Missing::Tell)? else {
                return Ok(());
            };
            if rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// All files below a directory, or `None` if there are more than a session could have removed.
    pub(crate) fn files_below(&self, directory: &BStr) -> Result<Option<Vec<BString>>, ApplyError> {
        let mut files = Vec::new();
        let mut pending = vec![directory.to_owned()];
        while let Some(path) = pending.pop() {
            let Parent::Open(parent, name) = self.parent(path.as_bstr(), Missing::Tell)? else {
                return Ok(None);
            };
            let shown = |errno| failed(format!("openat2({path:?})"), errno);
            let opened = open(&parent, &name, OFlags::RDONLY | OFlags::DIRECTORY).map_err(shown)?;
            for entry in rustix::fs::Dir::new(opened).map_err(shown)? {
                let entry = entry.map_err(shown)?;
                let name = entry.file_name().to_bytes();
                if name == b"." || name == b".." {
                    continue;
                }
                let below: BString = [path.as_slice(), b"/", name].concat().into();
                if pending.len() + files.len() > MOST_FILES {
                    return Ok(None);
                }
                match entry.file_type() {
                    FileType::Directory => pending.push(below),
                    _ => files.push(below),
                }
            }
        }
        Ok(Some(files))
    }

    fn parent(&self, path: &BStr, missing: Missing) -> Result<Parent, ApplyError> {
        let (directory, name) = match path.rsplit_once_str("/") {
            Some((directory, name)) => (directory.as_bstr(), name),
            None => (b"".as_bstr(), path.as_bytes()),
        };
        let name = OsStr::from_bytes(name).to_owned();
        let mut current = rustix::io::fcntl_dupfd_cloexec(&self.top, 0)
            .map_err(|errno| failed("fcntl(F_DUPFD_CLOEXEC)", errno))?;
        for component in directory.split_str("/").filter(|part| !part.is_empty()) {
            let component = OsStr::from_bytes(component);
            let call = |call: &str| format!("{call}({path:?})");
            current = match enter(&current, component) {
                Ok(next) => next,
                Err(Errno::NOENT) => match missing {
                    Missing::Tell => return Ok(Parent::Missing),
                    Missing::Make => {
                        match rustix::fs::mkdirat(&current, component, Mode::from_raw_mode(0o777)) {
                            Ok(()) | Err(Errno::EXIST) => {}
                            Err(errno) => return Err(failed(call("mkdirat"), errno)),
                        }
                        enter(&current, component)
                            .map_err(|errno| failed(call("openat2"), errno))?
                    }
                },
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Parent::Other),
                Err(errno) => return Err(failed(call("openat2"), errno)),
            };
            if self.repositories == Repositories::Refuse
                && rustix::fs::statat(&current, ".git", AtFlags::SYMLINK_NOFOLLOW).is_ok()
            {
                return Ok(Parent::OtherRepository);
            }
        }
        Ok(Parent::Open(current, name))
    }
}

#[derive(Clone, Copy)]
enum Missing {
    Tell,
    Make,
}

enum Parent {
    Open(OwnedFd, std::ffi::OsString),
    Missing,
    Other,
    OtherRepository,
}

fn enter(parent: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    open(parent, name, OFlags::PATH | OFlags::DIRECTORY)
}

fn open_file(parent: impl AsFd, name: &OsStr) -> Result<File, Errno> {
    open(parent, name, OFlags::RDONLY | OFlags::NONBLOCK).map(File::from)
}

fn open(parent: impl AsFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)
}

fn read_link(parent: impl AsFd, name: &OsStr) -> Result<Vec<u8>, Errno> {
    rustix::fs::readlinkat(parent, name, Vec::new()).map(std::ffi::CString::into_bytes)
}

/// The same for the same file, so that what a kill left is replaced by whoever goes on.
fn unnamed(path: &BStr) -> String {
    let digest = hash::blob(gix::hash::Kind::Sha1, path.len() as u64, path.as_bytes());
    let digest = digest
        .ok()
        .flatten()
        .map(|id| id.to_hex_with_len(16).to_string());
    format!("{UNNAMED}{}", digest.unwrap_or_default())
}

fn failed(call: impl Into<String>, errno: Errno) -> ApplyError {
    ApplyError::Syscall {
        call: call.into(),
        errno,
    }
}

fn from_io(call: &str, path: &BStr, error: &io::Error) -> ApplyError {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    failed(format!("{call}({path:?})"), errno)
}
