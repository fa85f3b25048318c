//! Why a question has no answer, and the errno for it.

use rustix::io::Errno;
use thiserror::Error;

pub(super) type Answer<T> = Result<T, Refusal>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    /// Not there, on another mount, or not for this user to read: the same to who asks.
    #[error("no such file")]
    Absent,
    #[error("a node that was never looked up, or is forgotten")]
    UnknownNode,
    #[error("a handle that is not open")]
    UnknownHandle,
    #[error("the file became something else on the host")]
    Replaced,
    #[error("not a file or directory as the request needs it")]
    WrongKind,
    #[error("opened for writing")]
    ReadOnly,
    #[error("too many nodes or open files")]
    TooMany,
    #[error(transparent)]
    Host(#[from] Errno),
}

impl Refusal {
    pub(super) fn errno(self) -> i32 {
        let errno = match self {
            Refusal::Absent => Errno::NOENT,
            Refusal::UnknownNode | Refusal::Replaced => Errno::STALE,
            Refusal::UnknownHandle => Errno::BADF,
            Refusal::WrongKind => Errno::INVAL,
            Refusal::ReadOnly => Errno::ROFS,
            Refusal::TooMany => Errno::NFILE,
            Refusal::Host(errno) => errno,
        };
        errno.raw_os_error()
    }
}
