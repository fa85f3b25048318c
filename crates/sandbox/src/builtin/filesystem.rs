//! Inside: carrying out a [`FilesystemPlan`] in a fresh mount namespace.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use thiserror::Error;
use wardian_linux::SyscallError;
use wardian_linux::mount::{self, Depth, DetachedMount, Restrictions};

use super::{devices, place, system_layers};
use crate::plan::{Access, Content, FilesystemPlan, Place, SNAPSHOT, Tree, TreeId, TreeRole};

#[derive(Debug, Error)]
pub(super) enum AssembleError {
    #[error(transparent)]
    Syscall(#[from] SyscallError),
    #[error("{target}: {source}")]
    At {
        target: PathBuf,
        source: SyscallError,
    },
    #[error("the plan has {expected} trees, {received} were received")]
    TreeCount { expected: usize, received: usize },
}

/// A tree as this namespace sees it.
enum OpenTree {
    /// A directory by which layers and binds are looked up.
    Directory(OwnedFd),
    /// Ready to be attached, once.
    Detached(DetachedMount),
}

/// Builds the new root and makes it `/`. `mapped` holds the id-mapped trees, or nothing if the host's
/// ids are used as they are. `served` takes the place of the host's own trees.
pub(super) fn assemble(
    plan: &FilesystemPlan,
    mapped: Vec<OwnedFd>,
    served: Option<ServedTrees>,
) -> Result<(), AssembleError> {
    mount::make_private()?;
    // Before anything is mounted over: sources may lie below /tmp.
    let devices = devices::HostDevices::open()?;
    let mut sources = open_sources(plan, mapped)?;
    let staging = stage()?;
    if let Some(served) = served {
        served.replace(&mut sources, staging.as_fd())?;
    }
    let mut trees = Vec::with_capacity(sources.len());
    for (index, (tree, source)) in plan.trees().iter().zip(sources).enumerate() {
        trees.push(Some(settle(tree, source, index, staging.as_fd())?));
    }
    let root = open_directory(staging.as_fd(), Path::new("root"))?;
    let mut builder = Builder {
        root: root.as_fd(),
        trees,
        devices,
    };
    for entry in plan.entries() {
        builder
            .add(&entry.target, &entry.content)
            .map_err(|source| AssembleError::At {
                target: entry.target.clone(),
                source,
            })?;
    }
    mount::pivot_into(root.as_fd())?;
    Ok(())
}

fn open_sources(
    plan: &FilesystemPlan,
    mapped: Vec<OwnedFd>,
) -> Result<Vec<OpenTree>, AssembleError> {
    if mapped.is_empty() {
        return plan.trees().iter().map(open_unmapped).collect();
    }
    if mapped.len() != plan.trees().len() {
        return Err(AssembleError::TreeCount {
            expected: plan.trees().len(),
            received: mapped.len(),
        });
    }
    Ok(mapped
        .into_iter()
        .map(|fd| OpenTree::Detached(fd.into()))
        .collect())
}

fn open_unmapped(tree: &Tree) -> Result<OpenTree, AssembleError> {
    Ok(match tree.role {
        TreeRole::Layers | TreeRole::System | TreeRole::Workspace | TreeRole::Snapshot => {
            OpenTree::Directory(open_directory(CWD, &tree.path)?)
        }
        TreeRole::Whole => OpenTree::Detached(DetachedMount::bind(&tree.path, tree.depth)?),
    })
}

/// Trees that somebody outside answers for.
pub(super) struct ServedTrees {
    /// Directories of the host, and the mount that has them by name.
    pub(super) host: Option<(DetachedMount, Vec<TreeId>)>,
    /// Each a mount of its own.
    pub(super) snapshots: Vec<(TreeId, DetachedMount)>,
}

impl ServedTrees {
    /// Puts them in place of the host's own.
    fn replace(
        self,
        sources: &mut [OpenTree],
        staging: BorrowedFd<'_>,
    ) -> Result<(), SyscallError> {
        if let Some((mount, trees)) = self.host {
            make_directory(staging, OsStr::new("served"), 0o700)?;
            let target = open_directory(staging, Path::new("served"))?;
            let mount = mount.attach(target.as_fd())?;
            for tree in trees {
                let name = system_layers::name(tree);
                let directory = open_directory(mount.as_fd(), Path::new(&name))?;
                if let Some(source) = sources.get_mut(tree.index()) {
                    *source = OpenTree::Directory(directory);
                }
            }
        }
        for (tree, mount) in self.snapshots {
            let name = format!("snapshot{}", tree.index());
            make_directory(staging, OsStr::new(&name), 0o700)?;
            let state = open_directory(staging, Path::new(&name))?;
            make_directory(state.as_fd(), OsStr::new(SNAPSHOT), 0o700)?;
            mount.attach(open_directory(state.as_fd(), Path::new(SNAPSHOT))?.as_fd())?;
            if let Some(source) = sources.get_mut(tree.index()) {
                *source = OpenTree::Directory(state);
            }
        }
        Ok(())
    }
}

/// An empty file system with `root`, itself a mount, and a directory for each tree. It covers `/tmp`
/// in this namespace alone, and goes away with the old root.
fn stage() -> Result<OwnedFd, SyscallError> {
    let place = ["/tmp", "/var", "/usr"]
        .into_iter()
        .find(|path| Path::new(path).is_dir())
        .unwrap_or("/usr");
    let staging = DetachedMount::new("tmpfs", &[("mode", "0700")], Restrictions::NO_SUID_DEV)?;
    let staging = staging.attach_at(Path::new(place))?;
    make_directory(staging.as_fd(), OsStr::new("root"), 0o755)?;
    let root = DetachedMount::new(
        "tmpfs",
        &[("mode", "0755"), ("size", "16M"), ("nr_inodes", "64k")],
        Restrictions::NO_SUID_DEV,
    )?;
    let target = open_directory(staging.as_fd(), Path::new("root"))?;
    root.attach(target.as_fd())?;
    Ok(staging)
}

/// Detached layers must be attached somewhere before overlayfs takes them.
fn settle(
    tree: &Tree,
    source: OpenTree,
    index: usize,
    staging: BorrowedFd<'_>,
) -> Result<OpenTree, SyscallError> {
    match (tree.role, source) {
        (
            TreeRole::Layers | TreeRole::System | TreeRole::Workspace | TreeRole::Snapshot,
            OpenTree::Detached(mount),
        ) => {
            let name = format!("tree{index}");
            make_directory(staging, OsStr::new(&name), 0o700)?;
            let target = open_directory(staging, Path::new(&name))?;
            mount.attach(target.as_fd()).map(OpenTree::Directory)
        }
        (_, source) => Ok(source),
    }
}

struct Builder<'a> {
    root: BorrowedFd<'a>,
    trees: Vec<Option<OpenTree>>,
    devices: devices::HostDevices,
}

