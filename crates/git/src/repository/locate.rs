//! Finding the repository around a directory, as "DISCOVERY" of git would, with one doubt more: what a
//! `.git` file names must name it back, or an unpacked archive could pass off any repository of the user.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use wardian_linux::SyscallError;

use super::config::{Config, interpolate};
use super::{Places, RepositoryError, files, ownership};

/// Where the parts of a repository are. All paths are absolute and lead through no symlink.
#[derive(Debug)]
pub(super) struct Location {
    pub(super) worktree: PathBuf,
    pub(super) git_dir: PathBuf,
    pub(super) common_dir: PathBuf,
}

/// Looks in `start` and all directories above it on the same file system.
pub(super) fn locate(start: &Path, places: &Places) -> Result<Option<Location>, RepositoryError> {
    let start = std::fs::canonicalize(start)
        .map_err(|error| SyscallError::new(format!("realpath({start:?})"), error))?;
    let device = |path: &Path| {
        let status = std::fs::metadata(path);
        status
            .map(|status| status.dev())
            .map_err(|error| SyscallError::new(format!("stat({path:?})"), error))
    };
    let home = device(&start)?;
    for directory in start.ancestors() {
        if device(directory)? != home {
            return Ok(None);
        }
        if let Some(location) = at(directory, places)? {
            return Ok(Some(location));
        }
        if is_git_directory(directory)? {
            ownership::check(&[directory], directory, places)?;
            return Err(match directory.file_name() {
                Some(name) if name == ".git" => RepositoryError::InsideGitDirectory(start),
                _ if is_below_git(directory) => RepositoryError::InsideGitDirectory(start),
                _ => RepositoryError::Bare(directory.to_owned()),
            });
        }
    }
    Ok(None)
}

/// `.git/worktrees/x` and `.git/modules/x` look like git directories themselves.
fn is_below_git(directory: &Path) -> bool {
    directory
        .components()
        .any(|part| part.as_os_str() == ".git")
}

/// The repository whose work tree has its top at `directory`.
pub(super) fn at(directory: &Path, places: &Places) -> Result<Option<Location>, RepositoryError> {
    let link = directory.join(".git");
    let kind = match std::fs::symlink_metadata(&link) {
        Ok(status) => status.file_type(),
        Err(_) => return Ok(None),
    };
    let git_dir = if kind.is_dir() {
        Some(link.clone())
    } else if kind.is_file() {
        Some(named_by(&link)?)
    } else if kind.is_symlink() {
        files::canonical(&link)?
    } else {
        None
    };
    let Some(git_dir) = git_dir else {
        return Ok(None);
    };
    if !is_git_directory(&git_dir)? {
        return match kind.is_file() {
            true => Err(RepositoryError::malformed(
                link,
                format!("there is no repository at {git_dir:?}"),
            )),
            false => Ok(None),
        };
    }
    ownership::check(&[&link, directory, &git_dir], directory, places)?;
    let linked = common_of(&git_dir)?;
    let acknowledged = match &linked {
        Some(common) => is_linked_worktree(&git_dir, common, directory)?,
        None => match (configured_worktree(&git_dir, places)?, kind.is_dir()) {
            (Some(worktree), true) if worktree != directory => {
                return Err(RepositoryError::WorktreeElsewhere { git_dir, worktree });
            }
            (Some(worktree), _) => worktree == directory,
            (None, beside) => beside,
        },
    };
    if !acknowledged {
        return Err(RepositoryError::NotAcknowledged { link, git_dir });
    }
    Ok(Some(Location {
        worktree: directory.to_owned(),
        common_dir: linked.unwrap_or_else(|| git_dir.clone()),
        git_dir,
    }))
}

/// What a `.git` file says: `gitdir: <path>`, absolute or relative to the file.
fn named_by(link: &Path) -> Result<PathBuf, RepositoryError> {
    let line = files::first_line(link)?.unwrap_or_default();
    let path = line
        .strip_prefix(b"gitdir: ")
        .filter(|path| !path.is_empty() && !path.contains(&0))
        .ok_or_else(|| RepositoryError::malformed(link, "no gitdir: line"))?;
    let parent = link.parent().unwrap_or(Path::new("/"));
    let path = parent.join(OsStr::from_bytes(path));
    let missing = || {
        let problem = format!("there is no repository at {path:?}");
        RepositoryError::malformed(link, problem)
    };
    files::canonical(&path)?.ok_or_else(missing)
}

/// See `is_git_directory` in git's setup.c: a valid `HEAD`, `objects` and `refs`.
fn is_git_directory(directory: &Path) -> Result<bool, RepositoryError> {
    let head = directory.join("HEAD");
    let valid = match std::fs::read_link(&head) {
        Ok(target) => target.starts_with("refs"),
        Err(_) => {
            let line = files::first_line(&head).ok().flatten().unwrap_or_default();
            match line.strip_prefix(b"ref:") {
                Some(name) => name.trim_start().starts_with(b"refs/"),
                None => gix::ObjectId::from_hex(&line).is_ok(),
            }
        }
    };
    if !valid {
        return Ok(false);
    }
    let common = common_of(directory)?.unwrap_or_else(|| directory.to_owned());
    Ok(common.join("objects").is_dir() && common.join("refs").is_dir())
}

/// Target of a `commondir` file.
fn common_of(git_dir: &Path) -> Result<Option<PathBuf>, RepositoryError> {
    let file = git_dir.join("commondir");
    let Some(line) = files::first_line(&file)? else {
        return Ok(None);
    };
    let path = git_dir.join(OsStr::from_bytes(&line));
    match files::canonical(&path)? {
        Some(path) => Ok(Some(path)),
        None => Err(RepositoryError::malformed(
            file,
            format!("there is no {path:?}"),
        )),
    }
}

/// Whether `git worktree add` made `git_dir` for the work tree at `directory`.
fn is_linked_worktree(
    git_dir: &Path,
    common: &Path,
    directory: &Path,
) -> Result<bool, RepositoryError> {
    if git_dir.parent() != Some(&common.join("worktrees")) {
        return Ok(false);
    }
    let line = files::first_line(&git_dir.join("gitdir"))?.unwrap_or_default();
    let link = git_dir.join(OsStr::from_bytes(&line));
    let parent = link.parent().map(files::canonical).transpose()?.flatten();
    Ok(link.file_name() == Some(OsStr::new(".git")) && parent.as_deref() == Some(directory))
}

/// `core.worktree`, without symlinks. Submodules have it.
fn configured_worktree(
    git_dir: &Path,
    places: &Places,
) -> Result<Option<PathBuf>, RepositoryError> {
    let shared = Config::of_file(&git_dir.join("config"))?;
    let own = match shared.boolean("extensions.worktreeconfig") {
        Some(true) => Config::of_file(&git_dir.join("config.worktree"))?,
        _ => Config::default(),
    };
    let key = "core.worktree";
    let Some(value) = own.text(key).or_else(|| shared.text(key)) else {
        return Ok(None);
    };
    let path = git_dir.join(interpolate(value, places).unwrap_or_default());
    // What is not there is still somewhere else.
    Ok(Some(files::canonical(&path)?.unwrap_or(path)))
}
