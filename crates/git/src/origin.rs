//! Whether what a session started from is still there, for a session that is to go on.

use std::io;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::objs::Exists;
use thiserror::Error;

use crate::base::{Base, BaseError};
use crate::repository::{Repository, RepositoryError};

/// Why a session cannot go on.
#[derive(Debug, Error)]
pub enum OriginError {
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error("the repository {worktree:?} is not there any more")]
    Gone { worktree: PathBuf },
    #[error("{worktree:?} belongs to another repository by now: {found:?}, not {known:?}")]
    Another {
        worktree: PathBuf,
        known: PathBuf,
        found: PathBuf,
    },
    #[error(
        "the repository {worktree:?} has lost {object}, which the session started from: it was pruned"
    )]
    Pruned { worktree: PathBuf, object: String },
    #[error("stat({path:?}): {source}")]
    Stat { path: PathBuf, source: io::Error },
}

/// The user's repository that the session in `state` was made of, if it still has the commit.
pub fn find(state: &Path) -> Result<(Base, Repository), OriginError> {
    let base = Base::load(state)?;
    let worktree = || base.worktree.clone();
    match std::fs::metadata(&base.worktree) {
        Ok(status) if status.is_dir() => {}
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            let path = worktree();
            return Err(OriginError::Stat { path, source });
        }
        _ => {
            return Err(OriginError::Gone {
                worktree: worktree(),
            });
        }
    }
    let found = Repository::discover(&base.worktree)?;
    let repository = found.ok_or_else(|| OriginError::Gone {
        worktree: worktree(),
    })?;
    if repository.worktree() != base.worktree || repository.common_dir() != base.common_dir {
        return Err(OriginError::Another {
            worktree: worktree(),
            known: base.common_dir.clone(),
            found: repository.common_dir().to_owned(),
        });
    }
    let objects = repository.open_objects()?;
    let needed = [("commit", &base.commit), ("tree", &base.tree)];
    for (what, id) in needed {
        let Some(id) = id else { continue };
        let is_there = ObjectId::from_hex(id.as_bytes()).is_ok_and(|id| objects.exists(&id));
        if !is_there {
            return Err(OriginError::Pruned {
                worktree: worktree(),
                object: format!("{what} {id}"),
            });
        }
    }
    Ok((base, repository))
}
