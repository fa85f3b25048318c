//! Directories of the host for sandboxes for which the kernel cannot layer them.
//!
//! ```text
//! program ─▶ overlayfs ─▶ upper layer on disk        what was changed inside
//!                    └──▶ FUSE ─▶ [`HostLayer`] ─▶ the host's /usr, /etc, ...
//! ```
//!
//! There are two reasons. Something may be mounted below: the kernel's layers end at a mount, and an ordinary
//! user's cannot even begin above one. Here the files of several mounts are one tree, and copy-on-write
//! works throughout. And where the superuser inside is an ordinary user, root of the host has no id. Its
//! files would belong to nobody there, and overlayfs could not copy them up, as it must give the copy the
//! owner of the original. Here they get an owner that exists: root becomes root, other ids stay the same
//! where they are mapped, and are root's else. In a sandbox without root, they are nobody's.
//!
//! What holds for the program, whatever it does:
//!
//! - Nothing is reachable but what lies below the exported directories, on their own mounts or on those that
//!   the caller named. Symlinks are handed out as text and never followed here.
//! - What the serving process may not read does not exist, so that uid 0 inside can replace all it sees.
//! - There is no set-user-ID or set-group-ID bit, no extended attribute and no way to write.
//! - Nodes live until the kernel forgets them; open files are counted and limited.
//!
//! Changes on the host show up within [`TIME_TO_LIVE`]. A node stands for a path, not for an inode, so
//! a file that the host's package manager replaces is seen as the same file with new content.

mod adapter;
mod error;
mod files;
mod listings;
mod nodes;
mod owners;
mod tree;

use std::cmp::Reverse;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use wardian_linux::userns::IdMaps;

use crate::session;
use tree::Tree;

/// For how long the kernel believes what it was told about a name or a file, found or not. Looking
/// again costs 20 to 30 microseconds, and the host's system directories hardly ever change.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(60);

/// The most bytes of a file that one request carries: what FUSE allows with pages of 4 KiB.
pub const MAX_READ: u32 = 1 << 20;

/// A directory of the host and its name in the mount's root.
#[derive(Debug)]
pub struct Export {
    name: OsString,
    directory: OwnedFd,
    mounts: Vec<Mounted>,
}

/// A mount below an export.
#[derive(Debug)]
struct Mounted {
    /// Its mount point, relative to the export.
    point: PathBuf,
    root: OwnedFd,
    kind: MountedKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MountedKind {
    Directory,
    /// Open for reading.
    File,
}

impl Export {
    /// `path` is the caller's own choice; symlinks in it are followed.
    pub fn open(name: impl Into<OsString>, path: &Path) -> io::Result<Self> {
        Ok(Self {
            name: name.into(),
            directory: open(path, OFlags::PATH | OFlags::DIRECTORY)?,
            mounts: Vec::new(),
        })
    }

    /// Shows what is mounted at `point`, relative to the export, as well: a directory or a regular file.
    /// What this process cannot open is not shown.
    #[must_use]
    pub fn with_mount(mut self, point: &Path) -> Self {
        if let Some(mounted) = self.mounted(point) {
            self.mounts.push(mounted);
            // So that the first that a path lies below is the innermost.
            self.mounts
                .sort_by_key(|mounted| Reverse(mounted.point.components().count()));
        }
        self
    }

    fn mounted(&self, point: &Path) -> Option<Mounted> {
        let look = |flags| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            rustix::fs::openat2(&self.directory, point, flags, Mode::empty(), resolve).ok()
        };
        let found = look(OFlags::PATH)?;
        let status = rustix::fs::fstat(&found).ok()?;
        let (root, kind) = match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => (found, MountedKind::Directory),
            // A descriptor without a name cannot be opened anew.
            FileType::RegularFile => (look(OFlags::RDONLY | OFlags::NONBLOCK)?, MountedKind::File),
            _ => return None,
        };
        Some(Mounted {
            point: point.to_owned(),
            root,
            kind,
        })
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// What is to be shown, and to whom it belongs.
#[derive(Debug)]
pub struct HostLayer {
    pub exports: Vec<Export>,
    /// The maps of the user namespace that mounted the device.
    pub owners: IdMaps,
    /// How many files may be open at a time. A file opened often counts once.
    pub max_open: usize,
}

impl HostLayer {
    /// Answers the kernel's questions on `device`, an open `/dev/fuse` that was mounted, from threads of
    /// its own. They end when the mount does; `ended` hears how. Waits for the kernel's greeting only.
    pub fn serve(
        self,
        device: OwnedFd,
        ended: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<()> {
        let adapter = adapter::Adapter::new(Tree::new(self));
        session::run(session::open(adapter, device)?, "layers", ended)
    }
}
