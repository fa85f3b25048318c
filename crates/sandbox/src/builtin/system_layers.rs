//! The system directories of a superuser who is an ordinary user outside: through FUSE, where the host
//! offers it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use wardian_linux::SyscallError;
use wardian_linux::mount::DetachedMount;
use wardian_linux::userns::IdMaps;

use super::protocol::NoDevice;

/// How programs and the kernel's FUSE meet.
pub const DEVICE: &str = "/dev/fuse";

/// How the sandbox gets its system directories.
#[derive(Debug)]
pub enum SystemLayers {
    /// The kernel layers them.
    Direct,
    /// Somebody outside has to answer for them.
    Served(ServedLayers),
    /// As `Direct`, though a superuser inside cannot change them like that.
    Unavailable(NoDevice),
}

/// What is to be served, read-only.
#[derive(Debug)]
pub struct ServedLayers {
    /// Mounted in the sandbox; the mount ends with pid 1.
    pub device: OwnedFd,
    /// The directories of the host. The mount's root has each by its [`name`](Self::name).
    pub directories: Vec<PathBuf>,
    /// The ids that exist inside.
    pub owners: IdMaps,
}

impl ServedLayers {
    /// The name of one of the directories in the mount's root.
    pub fn name(directory: &Path) -> &OsStr {
        // Each lies right below `/`.
        directory.file_name().unwrap_or_default()
    }
}

/// Inside, in the outer user namespace: a new FUSE mount and its device. A device that was opened in
/// another user namespace could not be mounted in this one.
pub(super) fn mount() -> Result<(DetachedMount, OwnedFd), NoDevice> {
    let mounted = || -> Result<_, SyscallError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let device = rustix::fs::open(DEVICE, flags, Mode::empty())
            .map_err(|errno| SyscallError::new(format!("open({DEVICE:?}, O_RDWR)"), errno))?;
        Ok((DetachedMount::fuse(device.as_fd())?, device))
    };
    mounted().map_err(|error| NoDevice {
        errno: error.errno(),
        error: error.to_string(),
    })
}
