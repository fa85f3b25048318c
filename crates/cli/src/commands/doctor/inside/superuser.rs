//! What `--root` gives, and what it does not.

use std::fs::File;

use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

use super::look::Status;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Superuser {
    pub(in super::super) uid: u32,
    pub(in super::super) status: Status,
    /// Giving a file to another user, as package managers do.
    pub(in super::super) chown: Result<(), String>,
    pub(in super::super) mounted: bool,
    pub(in super::super) made_device: bool,
}

pub(super) fn run() -> Superuser {
    let chown = || -> std::io::Result<()> {
        let path = std::env::temp_dir().join("doctor-chown");
        File::create(&path)?;
        std::os::unix::fs::chown(&path, Some(1), Some(1))
    };
    let mounted = rustix::mount::mount("none", "/tmp", "tmpfs", MountFlags::empty(), None);
    let device = rustix::fs::mknodat(
        rustix::fs::CWD,
        "/run/doctor-disk",
        rustix::fs::FileType::BlockDevice,
        rustix::fs::Mode::RUSR,
        rustix::fs::makedev(8, 0),
    );
    Superuser {
        uid: rustix::process::getuid().as_raw(),
        status: Status::read(),
        chown: chown().map_err(|error| error.to_string()),
        mounted: mounted.is_ok(),
        made_device: device.is_ok(),
    }
}
