//! Why a question has no answer, and the errno for it.

use rustix::io::Errno;
use thiserror::Error;

pub type Answer<T> = Result<T, Refusal>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("no such file")]
    Absent,
    #[error("a node that the source never gave out")]
    UnknownNode,
    #[error("not a file, directory or symlink as the request needs it")]
    WrongKind,
    /// It is part of the tree, but the source lacks it or failed to read it.
    #[error("the content cannot be had")]
    Unavailable,
}

impl Refusal {
    pub(super) fn errno(self) -> i32 {
        let errno = match self {
            Refusal::Absent => Errno::NOENT,
            Refusal::UnknownNode => Errno::STALE,
            Refusal::WrongKind => Errno::INVAL,
            Refusal::Unavailable => Errno::IO,
        };
        errno.raw_os_error()
    }
}
