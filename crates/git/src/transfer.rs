//! A session's commits become objects and refs of the user's repository.
//!
//! ```text
//!  jail 1: pack-objects          jail 2: index-pack --strict        jail 3: rev-list
//!  session's + user's objects ─▶ user's objects + quarantine    ─▶  all there without the session?
//!                                                                        │
//!  refs, by compare-and-swap  ◀─ objects/pack, with a .keep  ◀───────────┘ renamed
//! ```
//!
//! No command sees both the session and a place to write to. The quarantine is a directory in the user's
//! `objects`, as it is when git receives a push, and nothing in it counts before it was checked.
//!
//! A kill at any step leaves the user's refs as they were, or as they were to be, and perhaps some of:
//! a desk, the quarantine, a lock, a `.keep`. Each is recognised as ours by the next call, and removed
//! ([`Desk`]).

mod desk;
mod destination;
mod lfs;
mod lock;
mod packed;
mod receive;
mod reflog;
mod undo;

use std::io;
use std::path::PathBuf;

use gix::ObjectId;
use gix::refs::FullName;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wardian_linux::SyscallError;

pub use lfs::Lfs;
pub use undo::{Undone, undo};

use crate::Base;
use crate::confined::{Completeness, ConfinedError, Git, SessionError, SessionRepository, View};
use desk::Desk;
use destination::Destination;

/// What is to arrive, and as which ref of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub tip: ObjectId,
    /// Below `refs/heads/` or `refs/tags/`.
    pub name: FullName,
    /// What the ref must point to now; `None`: it must not exist.
    pub expected: Option<ObjectId>,
}

/// Who is said to have moved the ref, in its reflog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub name: String,
    pub email: String,
}

/// What [`bring`] did. Kept by the caller for [`undo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brought {
    /// Refs that now point elsewhere; those that were there already are left out.
    pub moved: Vec<Moved>,
    /// Whether objects had to be sent.
    pub sent_objects: bool,
    pub lfs: Lfs,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    pub name: String,
    /// In hex, as in [`Base`]; `None`: the ref is new.
    pub old: Option<String>,
    pub new: String,
}

#[derive(Debug, Error)]
pub enum TransferError {
    #[error(transparent)]
    Confined(#[from] ConfinedError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("{name}: not a branch or tag")]
    NotATarget { name: String },
    #[error("{name}: {id} is not a commit")]
    NotACommit { name: String, id: ObjectId },
    #[error("the session's objects were refused: {said}")]
    Refused { said: String },
    #[error("the session's objects are incomplete: {said}")]
    Incomplete { said: String },
    #[error("{name} is checked out in {worktree}")]
    CheckedOut { name: String, worktree: PathBuf },
    #[error("{name} points to {}, not to {}", id_or_nothing(.found), id_or_nothing(.expected))]
    Moved {
        name: String,
        found: Option<ObjectId>,
        expected: Option<ObjectId>,
    },
    #[error("{name} points to another ref")]
    Symbolic { name: String },
    #[error("{name} and {other} cannot both exist")]
    Clash { name: String, other: String },
    #[error("{path} exists: another git is at work there, or was interrupted")]
    Locked { path: PathBuf },
    #[error("{path}: refs are kept as a reftable, which Wardian does not write")]
    Reftable { path: PathBuf },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Syscall { path: PathBuf, source: SyscallError },
}

fn id_or_nothing(id: &Option<ObjectId>) -> String {
    id.map_or("nothing".to_owned(), |id| id.to_string())
}

pub(crate) fn io_error(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> TransferError {
    let path = path.into();
    move |source| TransferError::Io { path, source }
}

/// Brings what `wanted` names, all or nothing, and sets the refs. What arrived earlier is not sent again.
///
/// Leftovers of calls that were killed are removed first.
pub fn bring(
    git: &Git,
    base: &Base,
    session: &SessionRepository,
    wanted: &[Wanted],
    signature: &Signature,
    message: &str,
) -> Result<Brought, TransferError> {
    for wanted in wanted {
        require_target(&wanted.name)?;
    }
    let destination = Destination::open(base)?;
    desk::clean_up(&destination)?;
    // What would fail at the end fails before anything is sent.
    for wanted in wanted {
        destination.check(&wanted.name, wanted.expected, wanted.tip)?;
    }
    let desk = Desk::open(&destination)?;
    let tips: Vec<_> = wanted.iter().map(|wanted| wanted.tip).collect();
    let user = View::of_user(base)?;
    let known = git.on(&user).existing(&destination.tips()?)?;
    let sent_objects = !is_there(git, &user, &tips, &known)?;
    let mut lfs = Lfs::default();
    if sent_objects {
        let received = receive::receive(git, &user, session, &desk, &tips, &known)?;
        require_kinds(git, &received, wanted)?;
        lfs = lfs::bring(git, &user, session, &destination, &desk)?;
        desk.publish(&destination)?;
    } else {
        require_kinds(git, &user, wanted)?;
    }
    let moved = lock::set_all(&destination, &desk, wanted, signature, message)?;
    desk.close()?;
    Ok(Brought {
        moved,
        sent_objects,
        lfs,
    })
}

fn require_target(name: &FullName) -> Result<(), TransferError> {
    let text = name.as_bstr();
    match text.starts_with(b"refs/heads/") || text.starts_with(b"refs/tags/") {
        true => Ok(()),
        false => Err(TransferError::NotATarget {
            name: name.to_string(),
        }),
    }
}

fn is_there(
    git: &Git,
    user: &View,
    tips: &[ObjectId],
    known: &[ObjectId],
) -> Result<bool, TransferError> {
    let git = git.on(user);
    if git.existing(tips)?.len() < tips.len() {
        return Ok(false);
    }
    Ok(git.are_complete(tips, known)? == Completeness::Complete)
}

/// Branches are of commits.
fn require_kinds(git: &Git, view: &View, wanted: &[Wanted]) -> Result<(), TransferError> {
    let branches: Vec<_> = wanted
        .iter()
        .filter(|wanted| wanted.name.as_bstr().starts_with(b"refs/heads/"))
        .collect();
    let tips: Vec<_> = branches.iter().map(|wanted| wanted.tip).collect();
    let commits = git.on(view).commits(&tips)?;
    match branches
        .iter()
        .find(|wanted| !commits.contains(&wanted.tip))
    {
        None => Ok(()),
        Some(wanted) => Err(TransferError::NotACommit {
            name: wanted.name.to_string(),
            id: wanted.tip,
        }),
    }
}
