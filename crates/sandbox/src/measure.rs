//! Measuring what an agent wrote: never following a symlink, however deep it nests directories, and whatever
//! their modes, if this process may look into all of them.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use wardian_linux::{SyscallError, SyscallResult};

/// How many components a path may have before its directory is opened to start another one from: fewer than
/// any path that is too long, and many to a descriptor.
const DEEPEST: usize = 12;

/// Files with several names that are told apart, a few bytes each. Beyond, each name counts.
const MOST_LINKED: usize = 1 << 20;

/// What `st_blocks` counts in: see stat(2).
const BLOCK: u64 = 512;

/// Bytes on disk below `path`, in blocks as du(1) counts: a file with several names once. What vanishes
/// meanwhile counts as nothing, what cannot be looked into is an error. Mounts are not crossed.
pub fn disk_usage(path: &Path) -> SyscallResult<u64> {
    let shown = |call: &str, errno| SyscallError::new(format!("{call}({path:?})"), errno);
    let root = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(0),
        root => root.map_err(|errno| shown("open", errno))?,
    };
    let mut total = Total::default();
    let mut waiting = vec![Waiting {
        base: Rc::new(root),
        path: PathBuf::from("."),
    }];
    while let Some(next) = waiting.pop() {
        let directory = match open_below(next.base.as_fd(), &next.path) {
            // Removed or replaced.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => continue,
            directory => Rc::new(directory.map_err(|errno| shown("openat2", errno))?),
        };
        let within = next.start_from(&directory);
        for entry in Dir::read_from(&directory).map_err(|errno| shown("getdents", errno))? {
            let entry = match entry {
                // The directory itself.
                Err(Errno::NOENT) => break,
                entry => entry.map_err(|errno| shown("getdents", errno))?,
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match total.add(directory.as_fd(), name) {
                Ok(FileType::Directory) => waiting.push(within.child(name)),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(shown("fstatat", errno)),
            }
        }
    }
    Ok(total.blocks.saturating_mul(BLOCK))
}

/// A directory that was seen and not yet looked into: many of them share a descriptor.
struct Waiting {
    base: Rc<OwnedFd>,
    path: PathBuf,
}

impl Waiting {
    /// Itself, now open as `directory`, as what its children are found from.
    fn start_from(self, directory: &Rc<OwnedFd>) -> Self {
        if self.path.components().count() < DEEPEST {
            return self;
        }
        Self {
            base: Rc::clone(directory),
            path: PathBuf::from("."),
        }
    }

    fn child(&self, name: &CStr) -> Self {
        Self {
            base: Rc::clone(&self.base),
            path: self.path.join(OsStr::from_bytes(name.to_bytes())),
        }
    }
}

#[derive(Default)]
struct Total {
    blocks: u64,
    linked: HashSet<u64>,
}

impl Total {
    fn add(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<FileType> {
        let status = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(status.st_mode);
        if kind == FileType::Directory || self.is_new(&status) {
            let blocks = u64::try_from(status.st_blocks).unwrap_or(0);
            self.blocks = self.blocks.saturating_add(blocks);
        }
        Ok(kind)
    }

    fn is_new(&mut self, status: &Stat) -> bool {
        status.st_nlink <= 1
            || self.linked.len() >= MOST_LINKED
            || self.linked.insert(status.st_ino)
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn open(parent: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, path, DIRECTORY, Mode::empty())
}

fn open_below(base: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(base, path, DIRECTORY, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn counts_blocks_once_and_not_what_links_point_to() {
        let base = tempfile::tempdir().unwrap();
        let inside = base.path().join("inside");
        fs::create_dir(&inside).unwrap();
        fs::write(base.path().join("outside"), vec![1; 1 << 20]).unwrap();
        symlink("../outside", inside.join("link")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        let before = disk_usage(&inside).unwrap();
        fs::write(inside.join("file"), vec![1; 300_000]).unwrap();
        fs::create_dir(inside.join("sub")).unwrap();
        fs::hard_link(inside.join("file"), inside.join("sub/same")).unwrap();
        let grown = disk_usage(&inside).unwrap() - before;
        assert!((300_000..500_000).contains(&grown), "{grown}");
        assert!(before < 100_000, "{before}");
        assert_eq!(disk_usage(&base.path().join("nowhere")).unwrap(), 0);
    }

    #[test]
    fn depth_hides_nothing() {
        let base = tempfile::tempdir().unwrap();
        let name = "d".repeat(200);
        // Far longer than a path may be.
        let mut directory = open(CWD, base.path()).unwrap();
        for _ in 0..100 {
            rustix::fs::mkdirat(&directory, name.as_str(), Mode::RWXU).unwrap();
            directory = open(directory.as_fd(), Path::new(&name)).unwrap();
        }
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let file = rustix::fs::openat(&directory, "file", flags, Mode::RWXU).unwrap();
        rustix::io::write(&file, &vec![1; 500_000]).unwrap();
        let usage = disk_usage(base.path()).unwrap();
        assert!(usage >= 500_000, "{usage}");
        crate::remove::remove_tree(base.path()).unwrap();
    }
}
