use std::path::PathBuf;

use thiserror::Error;
use wardian_linux::SyscallError;

use crate::repository::RepositoryError;

/// Why a session could not be written. What was written of it has no `base.json`.
#[derive(Debug, Error)]
pub enum SessionError {
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Syscall(#[from] SyscallError),
    #[error("{0:?} is no name for a branch")]
    Branch(String),
    /// Also if one is a directory of the other: `a` and `a/b`.
    #[error("the repository has a branch in the way of {0:?}")]
    BranchTaken(String),
    #[error("a path of the repository is not UTF-8")]
    NotUtf8,
    #[error("{path:?}: {problem}")]
    Index { path: PathBuf, problem: String },
    #[error("cannot write an index: {problem}")]
    Unencodable { problem: String },
    #[error("tree {id}: {problem}")]
    Tree { id: String, problem: String },
    #[error("the commit has a file {path:?}: {problem}")]
    Name { path: String, problem: String },
    #[error("{0:?} does not lie in the work tree, or lies in .git")]
    IncludeOutside(PathBuf),
    #[error("there is no {0:?} to include")]
    IncludeMissing(PathBuf),
}
