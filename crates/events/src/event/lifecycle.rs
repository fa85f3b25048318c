//! Events of the sandbox itself: start, policy, limits, commands, stop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Digest;

/// The first event of every journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SandboxStarted {
    /// The sandbox's name, which is also its id.
    pub name: String,
    /// The program and its arguments. Never holds a credential's value: placeholders only.
    pub command: Vec<String>,
    /// Where the workspace is on the host, and how the sandbox sees it, for example `/home/ann/acme (overlay)`.
    pub workspace: String,
    /// The user id inside.
    pub uid: u32,
    pub mode: PrivilegeMode,
    /// The version of Wardian that made the sandbox.
    pub wardian: String,
    /// What was enforced, feature by feature: `seccomp`, `landlock`, `cgroup memory`, ...
    pub enforced: Vec<String>,
}

/// Which rights the supervisor had on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrivilegeMode {
    Root,
    Rootless,
}

/// The policy that holds from this record on. Written at start and at each change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyInForce {
    /// SHA-256 of `canonical` as it was before any shortening, see [`crate::journal::MAX_POLICY_RECORD`].
    pub sha256: Digest,
    pub rules: u64,
    /// The canonical text of the policy.
    pub canonical: String,
}

impl PolicyInForce {
    pub fn new(canonical: impl Into<String>, rules: u64) -> Self {
        let canonical = canonical.into();
        Self {
            sha256: Digest::of(canonical.as_bytes()),
            rules,
            canonical,
        }
    }
}

/// What the probe that runs inside before the agent found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelfProbe {
    /// Names of the checks that held.
    pub passed: Vec<String>,
    /// Names of the checks that did not. Not empty only in a start that was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// A limit that was asked for and that this host cannot enforce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitNotEnforced {
    /// `memory`, `cpus`, `pids`, `files`, `disk` or `time`.
    pub limit: String,
    /// The value as the policy gave it: `4G`.
    pub requested: String,
    pub why: String,
}

/// A limit that the sandbox ran into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitReached {
    /// `memory`, `cpus`, `pids`, `files`, `disk` or `time`; `journal`, if the run wrote as much on its record as it may.
    pub limit: String,
    /// The value as the policy gave it: `4G`.
    pub value: String,
    /// What Wardian or the kernel did about it: `killed the sandbox`, `refused to fork`.
    pub action: String,
}

/// Names one command among those that Wardian started inside, from 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Command(pub u64);

/// Wardian started a program inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandStarted {
    pub command: Command,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Process id as seen inside.
    pub pid: u32,
}

/// A program that Wardian started inside has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandExited {
    pub command: Command,
    pub exit: Exit,
    pub milliseconds: u64,
}

/// How a process ended: `{"status":0}` or `{"signal":9}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// The exit status, 0-255.
    Status(i32),
    /// The signal's number.
    Signal(i32),
}

/// The last event of a journal whose sandbox was stopped in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SandboxStopped {
    pub cause: StopCause,
    /// How the main command ended; absent if it never started or its status was lost with the supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// From the start of the sandbox.
    pub milliseconds: u64,
    /// How many actions were allowed and denied, counted as [`crate::tally::Tally`] counts.
    pub allowed: u64,
    pub denied: u64,
    /// What was kept on the host for the user.
    pub kept: Vec<Kept>,
}

/// Why a sandbox stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// The main command ended by itself.
    Exited,
    /// The user asked for it.
    Requested,
    /// A limit was reached.
    Limit,
    /// The start was refused or failed.
    StartFailed,
    /// Something that Wardian promises could no longer be kept.
    Failed,
    /// The supervisor died; a later command found out and cleaned up.
    SupervisorLost,
}

/// Something of the sandbox that stays on the host after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// `workspace changes`, `branch`, ...
    pub what: String,
    /// An absolute path on the host.
    pub path: String,
}

/// A later process went on with this journal after the one that wrote it had died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalReopened {
    /// The last line was not complete; its bytes were moved out of the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<TornTail>,
}

/// A line without an end, as a crash in the middle of a write leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TornTail {
    pub bytes: u64,
    pub sha256: Digest,
    /// Name of the file, beside the journal, that holds the bytes now.
    pub kept_as: String,
}
