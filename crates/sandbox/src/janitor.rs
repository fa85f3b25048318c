//! Removing what an ordinary user may not: files that a sandbox gave to its own ids.
//!
//! A superuser inside has the user's subordinate ids to give files to, and a package manager does. The
//! user cannot remove what lies in a directory of such an id; uid 0 of a user namespace that maps it can.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use wardian_linux::SyscallError;
use wardian_linux::process::{self, Child, Forked};
use wardian_linux::userns::{self, SupplementaryGroups};

use crate::channel::{Channel, ProtocolError};
use crate::ids::{Identity, Privilege};
use crate::name::SandboxName;
use crate::remove::remove_tree;
use crate::spec::Account;
use crate::user;

/// A process that waits until there is something to remove, and ends with its handle.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
    channel: Channel,
    /// To join first; without it, the process was started in the namespace.
    namespace: Option<OwnedFd>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Remove(PathBuf);

#[derive(Debug, Serialize, Deserialize)]
struct Removed(Result<(), String>);

impl Drop for Janitor {
    fn drop(&mut self) {
        self.child.kill();
        let _ = self.child.wait();
    }
}

impl Janitor {
    /// For a sandbox that runs, by its first process. To be called while this process has one thread
    /// and no secret; when the time comes, it may no longer be allowed what this takes.
    pub(crate) fn for_sandbox(init: Pid) -> Result<Self, SyscallError> {
        Self::hire(0, Some(userns::of_process(init)?))
    }

    /// For a sandbox that is gone: with the ids that the user has now. `None` if those are no more than
    /// the user's own.
    fn for_remains() -> Option<Result<Self, SyscallError>> {
        let user = user::current()?;
        let name = SandboxName::parse("janitor").ok()?;
        let privilege = Privilege::of_this_process();
        let identity = Identity::choose(privilege, Account::Superuser, &user, &name);
        if privilege == Privilege::Root || !identity.has_subordinate_ids {
            return None;
        }
        let hired = || {
            let janitor = Self::hire(process::USER_NAMESPACE, None)?;
            userns::write_maps(janitor.child.pid(), &identity.maps, identity.writer)?;
            Ok(janitor)
        };
        Some(hired())
    }

    fn hire(namespaces: u64, namespace: Option<OwnedFd>) -> Result<Self, SyscallError> {
        let failed = |source| SyscallError::new("socketpair(AF_UNIX)", source);
        let (ours, theirs) = Channel::pair().map_err(failed)?;
        let child = match process::clone_into(namespaces)? {
            Forked::Child => work(theirs),
            Forked::Parent(child) => child,
        };
        Ok(Self {
            child,
            channel: ours,
            namespace,
        })
    }

    fn remove(&self, path: &Path) -> Result<(), SyscallError> {
        let failed =
            |text| SyscallError::new(format!("remove({path:?})"), std::io::Error::other(text));
        let answer = || -> Result<Removed, ProtocolError> {
            let namespace: Vec<_> = self.namespace.iter().map(AsFd::as_fd).collect();
            self.channel.send(&Remove(path.to_owned()), &namespace)?;
            Ok(self.channel.receive()?.0)
        };
        let Removed(outcome) = answer().map_err(|error| failed(error.to_string()))?;
        outcome.map_err(failed)
    }
}

/// Removes `path` and all below it, with the help of `janitor` or a new one where this process's own
/// rights end.
pub fn remove_whole(path: &Path, janitor: Option<&Janitor>) -> Result<(), SyscallError> {
    let Err(error) = remove_tree(path) else {
        return Ok(());
    };
    let denied = [Errno::PERM, Errno::ACCESS].map(|errno| Some(errno.raw_os_error()));
    if !denied.contains(&error.errno()) {
        return Err(error);
    }
    match janitor {
        Some(janitor) => janitor.remove(path),
        None => match Janitor::for_remains() {
            Some(Ok(janitor)) => janitor.remove(path),
            // What was tried first says more about what is in the way.
            Some(Err(_)) | None => Err(error),
        },
    }
}

/// In the child: never returns, for the memory is a copy of its parent's.
fn work(channel: Channel) -> ! {
    let _no_way_back = process::ExitOnUnwind;
    let worked = || -> Result<(), ProtocolError> {
        // Nothing else of the parent's: its lock is what makes the sandbox alive.
        let channel = process::keep_only(channel.as_fd(), 0)
            .map(Channel::from)
            .map_err(std::io::Error::from)?;
        process::die_with_parent().map_err(std::io::Error::from)?;
        let mut is_inside = false;
        loop {
            let (Remove(path), descriptors) = channel.receive()?;
            let removed = match is_inside {
                true => Ok(()),
                false => enter(descriptors.into_iter().next()),
            };
            is_inside |= removed.is_ok();
            let removed = removed.and_then(|()| remove_tree(&path));
            let answer = Removed(removed.map_err(|error| error.to_string()));
            channel.send(&answer, &[])?;
        }
    };
    // The usual end: the parent hangs up.
    let _ = worked();
    process::exit_now(0)
}

fn enter(namespace: Option<OwnedFd>) -> Result<(), SyscallError> {
    if let Some(namespace) = namespace {
        userns::join(namespace.as_fd())?;
    }
    userns::set_ids(0, 0, SupplementaryGroups::Drop)?;
    process::die_with_parent()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_needs_no_help_is_removed_without() {
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        remove_whole(&tree, None).unwrap();
        assert!(!tree.exists());
        remove_whole(&tree, None).unwrap();
    }
}
