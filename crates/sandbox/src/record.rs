//! What is written down about a sandbox for whoever comes after: `ls`, `gc`, a clean-up after a crash.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ids::Privilege;
use crate::spec::{Persistence, Workspaces};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxRecord {
    /// Shown to people; the program and its arguments, lossily decoded.
    pub command: Vec<String>,
    pub workspaces: Workspaces,
    pub persistence: Persistence,
    pub privilege: Privilege,
    /// Unix time in seconds.
    pub created: u64,
    /// Process id of the supervisor; means something only while the lock is held.
    pub supervisor: u32,
    /// Directories to remove in the cgroup hierarchies.
    pub cgroups: Vec<PathBuf>,
    /// Set at the end.
    pub ended: Option<Ended>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// Unix time in seconds.
    pub at: u64,
    /// What a shell would report, or `None` if the sandbox was cut off.
    pub status: Option<i32>,
    /// Names of the limits that it ran into.
    #[serde(default)]
    pub limits: Vec<String>,
    /// Why it was cut off, if a supervisor lived to say so.
    #[serde(default)]
    pub why: Option<String>,
    /// Work that would be missed: upper layers that hold changes.
    pub kept: Vec<PathBuf>,
}
