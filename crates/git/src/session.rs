//! A session clone: a repository of its own, ready before a single file is copied.
//!
//! ```text
//! <state>/base.json     what it started from, written last: without it there is no session
//!         base.index    the commit's files as the session finds them; if it can be, the user's index itself
//!         base.shared   by which that is known, should somebody write into it
//!         base.exclude  patterns of ignored files besides the tree's own `.gitignore`
//!         base.refs     all refs at the start, as text of packed-refs
//!         base.brought  with changes or included files: which, so that they are no work of the session
//!         upper/.git/   the session's own repository, whose objects are the user's, by alternates
//!         upper/...     with changes or included files: those
//! ```
//!
//! All but the last is independent of how many files the repository has, as long as the user's index is
//! that of the commit: it is then walked once, and neither copied nor decoded. The session's git finds it
//! below its own `.git`, see [`WorkTree`](crate::snapshot::WorkTree).

mod bring;
mod changes;
pub(crate) mod config;
mod error;
mod git_dir;
mod index;
mod place;

use std::path::{Path, PathBuf};

use crate::base::{self, Base, Head};
use crate::identity::Signing;
use crate::repository::Repository;
use crate::repository::index::UserIndex;
use crate::review;
use index::Index;
use place::Place;

pub use error::SessionError;
pub(crate) use index::derive;

/// How a session begins.
#[derive(Debug, Clone)]
pub struct Options {
    /// Branch that it is put on, such as `wardian/claude-1`, without `refs/heads/`.
    pub branch: String,
    /// Directory inside below which the user's object directories will be, see [`object_mounts`].
    pub inside: PathBuf,
    pub changes: Changes,
    /// Files and directories to bring although they are ignored, relative to the top of the work tree.
    pub include: Vec<PathBuf>,
}

/// What is to become of changes that are not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// The session begins with the commit.
    Leave,
    /// Changed and untracked files, deletions and the index come along; ignored files do not.
    Bring,
}

/// A session as it was written.
#[derive(Debug)]
pub struct Created {
    pub base: Base,
    pub brought: Brought,
    pub signing: Signing,
}

/// What of the user's work tree came along. Paths are relative to its top.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Files and symlinks that were copied into the upper layer.
    pub files: usize,
    /// Bytes of their content.
    pub bytes: u64,
    /// What the session must not see of the commit. An ordinary user makes no whiteouts outside of a user
    /// namespace, so they are the caller's to make: character devices 0:0 at these places of the upper
    /// layer, whose parent directories exist there.
    pub removed: Vec<PathBuf>,
    /// What could not be copied, and why.
    pub skipped: Vec<(PathBuf, Skipped)>,
}

/// Why something of the work tree stays behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// A repository within the repository, and no submodule.
    Repository,
    /// Neither file, directory nor symlink.
    Special,
    /// The call, and how it failed.
    Unreadable(String),
}

/// An object directory of the user, and where the session looks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMount {
    pub host: PathBuf,
    pub inside: PathBuf,
    /// Relative path of the list of further directories, if there is one. All of them are mounted anyway,
    /// and the paths in it lead nowhere inside: to be covered with an empty file.
    pub covered: Option<PathBuf>,
}

/// What must be bound inside, read-only, for a session to find the objects in `objects`
/// ([`Base::objects`]).
pub fn object_mounts(objects: &[PathBuf], inside: &Path) -> Vec<ObjectMount> {
    let list = Path::new("info/alternates");
    let numbered = objects.iter().enumerate();
    let mounts = numbered.map(|(number, host)| ObjectMount {
        host: host.clone(),
        inside: match number {
            0 => inside.join("objects"),
            _ => inside.join(format!("objects.{number}")),
        },
        covered: host.join(list).exists().then(|| list.to_owned()),
    });
    mounts.collect()
}

