//! What is mounted below the directories that become layers.
//!
//! A layer of overlayfs is one mount: what is mounted below a directory is not seen through it. And an
//! ordinary user cannot make such a directory a layer at all. The mounts in it came from a more privileged
//! mount namespace and are locked, lest somebody see what they cover (mount_namespaces(7)). In a container
//! `/etc/hosts` is one; elsewhere it is `/var/log`, a directory under `/opt`, a driver under `/usr/lib`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use wardian_linux::mountinfo::{self, Mount};
use wardian_linux::{SyscallError, SyscallResult};

use super::{files, hidden};

/// File systems that hold files. Others are windows on the kernel (`proc`, `cgroup2`), or wait for
/// somebody to look before they mount something (`autofs`): those are never shown.
const FILES: [&str; 34] = [
    "9p", "aufs", "bcachefs", "btrfs", "ceph", "cifs", "cramfs", "drvfs", "erofs", "exfat", "ext2",
    "ext3", "ext4", "f2fs", "fuseblk", "gfs2", "iso9660", "jfs", "nfs", "nfs4", "nilfs2", "ntfs3",
    "ocfs2", "overlay", "ramfs", "smb3", "squashfs", "tmpfs", "udf", "vboxsf", "vfat", "virtiofs",
    "xfs", "zfs",
];
/// Those of FUSE are named after their program: `fuse.sshfs`.
const FUSE: &str = "fuse.";

/// Those that overlayfs refuses for its own side: they look names up anew, or cannot hold whiteouts.
const NO_UPPER: [&str; 11] = [
    "9p", "aufs", "cifs", "drvfs", "ecryptfs", "exfat", "fuseblk", "nfs", "nfs4", "overlay", "vfat",
];

/// All mounts of this host.
#[derive(Debug)]
pub struct Mounts(Vec<Mount>);

/// What is mounted below one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Below {
    /// The first mount that keeps an ordinary user from making the directory a layer.
    pub locked: Option<PathBuf>,
    /// Where there is something to be seen inside: absolute, parents before children.
    pub shown: Vec<PathBuf>,
    /// What a layer would show instead: mount points, and with them what is covered there. None of them
    /// lies below another one.
    pub covering: Vec<PathBuf>,
}

impl Mounts {
    pub fn read() -> SyscallResult<Self> {
        mountinfo::read().map(Self)
    }

    /// The type of the file system that `directory` lies on, if a sandbox cannot have its own layers there.
    pub(super) fn refused_as_upper(&self, directory: &Path) -> SyscallResult<Option<String>> {
        let own = mountinfo::id_of(open(directory)?.as_fd())?;
        let kind = self.0.iter().find(|mount| mount.id == own);
        let kind = kind.and_then(|mount| mount.kind.to_str());
        Ok(kind
            .filter(|kind| NO_UPPER.contains(kind) || kind.starts_with(FUSE))
            .map(str::to_owned))
    }

    pub fn below(&self, directory: &Path) -> SyscallResult<Below> {
        let own = mountinfo::id_of(open(directory)?.as_fd())?;
        let is_below =
            |mount: &&Mount| mount.point != directory && mount.point.starts_with(directory);
        let mut below: Vec<_> = self.0.iter().filter(is_below).collect();
        below.sort_by(|a, b| a.point.cmp(&b.point));
        let shown = below
            .iter()
            .filter(|mount| !is_hidden(&mount.point) && holds_files(&mount.kind) && is_seen(mount))
            .map(|mount| mount.point.clone());
        let right_below = below.iter().filter(|mount| mount.parent == own);
        let mut covering: Vec<PathBuf> = Vec::new();
        for Mount { point, .. } in right_below.clone().filter(|mount| !is_hidden(&mount.point)) {
            if covering.last().is_none_or(|last| !point.starts_with(last)) {
                covering.push(point.clone());
            }
        }
        Ok(Below {
            // Seen or not: what lies under another mount is locked as well.
            locked: right_below.map(|mount| mount.point.clone()).next(),
            shown: shown.collect(),
            covering,
        })
    }
}

fn holds_files(kind: &OsStr) -> bool {
    kind.to_str()
        .is_some_and(|kind| FILES.contains(&kind) || kind.starts_with(FUSE))
}

/// No sandbox sees what lies there on the host, mounted or not.
fn is_hidden(point: &Path) -> bool {
    let below = |directory: &str| point.strip_prefix(directory);
    below("/var").is_ok_and(|point| !hidden::is_kept_of_var(point))
        || below("/etc").is_ok_and(files::is_own)
}

/// Whether the mount is what this process finds at its mount point: a file or directory, and nothing
/// mounted over it.
fn is_seen(mount: &Mount) -> bool {
    let kind = |file: &OwnedFd| {
        let status = rustix::fs::fstat(file).ok()?;
        Some(FileType::from_raw_mode(status.st_mode))
    };
    open(&mount.point).is_ok_and(|file| {
        matches!(
            kind(&file),
            Some(FileType::Directory | FileType::RegularFile)
        ) && mountinfo::id_of(file.as_fd()).is_ok_and(|id| id == mount.id)
    })
}

fn open(path: &Path) -> SyscallResult<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .map_err(|errno| SyscallError::new(format!("openat2({path:?}, O_PATH)"), errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_on_the_kernel_are_told_from_files() {
        for kind in ["ext4", "tmpfs", "overlay", "9p", "fuse.sshfs", "fuseblk"] {
            assert!(holds_files(OsStr::new(kind)), "{kind}");
        }
        for kind in [
            "proc", "sysfs", "cgroup2", "devtmpfs", "autofs", "fusectl", "fuse", "new",
        ] {
            assert!(!holds_files(OsStr::new(kind)), "{kind}");
        }
    }

    #[test]
    fn what_no_sandbox_sees_does_not_count() {
        for (point, hidden) in [
            ("/var/log", true),
            ("/var/lib/docker/overlay2/x/merged", true),
            ("/var/lib", false),
            ("/var/cache/apt/archives", false),
            ("/etc/hosts", true),
            ("/etc/hosts.d", false),
            ("/usr/lib/wsl/drivers", false),
        ] {
            assert_eq!(is_hidden(Path::new(point)), hidden, "{point}");
        }
    }

    #[test]
    fn mounts_below_a_directory_are_found() {
        let mounts = Mounts::read().unwrap();
        let root = mounts.below(Path::new("/")).unwrap();
        // There is a /proc wherever tests run, and it is no place for files.
        let proc = Path::new("/proc");
        assert!(root.locked.is_some());
        assert!(!root.shown.iter().any(|point| point == proc));
        assert!(root.covering.iter().any(|point| point == proc));
        let nested = |point: &PathBuf| point != proc && point.starts_with(proc);
        assert!(!root.covering.iter().any(nested));
        let task = mounts.below(Path::new("/proc/self/task"));
        assert_eq!(task.unwrap_or_default(), Below::default());
    }
}
