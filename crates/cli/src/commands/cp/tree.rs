//! Reading: a directory as programs inside saw it, put together from its layers.
//!
//! ```text
//! upper (hostile) ──┐
//!                   ├──▶ entry by entry, each below one descriptor, following nothing
//! lower (the base) ─┘
//! ```

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use wardian_filesystem::snapshot::{Content, Kind, Node, Refusal, Source, Taken};
use wardian_git::BString;
use wardian_git::changes::is_opaque;
use wardian_git::snapshot::HeadTree;

/// A directory, and what shows through from below it.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) upper: Option<OwnedFd>,
    pub(super) lower: Option<Lower>,
}

/// Never changes on the way, but its names and links are no more to be trusted than those above.
#[derive(Debug)]
pub(super) enum Lower {
    /// A directory of the host.
    Directory(OwnedFd),
    /// A directory of the commit that a session clone started from.
    Snapshot(Arc<HeadTree>, Node),
}

#[derive(Debug)]
pub(super) enum Entry {
    Nothing,
    Directory(Directory),
    File {
        content: Bytes,
        /// Permission bits, without the special ones.
        mode: u32,
    },
    Symlink(OsString),
    /// A device file, socket or pipe.
    Special,
}

#[derive(Debug)]
pub(super) enum Bytes {
    File(File),
    Memory(io::Cursor<Vec<u8>>),
}

impl Directory {
    /// Of the host, with nothing below.
    pub(super) fn plain(fd: OwnedFd) -> Self {
        Self {
            upper: Some(fd),
            lower: None,
        }
    }

    pub(super) fn entry(&self, name: &OsStr) -> io::Result<Entry> {
        let in_upper = match &self.upper {
            Some(upper) => look(upper.as_fd(), name)?,
            None => Seen::Nothing,
        };
        match in_upper {
            Seen::Whiteout => Ok(Entry::Nothing),
            Seen::Nothing => self.lower(name),
            Seen::Directory(upper) => {
                let lower = match is_opaque(upper.as_fd(), BString::from(name.as_bytes()).as_ref())
                {
                    Ok(true) => None,
                    Ok(false) => match self.lower(name)? {
                        Entry::Directory(directory) => directory.lower,
                        _ => None,
                    },
                    Err(error) => return Err(io::Error::other(error)),
                };
                Ok(Entry::Directory(Directory {
                    upper: Some(upper),
                    lower,
                }))
            }
            other => Ok(other.into_entry()),
        }
    }

    fn lower(&self, name: &OsStr) -> io::Result<Entry> {
        match &self.lower {
            None => Ok(Entry::Nothing),
            Some(Lower::Directory(lower)) => Ok(match look(lower.as_fd(), name)? {
                Seen::Directory(fd) => Entry::Directory(Directory {
                    upper: None,
                    lower: Some(Lower::Directory(fd)),
                }),
                other => other.into_entry(),
            }),
            Some(Lower::Snapshot(tree, directory)) => match tree.look_up(*directory, name) {
                Ok(node) => in_snapshot(tree, node).map_err(refused),
                Err(Refusal::Absent) => Ok(Entry::Nothing),
                Err(refusal) => Err(refused(refusal)),
            },
        }
    }

    /// Names of either layer, sorted; some may stand for nothing.
    pub(super) fn names(&self) -> io::Result<BTreeSet<OsString>> {
        let mut names = BTreeSet::new();
        if let Some(upper) = &self.upper {
            names.extend(names_in(upper.as_fd())?);
        }
        match &self.lower {
            None => {}
            Some(Lower::Directory(lower)) => names.extend(names_in(lower.as_fd())?),
            Some(Lower::Snapshot(tree, directory)) => {
                let mut take = |child: wardian_filesystem::snapshot::Child<'_>| {
                    names.insert(child.name.to_owned());
                    Taken::Yes
                };
                tree.list(*directory, 0, &mut take).map_err(refused)?;
            }
        }
        Ok(names)
    }
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

/// What a directory of one layer has.
enum Seen {
    Nothing,
    Whiteout,
    Directory(OwnedFd),
    File(File, u32),
    Symlink(OsString),
    Special,
}

impl Seen {
    fn into_entry(self) -> Entry {
        match self {
            Self::Nothing | Self::Whiteout => Entry::Nothing,
            Self::Directory(fd) => Entry::Directory(Directory::plain(fd)),
            Self::File(file, mode) => Entry::File {
                content: Bytes::File(file),
                mode,
            },
            Self::Symlink(target) => Entry::Symlink(target),
            Self::Special => Entry::Special,
        }
    }
}

fn look(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Seen> {
    let status = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => status,
        Err(Errno::NOENT) => return Ok(Seen::Nothing),
        Err(errno) => return Err(errno.into()),
    };
    Ok(match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => Seen::Directory(open_below(parent, name, OFlags::DIRECTORY)?),
        FileType::RegularFile => {
            let file = open_below(parent, name, OFlags::NONBLOCK)?;
            // It may be another file by now.
            let status = rustix::fs::fstat(&file)?;
            match FileType::from_raw_mode(status.st_mode) {
                FileType::RegularFile => Seen::File(file.into(), status.st_mode & 0o777),
                _ => Seen::Special,
            }
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
            Seen::Symlink(OsString::from_vec(target.into_bytes()))
        }
        FileType::CharacterDevice if status.st_rdev == 0 => Seen::Whiteout,
        _ => Seen::Special,
    })
}

fn in_snapshot(tree: &Arc<HeadTree>, node: Node) -> Result<Entry, Refusal> {
    let facts = tree.facts(node)?;
    let mode = match facts.kind {
        Kind::Directory => {
            return Ok(Entry::Directory(Directory {
                upper: None,
                lower: Some(Lower::Snapshot(tree.clone(), node)),
            }));
        }
        Kind::Symlink => {
            let target = match tree.content(node)? {
                Content::Memory(bytes) => bytes,
                // No link is that long.
                Content::File { .. } => return Err(Refusal::Unavailable),
            };
            return Ok(Entry::Symlink(OsString::from_vec(target)));
        }
        Kind::Executable => 0o755,
        Kind::Plain => 0o644,
    };
    let content = match tree.content(node)? {
        Content::Memory(bytes) => Bytes::Memory(io::Cursor::new(bytes)),
        Content::File { file, .. } => Bytes::File(file.into()),
    };
    Ok(Entry::File { content, mode })
}

fn refused(refusal: Refusal) -> io::Error {
    io::Error::other(refusal)
}

fn names_in(directory: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// Opens one name of a directory, whatever it is, without going anywhere else.
pub(super) fn open_below(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::openat2(parent, Path::new(name), flags, Mode::empty(), resolve)
}
