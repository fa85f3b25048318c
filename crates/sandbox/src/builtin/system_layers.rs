//! Lower layers that the kernel cannot take from the host as a sandbox needs them: somebody outside answers
//! for them, through FUSE.
//!
//! | who starts it | account | which | what the kernel would do |
//! |---|---|---|---|
//! | a user | superuser | all system directories | leave their owners without an id inside |
//! | a user | any | those with a mount below | refuse the layer |
//! | root | any | those with a mount below | show nothing of that mount |
//! | root | any | those on overlayfs, NFS and others that know no id-mapped mounts | refuse the layer |

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use wardian_linux::mount::DetachedMount;
use wardian_linux::userns::IdMaps;
use wardian_linux::{SyscallError, SyscallResult};

use super::protocol::NoDevice;
use crate::ids::{Privilege, SystemOwners};
use crate::image::{Below, Mounts};
use crate::plan::{FilesystemPlan, TreeId, TreeRole};

/// How programs and the kernel's FUSE meet.
pub const DEVICE: &str = "/dev/fuse";

/// How the sandbox gets its lower layers.
#[derive(Debug)]
pub enum SystemLayers {
    /// The kernel layers the host's directories.
    Direct,
    /// Somebody outside has to answer for some of them.
    Served(ServedLayers),
    /// As `Direct`, though something is missing inside.
    Unavailable(Unavailable),
}

/// What is to be served, read-only, on devices that are mounted in the sandbox. The mounts end with pid 1.
#[derive(Debug)]
pub struct ServedLayers {
    /// Directories of the host, if there are any to be served.
    pub host: Option<(OwnedFd, Vec<ServedDirectory>)>,
    /// The files that session clones started from.
    pub snapshots: Vec<(OwnedFd, ServedSnapshot)>,
    /// The ids that exist inside.
    pub owners: IdMaps,
    /// Uid and gid inside of whoever owns the workspaces.
    pub user: (u32, u32),
}

/// The files that a session clone started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedSnapshot {
    pub(super) tree: TreeId,
    /// The workspace's state. If they cannot be served, they are to be written to
    /// [`SNAPSHOT`](crate::plan::SNAPSHOT) in it.
    pub state: PathBuf,
}

/// A directory of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedDirectory {
    pub(super) tree: TreeId,
    pub path: PathBuf,
    /// Mount points below, whose files are to be seen as well.
    pub mounts: Vec<PathBuf>,
    /// Why the kernel cannot layer it at all.
    pub(super) obstacle: Option<Obstacle>,
    /// What to hide if the kernel is to layer it after all.
    pub(super) covering: Vec<PathBuf>,
}

impl ServedDirectory {
    /// Its name in the mount's root.
    pub fn name(&self) -> String {
        name(self.tree)
    }
}

pub(super) fn name(tree: TreeId) -> String {
    tree.index().to_string()
}

/// What keeps the kernel from layering a directory. `Display` is a clause for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A mount below it, which is locked to whoever is not root.
    Mount(PathBuf),
    /// A file system that shows its files with one set of owners only; what the kernel said to that.
    Owners(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Mount(point) => write!(
                f,
                "{} is a mount below it, which the kernel lets no ordinary user pass over",
                point.display()
            ),
            Obstacle::Owners(why) => {
                write!(
                    f,
                    "its files cannot be shown with the sandbox's own ids ({why})"
                )
            }
        }
    }
}

/// What a sandbox goes without for want of a device.
#[derive(Debug)]
pub struct Unavailable {
    pub why: NoDevice,
    /// Session clones whose files have to be written out instead.
    pub snapshots: Vec<ServedSnapshot>,
    /// If they are to be shifted, a superuser inside cannot change the system directories.
    pub owners: SystemOwners,
    /// Mounts of the host whose files are not there.
    pub unseen: Vec<PathBuf>,
}

/// How the host's directories become lower layers.
#[derive(Debug)]
pub(super) struct Lowers {
    pub(super) served: Vec<ServedDirectory>,
    pub(super) snapshots: Vec<ServedSnapshot>,
    /// Mount points in all others: to be hidden, lest the layer shows what is covered there.
    pub(super) covering: Vec<PathBuf>,
}

/// As the host's mounts are now. `unmapped` are trees that the kernel does not show with other owners, and
/// what it said.
pub(super) fn choose(
    plan: &FilesystemPlan,
    owners: SystemOwners,
    privilege: Privilege,
    unmapped: &[(TreeId, String)],
) -> SyscallResult<Lowers> {
    let mounts = Mounts::read()?;
    let snapshots = plan.with_role(TreeRole::Snapshot);
    let mut lowers = Lowers {
        served: Vec::new(),
        snapshots: snapshots
            .map(|(tree, source)| ServedSnapshot {
                tree,
                state: source.path.clone(),
            })
            .collect(),
        covering: Vec::new(),
    };
    for (role, is_shifted) in [
        (TreeRole::System, owners == SystemOwners::Shifted),
        (TreeRole::Workspace, false),
    ] {
        for (tree, source) in plan.with_role(role) {
            let Below {
                locked,
                shown,
                covering,
            } = mounts.below(&source.path)?;
            let obstacle = match privilege {
                Privilege::Root => unmapped
                    .iter()
                    .find(|(of, _)| *of == tree)
                    .map(|(_, why)| Obstacle::Owners(why.clone())),
                Privilege::Rootless => locked.map(Obstacle::Mount),
            };
            let needed = obstacle.is_some() || (privilege == Privilege::Root && !shown.is_empty());
            // Hiding something in the workspace would be a change to be kept.
            let covering = match role {
                TreeRole::System => covering,
                TreeRole::Workspace | TreeRole::Snapshot | TreeRole::Layers | TreeRole::Whole => {
                    Vec::new()
                }
            };
            if needed || is_shifted {
                lowers.served.push(ServedDirectory {
                    tree,
                    path: source.path.clone(),
                    mounts: shown,
                    obstacle,
                    covering,
                });
            } else {
                lowers.covering.extend(covering);
            }
        }
    }
    Ok(lowers)
}

/// Inside, in the outer user namespace, for a device that was opened in another one could not be mounted
/// there. The host lets in whoever starts the sandbox, so it comes before any change of ids.
pub(super) fn open_device() -> Result<OwnedFd, NoDevice> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(DEVICE, flags, Mode::empty())
        .map_err(|errno| SyscallError::new(format!("open({DEVICE:?}, O_RDWR)"), errno))
        .map_err(NoDevice::from)
}

/// Inside, with the ids that own what is mounted: a new FUSE mount.
pub(super) fn mount(device: &OwnedFd, owner: (u32, u32)) -> Result<DetachedMount, NoDevice> {
    DetachedMount::fuse(device.as_fd(), owner).map_err(NoDevice::from)
}