impl Builder<'_> {
    fn add(&mut self, target: &Path, content: &Content) -> Result<(), SyscallError> {
        match content {
            Content::Directory { mode } => {
                let directory = self.make_directories(target)?;
                chmod(&directory, *mode)
            }
            Content::Symlink { to } => self.symlink(target, to),
            Content::Removed => self.remove(target),
            Content::Overlay {
                lowers,
                upper,
                work,
            } => {
                let target = self.make_directories(target)?;
                let lowers = lowers
                    .iter()
                    .map(|place| self.open_place(place))
                    .collect::<Result<Vec<_>, _>>()?;
                let lowers: Vec<_> = lowers.iter().map(AsFd::as_fd).collect();
                let upper = self.open_place(upper)?;
                let work = self.open_place(work)?;
                DetachedMount::overlay(&lowers, upper.as_fd(), work.as_fd())?
                    .attach(target.as_fd())
                    .map(drop)
            }
            Content::Bind {
                source,
                access,
                depth,
            } => self.bind(target, source, *access, *depth),
            Content::Memory { percent, mode } => {
                let target = self.make_directories(target)?;
                memory(*percent, *mode)?.attach(target.as_fd()).map(drop)
            }
            Content::Proc => devices::mount_proc(self.make_directories(target)?.as_fd()),
            Content::Sys => self
                .devices
                .mount_sys(self.make_directories(target)?.as_fd()),
            Content::Devices => self
                .devices
                .mount_dev(self.make_directories(target)?.as_fd()),
        }
    }

    fn bind(
        &mut self,
        target: &Path,
        source: &Place,
        access: Access,
        depth: Depth,
    ) -> Result<(), SyscallError> {
        let mount = match self.trees[source.tree.index()].take() {
            Some(OpenTree::Detached(mount)) => mount,
            other => {
                self.trees[source.tree.index()] = other;
                let source = self.open_place(source)?;
                DetachedMount::bind_fd(source.as_fd(), depth)?
            }
        };
        let restrictions = match access {
            Access::ReadOnly => Restrictions::NO_SUID_DEV.read_only(),
            Access::ReadWrite => Restrictions::NO_SUID_DEV,
        };
        mount.restrict(restrictions, depth)?;
        let status = rustix::fs::fstat(mount.as_fd())
            .map_err(|errno| SyscallError::new("fstat(<source>)", errno))?;
        let target = if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            self.make_directories(target)?
        } else {
            self.make_file(target)?
        };
        mount.attach(target.as_fd()).map(drop)
    }

    fn open_place(&self, place: &Place) -> Result<OwnedFd, SyscallError> {
        let missing = || {
            SyscallError::new(
                format!("openat({:?})", place.path),
                io::Error::other("the tree was used up by another entry of the plan"),
            )
        };
        match self.trees[place.tree.index()]
            .as_ref()
            .ok_or_else(missing)?
        {
            OpenTree::Directory(directory) => open_directory(directory.as_fd(), &place.path),
            OpenTree::Detached(mount) => open_directory(mount.as_fd(), &place.path),
        }
    }

    fn symlink(&self, target: &Path, to: &Path) -> Result<(), SyscallError> {
        let (parent, name) = self.parent(target)?;
        match rustix::fs::symlinkat(to, &parent, name) {
            // A private home that is kept has it from last time.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(SyscallError::new(
                format!("symlinkat({to:?}, {target:?})"),
                errno,
            )),
        }
    }

    fn remove(&self, target: &Path) -> Result<(), SyscallError> {
        let (parent, name) = self.parent(target)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(SyscallError::new(format!("unlinkat({target:?})"), errno)),
        }
    }

    fn make_file(&self, target: &Path) -> Result<OwnedFd, SyscallError> {
        let (parent, name) = self.parent(target)?;
        // On a read-only mount, what is there can be covered all the same.
        if let Ok(file) = open_path(parent.as_fd(), Path::new(name)) {
            return Ok(file);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))
            .map_err(|errno| SyscallError::new(format!("openat({target:?}, O_CREAT)"), errno))?;
        open_path(parent.as_fd(), Path::new(name))
    }

    fn parent<'p>(&self, target: &'p Path) -> Result<(OwnedFd, &'p OsStr), SyscallError> {
        let invalid = || SyscallError::from_errno(format!("openat({target:?})"), 22);
        let name = target.file_name().ok_or_else(invalid)?;
        let parent = self.make_directories(target.parent().ok_or_else(invalid)?)?;
        Ok((parent, name))
    }

    /// Opens a directory below the new root, making what is missing. Symlinks are not followed: those of
    /// the image's own layout (`/bin`) never lead to a target of the plan. Others, and files, are of a program
    /// that was here before: they are moved aside.
    fn make_directories(&self, path: &Path) -> Result<OwnedFd, SyscallError> {
        let mut current = open_directory(self.root, Path::new(""))?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            let parent = current.as_fd();
            make_directory(parent, name, 0o755)?;
            let opened = open_directory(parent, Path::new(name)).or_else(|error| {
                let occupied = [Errno::LOOP, Errno::NOTDIR].map(|errno| Some(errno.raw_os_error()));
                if !occupied.contains(&error.errno()) {
                    return Err(error);
                }
                place::move_aside(parent, name)?;
                make_directory(parent, name, 0o755)?;
                open_directory(parent, Path::new(name))
            });
            current = opened?;
        }
        Ok(current)
    }
}

