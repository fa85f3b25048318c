use std::path::PathBuf;

use gix::bstr::ByteSlice;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{Repository, RepositoryError, files, locate};

/// Submodules within submodules that are looked at.
const DEEPEST: usize = 20;

/// A submodule whose repository is there.
#[derive(Debug)]
pub struct Submodule {
    /// Relative to the top of the work tree of the outermost repository.
    pub path: PathBuf,
    pub repository: Repository,
}

/// What there is below a repository, outer before inner.
#[derive(Debug, Default)]
pub struct Submodules {
    pub populated: Vec<Submodule>,
    /// Those that cannot be used, and why.
    pub unusable: Vec<(PathBuf, RepositoryError)>,
}

pub(super) fn find(outermost: &Repository) -> Result<Submodules, RepositoryError> {
    let mut found = Submodules::default();
    collect(outermost, PathBuf::new(), 0, &mut found)?;
    Ok(found)
}

fn collect(
    repository: &Repository,
    prefix: PathBuf,
    depth: usize,
    found: &mut Submodules,
) -> Result<(), RepositoryError> {
    let Some(index) = repository.index()? else {
        return Ok(());
    };
    for path in &index.walked.submodules {
        let inside = files::as_path(path.as_bstr()).to_owned();
        let shown = prefix.join(&inside);
        match open(repository, &inside) {
            Ok(Some(repository)) => {
                let inner = if depth < DEEPEST {
                    collect_into(&repository, shown.clone(), depth + 1)
                } else {
                    Ok(Submodules::default())
                };
                found.populated.push(Submodule {
                    path: shown.clone(),
                    repository,
                });
                match inner {
                    Ok(inner) => {
                        found.populated.extend(inner.populated);
                        found.unusable.extend(inner.unusable);
                    }
                    Err(error) => found.unusable.push((shown, error)),
                }
            }
            Ok(None) => {}
            Err(error) => found.unusable.push((shown, error)),
        }
    }
    Ok(())
}

fn collect_into(
    repository: &Repository,
    prefix: PathBuf,
    depth: usize,
) -> Result<Submodules, RepositoryError> {
    let mut found = Submodules::default();
    collect(repository, prefix, depth, &mut found)?;
    Ok(found)
}

/// `None`: nothing is checked out there, or a symlink leads elsewhere.
fn open(outer: &Repository, path: &std::path::Path) -> Result<Option<Repository>, RepositoryError> {
    let top = files::directory(&outer.worktree)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    if rustix::fs::openat2(&top, path, flags, Mode::empty(), resolve).is_err() {
        return Ok(None);
    }
    let place = outer.worktree.join(path);
    match locate::at(&place, &outer.places)? {
        Some(location) => Repository::open(location, outer.places.clone()).map(Some),
        None => Ok(None),
    }
}
