//! What a sandbox is beside its rules: what it works on, what is kept of its downloads and conversations.

use std::fmt;

/// One place to work on, as the manifest wrote it: paths may be relative to the manifest, or begin with `~/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkspaceSpec {
    /// A git repository, as a clone of its own.
    Clone {
        /// A path in it.
        path: String,
        /// What of the user's uncommitted work the clone has.
        changes: Changes,
        /// Files and directories that it has though git ignores them.
        include: Vec<String>,
    },
    /// A copy of a directory as it is.
    Overlay {
        /// The directory.
        path: String,
    },
    /// A directory itself.
    Bind {
        /// The directory.
        path: String,
        /// What the program may do there.
        access: Access,
    },
    /// A volume.
    Volume {
        /// Its name.
        name: String,
        /// Where it lies inside.
        at: Option<String>,
        /// What the program may do there.
        access: Access,
    },
}

/// What of the user's uncommitted work a clone has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Nothing: it begins with HEAD's files.
    Left,
    /// Changes, and files that git does not know yet.
    Brought,
}

/// What a program may do with a directory of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// A build tool whose downloads the door keeps for other sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheKind {
    /// Crates and the index of their registry.
    Cargo,
    /// Packages of npm and its relatives.
    Npm,
    /// Packages of pip and its relatives.
    Pip,
    /// Modules of Go.
    Go,
}

impl CacheKind {
    pub const ALL: [Self; 4] = [Self::Cargo, Self::Npm, Self::Pip, Self::Go];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its word in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Npm => "npm",
            Self::Pip => "pip",
            Self::Go => "go",
        }
    }
}

/// How much of conversations with models is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recording {
    /// Models, tokens, costs and the names of tools.
    #[default]
    Metadata,
    /// The messages too.
    Full,
}

impl Recording {
    /// Its word in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for WorkspaceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read_only = |access: &Access| match access {
            Access::ReadOnly => ", read-only",
            Access::ReadWrite => "",
        };
        match self {
            Self::Clone {
                path,
                changes,
                include,
            } => {
                write!(f, "a clone of {path}")?;
                if *changes == Changes::Brought {
                    f.write_str(", with uncommitted changes")?;
                }
                if !include.is_empty() {
                    write!(f, ", with {}", include.join(", "))?;
                }
                Ok(())
            }
            Self::Overlay { path } => write!(f, "a copy of {path}"),
            Self::Bind { path, access } => write!(f, "{path} itself{}", read_only(access)),
            Self::Volume { name, at, access } => {
                write!(f, "the volume {name}")?;
                if let Some(at) = at {
                    write!(f, " at {at}")?;
                }
                f.write_str(read_only(access))
            }
        }
    }
}
