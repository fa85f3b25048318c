//! What was written to a layer of a sandbox: an overlay's upper directory, or its home.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType as Type, Mode, OFlags, ResolveFlags, Stat, Statx, StatxFlags,
};
use rustix::io::Errno;
use rustix::time::ClockId;
use wardian_events::{ChangeKind, FileType};
use wardian_git::changes::is_opaque;

use super::listing::{Listing, Noted};

/// Entries that are looked at, and directories below each other. A layer that is larger is not told in full.
const MOST: usize = 300_000;
const DEEPEST: usize = 200;

/// A time on the clock by which file systems date what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(i64, u32);

impl Moment {
    fn now() -> Self {
        let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
        Self(now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// How a home was when its program was let go.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    moment: Moment,
    /// By inode: what was put there just before, in the same step of the clock.
    fresh: BTreeSet<(u64, Moment)>,
}

/// A home that was just made holds far less. Of one that is kept, little more than that is touched by a start.
const MOST_FRESH: usize = 2000;

impl Start {
    /// To be taken before the program is let go.
    pub(crate) fn of(home: &Path) -> Self {
        let moment = Moment::now();
        let mut fresh = BTreeSet::new();
        let mut waiting = vec![home.to_owned()];
        let mut seen = 0;
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let Ok(status) = entry.metadata() else {
                    continue;
                };
                seen += 1;
                if seen > MOST_FRESH {
                    return Self { moment, fresh };
                }
                let changed = Moment(
                    status.ctime(),
                    u32::try_from(status.ctime_nsec()).unwrap_or(0),
                );
                if changed >= moment {
                    fresh.insert((status.ino(), changed));
                }
                if status.is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        Self { moment, fresh }
    }
}

/// What there was before.
#[derive(Clone, Copy)]
pub(super) enum Before<'a> {
    /// The lower layer. It belongs to the user, and is only asked for sizes.
    Below(&'a Path),
    /// The layer itself, as it was. What was removed since is not seen.
    Since(&'a Start),
}

pub(super) struct Layer<'a> {
    root: OwnedFd,
    lower: Option<OwnedFd>,
    since: Option<&'a Start>,
    seen: usize,
}

/// Of the tree that was there before, as far as it shows.
struct Known {
    is_directory: bool,
    kind: FileType,
    size: u64,
}

impl<'a> Layer<'a> {
    /// `None`: there is no such layer.
    pub(super) fn open(root: &Path, before: Before<'a>) -> io::Result<Option<Self>> {
        let open = |path: &Path, flags| {
            let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path, flags, Mode::empty())
        };
        let root = match open(root, OFlags::RDONLY | OFlags::NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            root => root?,
        };
        let (lower, since) = match before {
            // Enough to ask for what lies there, and allowed to who may read none of it.
            Before::Below(path) => (Some(open(path, OFlags::PATH)?), None),
            Before::Since(start) => (None, Some(start)),
        };
        Ok(Some(Self {
            root,
            lower,
            since,
            seen: 0,
        }))
    }

    pub(super) fn walk(&mut self, listing: &mut Listing) {
        let top = self.root.as_fd().try_clone_to_owned();
        let walked = match top {
            Ok(top) => self.directory(top.as_fd(), &mut Vec::new(), true, 0, listing),
            Err(error) => Err(error),
        };
        if let Err(error) = walked {
            listing.unknown(error.to_string());
        }
    }

    /// `lower_shows`: what lies below is seen where this layer says nothing.
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &mut Vec<u8>,
        lower_shows: bool,
        depth: usize,
        listing: &mut Listing,
    ) -> io::Result<()> {
        for (name, status) in entries(directory)? {
            self.seen += 1;
            if self.seen > MOST || depth > DEEPEST {
                return Err(io::Error::other(
                    "too much was written to look at all of it",
                ));
            }
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let known = match lower_shows {
                true => self.below(path),
                false => None,
            };
            match kind(&status) {
                None => self.gone(path, known, listing),
                Some(FileType::Directory) => match open_below(directory, &name) {
                    Ok(below) => {
                        let is_opaque = is_opaque(below.as_fd(), path.as_slice().into());
                        let is_opaque = is_opaque.map_err(io::Error::other)?;
                        let was_directory = known.as_ref().is_some_and(|it| it.is_directory);
                        if is_opaque || !was_directory {
                            self.gone(path, known, listing);
                        }
                        let shows = lower_shows && was_directory && !is_opaque;
                        self.directory(below.as_fd(), path, shows, depth + 1, listing)?;
                    }
                    Err(_) => listing.unreadable += 1,
                },
                Some(file) => self.written(directory, &name, path, file, &status, known, listing),
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn gone(&self, path: &[u8], known: Option<Known>, listing: &mut Listing) {
        if let Some(known) = known {
            listing.add(Noted {
                path: path.to_owned(),
                change: ChangeKind::Removed,
                file: known.kind,
                before: (!known.is_directory).then_some(known.size),
                after: None,
            });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one entry, as it was found")]
    fn written(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        file: FileType,
        status: &Stat,
        known: Option<Known>,
        listing: &mut Listing,
    ) {
        let change = match self.since {
            Some(since) => match written_since(directory, name, since) {
                Some(change) => change,
                None => return,
            },
            None if known.is_some() => ChangeKind::Changed,
            None => ChangeKind::Added,
        };
        listing.add(Noted {
            path: path.to_owned(),
            change,
            file,
            before: known.filter(|it| !it.is_directory).map(|it| it.size),
            after: u64::try_from(status.st_size).ok(),
        });
    }

    fn below(&self, path: &[u8]) -> Option<Known> {
        let found = rustix::fs::openat2(
            self.lower.as_ref()?,
            path,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        );
        let status = rustix::fs::fstat(found.ok()?).ok()?;
        let kind = kind(&status)?;
        Some(Known {
            is_directory: kind == FileType::Directory,
            kind,
            size: u64::try_from(status.st_size).unwrap_or(0),
        })
    }
}

/// `None` for a whiteout.
fn kind(status: &Stat) -> Option<FileType> {
    Some(match Type::from_raw_mode(status.st_mode) {
        Type::CharacterDevice if status.st_rdev == 0 => return None,
        Type::Directory => FileType::Directory,
        Type::RegularFile if status.st_mode & 0o100 != 0 => FileType::Program,
        Type::RegularFile => FileType::File,
        Type::Symlink => FileType::Symlink,
        _ => FileType::Other,
    })
}

/// By the times that a program cannot set: that of the last change, and of birth where the file system keeps it.
fn written_since(directory: BorrowedFd<'_>, name: &[u8], since: &Start) -> Option<ChangeKind> {
    let wanted = StatxFlags::CTIME | StatxFlags::BTIME | StatxFlags::INO;
    let times: Statx =
        rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
    let changed = Moment(times.stx_ctime.tv_sec, times.stx_ctime.tv_nsec);
    let born = Moment(times.stx_btime.tv_sec, times.stx_btime.tv_nsec);
    let Start { moment, fresh } = since;
    let is_new = times.stx_mask & StatxFlags::BTIME.bits() != 0 && born >= *moment;
    let is_written = changed >= *moment && !fresh.contains(&(times.stx_ino, changed));
    is_written.then_some(match is_new {
        true => ChangeKind::Added,
        false => ChangeKind::Changed,
    })
}

/// By name. Those that vanish meanwhile are not there.
fn entries(directory: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Stat)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        match rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => found.push((name.to_owned(), status)),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn open_below(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        directory,
        OsStr::from_bytes(name),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
}

#[cfg(test)]
mod tests;
