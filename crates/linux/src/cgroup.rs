//! Control groups: what a sandbox as a whole may use, and a handle on all of its processes.
//!
//! ```text
//! planned_paths ──> create ──> Cgroup ──add(pid 1)──> its children are born in it
//!  (to write down)               │ ^
//!                                │ └─ kill_all, stats
//!                                v
//!                              drop, or after a crash remove_stale(each path)
//! ```
//!
//! The two versions of the interface, and hosts that have both, are told apart by what is mounted.
//! A sandbox's cgroups are called `<base>/wardian/<name>`; where `<base>` is, is told in `site.rs`.
//! See cgroups(7), Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel.

mod file;
mod layout;
mod limit;
mod removal;
mod site;

use std::path::{Path, PathBuf};

use rustix::process::Pid;

use self::layout::Controller;
use self::limit::{Limit, Version};
use self::site::{Missing, Site, Sites};
use crate::error::SyscallResult;

/// What all of our cgroups of a hierarchy are below.
const PARENT: &str = "wardian";

/// Thousandths of one processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MilliCpus(pub u32);

/// What to limit; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Bytes of main memory and swap together.
    pub memory: Option<u64>,
    /// Processor time per wall time.
    pub cpus: Option<MilliCpus>,
    /// Processes and threads together.
    pub pids: Option<u64>,
}

/// What became of one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// By what, such as `cgroup v1 memory`.
    Enforced { how: String },
    /// Both are for people: a reason, and what they could do about it.
    NotEnforced { why: String, fix: Option<String> },
}

/// What [`create`] could do. There is an outcome for each limit that was asked for.
#[derive(Debug)]
pub struct Created {
    /// `None` where this user can have no cgroup at all.
    pub cgroup: Option<Cgroup>,
    pub memory: Option<Outcome>,
    pub cpus: Option<Outcome>,
    pub pids: Option<Outcome>,
}

/// What [`create`] could enforce on this host, for this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    pub memory: Outcome,
    pub cpus: Outcome,
    pub pids: Outcome,
}

/// What happened in a cgroup so far. `None` is not counted here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Forks refused.
    pub pids_refused: Option<u64>,
    /// The most memory in use at one time, in bytes.
    pub memory_peak: Option<u64>,
}

/// A cgroup in each hierarchy that is needed, for one sandbox. When it is dropped, what is still
/// running in it is killed, and it is removed.
#[derive(Debug)]
pub struct Cgroup {
    paths: Vec<PathBuf>,
    /// A forked child has a copy of this, and must not take the cgroup down.
    owner: u32,
}

/// Makes a cgroup for a sandbox, with those of the limits that this host enforces for this user.
/// Without any limit, one is made where it costs little, for [`kill_all`](Cgroup::kill_all).
///
/// The name must be this sandbox's alone on the whole host. It is an error if something runs in a
/// cgroup of that name; it is none if a limit cannot be enforced.
pub fn create(name: &str, limits: &CgroupLimits) -> SyscallResult<Created> {
    let CgroupLimits { memory, cpus, pids } = *limits;
    let sites = Sites::find()?;
    let mut cgroup = Cgroup {
        paths: Vec::new(),
        owner: std::process::id(),
    };
    let mut keep = |limit: Option<Limit>| {
        limit
            .map(|limit| cgroup.limit(name, &sites, limit))
            .transpose()
    };
    let memory = keep(memory.map(Limit::Memory))?;
    let cpus = keep(cpus.map(Limit::Cpus))?;
    let pids = keep(pids.map(Limit::Pids))?;
    cgroup.hold_processes(name, &sites)?;
    Ok(Created {
        cgroup: (!cgroup.paths.is_empty()).then_some(cgroup),
        memory,
        cpus,
        pids,
    })
}

/// Where [`create`] would put its cgroups, so that this can be written down before any exists. Not
/// all of them need come to be.
pub fn planned_paths(name: &str) -> Vec<PathBuf> {
    let Ok(sites) = Sites::find() else {
        return Vec::new();
    };
    let mut paths: Vec<_> = Controller::ALL
        .into_iter()
        .filter_map(|controller| sites.v1_base(controller))
        .chain(sites.unified().map(|unified| unified.base().to_owned()))
        .map(|base| base.join(PARENT).join(name))
        .collect();
    // Controllers can share a hierarchy.
    paths.dedup();
    paths
}

/// Kills what is left in a cgroup of [`create`] whose owner is gone, and removes it. It is no error
/// if it does not exist; a path that is none of ours is refused.
pub fn remove_stale(path: &Path) -> SyscallResult<()> {
    removal::remove_stale(path)
}

