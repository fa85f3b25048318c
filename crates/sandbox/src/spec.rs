//! What is to be started: a plain description, sent from the CLI to the supervisor. It holds no
//! secret, so that the process which becomes pid 1 inside may have read it.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::name::SandboxName;

/// Everything about a sandbox but its policy and its secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxSpec {
    pub name: SandboxName,
    /// The program as found on the host (absolute), then its arguments.
    pub program: PathBuf,
    /// `argv`, with `argv[0]` as the person typed it.
    pub arguments: Vec<OsString>,
    /// Working directory inside; absolute.
    pub directory: PathBuf,
    pub user: User,
    pub account: Account,
    pub environment: Vec<(OsString, OsString)>,
    pub workspace: Workspace,
    /// Paths below the user's home that are shown read-only; absolute, existing, no symlinks.
    pub visible: Vec<PathBuf>,
    /// Symlinks to recreate in the private home: where, and what they hold.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// A pseudo-terminal of this size, for interactive runs.
    pub terminal: Option<TerminalSize>,
    pub nesting: Nesting,
}

/// Whom the sandbox runs for, as the host knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
    /// Absolute, with symlinks resolved.
    pub home: PathBuf,
}

/// Which ids the program has inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// The user's own uid and gid, and no capability.
    User,
    /// uid 0 inside, with the capabilities that package managers need; never root of the host.
    Superuser,
}

/// Whether programs inside may make namespaces of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nesting {
    Forbidden,
    Allowed,
}

/// The directory that the agent works on. It has the same absolute path inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Absolute, with symlinks resolved.
    pub path: PathBuf,
    pub mode: WorkspaceMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceMode {
    /// Writes go to an upper layer, which is kept when something changed.
    Overlay,
    /// Writes go to the directory itself.
    Bind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    pub rows: u16,
    pub columns: u16,
}
