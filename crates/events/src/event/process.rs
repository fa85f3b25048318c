//! Programs that processes inside execute, seen from outside. See docs/events.md.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Exit;

/// A process asked to become another program. Written before it does.
///
/// What was asked for stood in the process's memory, and another of its threads can have changed it since: where what
/// runs is another file or has other arguments, a [`ProcessFound`] follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessStarted {
    /// As seen inside. A number is used again when its process is gone.
    pub pid: u32,
    pub parent: u32,
    /// The path as it was asked for: may be relative to `directory`, and a link or a script.
    pub executable: String,
    /// With the program's name for itself as the first.
    pub arguments: Vec<String>,
    /// The current directory, as seen inside.
    pub directory: String,
    /// There were more arguments, or longer ones.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// Why some of this is not known, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// A process that was recorded runs another file than it asked for, the interpreter of a script for instance, or calls
/// itself something else. Looked for once, shortly after its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessFound {
    pub pid: u32,
    /// The file that runs, as the kernel says.
    pub executable: String,
    /// As they stand in the process's memory, which it can change.
    pub arguments: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
}

/// A process whose start was recorded has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessExited {
    pub pid: u32,
    /// Absent where the kernel does not tell (before Linux 6.15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Since the last start that was recorded.
    pub milliseconds: u64,
}

/// Starts that were only counted, because many were alike. They have no [`ProcessExited`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FurtherProcesses {
    /// Absent: various.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    pub count: u64,
}

/// What runs inside cannot be seen in this sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessesUnseen {
    pub why: String,
}

fn is_false(value: &bool) -> bool {
    !value
}
