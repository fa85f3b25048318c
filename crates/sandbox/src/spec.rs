//! What is to be started: a plain description, sent from the CLI to the supervisor. It holds no
//! secret, so that the process which becomes pid 1 inside may have read it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::name::SandboxName;
use crate::plan::Access;

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
    pub workspaces: Workspaces,
    /// Files of session clones that the user has deleted; absolute.
    pub removed: Vec<PathBuf>,
    /// Directories of the host that are shown elsewhere than they lie, or besides.
    pub mounts: Vec<Mount>,
    pub persistence: Persistence,
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

/// What the agent works on: one directory that it starts in, and perhaps others. The number of a workspace
/// is its place here, and names its directory in the sandbox's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspaces {
    main: Workspace,
    others: Vec<Workspace>,
}

/// A directory that the agent works on. It has the same absolute path inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Absolute, with symlinks resolved.
    pub path: PathBuf,
    pub mode: WorkspaceMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceMode {
    /// A repository of the sandbox's own, upon the files of a commit.
    Clone,
    /// Writes go to an upper layer, which is kept when something changed.
    Overlay,
    /// Writes go to the directory itself.
    Bind,
    /// The directory itself, and nobody writes.
    BindReadOnly,
}

/// A directory or file of the host at a place of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute, without symlinks; no program inside can change what it names.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    pub access: Access,
}

/// What stays of a sandbox that left no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persistence {
    /// Its record alone.
    Ephemeral,
    /// All of it, home included: it has a name that somebody gave it, and can be resumed.
    Named,
}

impl Workspaces {
    pub fn new(main: Workspace, others: Vec<Workspace>) -> Self {
        Self { main, others }
    }

    /// Where the program starts.
    pub fn main(&self) -> &Workspace {
        &self.main
    }

    /// By number, the main one first.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Workspace)> {
        std::iter::once(&self.main).chain(&self.others).enumerate()
    }

    pub fn contain(&self, path: &Path) -> bool {
        self.iter()
            .any(|(_, workspace)| path.starts_with(&workspace.path))
    }
}

impl WorkspaceMode {
    /// Whether writes go to a layer of the sandbox's own.
    pub fn is_layered(self) -> bool {
        match self {
            Self::Clone | Self::Overlay => true,
            Self::Bind | Self::BindReadOnly => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    pub rows: u16,
    pub columns: u16,
}
