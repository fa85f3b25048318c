//! A session's uncommitted changes in the user's own work tree: all of them, or none.
//!
//! ```text
//! plan      for each file: base, the user's, the session's ──▶ steps, or conflicts and nothing else
//! stage     what each file was and will be, on disk in the state directory
//! carry out one rename a file; after a kill, `carry_out` goes on and `undo` goes back
//! ```
//!
//! The user's tree is only ever reached beneath one descriptor, through no symlink. A file that is neither
//! what it was nor what it is to be was changed by somebody else in the meantime, and stops everything
//! before the first write, in both directions.

mod merge;
mod plan;
mod staged;
mod user_tree;

use std::io;
use std::path::PathBuf;

use gix::ObjectId;
use gix::bstr::BString;
use rustix::io::Errno;
use thiserror::Error;

use crate::changes::FileKind;

pub use plan::{Plan, Step};
pub use staged::Staged;
pub(crate) use user_tree::Present;
pub use user_tree::{Repositories, UserTree};

/// A file as the session wants it. Paths are relative to the top of the work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub path: BString,
    /// What the session started from; `None`: no file.
    pub base: Option<Version>,
    /// What it made of it; `None`: gone.
    pub theirs: Option<Version>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub kind: FileKind,
    /// Of the content as it lies in a work tree.
    pub id: ObjectId,
}

/// Where contents come from.
pub trait Contents {
    /// The base of `path` as a work tree has it, with line ends and the like converted. Only asked for
    /// if the user's file is not the base bit by bit.
    fn base(&self, path: &BString, version: &Version) -> io::Result<Vec<u8>>;
    /// The session's file, or the target of its symlink.
    fn theirs(&self, path: &BString) -> io::Result<Box<dyn io::Read>>;
}

/// Why a file cannot become what the session wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub path: BString,
    pub why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Both changed the same lines.
    SameLines,
    /// Both changed a file that has no lines.
    NotText,
    /// Both made a file of this name.
    BothNew,
    /// The user deleted what the session changed.
    DeletedHere,
    /// The session deleted what the user changed.
    DeletedThere,
    /// One made it a symlink, or a file.
    Kind,
    /// Something else than a directory or file is in the way: a directory, a symlink, a device.
    InTheWay,
    /// A repository of its own lies in between.
    OtherRepository,
}

impl Why {
    /// For people, after the path.
    pub fn explain(self) -> &'static str {
        match self {
            Self::SameLines => "both changed the same lines",
            Self::NotText => "both changed it, and it is not text",
            Self::BothNew => "both have a new file of this name",
            Self::DeletedHere => "you deleted what the session changed",
            Self::DeletedThere => "the session deleted what you changed",
            Self::Kind => "both changed it, one of them to or from a symlink",
            Self::InTheWay => "something else is in the way",
            Self::OtherRepository => "it lies in a repository of its own",
        }
    }
}

#[derive(Debug, Error)]
pub enum ApplyError {
    #[error("{call}: {errno}")]
    Syscall { call: String, errno: Errno },
    #[error("{path}: {source}")]
    State { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Record {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot read {path} of the session: {source}")]
    Session { path: BString, source: io::Error },
    /// Changed since, and not by us.
    #[error("{} changed in the meantime", list(.0))]
    Changed(Vec<BString>),
    #[error("an earlier apply was interrupted")]
    Interrupted,
}

fn list(paths: &[BString]) -> String {
    let shown: Vec<_> = paths
        .iter()
        .take(5)
        .map(|path| format!("{path:?}"))
        .collect();
    let more = paths.len() - shown.len();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
