//! What became of a session's files, read from its upper layer without git.
//!
//! ```text
//! upper layer (hostile) ──▶ walk, beneath one descriptor, following nothing ──▶ [`Changes`]
//!   whiteouts, opaque directories: what is gone                  base index: what was there
//!   files, symlinks: hashed, compared                            .gitignore: what nobody would miss
//! ```
//!
//! Only what was written is looked at, so the cost is that of the changes, not of the repository. What can
//! never come back (device files, sockets, names that mean `.git` somewhere) is listed with its reason and
//! not passed on in any other form.

mod base_tree;
pub(crate) mod hash;
pub(crate) mod ignored;
mod live_tree;
mod upper;
mod walk;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use gix::ObjectId;
use gix::bstr::BString;
use thiserror::Error;

pub use base_tree::{BaseEntry, BaseTree, Found, Lower};
pub use live_tree::LiveTree;
pub use upper::is_opaque;
pub(crate) use upper::{entries, failed, open_directory, open_file, read_link};
pub use walk::is_allowed_name;

/// The most entries that are looked at before the session is called too large.
const MOST_ENTRIES: usize = 5_000_000;
/// Directories below each other; deeper ones are left out.
pub(crate) const DEEPEST: usize = 200;

/// The files of a session, compared with what it started from. Paths are relative to the top of the work
/// tree and sorted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    pub changed: Vec<Change>,
    pub left_out: Vec<LeftOut>,
    /// Files and directories that `.gitignore` covers; a directory counts once.
    pub ignored: Vec<BString>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: BString,
    /// `None`: the file is new.
    pub before: Option<BaseEntry>,
    /// `None`: the file is gone.
    pub after: Option<File>,
}

/// A file as the session has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub kind: FileKind,
    /// Of the content as it lies in the work tree; no filter ran.
    pub id: ObjectId,
    /// Bytes.
    pub size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Plain,
    Executable,
    Symlink,
}

/// Something that was written and cannot come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub path: BString,
    pub why: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A name that means `.git`, `.gitmodules` or a way up on some system.
    Name,
    /// A directory with a `.git` of its own, which is not a submodule of the base.
    NestedRepository,
    /// A device file, socket or pipe.
    Special,
    /// Not readable for the user: it belongs to a subordinate id.
    Unreadable,
    TooDeep,
    /// It was being written to while it was read.
    Unsettled,
}

#[derive(Debug, Error)]
pub enum ChangesError {
    #[error("{path}: {source}")]
    Index {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{call}: {source}")]
    Upper { call: String, source: io::Error },
    #[error("{path}: the layer refers to another place ({attribute}), as no layer of Wardian does")]
    Redirected { path: BString, attribute: String },
    #[error("more than {MOST_ENTRIES} files and directories were written")]
    TooMany,
}

impl Changes {
    /// Compares. `upper` is the upper layer of the session's work tree. Paths in `tracked` count even if
    /// `.gitignore` covers them: those that commits of the session have added. `excludes` are the patterns
    /// that apply besides the tree's own `.gitignore` files, as in `info/exclude`.
    pub fn list(
        upper: BorrowedFd<'_>,
        base: &dyn Lower,
        tracked: &BTreeSet<BString>,
        excludes: &[u8],
    ) -> Result<Self, ChangesError> {
        walk::list(upper, base, tracked, excludes)
    }

    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.left_out.is_empty()
    }
}

impl Reason {
    /// For people, after the path.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Name => "its name means something special to git or another system",
            Self::NestedRepository => "a repository of its own",
            Self::Special => "a device file, socket or pipe",
            Self::Unreadable => "it belongs to another user of the sandbox and cannot be read",
            Self::TooDeep => "it lies too deep",
            Self::Unsettled => "it is being written to",
        }
    }
}
