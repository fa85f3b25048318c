//! Control groups: what a sandbox as a whole may use, and a handle on all of its processes.

use std::path::{Path, PathBuf};

use rustix::process::Pid;

use crate::error::SyscallResult;

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

/// A cgroup in each hierarchy that is needed, removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    paths: Vec<PathBuf>,
}

pub fn create(name: &str, limits: &CgroupLimits) -> SyscallResult<Created> {
    let _ = name;
    let no = || Outcome::NotEnforced {
        why: "not implemented".to_owned(),
        fix: None,
    };
    Ok(Created {
        cgroup: None,
        memory: limits.memory.map(|_| no()),
        cpus: limits.cpus.map(|_| no()),
        pids: limits.pids.map(|_| no()),
    })
}

pub fn planned_paths(_name: &str) -> Vec<PathBuf> {
    Vec::new()
}

pub fn remove_stale(_path: &Path) -> SyscallResult<()> {
    Ok(())
}

pub fn availability() -> Availability {
    let no = || Outcome::NotEnforced {
        why: "not implemented".to_owned(),
        fix: None,
    };
    Availability {
        memory: no(),
        cpus: no(),
        pids: no(),
    }
}

impl Cgroup {
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    pub fn add(&self, _pid: Pid) -> SyscallResult<()> {
        Ok(())
    }

    pub fn kill_all(&self) -> SyscallResult<()> {
        Ok(())
    }

    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
