//! What the mount shows: answers to the kernel's questions, without the kernel.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, StatVfs, Statx, StatxAttributes, StatxFlags,
    StatxTimestamp,
};
use rustix::io::Errno;
use wardian_linux::userns::IdMaps;

use super::error::{Answer, Refusal};
use super::files::{OpenFiles, Stamp};
use super::listings::{Listed, Listings};
use super::nodes::{Content, Nodes, Place, TOP};
use super::owners;
use super::{Export, HostLayer, MAX_READ, Mounted, MountedKind};

#[derive(Debug)]
pub(super) struct Tree {
    exports: Vec<Export>,
    owners: IdMaps,
    nodes: Mutex<Nodes>,
    files: Mutex<OpenFiles>,
    listings: Mutex<Listings>,
}

/// An entry of a directory, as [`Tree::list`] hands it out.
pub(super) struct Entry<'a> {
    pub(super) name: &'a OsStr,
    pub(super) attributes: &'a FileAttr,
    /// Where to go on after this entry.
    pub(super) next: u64,
}

/// What a caller of [`Tree::list`] did with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// Its buffer is full: the entry was not taken, and no other follows.
    Full,
}

/// Whether the entries listed count as looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    Names,
    Nodes,
}

impl Tree {
    pub(super) fn new(layer: HostLayer) -> Self {
        let HostLayer {
            exports,
            owners,
            max_open,
        } = layer;
        Self {
            exports,
            owners,
            nodes: Mutex::default(),
            files: Mutex::new(OpenFiles::new(max_open)),
            listings: Mutex::default(),
        }
    }

    /// A name in a directory. Success counts as a lookup, to be taken back with [`forget`](Self::forget).
    pub(super) fn look_up(&self, parent: u64, name: &OsStr) -> Answer<FileAttr> {
        if !is_plain(name) {
            return Err(Refusal::Absent);
        }
        let parent = self.place(parent)?;
        let place = match &parent {
            Place::Top => self.export_place(name).ok_or(Refusal::Absent)?,
            below => below.child(name).ok_or(Refusal::Absent)?,
        };
        let status = match self.status(&place) {
            Err(Refusal::Host(Errno::ACCESS)) => return Err(Refusal::Absent),
            status => status?,
        };
        if !self.readable(&place, &status) {
            return Err(Refusal::Absent);
        }
        let number = lock(&self.nodes).look_up(place)?;
        Ok(self.attributes_of(number, &status))
    }

    pub(super) fn forget(&self, node: u64, lookups: u64) {
        lock(&self.nodes).forget(node, lookups);
    }

    pub(super) fn attributes(&self, node: u64) -> Answer<FileAttr> {
        match self.place(node)? {
            Place::Top => Ok(top_attributes()),
            place => {
                let status = self.status(&place).map_err(gone)?;
                Ok(self.attributes_of(node, &status))
            }
        }
    }

