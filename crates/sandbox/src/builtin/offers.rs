//! What this host lets the first process of a sandbox mount, found out by one that tries and ends.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};
use wardian_linux::SyscallError;
use wardian_linux::mount::{self, DetachedMount, Restrictions};
use wardian_linux::process::{self, Forked};
use wardian_linux::userns;

use super::filesystem::{make_directory, open_directory};
use super::protocol::NoDevice;
use super::{program, system_layers};
use crate::channel::{Channel, ProtocolError};
use crate::ids::{Identity, Privilege};
use crate::name::SandboxName;
use crate::spec::{Account, User};

/// Each as it went, or the call that failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Offers {
    pub overlay: Result<(), String>,
    pub fuse: Result<(), NoDevice>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Mapped;

impl Offers {
    /// To be called while this process has one thread. Fails if there are no namespaces to try in.
    pub fn find_out(user: &User) -> Result<Self, ProtocolError> {
        let failed = |error: SyscallError| ProtocolError::Io(error.into());
        let name = SandboxName::generate("try");
        let privilege = Privilege::of_this_process();
        let identity = Identity::choose(privilege, Account::User, user, &name);
        let (ours, theirs) = Channel::pair()?;
        let child = match process::clone_into(process::ALL_NAMESPACES).map_err(failed)? {
            Forked::Child => attempt(&theirs, &identity),
            Forked::Parent(child) => child,
        };
        drop(theirs);
        let answer = userns::write_maps(child.pid(), &identity.maps, identity.writer)
            .map_err(failed)
            .and_then(|()| ours.send(&Mapped, &[]))
            .and_then(|()| ours.receive());
        child.kill();
        child.wait().map_err(failed)?;
        Ok(answer?.0)
    }
}

/// In the child: never returns, for the memory is a copy of its parent's.
fn attempt(channel: &Channel, identity: &Identity) -> ! {
    let _no_way_back = process::ExitOnUnwind;
    let tried = || -> Result<(), ProtocolError> {
        let (Mapped, _) = channel.receive()?;
        let device = system_layers::open_device();
        let (uid, gid) = identity.init;
        program::become_ids(uid, gid, identity.writer)
            .and_then(|()| mount::make_private())
            .map_err(std::io::Error::from)?;
        let mount = |device: OwnedFd| system_layers::mount(&device, identity.init).map(drop);
        let offers = Offers {
            overlay: overlay().map_err(|error| error.to_string()),
            fuse: device.and_then(mount),
        };
        channel.send(&offers, &[])
    };
    // The parent sees that no answer came.
    process::exit_now(i32::from(tried().is_err()))
}

/// One of three empty directories, in memory.
fn overlay() -> Result<(), SyscallError> {
    let memory = DetachedMount::new("tmpfs", &[("mode", "0700")], Restrictions::NO_SUID_DEV)?;
    let memory = memory.attach_at(Path::new("/usr"))?;
    let directory = |name: &str| {
        make_directory(memory.as_fd(), OsStr::new(name), 0o700)?;
        open_directory(memory.as_fd(), Path::new(name))
    };
    let (lower, upper, work) = (directory("lower")?, directory("upper")?, directory("work")?);
    DetachedMount::overlay(&[lower.as_fd()], upper.as_fd(), work.as_fd()).map(drop)
}
