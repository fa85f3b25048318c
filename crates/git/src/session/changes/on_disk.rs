//! One file, or the names of a directory, as they lie in the user's work tree.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use gix::index::entry::{Stat, stat};
use rustix::fs::{Dir, FileType, Mode, OFlags};

use crate::changes::hash;
use crate::repository::files;

/// A file of the user's work tree.
pub(super) struct OnDisk<'a> {
    pub(super) parent: BorrowedFd<'a>,
    pub(super) name: &'a OsStr,
    pub(super) status: &'a rustix::fs::Stat,
}

impl OnDisk<'_> {
    /// As git puts it into an index: cut to 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn stat(&self) -> Stat {
        let status = self.status;
        let time = |secs: i64, nsecs: u64| stat::Time {
            secs: secs as u32,
            nsecs: nsecs as u32,
        };
        Stat {
            mtime: time(status.st_mtime, status.st_mtime_nsec),
            ctime: time(status.st_ctime, status.st_ctime_nsec),
            dev: status.st_dev as u32,
            ino: status.st_ino as u32,
            uid: status.st_uid,
            gid: status.st_gid,
            size: status.st_size as u32,
        }
    }

    /// As a blob; `None` if it cannot be read, or changes meanwhile.
    pub(super) fn id(&self, kind: gix::hash::Kind) -> Option<gix::ObjectId> {
        let size = self.status.st_size.cast_unsigned();
        if FileType::from_raw_mode(self.status.st_mode) == FileType::Symlink {
            let target = rustix::fs::readlinkat(self.parent, self.name, Vec::new()).ok()?;
            return hash::blob(kind, size, target.as_bytes()).ok()?;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.parent, self.name, flags, Mode::empty()).ok()?;
        hash::blob(kind, size, File::from(file)).ok()?
    }
}

/// All but `.git`, sorted.
pub(super) fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let is_git = name.eq_ignore_ascii_case(b".git");
        if !is_git && name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Rules of a `.gitignore`. Git does not follow a symlink of this name either.
pub(super) fn ignore_file(directory: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, ".gitignore", flags, Mode::empty()).ok()?;
    let file = File::from(file);
    let mut rules = Vec::new();
    let is_file = file.metadata().ok()?.is_file();
    let read = is_file.then(|| file.take(files::SMALL).read_to_end(&mut rules));
    read?.ok().map(|_| rules)
}