    pub(super) fn read_link(&self, node: u64) -> Answer<Vec<u8>> {
        let link = self
            .resolve(&self.place(node)?, OFlags::PATH)
            .map_err(gone)?;
        match rustix::fs::readlinkat(&link, "", Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            // Not a symlink any more: then the empty path names nothing.
            Err(Errno::NOENT) => Err(Refusal::WrongKind),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a regular file for reading.
    pub(super) fn open(&self, node: u64) -> Answer<(u64, Content)> {
        let place = self.place(node)?;
        let before = self.status(&place).map_err(gone)?;
        // Opening a device or a pipe could do something, or wait.
        if kind_of(&before) != Some(FileType::RegularFile) {
            return Err(Refusal::WrongKind);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.resolve(&place, flags).map_err(gone)?;
        let status = status_of(file.as_fd())?;
        if kind_of(&status) != Some(FileType::RegularFile) {
            return Err(Refusal::Replaced);
        }
        let stamp = Stamp::from(&status);
        let handle = lock(&self.files).insert(file, stamp)?;
        Ok((handle, lock(&self.nodes).opened(node, stamp)))
    }

    /// At most `size` bytes from `offset` on; fewer only at the end of the file.
    pub(super) fn read(&self, handle: u64, offset: u64, size: u32) -> Answer<Vec<u8>> {
        let file = lock(&self.files).get(handle)?;
        let size = size.min(MAX_READ) as usize;
        let mut bytes = Vec::with_capacity(size);
        while bytes.len() < size {
            let Some(from) = offset.checked_add(bytes.len() as u64) else {
                break;
            };
            match rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut bytes), from) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    pub(super) fn release(&self, handle: u64) {
        lock(&self.files).remove(handle);
    }

    /// Hands entries of a directory to `take` until it is full, from `offset` on: 0, or an entry's `next`.
    pub(super) fn list(
        &self,
        node: u64,
        offset: u64,
        listing: Listing,
        mut take: impl FnMut(Entry<'_>) -> Taken,
    ) -> Answer<()> {
        let entries = self.entries(node, offset)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        for (listed, next) in entries.iter().skip(start).zip(offset.saturating_add(1)..) {
            let mut attributes = listed.attributes;
            if listing == Listing::Nodes {
                let number = lock(&self.nodes).look_up(listed.place.clone())?;
                attributes.ino = INodeNo(number);
            }
            let taken = take(Entry {
                name: &listed.name,
                attributes: &attributes,
                next,
            });
            if taken == Taken::Full {
                if listing == Listing::Nodes {
                    self.forget(attributes.ino.0, 1);
                }
                return Ok(());
            }
        }
        if start >= entries.len() {
            // That was the kernel's question whether there is more.
            lock(&self.listings).discard(node);
        }
        Ok(())
    }

    /// Of the file system that the node lies on.
    pub(super) fn capacity(&self, node: u64) -> Answer<StatVfs> {
        let export = match self.place(node)? {
            Place::Top => self.exports.first(),
            Place::Below { export, .. } => self.exports.get(export),
        };
        let export = export.ok_or(Refusal::Absent)?;
        Ok(rustix::fs::fstatvfs(&export.directory)?)
    }

    fn place(&self, node: u64) -> Answer<Place> {
        lock(&self.nodes).place(node)
    }

    fn export_place(&self, name: &OsStr) -> Option<Place> {
        let export = self.exports.iter().position(|export| export.name == name)?;
        Some(export_root(export))
    }

    /// Opens what lies at `place`, never following a symlink, never leaving the export or its mount.
    fn resolve(&self, place: &Place, flags: OFlags) -> Answer<OwnedFd> {
        let Place::Below { export, path } = place else {
            return Err(Refusal::WrongKind);
        };
        let export = self.exports.get(*export).ok_or(Refusal::Absent)?;
        let (root, path) = match export.mount_of(path) {
            Some((mounted, rest)) if mounted.kind == MountedKind::File => {
                return match rest == Path::new("") {
                    true => Ok(mounted.root.try_clone().map_err(|_| Refusal::TooMany)?),
                    false => Err(Refusal::Absent),
                };
            }
            Some((mounted, rest)) => (&mounted.root, rest),
            None => (&export.directory, &**path),
        };
        let path = if path == Path::new("") {
            Path::new(".")
        } else {
            path
        };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).map_err(
            |errno| match errno {
                // Another mount, or a symlink where a directory was.
                Errno::XDEV | Errno::LOOP | Errno::NOTDIR | Errno::NOENT => Refusal::Absent,
                errno => Refusal::Host(errno),
            },
        )
    }

    /// Whether `place` is where one of the mounts begins that are shown.
    fn is_mounted(&self, place: &Place) -> bool {
        let Place::Below { export, path } = place else {
            return false;
        };
        let export = self.exports.get(*export);
        export.is_some_and(|export| export.mounts.iter().any(|mounted| mounted.point == **path))
    }

    fn status(&self, place: &Place) -> Answer<Statx> {
        status_of(self.resolve(place, OFlags::PATH)?.as_fd())
    }

    /// Whether this process may read the file or directory; asked only where its mode leaves a doubt.
    fn readable(&self, place: &Place, status: &Statx) -> bool {
        let mode = u32::from(status.stx_mode);
        match kind_of(status) {
            Some(FileType::RegularFile) => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
                mode & 0o004 != 0 || self.resolve(place, flags).is_ok()
            }
            Some(FileType::Directory) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                mode & 0o005 == 0o005
                    || self.resolve(place, flags).is_ok_and(|directory| {
                        rustix::fs::statat(&directory, ".", AtFlags::empty()).is_ok()
                    })
            }
            kind => kind.is_some(),
        }
    }

    /// As the directory is now at the start, as it was then for the rest.
    fn entries(&self, node: u64, offset: u64) -> Answer<Arc<[Listed]>> {
        let place = self.place(node)?;
        if offset > 0
            && let Some(entries) = lock(&self.listings).get(node)
        {
            return Ok(entries);
        }
        let entries: Arc<[Listed]> = match &place {
            Place::Top => self.list_exports().into(),
            place => self.list_host(place)?.into(),
        };
        lock(&self.listings).keep(node, entries.clone());
        Ok(entries)
    }

    fn list_exports(&self) -> Vec<Listed> {
        let exports = self.exports.iter().enumerate();
        exports
            .filter_map(|(index, export)| {
                let place = export_root(index);
                let status = self.status(&place).ok()?;
                Some(self.listed(export.name.clone(), place, &status))
            })
            .collect()
    }

    fn list_host(&self, place: &Place) -> Answer<Vec<Listed>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.resolve(place, flags).map_err(gone)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if !is_plain(name) {
                continue;
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
            let Some(child) = place.child(name) else {
                continue;
            };
            let status = match self.is_mounted(&child) {
                true => self.status(&child),
                false => statx(directory.as_fd(), name, flags),
            };
            let Ok(status) = status else {
                // Removed meanwhile.
                continue;
            };
            let is_another_mount = status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
            if (!is_another_mount || self.is_mounted(&child)) && self.readable(&child, &status) {
                entries.push(self.listed(name.to_owned(), child, &status));
            }
        }
        Ok(entries)
    }

