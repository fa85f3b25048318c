//! Mounts by descriptor: made detached, then attached to a directory that was resolved under a
//! root handle. No path is looked up twice. See fsopen(2), open_tree(2), mount_setattr(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::error::{SyscallError, SyscallResult, check, failed};
use crate::procfs;

/// A mount that is not (yet) part of any mount namespace; unmounted when dropped.
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

/// What a mount point forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restrictions(MountAttrFlags);

impl Restrictions {
    pub const NONE: Self = Self(MountAttrFlags::empty());
    pub const NO_SUID: Self = Self(MountAttrFlags::MOUNT_ATTR_NOSUID);
    pub const NO_SUID_EXEC: Self =
        Self(MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC));
    pub const NO_SUID_DEV: Self =
        Self(MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV));
    pub const NO_SUID_DEV_EXEC: Self =
        Self(Self::NO_SUID_DEV.0.union(MountAttrFlags::MOUNT_ATTR_NOEXEC));

    pub const fn read_only(self) -> Self {
        Self(self.0.union(MountAttrFlags::MOUNT_ATTR_RDONLY))
    }
}

/// Whether mounts below the directory come along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    ThisMount,
    WithSubmounts,
}

impl DetachedMount {
    /// A new instance of a filesystem, such as `tmpfs` with `[("size", "1G")]`. An empty value sets
    /// a flag.
    pub fn new(
        kind: &str,
        options: &[(&str, &str)],
        restrictions: Restrictions,
    ) -> SyscallResult<Self> {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(failed!("fsopen({kind:?})"))?;
        for (key, value) in options {
            if value.is_empty() {
                rustix::mount::fsconfig_set_flag(context.as_fd(), *key)
            } else {
                rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)
            }
            .map_err(failed!("fsconfig({kind:?}, {key:?}, {value:?})"))?;
        }
        rustix::mount::fsconfig_create(context.as_fd()).map_err(|errno| {
            SyscallError::new(
                format!("fsconfig({kind:?}, {options:?}, FSCONFIG_CMD_CREATE)"),
                std::io::Error::from(errno),
            )
        })?;
        let mount = rustix::mount::fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            restrictions.0,
        )
        .map_err(failed!("fsmount({kind:?})"))?;
        Ok(Self(mount))
    }

    /// overlayfs for use inside a user namespace (`userxattr`). `lowers` from the top down; `upper`
    /// and `work` must lie on one mount. The descriptors may be `O_PATH`.
    pub fn overlay(
        lowers: &[BorrowedFd<'_>],
        upper: BorrowedFd<'_>,
        work: BorrowedFd<'_>,
    ) -> SyscallResult<Self> {
        // Descriptors instead of paths: no escaping of `:` and `,`, and nothing to race with.
        let lowers = lowers
            .iter()
            .map(procfs::path_of)
            .collect::<SyscallResult<Vec<_>>>()?;
        Self::new(
            "overlay",
            &[
                ("source", "wardian"),
                ("userxattr", ""),
                ("lowerdir", &lowers.join(":")),
                ("upperdir", &procfs::path_of(upper)?),
                ("workdir", &procfs::path_of(work)?),
            ],
            Restrictions::NO_SUID_DEV,
        )
    }

    /// FUSE, to be answered on the other side of `device`: an open `/dev/fuse`, opened in this very user
    /// namespace. `owner` is a uid and a gid that exist in it. Everybody inside it gets in, and the kernel
    /// judges modes and owners by itself.
    /// Requests wait until somebody answers; all of them fail once `device` is closed everywhere.
    /// See fuse(4) and mount.fuse(8).
    pub fn fuse(device: BorrowedFd<'_>, owner: (u32, u32)) -> SyscallResult<Self> {
        Self::new(
            "fuse",
            &[
                ("source", "wardian"),
                ("fd", &device.as_raw_fd().to_string()),
                ("rootmode", "40000"),
                ("user_id", &owner.0.to_string()),
                ("group_id", &owner.1.to_string()),
                ("default_permissions", ""),
                ("allow_other", ""),
                // Else each read makes the kernel ask for the attributes again, as for a time of access.
                ("ro", ""),
            ],
            Restrictions::NO_SUID_DEV.read_only(),
        )
    }

    /// A copy of the mount that `path` lies on, with `path` as its root (a bind mount).
    pub fn bind(path: &Path, depth: Depth) -> SyscallResult<Self> {
        Self::bind_at(CWD, path, depth)
    }

    /// As [`bind`](Self::bind), of an open file or directory.
    pub fn bind_fd(fd: BorrowedFd<'_>, depth: Depth) -> SyscallResult<Self> {
        Self::bind_at(fd, Path::new(""), depth)
    }

    fn bind_at(directory: BorrowedFd<'_>, path: &Path, depth: Depth) -> SyscallResult<Self> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        if depth == Depth::WithSubmounts {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let tree = rustix::mount::open_tree(directory, path, flags)
            .map_err(failed!("open_tree({path:?}, OPEN_TREE_CLONE)"))?;
        Ok(Self(tree))
    }

    /// Adds restrictions; those already there stay.
    pub fn restrict(&self, restrictions: Restrictions, depth: Depth) -> SyscallResult<()> {
        self.set_attributes(u64::from(restrictions.0.bits()), None, depth)
    }

    /// Shows the files' ids through the map of `user_namespace`: what is id N on the filesystem is
    /// id N inside that namespace. The filesystem must support it and the caller must hold
    /// CAP_SYS_ADMIN over the filesystem's own user namespace.
    pub fn map_ids(&self, user_namespace: BorrowedFd<'_>, depth: Depth) -> SyscallResult<()> {
        self.set_attributes(libc::MOUNT_ATTR_IDMAP, Some(user_namespace), depth)
    }

    fn set_attributes(
        &self,
        set: u64,
        user_namespace: Option<BorrowedFd<'_>>,
        depth: Depth,
    ) -> SyscallResult<()> {
        let attributes = libc::mount_attr {
            attr_set: set,
            attr_clr: 0,
            propagation: 0,
            userns_fd: user_namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
        };
        let mut flags = libc::AT_EMPTY_PATH;
        if depth == Depth::WithSubmounts {
            flags |= libc::AT_RECURSIVE;
        }
        check!(
            // SAFETY: the path is an empty C string, `attributes` lives across the call and the size is
            // that of the struct.
            unsafe {
                libc::syscall(
                    libc::SYS_mount_setattr,
                    self.0.as_raw_fd(),
                    c"".as_ptr(),
                    flags,
                    &raw const attributes,
                    size_of::<libc::mount_attr>(),
                )
            },
            "mount_setattr({})",
            if user_namespace.is_some() {
                "MOUNT_ATTR_IDMAP"
            } else {
                "restrictions"
            }
        )?;
        Ok(())
    }

    /// Attaches the mount on top of `target`, which may be opened with `O_PATH`. Returns the mount's
    /// root, on which further mounts can now be attached.
    pub fn attach(self, target: BorrowedFd<'_>) -> SyscallResult<OwnedFd> {
        rustix::mount::move_mount(
            &self.0,
            "",
            target,
            "",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        )
        .map_err(failed!("move_mount(<detached>, <target>)"))?;
        Ok(self.0)
    }

    /// Attaches on top of a path of this process's own choosing.
    pub fn attach_at(self, target: &Path) -> SyscallResult<OwnedFd> {
        let fd = rustix::fs::open(target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed!("open({target:?}, O_PATH)"))?;
        self.attach(fd.as_fd())
    }

    /// The root of the mount, to pass on or to look up paths below it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for DetachedMount {
    /// `fd` came from another process that made it with [`DetachedMount`].
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// No mount event goes in or out of this mount namespace from now on.
pub fn make_private() -> SyscallResult<()> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(failed!("mount(\"/\", MS_REC|MS_PRIVATE)"))
}

/// Makes `root`, which must be the root of a mount, this namespace's root, and lets go of the old one.
pub fn pivot_into(root: BorrowedFd<'_>) -> SyscallResult<()> {
    rustix::process::fchdir(root).map_err(failed!("fchdir(<new root>)"))?;
    rustix::process::pivot_root(".", ".").map_err(failed!("pivot_root(\".\", \".\")"))?;
    // The old root now lies on top of the new one: this takes it off.
    rustix::mount::unmount(".", UnmountFlags::DETACH)
        .map_err(failed!("umount2(\".\", MNT_DETACH)"))?;
    rustix::process::chdir("/").map_err(failed!("chdir(\"/\")"))
}