/// Writes a session below `at`, a directory of ours in which there is none yet.
pub fn create(
    repository: &Repository,
    at: &Path,
    options: &Options,
) -> Result<Created, SessionError> {
    let refs = repository.refs()?;
    check_branch(&options.branch, |name| refs.clashes(name))?;
    let base = base_of(repository, options);
    let text = serde_json::to_vec_pretty(&base).map_err(|_| SessionError::NotUtf8)?;
    let state = Place::open(at)?;
    let upper = state.make_all(Path::new("upper"), |_| 0o755)?;
    copy_mode(repository.worktree(), &upper)?;
    let git = upper.make(".git")?;
    git_dir::write(repository, refs, &git, options)?;
    state.write("base.refs", &refs.packed)?;
    state.write("base.exclude", &git_dir::excludes(repository)?)?;
    let index = index::of_commit(repository)?;
    match &index {
        Index::Users(users) => share(&state, users)?,
        Index::Bytes(bytes) => drop(state.write(base::index::NAME, bytes)?),
    }
    let brought = match options.changes {
        Changes::Leave => {
            bring::included(repository, &upper, &options.include, Default::default())?
        }
        Changes::Bring => {
            if let Some(users) = index::of_user(repository)? {
                git.write("index", &users.into_bytes()?)?;
            }
            let found = changes::find(repository, &index.into_bytes()?)?;
            let brought = bring::changes(repository, &upper, found)?;
            bring::included(repository, &upper, &options.include, brought)?
        }
    };
    if brought.files > 0 || !brought.removed.is_empty() {
        // Without it, what came along counts as work, and is kept in vain.
        let _ = review::remember(at, &base, &brought.removed);
    }
    state.write_at_once("base.json", &text)?;
    Ok(Created {
        base,
        brought,
        signing: config::signing(repository.config()),
    })
}

/// Has the user's index as `base.index`: by a hard link, or else a copy.
fn share(state: &Place, users: &UserIndex) -> Result<(), SessionError> {
    if state.link(base::index::NAME, users.file()).is_err() {
        return Ok(state.copy(base::index::NAME, users.file())?);
    }
    let stamp = base::index::stamp(users.file());
    let stamp =
        stamp.map_err(|error| state.failed("fstat", Path::new(base::index::NAME), error))?;
    state.write(base::index::SHARED, stamp.as_bytes())?;
    Ok(())
}

fn base_of(repository: &Repository, options: &Options) -> Base {
    let text = |key| Some(repository.config().text(key)?.to_string());
    Base {
        worktree: repository.worktree().to_owned(),
        git_dir: repository.git_dir().to_owned(),
        common_dir: repository.common_dir().to_owned(),
        objects: repository.objects().to_vec(),
        object_format: repository.object_format().to_string(),
        head: match repository.head() {
            Head::Branch(name) => Head::Branch(name.clone()),
            Head::Detached => Head::Detached,
        },
        commit: repository.commit().map(|id| id.to_string()),
        tree: repository.tree().map(|id| id.to_string()),
        branch: options.branch.clone(),
        auto_crlf: text("core.autocrlf"),
        eol: text("core.eol"),
    }
}

fn check_branch(branch: &str, clashes: impl Fn(&str) -> bool) -> Result<(), SessionError> {
    let name = format!("refs/heads/{branch}");
    let valid = gix::validate::reference::name(name.as_str().into()).is_ok();
    if !valid || branch.starts_with('-') || branch == "HEAD" {
        return Err(SessionError::Branch(branch.to_owned()));
    }
    match clashes(&name) {
        true => Err(SessionError::BranchTaken(branch.to_owned())),
        false => Ok(()),
    }
}

/// The top of an overlay has the mode of its upper layer.
fn copy_mode(worktree: &Path, upper: &Place) -> Result<(), SessionError> {
    use std::os::unix::fs::PermissionsExt;
    let status = std::fs::metadata(worktree)
        .map_err(|error| wardian_linux::SyscallError::new(format!("stat({worktree:?})"), error))?;
    Ok(upper.set_mode(status.permissions().mode() & 0o777)?)
}
