//! What a session clone started from.

pub(crate) mod index;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::snapshot::Conversion;

/// Kept in the sandbox's state directory, where nothing that runs inside can write. All that is done with
/// a session later rests on this, never on what the session's own `.git` says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Top of the user's work tree; the session has the same absolute path inside. Absolute, no symlinks.
    pub worktree: PathBuf,
    /// The user's `.git` directory, or that of the linked worktree. Absolute.
    pub git_dir: PathBuf,
    /// Where refs and objects are: differs from `git_dir` in linked worktrees. Absolute.
    pub common_dir: PathBuf,
    /// All object directories of the user's repository: its own, then its alternates. Absolute.
    pub objects: Vec<PathBuf>,
    /// `sha1` or `sha256`.
    pub object_format: String,
    pub head: Head,
    /// Commit that the session began with, in hex; `None` on an unborn branch.
    pub commit: Option<String>,
    /// Tree of `commit`, in hex.
    pub tree: Option<String>,
    /// Branch that the session was put on, such as `wardian/claude-1`, without `refs/heads/`.
    pub branch: String,
    /// The user's `core.autocrlf` and `core.eol`, by which files look different in the work tree.
    pub auto_crlf: Option<String>,
    pub eol: Option<String>,
}

/// Where the user's `HEAD` pointed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Name without `refs/heads/`.
    Branch(String),
    Detached,
}

/// Why the base of a session cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct BaseError {
    path: PathBuf,
    source: io::Error,
}

impl Base {
    /// What `session::create` wrote into a workspace's state.
    pub fn load(state: &Path) -> Result<Self, BaseError> {
        let path = state.join("base.json");
        fs::read(&path)
            .and_then(|text| Ok(serde_json::from_slice(&text)?))
            .map_err(|source| BaseError { path, source })
    }

    pub fn conversion(&self) -> Conversion {
        Conversion::from_config(self.auto_crlf.as_deref(), self.eol.as_deref())
    }

    pub fn hash(&self) -> Result<gix::hash::Kind, BaseError> {
        self.object_format.parse().map_err(|_| BaseError {
            path: self.common_dir.clone(),
            source: io::Error::other(format!("unknown object format {:?}", self.object_format)),
        })
    }

    /// All refs of the user's repository as they are now.
    pub fn tips(&self) -> Result<crate::refs::Tips, crate::RepositoryError> {
        let repository = crate::Repository::discover(&self.worktree)?;
        let Some(repository) = repository else {
            return Ok(Default::default());
        };
        let refs = repository.refs()?;
        Ok(crate::refs::parse_packed(&refs.packed, repository.object_format()).tips)
    }
}
