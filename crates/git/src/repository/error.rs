use std::path::PathBuf;

use thiserror::Error;
use wardian_linux::SyscallError;

/// Why a repository cannot be used.
#[derive(Debug, Error)]
pub enum RepositoryError {
    #[error(transparent)]
    Syscall(#[from] SyscallError),
    /// Git's own rule, see `safe.directory` in git-config(1).
    #[error("{path:?} belongs to the user with uid {owner}, not to you")]
    OtherOwner { path: PathBuf, owner: u32 },
    #[error("{0:?} is a bare repository: it has no work tree")]
    Bare(PathBuf),
    #[error("{0:?} lies inside of a .git directory")]
    InsideGitDirectory(PathBuf),
    /// Anybody can write a `.git` file that names a repository of the user; git believes it.
    #[error(
        "{link:?} leads to the repository {git_dir:?}, which does not say that it belongs there"
    )]
    NotAcknowledged { link: PathBuf, git_dir: PathBuf },
    #[error("{git_dir:?} has its work tree at {worktree:?} (core.worktree), not beside it")]
    WorktreeElsewhere { git_dir: PathBuf, worktree: PathBuf },
    #[error("{git_dir:?} keeps its refs in a reftable, which is not supported")]
    Reftable { git_dir: PathBuf },
    #[error("{git_dir:?} uses the repository extension {extension:?}, which is not supported")]
    Extension { git_dir: PathBuf, extension: String },
    #[error("{path:?} is not what git writes: {problem}")]
    Malformed { path: PathBuf, problem: String },
    /// Bound into a sandbox, it would show what it holds.
    #[error("{path:?} is named as a directory of git objects, but holds {entry:?}")]
    NotObjects { path: PathBuf, entry: String },
    #[error("object {id} of {objects:?}: {problem}")]
    Object {
        objects: PathBuf,
        id: String,
        problem: String,
    },
}

impl RepositoryError {
    pub(crate) fn malformed(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Malformed {
            path: path.into(),
            problem: problem.into(),
        }
    }
}
