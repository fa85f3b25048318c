use std::os::unix::fs::MetadataExt;
use std::path::Path;

use gix::bstr::{BStr, ByteSlice};
use wardian_linux::SyscallError;

use super::config::{Config, interpolate};
use super::{Places, RepositoryError};

/// Git's rule: whoever owns a repository decides what git does in it, so each of `parts` must be the
/// user's own, or the work tree be listed in `safe.directory` of the user or the system.
pub(super) fn check(
    parts: &[&Path],
    worktree: &Path,
    places: &Places,
) -> Result<(), RepositoryError> {
    for path in parts {
        let status = std::fs::symlink_metadata(path)
            .map_err(|error| SyscallError::new(format!("lstat({path:?})"), error))?;
        let owner = status.uid();
        if !places.owners.contains(&owner) && !is_listed(worktree, places)? {
            let path = path.to_path_buf();
            return Err(RepositoryError::OtherOwner { path, owner });
        }
    }
    Ok(())
}

fn is_listed(worktree: &Path, places: &Places) -> Result<bool, RepositoryError> {
    let mut listed = false;
    for setting in Config::of_user(places)?.settings() {
        if !setting.is("safe.directory") {
            continue;
        }
        let value = setting.value.as_ref().map(|value| value.as_bstr());
        match value {
            // Takes back what was listed before.
            Some(value) if value.is_empty() => listed = false,
            Some(value) => listed |= names(value, worktree, places),
            None => {}
        }
    }
    Ok(listed)
}

fn names(value: &BStr, worktree: &Path, places: &Places) -> bool {
    if value == "*" {
        return true;
    }
    let (path, below) = match value.strip_suffix(b"/*") {
        Some(path) => (path.as_bstr(), true),
        None => (value, false),
    };
    let Some(path) = interpolate(path, places).filter(|path| path.is_absolute()) else {
        return false;
    };
    let path = std::fs::canonicalize(&path).unwrap_or(path);
    if below {
        worktree != path && worktree.starts_with(path)
    } else {
        worktree == path
    }
}
