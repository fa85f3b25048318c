//! Removing and measuring what an ordinary user may not: files that a sandbox gave to its own ids, or shut
//! away.
//!
//! A superuser inside has the user's subordinate ids to give files to, and a package manager does. The
//! user cannot remove or look into what lies in a directory of such an id; uid 0 of a user namespace that
//! maps it can. And any program can take from a directory the permission to be read, while it goes on
//! writing there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use wardian_linux::SyscallError;
use wardian_linux::process::{self, Child, Forked};
use wardian_linux::userns::{self, MapWriter, SupplementaryGroups};

use crate::channel::{Channel, ProtocolError};
use crate::ids::{Identity, Privilege};
use crate::measure::disk_usage;
use crate::name::SandboxName;
use crate::remove::remove_tree;
use crate::spec::Account;
use crate::user;

/// A process that waits until there is something to do, and ends with its handle.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
    /// One order at a time.
    channel: Mutex<Channel>,
    /// To join first; without it, the process was started in the namespace.
    namespace: Option<OwnedFd>,
    ids: Ids,
}

/// What it becomes in the namespace: the ids that own what the sandbox's first process makes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Ids {
    uid: u32,
    gid: u32,
    keeps_groups: bool,
}

impl From<&Identity> for Ids {
    fn from(identity: &Identity) -> Self {
        let (uid, gid) = identity.init;
        Self {
            uid,
            gid,
            keeps_groups: identity.writer == MapWriter::OwnIdsOnly,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    ids: Ids,
    path: PathBuf,
    task: Task,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Task {
    Remove,
    Measure,
}

/// The bytes that were measured, if any, or what went wrong.
#[derive(Debug, Serialize, Deserialize)]
struct Done(Result<u64, String>);

impl Drop for Janitor {
    fn drop(&mut self) {
        self.child.kill();
        let _ = self.child.wait();
    }
}

impl Janitor {
    /// For a sandbox that runs, by its first process. To be called while this process has one thread
    /// and no secret; when the time comes, it may no longer be allowed what this takes.
    pub(crate) fn for_sandbox(init: Pid, identity: &Identity) -> Result<Self, SyscallError> {
        Self::hire(0, Some(userns::of_process(init)?), identity.into())
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
            let janitor = Self::hire(process::USER_NAMESPACE, None, (&identity).into())?;
            userns::write_maps(janitor.child.pid(), &identity.maps, identity.writer)?;
            Ok(janitor)
        };
        Some(hired())
    }

    fn hire(namespaces: u64, namespace: Option<OwnedFd>, ids: Ids) -> Result<Self, SyscallError> {
        let failed = |source| SyscallError::new("socketpair(AF_UNIX)", source);
        let (ours, theirs) = Channel::pair().map_err(failed)?;
        let child = match process::clone_into(namespaces)? {
            Forked::Child => work(theirs),
            Forked::Parent(child) => child,
        };
        Ok(Self {
            child,
            channel: Mutex::new(ours),
            namespace,
            ids,
        })
    }

    fn remove(&self, path: &Path) -> Result<(), SyscallError> {
        self.order(Task::Remove, path).map(drop)
    }

    /// As [`disk_usage`], of all that the sandbox can write.
    pub fn measure(&self, path: &Path) -> Result<u64, SyscallError> {
        self.order(Task::Measure, path)
    }

    fn order(&self, task: Task, path: &Path) -> Result<u64, SyscallError> {
        let failed =
            |text| SyscallError::new(format!("{task:?}({path:?})"), std::io::Error::other(text));
        let answer = || -> Result<Done, ProtocolError> {
            // An order that panicked was not answered, and neither will the next one be.
            let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
            let namespace: Vec<_> = self.namespace.iter().map(AsFd::as_fd).collect();
            let order = Order {
                ids: self.ids,
                path: path.to_owned(),
                task,
            };
            channel.send(&order, &namespace)?;
            Ok(channel.receive()?.0)
        };
        let Done(outcome) = answer().map_err(|error| failed(error.to_string()))?;
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
            let (Order { ids, path, task }, descriptors) = channel.receive()?;
            let entered = match is_inside {
                true => Ok(()),
                false => enter(descriptors.into_iter().next(), ids),
            };
            is_inside |= entered.is_ok();
            let done = entered.and_then(|()| match task {
                Task::Remove => remove_tree(&path).map(|()| 0),
                Task::Measure => disk_usage(&path),
            });
            channel.send(&Done(done.map_err(|error| error.to_string())), &[])?;
        }
    };
    // The usual end: the parent hangs up.
    let _ = worked();
    process::exit_now(0)
}

fn enter(namespace: Option<OwnedFd>, ids: Ids) -> Result<(), SyscallError> {
    if let Some(namespace) = namespace {
        userns::join(namespace.as_fd())?;
    }
    let groups = match ids.keeps_groups {
        true => SupplementaryGroups::Keep,
        false => SupplementaryGroups::Drop,
    };
    userns::set_ids(ids.uid, ids.gid, groups)?;
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