/// What [`create`] would do with each limit, as far as can be told without trying.
pub fn availability() -> Availability {
    let sites = Sites::find();
    let of = |controller| match &sites {
        Ok(sites) => Outcome::from(available(sites, controller)),
        Err(error) => Outcome::NotEnforced {
            why: error.to_string(),
            fix: None,
        },
    };
    Availability {
        memory: of(Controller::Memory),
        cpus: of(Controller::Cpu),
        pids: of(Controller::Pids),
    }
}

fn available(sites: &Sites, controller: Controller) -> Result<String, Missing> {
    let version = match sites.of(controller)? {
        Site::V1(_) => Version::V1,
        Site::V2(unified) => {
            unified.check(controller.name())?;
            Version::V2
        }
    };
    Ok(limit::how(controller, version))
}

impl From<Result<String, Missing>> for Outcome {
    fn from(result: Result<String, Missing>) -> Self {
        match result {
            Ok(how) => Self::Enforced { how },
            Err(Missing { why, fix }) => Self::NotEnforced { why, fix },
        }
    }
}

impl Cgroup {
    /// One directory for each hierarchy.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Brings a process in, which must not have forked yet: children that it has stay outside.
    pub fn add(&self, pid: Pid) -> SyscallResult<()> {
        let pid = pid.as_raw_nonzero().to_string();
        self.paths
            .iter()
            .try_for_each(|path| file::write(path, "cgroup.procs", &pid))
    }

    /// Kills every process in it, those that are being forked included, and waits until they are
    /// gone; for seconds at most, after which it is an error.
    pub fn kill_all(&self) -> SyscallResult<()> {
        self.paths.iter().try_for_each(|path| removal::kill(path))
    }

    /// To be asked before it is dropped.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for path in &self.paths {
            limit::collect(path, &mut stats);
        }
        stats
    }

    /// The outer error is for a name in use.
    fn limit(&mut self, name: &str, sites: &Sites, limit: Limit) -> SyscallResult<Outcome> {
        let controller = limit.controller().name();
        let (base, version) = match sites.of(limit.controller()) {
            Ok(Site::V1(base)) => (base, Version::V1),
            Ok(Site::V2(unified)) => match unified.enable(controller) {
                Ok(()) => (unified.base().to_owned(), Version::V2),
                Err(missing) => return Ok(Outcome::from(Err(missing))),
            },
            Err(missing) => return Ok(Outcome::from(Err(missing))),
        };
        let leaf = match self.leaf(&base, name)? {
            Ok(leaf) => leaf,
            Err(missing) => return Ok(Outcome::from(Err(missing))),
        };
        let applied = match version {
            Version::V1 => Ok(()),
            Version::V2 => site::enable_at(&base.join(PARENT), controller),
        };
        let applied = applied.and_then(|()| limit.apply(&leaf, version));
        Ok(Outcome::from(applied.map_err(Missing::from)))
    }

    /// Makes sure that there is a cgroup if there can be one, preferably of version 2, which can kill
    /// all of its processes at once.
    fn hold_processes(&mut self, name: &str, sites: &Sites) -> SyscallResult<()> {
        let base = match sites.unified() {
            Some(unified) => Some(unified.base().to_owned()),
            None if self.paths.is_empty() => sites.v1_base(Controller::Pids),
            None => None,
        };
        if let Some(base) = base {
            // Nobody asked for it: if it cannot be had, there is nothing to tell.
            let _missing = self.leaf(&base, name)?;
        }
        Ok(())
    }

    /// `<base>/wardian/<name>`, made unless this cgroup has it already. The outer error is for a name
    /// in use.
    fn leaf(&mut self, base: &Path, name: &str) -> SyscallResult<Result<PathBuf, Missing>> {
        let parent = base.join(PARENT);
        let leaf = parent.join(name);
        if self.paths.contains(&leaf) {
            return Ok(Ok(leaf));
        }
        // Again when the last sandbox to end takes the parent away under us, or left something.
        let mut attempts = 0..8;
        let error = loop {
            let made = match file::make_directory(&parent) {
                Err(error) if !file::exists(&error) => break error,
                _ => file::make_directory(&leaf),
            };
            match made {
                Ok(()) => {
                    self.paths.push(leaf.clone());
                    return Ok(Ok(leaf));
                }
                Err(error) if attempts.next().is_none() => break error,
                Err(error) if file::is_gone(&error) => {}
                Err(error) if file::exists(&error) => {
                    if !removal::is_empty(&leaf)? {
                        return Err(error);
                    }
                    removal::remove(&leaf)?;
                }
                Err(error) => break error,
            }
        };
        Ok(Err(error.into()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        for path in &self.paths {
            // Whatever stays is found by a later clean-up, which has its path on record.
            let _ = removal::kill(path).and_then(|()| removal::remove(path));
        }
    }
}

#[cfg(test)]
mod tests;
