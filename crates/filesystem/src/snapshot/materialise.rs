//! The same tree as real files, for hosts without FUSE.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;
use thiserror::Error;
use wardian_linux::SyscallError;

use super::error::Refusal;
use super::source::{Content, Facts, Kind, Node, Source, Taken};

/// How much of a file too large for memory is in it at a time.
const PIECE: usize = 1 << 20;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Files and symlinks.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

#[derive(Debug, Error)]
pub enum MaterialiseError {
    #[error(transparent)]
    System(#[from] SyscallError),
    #[error("{path:?}")]
    Source { path: PathBuf, source: Refusal },
}

/// Writes the tree to a new directory `name` in `parent`, as files of this process's user, and says after
/// each file how far it is. No symlink is followed.
///
/// The directory appears under its name only once it is complete: before, it is `.<name>.partial`, and
/// what an earlier run left there is removed first. Fails if there is a `name` already.
pub fn materialise(
    source: &impl Source,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    progress: impl FnMut(Written),
) -> Result<(), MaterialiseError> {
    let mut partial = OsString::from(".");
    partial.push(name);
    partial.push(".partial");
    remove(parent, &partial)?;
    let mut writer = Writer {
        source,
        path: PathBuf::new(),
        written: Written::default(),
        progress,
    };
    writer.directory(parent, &partial, Node::ROOT)?;
    rustix::fs::renameat_with(parent, &partial, parent, name, RenameFlags::NOREPLACE)
        .map_err(failed(|| format!("renameat2(_, {partial:?}, _, {name:?})")))
}

struct Writer<'a, S, P> {
    source: &'a S,
    /// Of what is being written, for errors.
    path: PathBuf,
    written: Written,
    progress: P,
}

impl<S: Source, P: FnMut(Written)> Writer<'_, S, P> {
    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        node: Node,
    ) -> Result<(), MaterialiseError> {
        let facts = self.source.facts(node).map_err(self.refused())?;
        rustix::fs::mkdirat(parent, name, Mode::RWXU)
            .map_err(failed(|| format!("mkdirat(_, {name:?})")))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty())
            .map_err(failed(|| format!("openat(_, {name:?})")))?;
        for (name, node) in self.children(node)? {
            self.path.push(&name);
            self.child(directory.as_fd(), &name, node)?;
            self.path.pop();
        }
        // Last, as what is written into it changes its time.
        self.settle(&directory, name, &facts)
    }

    fn children(&self, directory: Node) -> Result<Vec<(OsString, Node)>, MaterialiseError> {
        let mut children = Vec::new();
        self.source
            .list(directory, 0, &mut |child| {
                children.push((child.name.to_owned(), child.node));
                Taken::Yes
            })
            .map_err(self.refused())?;
        // Promised by the source. Here it would lead out of the directory.
        if children.iter().all(|(name, _)| is_plain(name)) {
            Ok(children)
        } else {
            Err(self.refused()(Refusal::WrongKind))
        }
    }

    fn child(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        node: Node,
    ) -> Result<(), MaterialiseError> {
        let facts = self.source.facts(node).map_err(self.refused())?;
        let bytes = match facts.kind {
            Kind::Directory => return self.directory(parent, name, node),
            Kind::Plain | Kind::Executable => self.file(parent, name, node, &facts)?,
            Kind::Symlink => self.symlink(parent, name, node, &facts)?,
        };
        self.written.files += 1;
        self.written.bytes += bytes;
        (self.progress)(self.written);
        Ok(())
    }

    fn file(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        node: Node,
        facts: &Facts,
    ) -> Result<u64, MaterialiseError> {
        let content = self.source.content(node).map_err(self.refused())?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(failed(|| format!("openat(_, {name:?}, O_CREAT)")))?;
        match &content {
            Content::Memory(bytes) => write_all(&file, name, bytes)?,
            Content::File { size, .. } => {
                let mut buffer = vec![0; PIECE];
                let mut offset = 0;
                while offset < *size {
                    let filled = content.read_at(offset, &mut buffer);
                    let filled = filled.map_err(self.refused())?;
                    write_all(&file, name, &buffer[..filled])?;
                    offset += filled as u64;
                }
            }
        }
        self.settle(&file, name, facts)?;
        Ok(content.size())
    }

    fn symlink(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        node: Node,
        facts: &Facts,
    ) -> Result<u64, MaterialiseError> {
        let Content::Memory(target) = self.source.content(node).map_err(self.refused())? else {
            return Err(self.refused()(Refusal::Unavailable));
        };
        rustix::fs::symlinkat(&target[..], parent, name)
            .map_err(failed(|| format!("symlinkat(_, _, {name:?})")))?;
        rustix::fs::utimensat(parent, name, &times(facts), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed(|| format!("utimensat(_, {name:?})")))?;
        Ok(target.len() as u64)
    }

    /// Mode and times, whatever the umask is.
    fn settle(&self, file: &OwnedFd, name: &OsStr, facts: &Facts) -> Result<(), MaterialiseError> {
        let mode = match facts.kind {
            Kind::Directory | Kind::Executable => 0o755,
            Kind::Plain | Kind::Symlink => 0o644,
        };
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
            .map_err(failed(|| format!("fchmod({name:?}, {mode:o})")))?;
        rustix::fs::futimens(file, &times(facts)).map_err(failed(|| format!("futimens({name:?})")))
    }

    fn refused(&self) -> impl Fn(Refusal) -> MaterialiseError + use<'_, S, P> {
        |source| MaterialiseError::Source {
            path: self.path.clone(),
            source,
        }
    }
}

fn write_all(file: &OwnedFd, name: &OsStr, mut bytes: &[u8]) -> Result<(), MaterialiseError> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(|| format!("write({name:?})"))(errno)),
        }
    }
    Ok(())
}

/// Removes a directory with all that is in it, if it is there.
fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), MaterialiseError> {
    // The standard library follows no symlink on the way.
    let path = Path::new("/proc/self/fd")
        .join(parent.as_raw_fd().to_string())
        .join(name);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(SyscallError::new(format!("remove_dir_all({name:?})"), error).into())
        }
        _ => Ok(()),
    }
}

/// A single component of a path.
fn is_plain(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !matches!(bytes, b"" | b"." | b"..") && !bytes.iter().any(|byte| matches!(byte, b'/' | 0))
}

fn times(facts: &Facts) -> Timestamps {
    let modified = timespec(facts.modified);
    Timestamps {
        last_access: modified,
        last_modification: modified,
    }
}

fn timespec(time: SystemTime) -> Timespec {
    // An index has no time before 1970.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: since.subsec_nanos().into(),
    }
}

fn failed(call: impl FnOnce() -> String) -> impl FnOnce(Errno) -> MaterialiseError {
    move |errno| SyscallError::new(call(), errno).into()
}

#[cfg(test)]
mod tests;
