//! Inside, when the root stands and the program does not exist yet: unpacking [`Parcel`]s.
//!
//! The home of a resumed sandbox is as hostile as the program that had it last: every directory on the way can
//! be a symlink by now, every file a directory, a fifo, a mount point. No path is looked up twice, no symlink is
//! followed, and nothing is written through a mount of something else, such as the workspace.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use thiserror::Error;
use wardian_linux::SyscallError;

use super::filesystem::open_directory;
use crate::parcel::{BLOCK, Label, MAX_FILE, Occupied, Parcel};

#[derive(Debug, Error)]
pub(super) enum PlaceError {
    #[error("the files to be placed cannot be read: {0}")]
    Parcel(#[from] io::Error),
    #[error("{0}")]
    Root(SyscallError),
    #[error("{}: is not below the home, /etc or /run", .0.display())]
    NoPlace(PathBuf),
    #[error("{path}: {source}")]
    At { path: PathBuf, source: SyscallError },
}

/// Where files can be placed, and whose they are.
pub(super) struct Placer<'a> {
    /// Below which the places are: `/`, but for tests.
    pub(super) root: BorrowedFd<'a>,
    /// Absolute.
    pub(super) home: &'a Path,
    /// Owner of what is made in the home, unless it is this process.
    pub(super) owner: Option<(Uid, Gid)>,
}

impl Placer<'_> {
    pub(super) fn unpack(&self, parcel: &Parcel) -> Result<(), PlaceError> {
        for file in parcel.files()? {
            let (label, content) = file?;
            self.place(&label, &content)?;
        }
        Ok(())
    }

    fn place(&self, label: &Label, content: &[u8]) -> Result<(), PlaceError> {
        let no_place = || PlaceError::NoPlace(label.path.clone());
        let (anchor, owner) = [
            (self.home, self.owner),
            (Path::new("/etc"), None),
            (Path::new("/run"), None),
        ]
        .into_iter()
        .find(|(anchor, _)| label.path.starts_with(anchor))
        .ok_or_else(no_place)?;
        let below = label.path.strip_prefix(anchor).unwrap_or(&label.path);
        let is_plain = |it: Component<'_>| matches!(it, Component::Normal(_));
        let name = below.file_name().ok_or_else(no_place)?;
        if !below.components().all(is_plain) {
            return Err(no_place());
        }
        let place = || -> Result<(), SyscallError> {
            let anchor = anchor.strip_prefix("/").unwrap_or(anchor);
            let anchor = open_directory(self.root, anchor)?;
            let parent = below.parent().unwrap_or(Path::new(""));
            let Some(parent) = reach(anchor, parent, label.occupied, owner)? else {
                return Ok(());
            };
            put(parent.as_fd(), name, label, content, owner)
        };
        place().map_err(|source| PlaceError::At {
            path: label.path.clone(),
            source,
        })
    }
}

/// What a name in a directory stands for.
enum Seen {
    Nothing,
    Directory(OwnedFd),
    File,
    /// A symlink, a fifo, and the like.
    Odd,
    /// Something else is mounted there, which is not the sandbox's own.
    Mount,
}

fn look(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Seen, SyscallError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let fd = match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Seen::Nothing),
        Err(Errno::XDEV) => return Ok(Seen::Mount),
        Err(errno) => return Err(failed("openat2", name, "O_PATH|O_NOFOLLOW", errno)),
    };
    let status = rustix::fs::fstat(&fd).map_err(|errno| failed("fstat", name, "", errno))?;
    Ok(match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => Seen::Directory(fd),
        FileType::RegularFile => Seen::File,
        _ => Seen::Odd,
    })
}

/// The directory `path` below `anchor`, making what is missing. `None` if something else has to stay there.
fn reach(
    anchor: OwnedFd,
    path: &Path,
    occupied: Occupied,
    owner: Option<(Uid, Gid)>,
) -> Result<Option<OwnedFd>, SyscallError> {
    let mut current = anchor;
    for name in path {
        let is_free = match look(current.as_fd(), name)? {
            Seen::Directory(next) => {
                current = next;
                continue;
            }
            Seen::Mount => return Ok(None),
            Seen::File | Seen::Odd => false,
            Seen::Nothing => true,
        };
        if !is_free {
            if occupied == Occupied::Leave {
                return Ok(None);
            }
            move_aside(current.as_fd(), name)?;
        }
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&current, name, mode)
            .map_err(|errno| failed("mkdirat", name, "0755", errno))?;
        let made = open_directory(current.as_fd(), Path::new(name))?;
        rustix::fs::chmodat(&made, ".", mode, AtFlags::empty())
            .map_err(|errno| failed("fchmodat", name, "0755", errno))?;
        if let Some((uid, gid)) = owner {
            rustix::fs::chownat(&made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
                .map_err(|errno| failed("fchownat", name, "AT_EMPTY_PATH", errno))?;
        }
        current = made;
    }
    Ok(Some(current))
}