/// An empty file system in memory that takes at most `percent` of it.
pub(super) fn memory(percent: u8, mode: u32) -> Result<DetachedMount, SyscallError> {
    DetachedMount::new(
        "tmpfs",
        &[
            ("mode", &format!("{mode:o}")),
            ("size", &format!("{percent}%")),
        ],
        Restrictions::NO_SUID_DEV,
    )
}

pub(super) fn make_directory(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    mode: u32,
) -> Result<(), SyscallError> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(SyscallError::new(format!("mkdirat({name:?})"), errno)),
    }
}

/// `path` relative to `parent` (empty: `parent` itself), without following a symlink anywhere.
/// Absolute only with `CWD`, for the host's own directories.
pub(super) fn open_directory(parent: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, SyscallError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let shown = |errno| SyscallError::new(format!("openat({path:?}, O_PATH|O_DIRECTORY)"), errno);
    if path == Path::new("") {
        return rustix::fs::openat(parent, ".", flags, Mode::empty()).map_err(shown);
    }
    let mut resolve = ResolveFlags::NO_SYMLINKS;
    if path.is_relative() {
        resolve |= ResolveFlags::BENEATH;
    }
    rustix::fs::openat2(parent, path, flags, Mode::empty(), resolve).map_err(shown)
}

fn open_path(parent: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, SyscallError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, path, flags, Mode::empty())
        .map_err(|errno| SyscallError::new(format!("openat({path:?}, O_PATH)"), errno))
}

fn chmod(directory: &OwnedFd, mode: u32) -> Result<(), SyscallError> {
    rustix::fs::chmodat(
        directory,
        ".",
        Mode::from_raw_mode(mode),
        rustix::fs::AtFlags::empty(),
    )
    .map_err(|errno| SyscallError::new(format!("fchmodat({mode:o})"), errno))
}