    fn listed(&self, name: OsString, place: Place, status: &Statx) -> Listed {
        Listed {
            name,
            attributes: self.attributes_of(place.number(), status),
            place,
        }
    }

    fn attributes_of(&self, number: u64, status: &Statx) -> FileAttr {
        let (uid, gid) = owners::inside(&self.owners, status.stx_uid, status.stx_gid);
        FileAttr {
            ino: INodeNo(number),
            size: status.stx_size,
            blocks: status.stx_blocks,
            atime: time(status.stx_atime),
            mtime: time(status.stx_mtime),
            ctime: time(status.stx_ctime),
            crtime: UNIX_EPOCH,
            kind: kind_of(status).unwrap_or(FileType::RegularFile),
            // Without the bits that change a program's ids.
            perm: status.stx_mode & 0o1777,
            nlink: status.stx_nlink,
            uid,
            gid,
            rdev: device_number(status.stx_rdev_major, status.stx_rdev_minor),
            blksize: status.stx_blksize,
            flags: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (lock(&self.nodes).len(), lock(&self.files).descriptors())
    }
}

impl Export {
    /// The innermost of the mounts that `path` lies on, and the path below it.
    fn mount_of<'a>(&self, path: &'a Path) -> Option<(&Mounted, &'a Path)> {
        self.mounts.iter().find_map(|mounted| {
            let rest = path.strip_prefix(&mounted.point).ok()?;
            Some((mounted, rest))
        })
    }
}

fn export_root(export: usize) -> Place {
    Place::Below {
        export,
        path: Arc::from(Path::new("")),
    }
}

/// A single component of a path.
fn is_plain(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !matches!(bytes, b"" | b"." | b"..") && !bytes.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// For a node that was found once.
fn gone(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Absent => Refusal::Replaced,
        other => other,
    }
}

fn status_of(file: BorrowedFd<'_>) -> Answer<Statx> {
    statx(file, OsStr::new(""), AtFlags::EMPTY_PATH)
}

fn statx(directory: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> Answer<Statx> {
    Ok(rustix::fs::statx(
        directory,
        name,
        flags,
        StatxFlags::BASIC_STATS,
    )?)
}

fn kind_of(status: &Statx) -> Option<FileType> {
    match rustix::fs::FileType::from_raw_mode(status.stx_mode.into()) {
        rustix::fs::FileType::RegularFile => Some(FileType::RegularFile),
        rustix::fs::FileType::Directory => Some(FileType::Directory),
        rustix::fs::FileType::Symlink => Some(FileType::Symlink),
        rustix::fs::FileType::Fifo => Some(FileType::NamedPipe),
        rustix::fs::FileType::Socket => Some(FileType::Socket),
        rustix::fs::FileType::CharacterDevice => Some(FileType::CharDevice),
        rustix::fs::FileType::BlockDevice => Some(FileType::BlockDevice),
        rustix::fs::FileType::Unknown => None,
    }
}

fn time(stamp: StatxTimestamp) -> SystemTime {
    let nanoseconds = Duration::from_nanos(stamp.tv_nsec.into());
    let seconds = Duration::from_secs(stamp.tv_sec.unsigned_abs());
    let whole = if stamp.tv_sec < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|whole| whole.checked_add(nanoseconds))
        .unwrap_or(UNIX_EPOCH)
}

/// As the kernel's `new_decode_dev` takes it apart.
fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12)
}

fn top_attributes() -> FileAttr {
    FileAttr {
        ino: INodeNo(TOP),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::Directory,
        perm: 0o755,
        nlink: 2,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No critical section leaves its table half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