fn put(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    label: &Label,
    content: &[u8],
    owner: Option<(Uid, Gid)>,
) -> Result<(), SyscallError> {
    let seen = look(parent, name)?;
    let text = match (seen, label.occupied) {
        (Seen::Mount, _) => return Ok(()),
        (Seen::Nothing, _) => None,
        (_, Occupied::Leave) => return Ok(()),
        (Seen::File, Occupied::Replace) => None,
        (Seen::File, Occupied::Precede) => match read(parent, name)? {
            Some(existing) => {
                let text = preceded(content, &existing);
                if text == existing {
                    return Ok(());
                }
                Some(text)
            }
            None => {
                move_aside(parent, name)?;
                None
            }
        },
        (Seen::Directory(_) | Seen::Odd, _) => {
            move_aside(parent, name)?;
            None
        }
    };
    let content = text.as_deref().unwrap_or(content);
    let temporary = unused("wardian");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, &temporary, flags, Mode::from_raw_mode(0o600))
        .map_err(|errno| failed("openat", &temporary, "O_CREAT|O_EXCL", errno))?;
    let written = fill(file, content, label.mode, owner).and_then(|()| {
        rustix::fs::renameat(parent, &temporary, parent, name)
            .map_err(|errno| failed("renameat", &temporary, &format!("{name:?}"), errno))
    });
    if written.is_err() {
        // What matters is the first error.
        let _ = rustix::fs::unlinkat(parent, &temporary, AtFlags::empty());
    }
    written
}

fn fill(
    file: OwnedFd,
    content: &[u8],
    mode: u32,
    owner: Option<(Uid, Gid)>,
) -> Result<(), SyscallError> {
    let mut rest = content;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SyscallError::new("write(<file>)", errno)),
        }
    }
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(&file, Some(uid), Some(gid))
            .map_err(|errno| SyscallError::new("fchown(<file>)", errno))?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))
        .map_err(|errno| SyscallError::new(format!("fchmod(<file>, {mode:o})"), errno))
}

/// A regular file, unless it is longer than any that Wardian places.
fn read(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Vec<u8>>, SyscallError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())
        .map_err(|errno| failed("openat", name, "O_RDONLY|O_NOFOLLOW", errno))?;
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    io::Read::read_to_end(
        &mut io::Read::take(std::fs::File::from(fd), most + 1),
        &mut bytes,
    )
    .map_err(|error| SyscallError::new(format!("read({name:?})"), error))?;
    Ok((bytes.len() <= MAX_FILE).then_some(bytes))
}

/// `block` before `existing`, without the block that was there.
fn preceded(block: &[u8], existing: &[u8]) -> Vec<u8> {
    let (begin, end) = BLOCK;
    let find = |text: &[u8], line: &str| {
        let line = line.as_bytes();
        text.windows(line.len()).position(|window| window == line)
    };
    let mut rest = existing.to_vec();
    if let Some(start) = find(&rest, begin)
        && let Some(length) = find(&rest[start..], end)
    {
        rest.drain(start..start + length + end.len());
    }
    let rest = rest.trim_ascii();
    let mut text = block.trim_ascii().to_vec();
    text.push(b'\n');
    if !rest.is_empty() {
        text.push(b'\n');
        text.extend(rest);
        text.push(b'\n');
    }
    text
}

/// Nothing of the program's is lost, whatever it meant by it.
/// Whatever lies there keeps what it is, under another name.
pub(super) fn move_aside(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), SyscallError> {
    let mut stem = name.to_owned();
    stem.push(".moved-by-wardian");
    let aside = unused(&stem);
    rustix::fs::renameat_with(parent, name, parent, &aside, RenameFlags::NOREPLACE)
        .map_err(|errno| failed("renameat2", name, "RENAME_NOREPLACE", errno))
}

/// A name that nobody can have guessed.
fn unused(stem: impl AsRef<OsStr>) -> OsString {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("the kernel's random source answers once it is seeded");
    let mut name = stem.as_ref().to_owned();
    name.push(".");
    name.push(hex::encode(random));
    name
}

fn failed(call: &str, name: &OsStr, arguments: &str, errno: Errno) -> SyscallError {
    SyscallError::new(format!("{call}({name:?}, {arguments})"), errno)
}

#[cfg(test)]
mod tests;
