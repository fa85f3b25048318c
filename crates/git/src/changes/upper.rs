//! One directory of an upper layer, as overlayfs writes them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use gix::bstr::{BStr, BString, ByteSlice};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::ChangesError;

/// Both spellings: `trusted.` for root's mounts, `user.` for those in a user namespace.
const PREFIXES: [&str; 2] = ["trusted.overlay.", "user.overlay."];
/// Attributes by which an entry stands for something elsewhere. Wardian's mounts have neither feature on.
const REFERENCES: [&str; 2] = ["redirect", "metacopy"];

/// An entry of the layer.
pub(crate) struct UpperEntry {
    pub(crate) name: BString,
    pub(crate) status: Stat,
}

pub(super) enum UpperKind {
    Whiteout,
    Directory,
    File,
    Symlink,
    Special,
}

impl UpperEntry {
    pub(super) fn kind(&self) -> UpperKind {
        match FileType::from_raw_mode(self.status.st_mode) {
            FileType::CharacterDevice if self.status.st_rdev == 0 => UpperKind::Whiteout,
            FileType::Directory => UpperKind::Directory,
            FileType::RegularFile => UpperKind::File,
            FileType::Symlink => UpperKind::Symlink,
            _ => UpperKind::Special,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind(), UpperKind::Directory)
    }

    pub(super) fn is_executable(&self) -> bool {
        self.status.st_mode & 0o100 != 0
    }
}

/// Entries by name. Those that vanish meanwhile are not there.
pub(crate) fn entries(directory: BorrowedFd<'_>) -> Result<Vec<UpperEntry>, ChangesError> {
    let mut found = Vec::new();
    let listing = Dir::read_from(directory).map_err(|errno| failed("getdents64", errno))?;
    for entry in listing {
        let entry = entry.map_err(|errno| failed("getdents64", errno))?;
        let name = entry.file_name().to_bytes().as_bstr();
        if name == "." || name == ".." {
            continue;
        }
        match rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => found.push(UpperEntry {
                name: name.to_owned(),
                status,
            }),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(format!("fstatat({name:?})"), errno)),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &BStr) -> Result<OwnedFd, Errno> {
    open(parent, name, OFlags::DIRECTORY)
}

/// Opens a regular file to read it. Never waits: should it have become a pipe, that is refused after.
pub(crate) fn open_file(parent: BorrowedFd<'_>, name: &BStr) -> Result<OwnedFd, Errno> {
    let file = open(parent, name, OFlags::NONBLOCK)?;
    let status = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::RegularFile {
        Ok(file)
    } else {
        Err(Errno::NXIO)
    }
}

fn open(parent: BorrowedFd<'_>, name: &BStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        parent,
        std::ffi::OsStr::from_bytes(name),
        flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
}

pub(crate) fn read_link(parent: BorrowedFd<'_>, name: &BStr) -> Result<BString, Errno> {
    let target = rustix::fs::readlinkat(parent, std::ffi::OsStr::from_bytes(name), Vec::new())?;
    Ok(BString::from(target.into_bytes()))
}

/// Whether nothing of the lower directory shows through, or why that cannot be told.
pub fn is_opaque(directory: BorrowedFd<'_>, path: &BStr) -> Result<bool, ChangesError> {
    for prefix in PREFIXES {
        for reference in REFERENCES {
            let attribute = format!("{prefix}{reference}");
            if attribute_of(directory, &attribute)?.is_some() {
                return Err(ChangesError::Redirected {
                    path: path.to_owned(),
                    attribute,
                });
            }
        }
        if attribute_of(directory, &format!("{prefix}opaque"))?.as_deref() == Some(b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn attribute_of(file: BorrowedFd<'_>, name: &str) -> Result<Option<Vec<u8>>, ChangesError> {
    let mut value = vec![0_u8; 256];
    match rustix::fs::fgetxattr(file.as_fd(), name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        // No such attribute; not for an ordinary user (`trusted.`), whose mounts do not use it; or none
        // on this file system at all.
        Err(Errno::NODATA | Errno::PERM | Errno::OPNOTSUPP) => Ok(None),
        Err(Errno::RANGE) => Ok(Some(Vec::new())),
        Err(errno) => Err(failed(format!("fgetxattr({name:?})"), errno)),
    }
}

pub(crate) fn failed(call: impl Into<String>, errno: Errno) -> ChangesError {
    ChangesError::Upper {
        call: call.into(),
        source: io::Error::from(errno),
    }
}
